package httpsend

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// compressor is a gzip writer and its output. Both are worth keeping: a writer's tables take more than a batch does.
type compressor struct {
	w   *gzip.Writer
	out bytes.Buffer
}

var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return &compressor{w: w}
}}

// maxKeptOutput bounds the output buffer that is kept.
const maxKeptOutput = 4 << 20

// compress returns body as gzip, at the fastest level: the way to the SIEM costs less than the CPU that a smaller body
// would take. The caller releases it when nothing reads its bytes any more.
func compress(body []byte) *compressor {
	z := compressors.Get().(*compressor)
	z.out.Reset()
	z.w.Reset(&z.out)
	_, _ = z.w.Write(body) // a bytes.Buffer takes everything
	_ = z.w.Close()
	return z
}

func (z *compressor) bytes() []byte { return z.out.Bytes() }

func (z *compressor) release() {
	if z.out.Cap() <= maxKeptOutput {
		compressors.Put(z)
	}
}
