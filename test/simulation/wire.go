package simulation

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection in memory. Every wait in it is one that the simulated clock can pass over.
type conn struct {
	*link
	in, out     *stream
	read, write deadline
	local, peer address
	other       *conn
	client      bool
}

// link is what both ends share.
type link struct {
	mu      sync.Mutex
	process *process // of the client
	faulty  bool     // a fault has struck it
}

// stream is one direction.
type stream struct {
	buf     []byte
	ended   bool          // the writer has closed
	err     error         // reset
	held    bool          // the reader is frozen: what arrives is not seen
	lost    bool          // what is written goes nowhere
	changed chan struct{} // closed and made anew with every change
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// newConn makes both ends.
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

// change wakes whoever waits for the stream. The link is locked.
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
			case s.err != nil:
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

// sendBuffer is what a kernel takes of a connection whose other end takes nothing.
const sendBuffer = 64 << 10

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	for {
		c.mu.Lock()
		done, err := c.tryWrite(p)
		changed, late := c.out.changed, c.write.wait()
		c.mu.Unlock()
		switch {
		case err != nil:
			return 0, err
		case done:
			return len(p), nil
		}
		select {
		case <-changed:
		case <-late:
		}
	}
}

// tryWrite writes, unless the peer's kernel has no room. The link is locked.
func (c *conn) tryWrite(p []byte) (bool, error) {
	s := c.out
	switch {
	case c.write.passed():
		return false, opError("write", os.ErrDeadlineExceeded)
	case s.ended:
		return false, opError("write", net.ErrClosed)
	case s.err == net.ErrClosed && c.in.err == nil: //nolint:errorlint // set by the peer's Close
		c.in.err = syscall.ECONNRESET // the write succeeds, and brings the news back
	case s.err != nil:
		return false, opError("write", syscall.EPIPE)
	case s.lost && len(s.buf)+len(p) > sendBuffer:
		return false, nil
	default:
		s.buf = append(s.buf, p...)
		s.change()
	}
	c.in.held = false // the process runs, and so does its kernel
	c.in.change()
	return true, nil
}

// Close implements net.Conn: what was written is still read by the peer.
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

// CloseWrite tells the peer that nothing more comes.
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

// vanish lets nothing through any more, and tells nobody.
func (c *conn) vanish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faulty, c.in.lost, c.out.lost = true, true, true
}

// drop ends the connection from the other side in one of three ways: by a close, a reset, or without a word.
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

// gone tells whether the other end has hung up.
func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.ended || c.in.err != nil
}

// Unacknowledged is what the peer has not read: this model's kernel has no memory of its own.
func (c *conn) Unacknowledged() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out.buf), nil
}

// Pending tells whether there is something to read.
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

// deadline is a channel that is closed at a time that can be set again.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{}
}

func (d *deadline) init() { d.late = make(chan struct{}) }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	old := d.late
	d.late = make(chan struct{})
	if isClosed(old) { // waiters have gone
		old = nil
	}
	if !t.IsZero() {
		late := d.late
		if left := time.Until(t); left <= 0 {
			close(late)
		} else {
			d.timer = time.AfterFunc(left, func() { d.end(late) })
		}
	}
	if old != nil {
		close(old) // who waits looks again
	}
}

// end closes the channel of a deadline that has passed, unless it has been set anew.
func (d *deadline) end(late chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == late {
		close(late)
	}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

// passed tells whether the deadline is over. A channel that set closed to wake its waiters is not the present one.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return isClosed(d.late)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// listener hands over connections that were made in memory.
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

// hand gives the server its end.
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

// readable waits until there is something to read, and tells whether it is more than an end.
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
