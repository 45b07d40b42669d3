package httpsend

import (
	"context"
	"io"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// conn is a connection to the peer. A write that fails does not fail the request: the peer may have sent its response
// before it closed the connection. net/http prefers the write error to the response, so Write reports success, and the
// read decides.
type conn struct {
	net.Conn
	current atomic.Pointer[exchange]
	broken  atomic.Bool // a write has failed
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if x := c.current.Load(); x != nil && n > 0 {
		x.answered.Store(true)
	}
	return n, err
}

// Write implements io.Writer.
func (c *conn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		c.broken.Store(true)
		return len(p), nil //nolint:nilerr // the read decides
	}
	if x := c.current.Load(); x != nil {
		x.wrote(p)
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom. net/http calls it with the part of a body that is larger than its buffer,
// bounded by the body's length. The body goes out in one write; io.Copy would allocate a buffer of 32 KB and fill it
// again and again.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if body, ok := l.R.(io.WriterTo); ok {
			n, err := body.WriteTo(c)
			l.N -= n
			return n, err
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// exchange is one request and its response on one connection.
type exchange struct {
	conn     *conn
	reused   bool        // the connection has served a request before
	answered atomic.Bool // a byte has been read since the request began
	written  atomic.Bool // the connection has accepted the last byte of the request

	// Of the goroutine that writes.
	header    int // bytes of headerEnd matched so far
	remaining int // bytes of the body that are not written
}

// writeGrace is much longer than a goroutine waits for its turn on a fraction of a CPU.
const writeGrace = time.Second

const headerEnd = "\r\n\r\n"

// begin is an httptrace hook: net/http has chosen a connection for the request.
func (x *exchange) begin(info httptrace.GotConnInfo) {
	x.conn, x.reused = info.Conn.(*conn), info.Reused
	x.conn.current.Store(x)
}

// wrote counts bytes of the request that the connection has accepted: the header, then the body.
func (x *exchange) wrote(p []byte) {
	for i := 0; x.header < len(headerEnd); i++ {
		switch {
		case i == len(p):
			return
		case p[i] == headerEnd[x.header]:
			x.header++
		case p[i] == headerEnd[0]:
			x.header = 1
		default:
			x.header = 0
		}
		if x.header == len(headerEnd) {
			p = p[i+1:]
		}
	}
	x.remaining -= len(p)
	if x.remaining <= 0 {
		x.written.Store(true)
	}
}

// waitWritten reports whether the whole request was written before its success arrived. A server sends a success after
// it has read the request, but the goroutine that wrote the last bytes may still have to run.
func (x *exchange) waitWritten(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, writeGrace)
	defer cancel()
	for !x.written.Load() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return x.written.Load()
		}
	}
	return true
}

// failedIdle reports whether the request failed because its connection had been closed while it was idle: the
// connection had served a request before, and ended without a byte of a response.
func (x *exchange) failedIdle() bool { return x.reused && !x.answered.Load() }
