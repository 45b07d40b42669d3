package simulation

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection in memory. The simulated clock can advance while it waits.
type conn struct {
	*link
	in, out     *stream
	read, write deadline
	local, peer address
	other       *conn
	client      bool
}

// link is the state that both ends share.
type link struct {
	mu      sync.Mutex
	process *process // of the client
	faulty  bool     // a fault has hit it
}

// stream is one direction.
type stream struct {
	buf     []byte
	ended   bool          // the writer has closed
	err     error         // reset
	drains  bool          // what arrived before the reset can still be read
	held    bool          // the reader is frozen and does not see what arrives
	lost    bool          // what is written is lost
	changed chan struct{} // closed and replaced by every change
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// newConn returns both ends.
func newConn(p *process, to string) (client, server *conn) {
	l := &link{process: p}
	up, down := &stream{changed: make(chan struct{})}, &stream{changed: make(chan struct{})}
	client = &conn{link: l, in: down, out: up, local: "function", peer: address(to), client: true}
	server = &conn{link: l, in: up, out: down, local: address(to), peer: "function"}
	client.other, server.other = server, client
	client.read.init()
	client.write.init()
	server.read.init()
	server.write.init()
	return client, server
}

// change wakes the goroutines that wait for the stream. The link is locked.
func (s *stream) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func opError(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		c.mu.Lock()
		if c.read.passed() {
			c.mu.Unlock()
			return 0, opError("read", os.ErrDeadlineExceeded)
		}
		if s := c.in; !s.held {
			switch {
			case s.err != nil && (!s.drains || len(s.buf) == 0):
				err := s.err
				c.mu.Unlock()
				return 0, opError("read", err)
			case s.lost:
			case len(s.buf) > 0:
				n := copy(p, s.buf)
				s.buf = s.buf[n:]
				s.change()
				c.mu.Unlock()
				return n, nil
			case s.ended:
				c.mu.Unlock()
				return 0, io.EOF
			}
		}
		changed, late := c.in.changed, c.read.wait()
		c.mu.Unlock()
		select {
		case <-changed:
		case <-late:
		}
	}
}

// sendBuffer is the size of the buffers between the ends: a write beyond it blocks until the other end reads.
const sendBuffer = 8 << 10

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	for written := 0; ; {
		c.mu.Lock()
		n, err := c.tryWrite(p[written:])
		changed, late := c.out.changed, c.write.wait()
		c.mu.Unlock()
		if written += n; err != nil || written == len(p) {
			return written, err
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

// tryWrite writes as much as the buffers hold. The link is locked.
func (c *conn) tryWrite(p []byte) (int, error) {
	s := c.out
	room := max(0, sendBuffer-len(s.buf))
	switch {
	case c.write.passed():
		return 0, opError("write", os.ErrDeadlineExceeded)
	case s.ended:
		return 0, opError("write", net.ErrClosed)
	case s.err == net.ErrClosed && c.in.err == nil: //nolint:errorlint // set by the peer's Close
		c.in.err = syscall.ECONNRESET // the write succeeds, and the peer responds with a reset
		room = len(p)
	case s.err != nil:
		return 0, opError("write", syscall.EPIPE)
	case room == 0 && len(p) > 0:
		return 0, nil
	default:
		s.buf = append(s.buf, p[:min(room, len(p))]...)
		s.change()
	}
	c.in.held = false // the process runs, and so does its kernel
	c.in.change()
	return min(room, len(p)), nil
}

// Close implements net.Conn. The peer can still read what was written.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.ended {
		c.out.ended = true
		c.out.change()
	}
	if c.in.err == nil {
		c.in.err = net.ErrClosed
	}
	c.in.held = false
	c.in.change()
	return nil
}

// CloseWrite ends the stream to the peer.
func (c *conn) CloseWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.ended = true
	c.out.change()
}

// reset ends the connection for both ends at once.
func (c *conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range []*stream{c.in, c.out} {
		s.err = syscall.ECONNRESET
		s.change()
	}
}

// resetBehind ends the connection for both ends, as a server does that closes with unread data: the peer can still read
// what was sent before.
func (c *conn) resetBehind() {
	c.mu.Lock()
	c.out.drains = true
	c.mu.Unlock()
	c.reset()
}

// unread returns the data that has arrived and was not read.
func (c *conn) unread() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.in.buf)
}

// vanish drops everything from now on, without an error at either end.
func (c *conn) vanish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faulty, c.in.lost, c.out.lost = true, true, true
}

// drop ends the connection from the other side: with a close, a reset, or without a packet.
func (c *conn) drop(way int) {
	c.markFaulty()
	switch way {
	case 0:
		_ = c.other.Close()
	case 1:
		c.other.reset()
	default:
		c.vanish()
	}
}

// markFaulty records that a fault has hit the connection.
func (c *conn) markFaulty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faulty = true
}

func (c *conn) isFaulty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faulty
}

// hold freezes the reading end, or thaws it.
func (c *conn) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.held = held
	c.in.change()
}

// gone reports whether the other end has closed.
func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.ended || c.in.err != nil
}

// Unacknowledged returns the number of bytes that the peer has not read. In this model, the peer's kernel has no
// buffer.
func (c *conn) Unacknowledged() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out.buf), nil
}

// Pending reports whether there is something to read.
func (c *conn) Pending() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in.held {
		return false, nil
	}
	if c.in.err != nil {
		return false, opError("read", c.in.err)
	}
	return len(c.in.buf) > 0 || c.in.ended, nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.peer }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { c.read.set(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { c.write.set(t); return nil }

// listener accepts connections in memory.
type listener struct {
	at     address
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener(at string) *listener {
	return &listener{at: address(at), conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.at }

// hand passes the server its end.
func (l *listener) hand(ctx context.Context, c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.closed:
		return opError("dial", syscall.ECONNREFUSED)
	case <-ctx.Done():
		return opError("dial", ctx.Err())
	}
}

// readable waits until there is something to read. It returns false at the end of the stream.
func (c *conn) readable(stop <-chan struct{}) bool {
	for {
		c.mu.Lock()
		s := c.in
		something := !s.lost && len(s.buf) > 0
		over := s.err != nil || s.ended && !s.lost
		changed := s.changed
		c.mu.Unlock()
		switch {
		case something:
			return true
		case over:
			return false
		}
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
}
