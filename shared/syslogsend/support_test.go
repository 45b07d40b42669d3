package syslogsend

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "a test's CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) leaf(usage x509.ExtKeyUsage) *tls.Certificate {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"collector.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	})
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*a.leaf(x509.ExtKeyUsageServerAuth)}, ClientCAs: a.pool()}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// peer is a syslog server that treats its nth connection (from 0) as the test says, and keeps what was read.
type peer struct {
	net.Listener

	mu       sync.Mutex
	conns    int
	received bytes.Buffer
	grown    *sync.Cond
	treating sync.WaitGroup
}

// reads is the treatment of a good peer: it reads to the end.
func (p *peer) reads(_ int, c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(p, c)
}

// Write keeps what a connection brought.
func (p *peer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received.Write(b)
	p.grown.Broadcast()
	return len(b), nil
}

func newPeer(t *testing.T, treat func(p *peer, n int, c net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startPeer(t, l, treat)
}

func newTLSPeer(t *testing.T, cfg *tls.Config, treat func(p *peer, n int, c net.Conn)) *peer {
	t.Helper()
	return newPeer(t, func(p *peer, n int, c net.Conn) {
		secure := tls.Server(c, cfg)
		if secure.Handshake() != nil {
			c.Close()
			return
		}
		treat(p, n, secure)
	})
}

func startPeer(t *testing.T, l net.Listener, treat func(p *peer, n int, c net.Conn)) *peer {
	p := &peer{Listener: l}
	p.grown = sync.NewCond(&p.mu)
	var open sync.Map
	p.treating.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			p.mu.Lock()
			n := p.conns
			p.conns++
			p.grown.Broadcast()
			p.mu.Unlock()
			p.treating.Go(func() { treat(p, n, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		p.treating.Wait()
	})
	return p
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

// waitFor waits until the peer has read want, and fails when it has read something else.
func (p *peer) waitFor(t *testing.T, want []byte) {
	t.Helper()
	timeout := time.AfterFunc(10*time.Second, func() { p.Close(); p.grown.Broadcast() })
	defer timeout.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.received.Len() < len(want) {
		if !timeout.Stop() {
			t.Fatalf("the peer has read %d bytes, want %d", p.received.Len(), len(want))
		}
		timeout.Reset(10 * time.Second)
		p.grown.Wait()
	}
	if !bytes.Equal(p.received.Bytes(), want) {
		t.Fatalf("the peer has read other bytes than were sent (%d of %d)", p.received.Len(), len(want))
	}
}

// reset closes c with a reset.
func reset(c net.Conn) {
	raw := c
	if s, ok := c.(*tls.Conn); ok {
		raw = s.NetConn()
	}
	_ = raw.(*net.TCPConn).SetLinger(0)
	raw.Close()
}

func newSender(t *testing.T, network Network, address string, change func(*Config)) *Sender {
	t.Helper()
	cfg := Config{
		Network: network, Address: address, Timeout: 5 * time.Second,
		Settings: Settings{Host: "X_HOST", CABundle: "X_CA", ServerName: "X_NAME", Certificate: "X_CERT"},
	}
	if change != nil {
		change(&cfg)
	}
	s := New(cfg)
	t.Cleanup(s.Close)
	return s
}

func send(s *Sender, body string) error {
	return s.Send(context.Background(), []byte(body), &telemetry.Meter{})
}

// wantFault checks that err is a fault of that step and kind, and returns its text.
func wantFault(t *testing.T, err error, step failure.Step, kind failure.Kind) string {
	t.Helper()
	if err == nil {
		t.Fatalf("sent, want a fault of kind %s at %s", kind, step)
	}
	var f *failure.Error
	if !errors.As(err, &f) {
		t.Fatalf("error %T, want a *failure.Error", err)
	}
	if f.Step != step || f.Kind != kind {
		t.Fatalf("fault %s at %s (%v), want %s at %s", f.Kind, f.Step, f, kind, step)
	}
	return f.Error()
}

// wantTransient checks that err is a transient fault, wherever it came: a reset may be as fast as the connecting.
func wantTransient(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("sent, want a transient fault")
	}
	if f := failure.Of(err); f.Kind != failure.Transient || f.Step == "" {
		t.Fatalf("fault %s at %q (%v), want a transient one", f.Kind, f.Step, f)
	}
}
