package simulation

import (
	"bytes"
	"context"
	"errors"
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
}

// link is the state that both ends share.
type link struct {
	sync.Mutex
	changed sync.Cond // of all state of both ends
	process *process  // of the client
	faulty  bool      // a fault has hit it
}

// stream is one direction.
type stream struct {
	buf    []byte
	ended  bool  // the writer has closed
	err    error // reset
	drains bool  // what arrived before the reset can still be read
	held   bool  // the reader is frozen and does not see what arrives
	lost   bool  // writes are discarded
}

// deadline is the time at which the waits for a direction end.
type deadline struct {
	at    time.Time // zero: never
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// newConn returns both ends.
func newConn(p *process, to string) (client, server *conn) {
	l := &link{process: p}
	l.changed.L = l
	up, down := &stream{}, &stream{}
	client = &conn{link: l, in: down, out: up, local: "function", peer: address(to)}
	server = &conn{link: l, in: up, out: down, local: address(to), peer: "function"}
	client.other, server.other = server, client
	return client, server
}

// change changes the state of the connection, and wakes the goroutines that wait for it.
func (l *link) change(what func()) {
	l.Lock()
	defer l.Unlock()
	what()
	l.changed.Broadcast()
}

func opError(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.Lock()
	defer c.Unlock()
	for ; ; c.changed.Wait() {
		switch s := c.in; {
		case c.read.passed():
			return 0, opError("read", os.ErrDeadlineExceeded)
		case s.held:
		case s.err != nil && (!s.drains || len(s.buf) == 0):
			return 0, opError("read", s.err)
		case s.lost:
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			c.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
	}
}

// sendBuffer is the size of the buffers between the ends: a write beyond it blocks until the other end reads.
const sendBuffer = 8 << 10

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.Lock()
	defer c.Unlock()
	for written := 0; ; c.changed.Wait() {
		n, err := c.tryWrite(p[written:])
		if written += n; err != nil || written == len(p) {
			return written, err
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
	}
	c.in.held = false // the process runs, and so does its kernel
	c.changed.Broadcast()
	return min(room, len(p)), nil
}

// Close implements net.Conn. The peer can still read what was written.
func (c *conn) Close() error {
	c.change(func() {
		c.out.ended, c.in.held = true, false
		if c.in.err == nil {
			c.in.err = net.ErrClosed
		}
	})
	return nil
}

// CloseWrite ends the stream to the peer.
func (c *conn) CloseWrite() { c.change(func() { c.out.ended = true }) }

// reset ends the connection for both ends at once.
func (c *conn) reset() {
	c.change(func() { c.in.err, c.out.err = syscall.ECONNRESET, syscall.ECONNRESET })
}

// resetBehind ends the connection for both ends, as a server does that closes with unread data: the peer can still read
// what was sent before.
func (c *conn) resetBehind() {
	c.change(func() { c.out.drains = true })
	c.reset()
}

// unread returns the data that has arrived and was not read.
func (c *conn) unread() []byte {
	c.Lock()
	defer c.Unlock()
	return bytes.Clone(c.in.buf)
}

// vanish drops everything from now on, without an error at either end.
func (c *conn) vanish() { c.change(func() { c.faulty, c.in.lost, c.out.lost = true, true, true }) }

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
func (c *conn) markFaulty() { c.change(func() { c.faulty = true }) }

func (c *conn) isFaulty() bool {
	c.Lock()
	defer c.Unlock()
	return c.faulty
}

// hold freezes the reading end, or thaws it.
func (c *conn) hold(held bool) { c.change(func() { c.in.held = held }) }

// gone reports whether the other end has closed.
func (c *conn) gone() bool {
	c.Lock()
	defer c.Unlock()
	return c.in.ended || c.in.err != nil
}

// Unacknowledged returns the number of bytes that the peer has not read. In this model, the peer's kernel has no
// buffer.
func (c *conn) Unacknowledged() (int, error) {
	c.Lock()
	defer c.Unlock()
	return len(c.out.buf), nil
}

// Pending reports whether there is something to read.
func (c *conn) Pending() (bool, error) {
	c.Lock()
	defer c.Unlock()
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
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { c.set(&c.read, t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { c.set(&c.write, t); return nil }

func (c *conn) set(d *deadline, t time.Time) {
	c.change(func() {
		if d.timer != nil {
			d.timer.Stop()
		}
		if d.at = t; !t.IsZero() {
			d.timer = time.AfterFunc(time.Until(t), c.changed.Broadcast)
		}
	})
}

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

// readable waits until there is something to read. It returns false at the end of the stream, also of a lost one.
func (c *conn) readable() bool {
	c.Lock()
	defer c.Unlock()
	for s := c.in; ; c.changed.Wait() {
		switch {
		case !s.lost && len(s.buf) > 0:
			return true
		case s.err != nil || s.ended:
			return false
		}
	}
}
