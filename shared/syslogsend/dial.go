package syslogsend

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// dial opens a connection that the peer has not refused.
func (s *Sender) dial(ctx context.Context) (*conn, error) {
	network := s.cfg.Network
	if network == TLS {
		network = TCP
	}
	d := net.Dialer{
		Timeout: s.cfg.Timeout / 2, // half the time for each step, so that the error names the step that hangs
		// These two detect a peer that has vanished: unanswered probes if nothing is sent, else unacknowledged bytes.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(network, _ string, raw syscall.RawConn) error {
			if network == "udp4" || network == "udp6" {
				return nil
			}
			return setUserTimeout(raw, s.cfg.Timeout)
		},
	}
	open := d.DialContext
	if s.cfg.Dial != nil {
		open = s.cfg.Dial
	}
	raw, err := open(ctx, string(network), s.cfg.Address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, waits: s.waits}
	if c.kernel, err = kernelOf(raw); err != nil {
		c.abort()
		return nil, err
	}
	if s.cfg.Network != TLS {
		return c, nil
	}
	if err := s.secure(ctx, c); err != nil {
		c.abort()
		return nil, err
	}
	return c, nil
}

// secure makes the TLS handshake, and waits whether the peer refuses our certificate.
func (s *Sender) secure(ctx context.Context, c *conn) error {
	name := s.cfg.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(s.cfg.Address) // dialled already, so it has this form
	}
	asked := false
	secured := tls.Client(c.raw, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            s.cfg.RootCAs,
		ServerName:         name,
		ClientSessionCache: tickets{c},
		// The certificate is sent whatever CAs the peer accepts: a refusal is more specific than a missing certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return cmp.Or(s.cfg.Certificate, &tls.Certificate{}), nil
		},
		DynamicRecordSizingDisabled: true, // the peer needs whole batches, not first bytes
	})
	shaking, cancel := context.WithTimeout(ctx, s.cfg.Timeout/2)
	defer cancel()
	if err := secured.HandshakeContext(shaking); err != nil {
		return onceAsked(asked, &failure.HandshakeError{Err: err})
	}
	// Otherwise, the handshake has ended after the peer's verification.
	c.Conn, c.proven = secured, !asked || secured.ConnectionState().Version < tls.VersionTLS13
	return onceAsked(asked, c.await(ctx, c.waits.grace))
}

// askedError is the end of a connection whose peer had just asked for our certificate. Some peers refuse a certificate
// without an alert, others close so fast that the alert is lost, and TLS 1.2 has no alert for a missing one.
type askedError struct{ error }

func (e askedError) Unwrap() error { return e.error }

// onceAsked marks err when the peer has asked for our certificate and then hung up.
func onceAsked(asked bool, err error) error {
	if !asked || err == nil || isAny(err, os.ErrDeadlineExceeded, context.DeadlineExceeded, context.Canceled) {
		return err
	}
	if isAlert(err, handshakeFailure) || isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE) {
		return askedError{err}
	}
	return err
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// handshakeFailure is the alert by which a TLS 1.2 peer refuses a missing client certificate, after it has asked for
// one, and cipher suites, before that.
const handshakeFailure = 40

// refusals are the TLS alerts by which a peer refuses a client certificate, or the lack of one.
// https://www.rfc-editor.org/rfc/rfc8446#section-6.2
var refusals = [...]tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	49,  // access_denied
	116, // certificate_required
}

// isAlert reports whether err is one of the alerts, sent by the peer. crypto/tls has no exported type for an alert that
// came over TCP; its text is that of the exported one.
func isAlert(err error, alerts ...tls.AlertError) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return false
	}
	return slices.ContainsFunc(alerts, func(a tls.AlertError) bool { return op.Err.Error() == a.Error() })
}

// explain makes err a failure. If either side refuses the other's certificate, its kind is Unauthorized and not
// Misconfigured: our certificate and the CA bundle may both be in the secret, which is then read again.
func (s *Sender) explain(err error) *failure.Error {
	f := &failure.Error{Err: err}
	f.Step, f.Kind, f.Hint = failure.Explain(err, s.cfg.Settings.Host, s.cfg.Settings.CABundle)
	var (
		verify *tls.CertificateVerificationError
		name   x509.HostnameError
		asked  askedError
		shake  *failure.HandshakeError
	)
	switch {
	case errors.As(err, &verify):
		f.Kind = failure.Unauthorized
		if errors.As(err, &name) {
			f.Hint += ": " + s.cfg.Settings.ServerName + " sets the name to verify"
		}
	case isAlert(err, refusals[:]...), errors.As(err, &asked):
		f.Step, f.Kind, f.Hint = failure.TLS, failure.Unauthorized, s.certificateHint()
	case f.Step == failure.TLS && !errors.As(err, &shake): // an alert on an established connection
		f.Step, f.Kind, f.Hint = failure.Request, failure.Transient, ""
	case errors.Is(err, syscall.EMSGSIZE):
		f.Kind = failure.TooLarge
	case errors.Is(err, syscall.ECONNREFUSED) && s.cfg.Network == UDP:
		f.Hint = "nothing listens there for UDP: check host and port in " + s.cfg.Settings.Host
	}
	var network net.Error
	timeout := errors.As(err, &network) && network.Timeout() || errors.Is(err, context.Canceled)
	f.Disconnected = f.Step == failure.Request && f.Kind == failure.Transient && !timeout && s.cfg.Network != UDP
	f.Detail = s.detail(f.Step, err)
	return f
}

// detail returns what failed.
func (s *Sender) detail(step failure.Step, err error) string {
	at := string(s.cfg.Network) + " " + s.cfg.Address
	switch {
	case step != failure.Request:
		return "connecting to " + at
	case errors.Is(err, io.EOF):
		return "not confirmed, as the peer closed the connection: sending to " + at
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "not confirmed in time: sending to " + at
	}
	return "not confirmed: sending to " + at
}

func (s *Sender) certificateHint() string {
	if s.cfg.Certificate == nil {
		return "the peer requires a client certificate: set " + s.cfg.Settings.Certificate
	}
	return "the peer refuses the client certificate of " + s.cfg.Settings.Certificate +
		": it may have expired, been revoked, or be signed by a CA the peer does not know"
}
