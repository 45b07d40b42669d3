package qradar

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// stream is a *net.TCPConn.
type stream interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// connection is the connection of one sender.
type connection struct {
	net.Conn // raw, or TLS over it

	source *Simulator
	raw    stream
	rest   []byte // read, but not a whole message yet

	fault strike // that applied when the connection was accepted

	mu      sync.Mutex
	secured *tls.Conn // Conn, once the handshake is done
	hungUp  bool
}

func (c *connection) serve() {
	defer func() {
		c.source.mu.Lock()
		delete(c.source.conns, c)
		c.source.mu.Unlock()
		_ = c.raw.Close()
	}()
	fault := c.fault
	if fault.hits && (fault.Kind == siem.Status || fault.Kind == siem.CloseBefore) {
		c.source.Refuse(fault.Kind.String(), "")
		c.reset()
		return
	}
	if c.source.source.Protocol == "tls" && !c.secure() {
		return
	}
	b := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := c.Read(b)
		if err != nil {
			if len(c.rest) > 0 {
				c.source.Refuse("cut off", "the connection ended within a message")
			}
			return
		}
		if !first {
			fault = c.source.next()
		}
		if fault.hits && !c.suffer(fault) {
			return
		}
		if !c.frames(b[:n]) {
			return
		}
		if fault.hits && fault.Kind == siem.AcceptClose {
			c.hangUp()
		}
	}
}

// suffer applies a fault to the data that was read, and reports whether the data is still to be processed.
func (c *connection) suffer(f strike) bool {
	switch f.Kind {
	case siem.CloseDuring, siem.CloseAfter:
		c.source.Refuse(f.Kind.String(), "")
		c.reset()
		return false
	case siem.AcceptHang:
		<-f.healed
	case siem.Slow:
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.healed:
		}
	case siem.Endless:
		c.source.Refuse(f.Kind.String(), "")
		for _, err := c.Write(make([]byte, 1<<10)); err == nil; _, err = c.Write(make([]byte, 1<<10)) {
		}
		return false
	case siem.Status, siem.CloseBefore: // injected after the connection was made
		c.source.Refuse(f.Kind.String(), "")
		c.hangUp()
	}
	return true
}

// hangUp closes the connection for sending, so that the peer sees a close; during a TLS handshake, once it is done.
// serve continues to read until the peer closes, because the peer's kernel has the acknowledgement for this data.
func (c *connection) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hungUp = true; c.source.source.Protocol == "tls" {
		if c.secured == nil {
			return
		}
		_ = c.secured.CloseWrite() // the peer may have closed
	}
	_ = c.raw.CloseWrite()
}

// secure performs the TLS handshake, and counts its result.
func (c *connection) secure() bool {
	s, secured := c.source, tls.Server(c.raw, c.source.tls)
	err := secured.HandshakeContext(context.Background()) // until Close
	if err == nil {
		c.mu.Lock()
		c.Conn, c.secured = secured, secured
		late := c.hungUp
		c.mu.Unlock()
		if late {
			c.hangUp()
		}
		return true
	}
	var broken *net.OpError
	if s.source.Mutual && !errors.As(err, &broken) && !errors.Is(err, io.EOF) {
		s.AuthFailed()
		s.Refuse("certificate", err.Error())
	} else {
		s.Refuse("handshake", err.Error())
	}
	return false
}

func (c *connection) reset() {
	_ = c.raw.SetLinger(0)
	_ = c.raw.Close()
}

// frames processes the complete messages, and reports whether more can follow.
func (c *connection) frames(b []byte) bool {
	c.rest = append(c.rest, b...)
	cut := cutLine
	if c.source.source.Octets {
		cut = cutCounted
	}
	for {
		message, rest, err := cut(c.rest)
		if err == errShort { //nolint:errorlint // never wrapped
			c.rest = bytes.Clone(c.rest)
			return true
		}
		if err != nil {
			c.source.Violate("%v", err)
			return false
		}
		c.source.take(message)
		c.rest = rest
	}
}

var (
	errShort     = errors.New("the message is incomplete")
	errNoLength  = errors.New("no length before a message")
	errNoNewline = errors.New("a line without an end")
)

// maxLine is the length after which a receiver stops waiting for a newline.
const maxLine = 1 << 20

func cutLine(b []byte) (message, rest []byte, err error) {
	message, rest, ok := bytes.Cut(b, []byte("\n"))
	switch {
	case ok:
		return message, rest, nil
	case len(b) > maxLine:
		return nil, nil, errNoNewline
	}
	return nil, nil, errShort
}

// cutCounted returns a message preceded by its length (RFC 6587).
func cutCounted(b []byte) (message, rest []byte, err error) {
	const mostDigits = 8
	digits, after, ok := bytes.Cut(b, []byte(" "))
	if !ok && len(b) <= mostDigits {
		return nil, nil, errShort
	}
	n, err := strconv.ParseUint(string(digits), 10, 24)
	if err != nil || digits[0] == '0' {
		return nil, nil, errNoLength
	}
	if uint64(len(after)) < n {
		return nil, nil, errShort
	}
	return after[:n], after[n:], nil
}
