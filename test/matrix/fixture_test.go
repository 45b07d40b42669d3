package matrix

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
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
	caFile, otherFile string // certificates of the CA of certs, and of another one, as PEM
	certs             map[fault]*tls.Config
	full              string       // an address whose queue of connections is full
	closed            string       // an address where nothing listens
	largest           atomic.Int64 // most memory of one function
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ca, other, dir := pki.New("matrix CA"), pki.New("another CA"), t.TempDir()
	f := &fixture{caFile: dir + "/ca.pem", otherFile: dir + "/other.pem"}
	if err := errors.Join(ca.WriteFile(f.caFile), other.WriteFile(f.otherFile)); err != nil {
		t.Fatal(err)
	}
	config := func(c pki.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c.TLS}, MinVersion: tls.VersionTLS12}
	}
	good := config(ca.Server("127.0.0.1", proxiedHost))
	strict, strict12, old := good.Clone(), good.Clone(), good.Clone()
	strict.ClientAuth = tls.RequireAnyClientCert
	strict12.ClientAuth, strict12.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	f.certs = map[fault]*tls.Config{
		intact: good, expired: config(ca.ServerUntil(time.Now().Add(-time.Hour), "127.0.0.1", proxiedHost)),
		wrongName: config(ca.Server("other.example")),
		unknownCA: config(other.Server("127.0.0.1", proxiedHost)), oldTLS: old, clientCertificate: strict,
		clientCertificate12: strict12,
	}
	f.full = fullQueue(t)
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
