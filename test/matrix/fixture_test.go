package matrix

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fault is a fault of the network path, before a request can be made.
type fault int

const (
	intact fault = iota
	noName
	refused
	noConnect // the SYN is never answered
	expired
	wrongName
	unknownCA
	oldTLS
	noTLS
	clientCertificate   // required, under TLS 1.3: reported after the handshake
	clientCertificate12 // required, under TLS 1.2: reported in the handshake
	silentHandshake
	closedHandshake
)

// fixture holds what all cells share.
type fixture struct {
	ca, other *authority
	certs     map[fault]*tls.Config
	full      string       // an address whose queue of connections is full
	closed    string       // an address where nothing listens
	wrapper   string       // the bootstrap of all functions
	largest   atomic.Int64 // most memory of one function
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{ca: newAuthority(t, "matrix CA"), other: newAuthority(t, "another CA")}
	soon := time.Now().Add(24 * time.Hour)
	config := func(a *authority, name string, until time.Time) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{a.issue(t, name, until)}, MinVersion: tls.VersionTLS12}
	}
	good := config(f.ca, "127.0.0.1", soon)
	strict, strict12, old := good.Clone(), good.Clone(), good.Clone()
	strict.ClientAuth = tls.RequireAnyClientCert
	strict12.ClientAuth, strict12.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	f.certs = map[fault]*tls.Config{
		intact: good, expired: config(f.ca, "127.0.0.1", time.Now().Add(-time.Hour)),
		wrongName: config(f.ca, "other.example", soon),
		unknownCA: config(f.other, "127.0.0.1", soon), oldTLS: old, clientCertificate: strict, clientCertificate12: strict12,
	}
	f.wrapper, f.full = newWrapper(t), fullQueue(t)
	_, f.closed = bound(t)
	return f
}

// receiveBuffer is the size of a server's receive buffer, in bytes. It bounds what the kernel accepts for a server that
// does not read.
const receiveBuffer = 16 << 10

func listen(t *testing.T) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var setErr error
		err := c.Control(func(fd uintptr) {
			setErr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		})
		return errors.Join(err, setErr)
	}}
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fullQueue is an address that does not respond to a SYN: Linux drops the SYN when the queue of connections to accept
// is full.
func fullQueue(t *testing.T) string {
	t.Helper()
	fd, address := bound(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(os.NewSyscallError("listen", err))
	}
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("a queue of length 0 accepts eight connections")
	return ""
}

// bound returns a socket that has an address and does not listen: connections are refused, and no other process gets
// the port.
func bound(t *testing.T) (fd int, address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { _ = syscall.Close(fd) })
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	inet := name.(*syscall.SockaddrInet4) //nolint:forcetypeassert // as it was bound
	return fd, net.JoinHostPort("127.0.0.1", strconv.Itoa(inet.Port))
}

// peer is a listener. Closing it closes the accepted connections.
type peer struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
	ended bool
}

// serveEach serves each connection in its own goroutine.
func serveEach(l net.Listener, serve func(net.Conn)) *peer {
	p := &peer{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			if p.conns = append(p.conns, c); p.ended {
				_ = c.Close()
			}
			p.mu.Unlock()
			go serve(c)
		}
	}()
	return p
}

// Close implements io.Closer.
func (p *peer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	return p.Listener.Close()
}

// reset closes a connection with a reset.
func reset(c net.Conn) {
	raw := c
	if secure, ok := c.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// authority signs the certificates of servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate as PEM
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter:  time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, file: t.TempDir() + "/ca.pem"}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a server's certificate for a name or an address, and for the name behind a proxy.
func (a *authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{DNSNames: []string{proxiedHost}, SerialNumber: big.NewInt(2),
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-24 * time.Hour),
		NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
