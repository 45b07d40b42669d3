package httpsend

import (
	"bytes"
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

// writeTo writes head and the next bytes behind it, at most limit, and returns how many of the latter. As many as head has
// room for go out with it.
func (r *bodyReader) writeTo(w io.Writer, head []byte, limit int64) (n int64, err error) {
	r.loan.mu.Lock()
	defer r.loan.mu.Unlock()
	if r.loan.ended {
		return 0, errEnded
	}
	rest := r.loan.bytes[r.at:]
	rest = rest[:min(limit, int64(len(rest)))]
	if len(head) > 0 {
		with := min(len(rest), cap(head)-len(head))
		if _, err := w.Write(append(head, rest[:with]...)); err != nil {
			return 0, err
		}
		n, rest = int64(with), rest[with:]
	}
	if len(rest) > 0 {
		var more int
		more, err = w.Write(rest)
		n += int64(more)
	}
	r.at += int(n)
	return n, err
}

// Close implements io.Closer.
func (r *bodyReader) Close() error { return nil }

// conn is a connection that takes a request in one piece: net/http would flush its header alone, copy the body through a
// buffer of 32 KB, made for the purpose, and call the system for each.
type conn struct {
	net.Conn
	answered atomic.Bool // something was read from it
	head     []byte      // of a request whose body comes next
	room     []byte      // for head and what fits behind it
}

// atOnce is how many bytes of a request are copied to go out together: the largest TLS record.
const atOnce = 16 << 10

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

// Write implements io.Writer. The header of a request that has a body waits for it.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(p, []byte("POST ")) || !bytes.HasSuffix(p, []byte("\r\n\r\n")) || bytes.Contains(p, []byte("\r\nContent-Length: 0\r\n")) {
		return c.Conn.Write(p)
	}
	if c.room == nil {
		c.room = make([]byte, 0, max(atOnce, len(p)))
	}
	c.head = append(c.room, p...)
	return len(p), nil
}

// flush writes the header that waits for a body.
func (c *conn) flush() error {
	if len(c.head) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.head)
	c.head = nil
	return err
}

// ReadFrom implements io.ReaderFrom. net/http calls it with a body bounded by its length.
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	bounded, _ := r.(*io.LimitedReader)
	var body *bodyReader
	if bounded != nil {
		body, _ = bounded.R.(*bodyReader)
	}
	if body == nil {
		if err := c.flush(); err != nil {
			return 0, err
		}
		return io.Copy(c.Conn, r)
	}
	head, dead := c.head, c.answered.Load()
	c.head = nil
	if n, err = body.writeTo(c.Conn, head, bounded.N); err != nil && dead {
		err = deadError{err}
	}
	bounded.N -= n
	return n, err
}
