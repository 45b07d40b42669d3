package httpsend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// dialer opens connections, and marks a failed handshake as such, so that nobody has to guess from a text.
type dialer struct {
	net  net.Dialer
	with settings.Dial // in place of net; nil outside of tests
	tls  *tls.Config
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: plain}, nil
}

func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	if d.with == nil {
		return d.net.DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	return d.with(ctx, network, address)
}

func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	cfg := d.tls.Clone()
	cfg.ServerName = host
	secure := tls.Client(plain, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = plain.Close() // the handshake's error is the one that matters
		return nil, &failure.HandshakeError{Err: err}
	}
	return &conn{Conn: secure}, nil
}
