package httpsend

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// pooledBody is the body of a request in a buffer of its own. net/http may read it in a goroutine after the response
// has arrived, so neither the caller's bytes nor a buffer that the next request uses can be handed to it.
type pooledBody struct {
	buf bytes.Buffer
	gz  *gzip.Writer // worth keeping: its tables are larger than most batches
}

var bodies = sync.Pool{New: func() any { return new(pooledBody) }}

// maxKeptBody bounds the buffers that the pool keeps.
const maxKeptBody = 4 << 20

// newBody copies p into a buffer, compressed if zip is true.
func newBody(p []byte, zip bool) *pooledBody {
	b := bodies.Get().(*pooledBody)
	b.buf.Reset()
	if zip {
		b.compress(p)
	} else {
		b.buf.Write(p)
	}
	return b
}

// compress uses the fastest level: a smaller body saves less than the CPU time that it takes.
func (b *pooledBody) compress(p []byte) {
	if b.gz == nil {
		b.gz, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	}
	b.gz.Reset(&b.buf)
	_, _ = b.gz.Write(p) // a bytes.Buffer accepts everything
	_ = b.gz.Close()
}

// reader returns a Request.Body. net/http sends a body of this type together with the header; for one that it does not
// know it flushes the header first.
func (b *pooledBody) reader() io.ReadCloser {
	if b.buf.Len() == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(b.buf.Bytes()))
}

// release returns the buffer to the pool. The caller must know that net/http reads it no more.
func (b *pooledBody) release() {
	if b.buf.Cap() <= maxKeptBody {
		bodies.Put(b)
	}
}

// empty is a body without bytes that net/http does not recognize as such. net/http resends a GET that has no body as
// often as connections fail, and does not tell.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
func (empty) Close() error             { return nil }
