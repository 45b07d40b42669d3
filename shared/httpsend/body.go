package httpsend

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// loan is a request's body, lent to net/http, which may go on writing it in a goroutine of its own when the answer came
// early or the time was over. The bytes are a pooled buffer's, so Do calls them in before it returns.
type loan struct {
	mu    sync.Mutex
	bytes []byte
	ended bool
}

var errEnded = errors.New("the request has ended")

// end waits for a write that is under way, which ends when the answer has been read and its connection is closed, and lets
// none begin.
func (l *loan) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes, l.ended = nil, true
}

// reader reads the body from its start. It never fails; the error makes it a Request's GetBody.
func (l *loan) reader() (io.ReadCloser, error) { return &bodyReader{loan: l}, nil }

type bodyReader struct {
	loan *loan
	at   int
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (n int, err error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	switch {
	case r.loan.ended:
		return 0, errEnded
	case r.at >= len(r.loan.bytes):
		return 0, io.EOF
	}
	n = copy(p, r.loan.bytes[r.at:])
	r.at += n
	return n, nil
}

// writeTo writes the next bytes, at most limit.
func (r *bodyReader) writeTo(w io.Writer, limit int64) (int64, error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	if r.loan.ended {
		return 0, errEnded
	}
	rest := r.loan.bytes[r.at:]
	n, err := w.Write(rest[:min(limit, int64(len(rest)))])
	r.at += n
	return int64(n), err
}

// Close implements io.Closer.
func (r *bodyReader) Close() error { return nil }

// conn is a connection that takes a body in one piece: net/http would copy it through a buffer of 32 KB, made for the
// purpose, and call the system for each.
type conn struct {
	net.Conn
	answered atomic.Bool // something was read from it
}

// deadError is a failed write on a connection that had served a request before: it died meanwhile. net/http takes that for
// a failure of the request when the header could still be written.
type deadError struct{ error }

func (e deadError) Unwrap() error { return e.error }

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom. net/http calls it with a body bounded by its length.
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	bounded, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(c.Conn, r)
	}
	body, ok := bounded.R.(*bodyReader)
	if !ok {
		return io.Copy(c.Conn, r)
	}
	dead := c.answered.Load()
	if n, err = body.writeTo(c.Conn, bounded.N); err != nil && dead {
		err = deadError{err}
	}
	bounded.N -= n
	return n, err
}
