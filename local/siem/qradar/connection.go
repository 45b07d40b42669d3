package qradar

import (
	"bytes"
	"crypto/tls"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/local/siem"
)

// connection is one sender.
type connection struct {
	net.Conn // raw, or TLS over it

	source *Simulator
	raw    *net.TCPConn
	rest   []byte // read, and not yet a whole message

	mu      sync.Mutex
	secured *tls.Conn // Conn, once the handshake is done
	hanging sync.Once
}

func (c *connection) serve() {
	defer func() {
		c.source.mu.Lock()
		delete(c.source.conns, c)
		c.source.mu.Unlock()
		c.raw.Close()
	}()
	fault, faulty := c.source.Next(nil)
	if faulty && (fault.Kind == siem.Status || fault.Kind == siem.CloseBefore) {
		c.source.Refuse(fault.Kind.String(), "")
		c.reset()
		return
	}
	if c.source.source.Protocol == "tls" && !c.source.secure(c) {
		return
	}
	b := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := c.Read(b)
		if err != nil {
			if len(c.rest) > 0 {
				c.source.Refuse("cut off", "the connection ended in the midst of a message")
			}
			return
		}
		if !first {
			fault, faulty = c.source.Next(nil)
		}
		if faulty && !c.suffer(fault) {
			return
		}
		c.frames(b[:n])
		if faulty && fault.Kind == siem.AcceptClose {
			c.hangUp()
		}
	}
}

// suffer applies a fault to what was just read, and tells whether it is still to be taken.
func (c *connection) suffer(f siem.Fault) bool {
	switch f.Kind {
	case siem.CloseDuring, siem.CloseAfter:
		c.source.Refuse(f.Kind.String(), "")
		c.reset()
		return false
	case siem.AcceptHang:
		<-c.source.heals()
	case siem.Slow:
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.source.heals():
		}
	case siem.Endless:
		c.source.Refuse(f.Kind.String(), "")
		for _, err := c.Write(make([]byte, 1<<10)); err == nil; _, err = c.Write(make([]byte, 1<<10)) {
		}
		return false
	case siem.Status, siem.CloseBefore: // came into force since the connection was made
		c.source.Refuse(f.Kind.String(), "")
		c.hangUp()
	}
	return true
}

// hangUp stops sending, so that the peer sees a close, while serve reads on: what the peer's kernel was told to be
// taken is taken.
func (c *connection) hangUp() {
	c.mu.Lock()
	secured := c.secured
	c.mu.Unlock()
	c.hanging.Do(func() {
		if secured != nil {
			_ = secured.CloseWrite() // the peer may have gone already
		}
		_ = c.raw.CloseWrite()
		_ = c.raw.SetReadDeadline(time.Now().Add(handshakeTimeout)) // for a peer that does not care
	})
}

func (c *connection) reset() {
	_ = c.raw.SetLinger(0)
	c.raw.Close()
}

// frames takes the whole messages of what was read so far.
func (c *connection) frames(b []byte) {
	c.rest = append(c.rest, b...)
	cut := cutLine
	if c.source.source.Octets {
		cut = cutCounted
	}
	for {
		message, rest, ok := cut(c.rest)
		if !ok {
			break
		}
		c.source.take(message)
		c.rest = rest
	}
	c.rest = bytes.Clone(c.rest)
}

func cutLine(b []byte) (message, rest []byte, ok bool) { return bytes.Cut(b, []byte("\n")) }

// cutCounted cuts at the length that stands before a message. What has none is taken for one message, and found wrong.
func cutCounted(b []byte) (message, rest []byte, ok bool) {
	const mostDigits = 8
	digits, after, ok := bytes.Cut(b, []byte(" "))
	if !ok && len(b) <= mostDigits {
		return nil, b, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 24)
	if err != nil || digits[0] == '0' {
		return b, nil, true
	}
	if uint64(len(after)) < n {
		return nil, b, false
	}
	return after[:n], after[n:], true
}
