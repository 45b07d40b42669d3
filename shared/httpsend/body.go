package httpsend

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// requestBody is the body of a request on one connection. net/http reads it in a goroutine, which may still run when
// the response arrives, so Do calls reclaim before it returns the bytes to the caller or to the pool.
type requestBody struct {
	bytes  []byte // the caller's, or of zipped
	zipped bytes.Buffer
	gz     *gzip.Writer // worth keeping: its tables are larger than most batches

	reader bytes.Reader
	closer io.ReadCloser // of reader
	trace  httptrace.ClientTrace
	x      *exchange

	mu      sync.Mutex
	changed sync.Cond // of state; a channel would belong to one bubble of testing/synctest, the pool does not
	state   int
}

// The states of a requestBody.
const (
	unread  = iota // net/http has not begun to read it
	reading        // net/http reads it
	done           // net/http has read it, will not read it, or will find it empty
)

var bodies = sync.Pool{New: func() any {
	b := &requestBody{}
	b.changed.L = &b.mu
	b.closer = io.NopCloser(&b.reader)
	b.trace = httptrace.ClientTrace{
		GotConn:      func(info httptrace.GotConnInfo) { b.x.begin(info) },
		WroteHeaders: b.begin,
		WroteRequest: b.end,
	}
	return b
}}

// maxKeptBody bounds the buffers that the pool keeps.
const maxKeptBody = 4 << 20

// newBody makes the body of a request from p, compressed if zip is true.
func newBody(p []byte, zip bool) *requestBody {
	b := bodies.Get().(*requestBody)
	b.bytes = p
	if zip {
		b.compress(p)
		b.bytes = b.zipped.Bytes()
	}
	b.reader.Reset(b.bytes)
	b.x = &exchange{remaining: len(b.bytes)}
	b.state = unread
	return b
}

// level costs the least. Compared with level 1 it saves 50 bytes per event, in batches of 1 and of 100 events, which is
// $0.0045 of transfer per million events (at $0.09 per GB). The CPU time costs $0.0003 to $0.0005: 12 us per event in a
// batch of 100, 22 us alone (docs/performance.md).
const level = 6

// compress compresses p into b.zipped.
func (b *requestBody) compress(p []byte) {
	if b.gz == nil {
		b.gz, _ = gzip.NewWriterLevel(nil, level) // the level is valid
	}
	b.zipped.Reset()
	b.gz.Reset(&b.zipped)
	_, _ = b.gz.Write(p) // a bytes.Buffer accepts everything
	_ = b.gz.Close()
}

// of returns the Request.Body for a request with the method. net/http sends a body of a type that it knows together
// with the header; for another one it flushes the header first.
func (b *requestBody) of(method string) io.ReadCloser {
	switch {
	case len(b.bytes) > 0:
		return b.closer
	case method == http.MethodPost:
		return http.NoBody
	}
	return empty{}
}

// begin is an httptrace hook: net/http has written the header and reads the body next.
func (b *requestBody) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != unread {
		b.reader.Reset(nil)
		return
	}
	b.state = reading
}

// end is an httptrace hook: net/http has read the body, or will not read it.
func (b *requestBody) end(httptrace.WroteRequestInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == reading {
		b.state = done
		b.changed.Signal()
	}
}

// reclaim returns when net/http does not use the bytes any more. After an early response that is at most 50 ms later:
// then net/http closes the connection, which ends a write that blocks. If net/http has not begun to read, it may still
// call begin, so the pool must not get b.
func (b *requestBody) reclaim() {
	b.mu.Lock()
	begun := b.state != unread
	for b.state == reading {
		b.changed.Wait()
	}
	b.state = done
	b.mu.Unlock()
	if begun {
		b.pool()
	}
}

// pool keeps b for another request.
func (b *requestBody) pool() {
	b.bytes, b.x = nil, nil
	b.reader.Reset(nil)
	if b.zipped.Cap() <= maxKeptBody {
		bodies.Put(b)
	}
}

// empty is a body without bytes that net/http does not recognize as such. net/http resends a GET that has no body as
// often as connections fail, and does not tell.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }
func (empty) Close() error             { return nil }
