package syslogsend

import (
	"context"
	"crypto/tls"
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
	c := &conn{Conn: raw, raw: raw}
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
	asked := false
	secured := tls.Client(c.raw, s.tlsConfig(&asked))
	shaking, cancel := context.WithTimeout(ctx, s.cfg.Timeout/2)
	defer cancel()
	if err := secured.HandshakeContext(shaking); err != nil {
		return onceAsked(asked, &failure.HandshakeError{Err: err})
	}
	c.Conn, c.proven = secured, true
	return onceAsked(asked, c.watch(ctx, grace))
}

func (s *Sender) tlsConfig(asked *bool) *tls.Config {
	name := s.cfg.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(s.cfg.Address) // dialled already, so it has this form
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    s.cfg.RootCAs,
		ServerName: name,
		// The certificate is sent whatever CAs the peer accepts: a refusal is more specific than a missing certificate.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			*asked = true
			if s.cfg.Certificate == nil {
				return &tls.Certificate{}, nil
			}
			return s.cfg.Certificate, nil
		},
		DynamicRecordSizingDisabled: true, // the peer needs whole batches, not first bytes
		// Sessions are not resumed, so that the peer verifies our certificate each time.
	}
}

// askedError is the end of a connection whose peer had just asked for our certificate. Some peers refuse a certificate
// without an alert, others close so fast that the alert is lost, and TLS 1.2 has no alert for a missing one.
type askedError struct{ err error }

func (e *askedError) Error() string { return e.err.Error() }
func (e *askedError) Unwrap() error { return e.err }

// onceAsked marks err when the peer has asked for our certificate and then hung up.
func onceAsked(asked bool, err error) error {
	if !asked || err == nil || isAny(err, os.ErrDeadlineExceeded, context.DeadlineExceeded, context.Canceled) {
		return err
	}
	if isAlert(err, handshakeFailure) || isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE) {
		return &askedError{err}
	}
	return err
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
