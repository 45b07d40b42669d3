package syslogsend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is one connection, which one batch at a time has to itself.
type conn struct {
	net.Conn // raw, or TLS over it

	raw     net.Conn
	kernel  Kernel // of raw
	proven  bool   // the peer had time to refuse us
	used    int64  // wall clock of the last batch, Unix ms
	scratch [512]byte
}

// Kernel is what the system says about a connection.
type Kernel interface {
	// Unacknowledged returns how many bytes the peer's kernel has not acknowledged.
	Unacknowledged() (int, error)
	// Pending tells whether there is something to read, the peer's close included. An error is the connection's own.
	Pending() (bool, error)
}

// socket is the Kernel of a connection of the system.
type socket struct{ syscall.RawConn }

// Unacknowledged implements Kernel.
func (s socket) Unacknowledged() (int, error) { return unacknowledged(s.RawConn) }

// Pending implements Kernel.
func (s socket) Pending() (bool, error) { return pending(s.RawConn) }

// kernelOf returns what tells about a connection.
func kernelOf(raw net.Conn) (Kernel, error) {
	if k, ok := raw.(Kernel); ok {
		return k, nil
	}
	c, ok := raw.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T tells nothing of what is acknowledged", raw)
	}
	control, err := c.SyscallConn()
	return socket{control}, err
}

var errTalks = errors.New("the peer sends and sends, which no syslog server does")

// unconfirmedError tells how many bytes the peer's kernel owes us an acknowledgement for.
type unconfirmedError struct {
	bytes int
	err   error // why there was no more waiting
}

func (e *unconfirmedError) Error() string {
	return fmt.Sprintf("the peer has not acknowledged %d bytes: %v", e.bytes, e.err)
}

func (e *unconfirmedError) Unwrap() error { return e.err }

// deliver writes body and waits until it is confirmed.
func (c *conn) deliver(ctx context.Context, body []byte) error {
	defer c.interrupt(ctx)()
	if _, err := c.Write(body); err != nil {
		if reason := c.look(ctx); reason != nil { // an alert says more than a broken pipe
			return reason
		}
		return err
	}
	if err := c.confirm(ctx); err != nil {
		return err
	}
	return c.settle(ctx)
}

// settle gives the peer of a new connection a moment to hang up before the first batch is trusted to it: a kernel takes
// connections, and bytes, before the program behind it has seen them, or is even there.
func (c *conn) settle(ctx context.Context) error {
	if c.proven {
		return nil
	}
	c.proven = true
	return c.watch(ctx, settling)
}

// interrupt bounds the writing by ctx: by its deadline, and by its end where that comes earlier.
func (c *conn) interrupt(ctx context.Context) (release func() bool) {
	deadline, _ := ctx.Deadline()
	_ = c.raw.SetWriteDeadline(deadline) // a dead connection says so on the write
	return context.AfterFunc(ctx, func() { _ = c.raw.SetWriteDeadline(time.Unix(1, 0)) })
}

const (
	firstPoll = 100 * time.Microsecond
	maxPoll   = 10 * time.Millisecond // an acknowledgement may be delayed by 40 ms: RFC 1122, section 4.2.3.2, allows 500
)

// confirm waits until the peer's kernel has acknowledged every byte, and looks whether the connection still stands. The
// kernel tells of no such event, so it is asked again and again.
func (c *conn) confirm(ctx context.Context) error {
	timer := time.NewTimer(firstPoll)
	defer timer.Stop()
	for poll := firstPoll; ; poll = min(2*poll, maxPoll) {
		open, err := c.kernel.Unacknowledged()
		if err != nil {
			return err
		}
		if err := c.look(ctx); err != nil || open == 0 {
			return err
		}
		timer.Reset(poll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return &unconfirmedError{open, ctx.Err()}
		}
	}
}

const (
	// settling is what the program of a new TCP or UDP peer gets to hang up.
	settling = 50 * time.Millisecond

	// glance is how long a look reads when there is something to read: it has arrived already.
	glance = 10 * time.Millisecond
)

// look tells whether the connection shows a close, a reset or a TLS alert. It does not wait for one.
func (c *conn) look(ctx context.Context) error {
	if _, datagrams := c.raw.(*net.UDPConn); datagrams {
		return c.refused()
	}
	for {
		if something, err := c.kernel.Pending(); err != nil || !something {
			return err
		}
		if err := c.watch(ctx, glance); err != nil || !Confirms {
			return err
		}
	}
}

// maxTalk is how much a peer may send in one watch. Tickets and key updates of TLS do not count: no caller sees them.
const maxTalk = 64 << 10

// watch reads for as long as d. Silence is good; what a peer has to say is thrown away. A watch that ctx's deadline cuts
// short has seen nothing that could be relied on.
func (c *conn) watch(ctx context.Context, d time.Duration) error {
	until, short := time.Now().Add(d), false
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until, short = deadline, true
	}
	if err := c.SetReadDeadline(until); err != nil {
		return err
	}
	for total := 0; total < maxTalk; {
		n, err := c.Read(c.scratch[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && short:
			return context.DeadlineExceeded
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ctx.Err()
		case err != nil:
			return err
		}
		total += n
	}
	return errTalks
}

// datagram sends one message over UDP.
func (c *conn) datagram(ctx context.Context, message []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := c.Write(message)
	return err
}

// refused tells whether the peer's host has reported that it did not take an earlier datagram.
func (c *conn) refused() error {
	_, err := c.kernel.Pending()
	return err
}

// abort closes at once. Bytes that the peer has not acknowledged are not sent any more: they go again with their batch.
func (c *conn) abort() {
	if t, ok := c.raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // the connection is given up either way
	}
	_ = c.raw.Close() // not TLS's Close, which would wait up to 5 s to say goodbye to a peer that does not read
}
