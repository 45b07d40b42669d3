// Package syslogsend sends syslog messages over UDP, TCP and TLS. Syslog has no acknowledgement (RFC 5424 over RFC
// 5425, 5426, 6587): a write to a connection that the peer has closed succeeds, and the messages are lost. Over TCP
// and TLS, a batch therefore counts as sent only if
//
//   - the connection showed no close, reset or TLS alert before the batch,
//   - the receiving host's TCP stack has acknowledged every byte of the batch, and
//   - the connection then shows no close, reset or TLS alert.
//
// Anything else is an error of the whole batch: a connection that has failed does not show which bytes arrived.
// Messages of such a batch may arrive twice, and none is lost.
//
// A new connection is watched for longer: see waits.
//
// The package cannot know whether the receiving program reads what its host has acknowledged, whether it refuses a
// connection after these waits, whether a UDP datagram arrived, and, on systems that do not report acknowledgements
// (see Confirms), whether bytes have left this machine.
//
// It sends framed bytes and does not inspect messages.
package syslogsend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

// Config configures a Sender.
type Config struct {
	Network Network
	Address string        // host:port
	Timeout time.Duration // one batch, from dialling to the confirmation

	RootCAs     *x509.CertPool   // TLS: nil means the system's
	ServerName  string           // TLS: the name to verify; "" means the host of Address
	Certificate *tls.Certificate // TLS: ours, nil if there is none

	Settings Settings         // for hints
	Dial     settings.Dial    // nil means the network; its connections must be a Kernel or a socket
	Now      func() time.Time // wall clock; nil means time.Now
}

// Settings names the variables that an operator would have to change, for hints.
type Settings struct{ Host, CABundle, ServerName, Certificate string }

const (
	// maxPause is the longest idle time after which a connection is used again. NAT gateways drop an idle flow after 350
	// s, many firewalls after 60: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html
	maxPause = time.Minute

	// maxIdle bounds the idle connections: as many as one process has concurrent invocations, with a margin.
	maxIdle = 64
)

// waits are the times for which a new connection is watched for a refusal.
type waits struct {
	// grace is the time before the first batch over TLS. Under TLS 1.3, our side of the handshake ends before the peer has
	// seen our certificate, so a refusal shows only on a read: RFC 8446, section 4.4.2.4 and appendix A. The peer's
	// program may also close the connection after its handshake.
	grace time.Duration

	// ticket is the longest time after the first batch for which a connection is watched, if the peer asked for our
	// certificate under TLS 1.3 and has not sent a session ticket.
	ticket time.Duration

	// settling is the time after the first batch over TCP, or after the datagrams.
	settling time.Duration
}

// Sender sends batches. It keeps connections between them, and is safe for concurrent use: concurrent batches use
// different connections.
type Sender struct {
	cfg   Config
	waits waits
	idle  chan *conn
}

// New makes a Sender. It opens no connection.
func New(cfg Config) *Sender {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sender{cfg: cfg, idle: make(chan *conn, maxIdle), waits: waits{
		grace: 250 * time.Millisecond, ticket: min(2500*time.Millisecond, cfg.Timeout/4), settling: 50 * time.Millisecond,
	}}
}

// Send sends body, which is one or more framed messages, over TCP or TLS in one write, and returns nil when the
// peer's TCP stack has confirmed all of it. An error is a *failure.Error: Unauthorized if the peer refuses our
// certificate or we refuse the peer's (both may have been replaced in the secret), else Transient or Misconfigured.
func (s *Sender) Send(ctx context.Context, body []byte, m *telemetry.Meter) error {
	return s.use(ctx, func(ctx context.Context, c *conn) error {
		m.Add(len(body))
		return c.deliver(ctx, body)
	})
}

// SendDatagrams sends n messages over UDP. nil means that they were sent. An error is a *failure.Error about all of
// them: a refusal by the peer's host does not name the datagram.
func (s *Sender) SendDatagrams(ctx context.Context, n int, message func(i int) []byte, m *telemetry.Meter) error {
	return s.use(ctx, func(ctx context.Context, c *conn) error {
		for i := range n {
			m.Add(len(message(i)))
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := c.Write(message(i)); err != nil {
				return err
			}
		}
		if err := c.look(ctx); err != nil {
			return err
		}
		return c.settle(ctx)
	})
}

// Check opens a connection of its own, gives the peer time to refuse it, and closes it. It writes nothing. Over UDP it
// proves only that the name resolves and that there is a route.
func (s *Sender) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	c, err := s.dial(ctx)
	if err != nil {
		return s.explain(err)
	}
	defer c.Close()
	if s.cfg.Network != TCP { // for TLS, dial has waited
		return nil
	}
	if err := c.await(ctx, c.waits.grace); err != nil {
		return s.explain(err)
	}
	return nil
}

// Close closes the kept connections. The garbage collector closes those of a Sender that is not closed.
func (s *Sender) Close() {
	for {
		select {
		case c := <-s.idle:
			_ = c.Close() // nothing on it is unconfirmed
		default:
			return
		}
	}
}

// use calls send with a connection, and keeps the connection if there was no error.
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

// take returns a kept connection that still works, else a new one.
func (s *Sender) take(ctx context.Context) (*conn, error) {
	for {
		select {
		case c := <-s.idle:
			// Lambda freezes the process between invocations, and the monotonic clock with it: the wall clock decides.
			if pause := s.cfg.Now().UnixMilli() - c.used; pause < 0 || pause > maxPause.Milliseconds() {
				_ = c.Close() // nothing on it is unconfirmed
			} else if err := c.look(ctx); err != nil {
				c.abort()
			} else {
				return c, nil
			}
		default:
			return s.dial(ctx)
		}
	}
}

func (s *Sender) keep(c *conn) {
	c.used = s.cfg.Now().UnixMilli()
	select {
	case s.idle <- c:
	default:
		_ = c.Close() // nothing on it is unconfirmed
	}
}
