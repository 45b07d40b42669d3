package httpsend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// dialer opens connections, directly or through the proxy. It marks errors with the step in which they occurred.
type dialer struct {
	timeout  time.Duration // of each step
	dialer   settings.Dial // net.Dialer's, except in tests
	tls      *tls.Config   // for the SIEM
	proxy    *settings.Proxy
	proxyTLS *tls.Config // for an https proxy
	now      func() time.Time
}

func newDialer(cfg Config) *dialer {
	d := &dialer{
		timeout: cfg.Timeout / 2, // half the time for each step, so that the error names the step that hangs
		dialer:  cfg.Dial,
		proxy:   cfg.Proxy,
		now:     cfg.Now,
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            cfg.RootCAs,
			InsecureSkipVerify: cfg.Insecure, //nolint:gosec // the operator's setting; settings.TLSVerify warns about it
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		},
	}
	if d.dialer == nil {
		d.dialer = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	if d.proxy != nil { // the SIEM's settings do not apply to the proxy
		d.proxyTLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.proxy.RootCAs}
	}
	return d
}

// dial opens a plain connection. The proxy is for https only.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: plain}, nil
}

// dialTLS opens a TLS connection.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secure, err := d.secure(ctx, plain, address, d.tls)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: secure}, nil
}

func (d *dialer) reach(ctx context.Context, network, address string) (net.Conn, error) {
	if d.proxy.Bypasses(address) {
		return d.open(ctx, network, address)
	}
	return d.tunnel(ctx, network, address)
}

func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.dialer(ctx, network, address)
}

// secure makes the TLS handshake with the peer at address. It closes plain if that fails.
func (d *dialer) secure(ctx context.Context, plain net.Conn, address string, cfg *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	cfg = cfg.Clone()
	cfg.ServerName = host
	secure := tls.Client(plain, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = plain.Close() // the handshake's error is the one that matters
		return nil, &failure.HandshakeError{Err: err}
	}
	return secure, nil
}
