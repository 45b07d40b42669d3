// Package syslogsend sends syslog messages over UDP, TCP and TLS, and says of each batch whether the peer's kernel has
// it. Syslog has no acknowledgement of its own (RFC 5424 over RFC 5425, 5426, 6587): a write into a connection that the
// peer has closed succeeds, and the messages are gone. So over TCP and TLS a batch is sent only when
//
//   - the connection showed no close, reset or TLS alert before it was used again,
//   - the peer's kernel has acknowledged every byte of it, and
//   - the connection then shows no close, reset or TLS alert either.
//
// Anything else is an error about the whole batch. Partial credit is not given: which of its bytes arrived could only be
// told by trusting a connection that has just failed. Messages of such a batch may come twice, and none is lost.
//
// What it cannot know: whether the program behind the peer's kernel reads and keeps what the kernel took; over UDP,
// whether anything arrived at all; and, where the system does not tell what is acknowledged (see Confirms), whether the
// bytes have left this machine.
//
// It makes framed bytes arrive and does not look into them.
package syslogsend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Network is a transport.
type Network string

// The transports.
const (
	UDP Network = "udp" // RFC 5426: one message a datagram
	TCP Network = "tcp" // RFC 6587
	TLS Network = "tls" // RFC 5425
)

// Config is what a Sender is made of.
type Config struct {
	Network Network
	Address string        // host:port
	Timeout time.Duration // one batch, from dialling to the confirmation

	RootCAs     *x509.CertPool   // TLS: nil means the system's
	ServerName  string           // TLS: the name to verify; "" means the host of Address
	Certificate *tls.Certificate // TLS: ours, nil where there is none

	Settings Settings         // for hints
	Dial     settings.Dial    // nil means the network; what it opens must be a Kernel, or a socket
	Now      func() time.Time // wall clock; nil means time.Now
}

// Settings names the variables that an operator would have to change.
type Settings struct{ Host, CABundle, ServerName, Certificate string }

const (
	// maxPause is how long a connection may rest and be used again. NAT gateways forget a silent flow after 350 s, many
	// firewalls after 60: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html
	maxPause = time.Minute

	// grace is what a peer gets to refuse us after a TLS handshake. Under TLS 1.3 our side of it ends before the peer has
	// seen our certificate, so a refusal shows only on a read: RFC 8446, section 4.4.2.4 and appendix A.
	grace = 250 * time.Millisecond

	// maxIdle bounds the idle connections: as many as one process has concurrent invocations, with a margin.
	maxIdle = 64
)

// Sender sends batches. It keeps connections between them, and is safe for concurrent use: each batch has a connection to
// itself, so that a slow peer holds up nobody else.
type Sender struct {
	cfg Config

	mu   sync.Mutex
	idle []*conn // the last used is the last
}

// New makes a Sender. It opens no connection.
func New(cfg Config) *Sender {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg: cfg}
}

// Send sends body, which is one or more framed messages, over TCP or TLS in one write, and returns nil when the peer's
// kernel has confirmed all of it. An error is a *fault.Fault: Denied when the peer refuses our certificate or we
// its (both may have been replaced in the secret), else Transient or Held.
func (s *Sender) Send(ctx context.Context, body []byte, m *telemetry.Meter) error {
	return s.use(ctx, func(ctx context.Context, c *conn) error {
		m.Add(len(body))
		return c.deliver(ctx, body)
	})
}

// SendDatagrams sends n messages over UDP. nil means that they were sent; nobody can say more. An error is a *fault.Fault
// about all of them: a refusal by the peer's host does not tell which datagram it is about.
func (s *Sender) SendDatagrams(ctx context.Context, n int, message func(i int) []byte, m *telemetry.Meter) error {
	return s.use(ctx, func(ctx context.Context, c *conn) error {
		for i := range n {
			m.Add(len(message(i)))
			if err := c.datagram(ctx, message(i)); err != nil {
				return err
			}
		}
		if err := c.refused(); err != nil {
			return err
		}
		return c.settle(ctx)
	})
}

// Check opens a connection of its own, gives the peer time to refuse it, and closes it. It writes nothing. Over UDP it
// proves no more than that the name resolves and that there is a route.
func (s *Sender) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	c, err := s.dial(ctx)
	if err != nil {
		return s.explain(err)
	}
	defer c.Close()
	if s.cfg.Network != TCP { // TLS has had its grace
		return nil
	}
	if err := c.watch(ctx, grace); err != nil {
		return s.explain(err)
	}
	return nil
}

// Close closes the kept connections. A Sender that is merely dropped leaves that to the garbage collector.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		_ = c.Close() // nothing on it is unconfirmed
	}
	s.idle = nil
}

// use lends send a connection, and keeps it only when all went well.
func (s *Sender) use(ctx context.Context, send func(context.Context, *conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	c, err := s.take(ctx)
	if err != nil {
		return s.explain(err)
	}
	if err := send(ctx, c); err != nil {
		c.abort()
		return s.explain(err)
	}
	s.keep(c)
	return nil
}

// take returns a kept connection that is still good, else a new one.
func (s *Sender) take(ctx context.Context) (*conn, error) {
	for {
		c := s.pop()
		if c == nil {
			return s.dial(ctx)
		}
		// Between invocations the process may be frozen, and the monotonic clock with it: the wall clock decides.
		if pause := s.cfg.Now().UnixMilli() - c.used; pause < 0 || pause > maxPause.Milliseconds() {
			_ = c.Close() // an old connection's end is no news
			continue
		}
		if err := c.look(ctx); err != nil {
			c.abort()
			continue
		}
		return c, nil
	}
}

func (s *Sender) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	c := s.idle[n-1]
	s.idle[n-1] = nil
	s.idle = s.idle[:n-1]
	return c
}

func (s *Sender) keep(c *conn) {
	c.used = s.cfg.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == maxIdle {
		_ = c.Close() // confirmed, and one too many
		return
	}
	s.idle = append(s.idle, c)
}
