package syslogsend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is a connection. It carries one batch at a time.
type conn struct {
	net.Conn // raw, or TLS over it

	raw     net.Conn
	kernel  Kernel // of raw
	waits   waits
	proven  bool  // the peer has accepted us, or had time to refuse us
	doubted bool  // settle waits for the peer to accept us
	used    int64 // wall clock of the last batch, Unix ms
	scratch [512]byte
}

// Kernel is the operating system's view of a connection.
type Kernel interface {
	// Unacknowledged returns how many bytes the peer's kernel has not acknowledged.
	Unacknowledged() (int, error)
	// Pending reports whether there is something to read, the peer's close included. An error is the connection's own.
	Pending() (bool, error)
}

// socket is the Kernel of a connection of the system.
type socket struct{ syscall.RawConn }

// kernelOf returns the Kernel of a connection.
func kernelOf(raw net.Conn) (Kernel, error) {
	if k, ok := raw.(Kernel); ok {
		return k, nil
	}
	c, ok := raw.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T does not report what the peer has acknowledged", raw)
	}
	control, err := c.SyscallConn()
	return socket{control}, err
}

var errTalks = errors.New("unexpected data from the peer: not a syslog server?")

// deliver writes body and waits until it is confirmed.
func (c *conn) deliver(ctx context.Context, body []byte) error {
	defer c.interrupt(ctx)()
	if _, err := c.Write(body); err != nil {
		if reason := c.look(ctx); reason != nil { // an alert is more specific than a broken pipe
			return reason
		}
		return err
	}
	if err := c.confirm(ctx); err != nil {
		return err
	}
	return c.settle(ctx)
}

// settle waits whether the peer closes a new connection after its first batch: a TCP stack accepts connections and
// bytes before the receiving program has seen them, and a TLS 1.3 handshake ends before the peer has verified our
// certificate.
func (c *conn) settle(ctx context.Context) error {
	if c.proven {
		return nil
	}
	wait := c.waits.settling
	if _, secured := c.Conn.(*tls.Conn); secured {
		wait = c.waits.ticket
	}
	c.doubted = true
	err := c.await(ctx, wait)
	c.doubted, c.proven = false, true
	return err
}

// tickets is a cache of session tickets that stores none: sessions are not resumed, so that the peer verifies our
// certificate each time. It notes the first ticket, because a peer that asked for our certificate sends a ticket only
// once it has our side of the handshake: RFC 8446, section 4.6.1.
type tickets struct{ *conn }

// Get implements tls.ClientSessionCache.
func (tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put implements tls.ClientSessionCache. It is called while the connection is read.
func (t tickets) Put(string, *tls.ClientSessionState) {
	if t.proven = true; t.doubted {
		_ = t.raw.SetReadDeadline(time.Unix(1, 0)) // ends watch; a broken connection returns its error on the read
	}
}

// interrupt bounds writes by the deadline of ctx, and by its cancellation.
func (c *conn) interrupt(ctx context.Context) (release func() bool) {
	deadline, _ := ctx.Deadline()
	_ = c.raw.SetWriteDeadline(deadline) // a broken connection returns its error on the write
	return context.AfterFunc(ctx, func() { _ = c.raw.SetWriteDeadline(time.Unix(1, 0)) })
}

const (
	firstPoll = 100 * time.Microsecond
	maxPoll   = 10 * time.Millisecond // an acknowledgement may be delayed by 40 ms: RFC 1122, section 4.2.3.2, allows 500
)

// confirm waits until the peer's TCP stack has acknowledged every byte, and checks the connection meanwhile. The kernel
// reports no such event, so confirm polls.
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
			return fmt.Errorf("the peer has not acknowledged %d bytes: %w", open, ctx.Err())
		}
	}
}

// glance bounds the read of data that has already arrived.
const glance = 10 * time.Millisecond

// look returns an error if the peer has closed or reset the connection, or sent a TLS alert; over UDP, if the peer's
// host has reported that it did not accept an earlier datagram. It does not wait.
func (c *conn) look(ctx context.Context) error {
	_, datagrams := c.raw.(*net.UDPConn)
	for {
		if something, err := c.kernel.Pending(); err != nil || !something || datagrams {
			return err
		}
		if err := c.watch(ctx, glance); err != nil || !Confirms {
			return err
		}
	}
}

// await returns an error if the peer closes the connection within d, or has closed it by then. On a busy machine, the
// time of watch may be over before it reads.
func (c *conn) await(ctx context.Context, d time.Duration) error {
	if err := c.watch(ctx, d); err != nil {
		return err
	}
	return c.look(ctx)
}

// maxTalk bounds the bytes that a peer may send in one watch. TLS tickets and key updates do not count.
const maxTalk = 64 << 10

// watch reads for d and returns an error if the peer closes the connection. It discards data. If the deadline of ctx
// ends it earlier, it returns an error as well, because a close may still come.
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
		case errors.Is(err, os.ErrDeadlineExceeded) && c.doubted && c.proven: // by a ticket
			return nil
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

// abort closes at once. Unacknowledged bytes are not sent any more, since their batch is sent again.
func (c *conn) abort() {
	if t, ok := c.raw.(interface{ SetLinger(seconds int) error }); ok {
		_ = t.SetLinger(0) // the connection is closed either way
	}
	_ = c.raw.Close() // not TLS's Close, which waits up to 5 s for a peer that does not read
}
