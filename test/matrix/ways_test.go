package matrix

import (
	"crypto/tls"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// way is how the way to a SIEM is broken, before a request can be made.
type way int

const (
	stands way = iota
	noName
	refused
	noConnect // the SYN is never answered
	expired
	wrongName
	unknownCA
	oldTLS
	noTLS
	clientCertificate   // wanted, under TLS 1.3: said after the handshake
	clientCertificate12 // wanted, under TLS 1.2: said in it
	silentHandshake
	closedHandshake
)

// world is what all cells share.
type world struct {
	ca, other *authority
	certs     map[way]*tls.Config
	full      string       // an address whose queue of connections is full
	closed    string       // an address where nothing listens
	wrapper   string       // the bootstrap that all run
	largest   atomic.Int64 // most memory that one has taken
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{ca: newAuthority(t, "matrix CA"), other: newAuthority(t, "another CA")}
	soon := time.Now().Add(24 * time.Hour)
	config := func(a *authority, name string, until time.Time) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{a.issue(t, name, until)}, MinVersion: tls.VersionTLS12}
	}
	good := config(w.ca, "127.0.0.1", soon)
	wanting, wanting12, old := good.Clone(), good.Clone(), good.Clone()
	wanting.ClientAuth = tls.RequireAnyClientCert
	wanting12.ClientAuth, wanting12.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	w.certs = map[way]*tls.Config{
		stands: good, expired: config(w.ca, "127.0.0.1", time.Now().Add(-time.Hour)), wrongName: config(w.ca, "other.example", soon),
		unknownCA: config(w.other, "127.0.0.1", soon), oldTLS: old, clientCertificate: wanting, clientCertificate12: wanting12,
	}
	w.wrapper, w.full = newWrapper(t), fullQueue(t)
	l := listen(t)
	w.closed = l.Addr().String()
	_ = l.Close()
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fullQueue is an address whose kernel takes no more connections and says nothing: Linux drops the SYN when the queue of
// connections to accept is full.
func fullQueue(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(os.NewSyscallError("listen", err))
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port)) //nolint:forcetypeassert // as it was bound
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("a queue of no length takes eight connections")
	return ""
}

// peer is something that listens until it is closed, and closes what it has accepted then.
type peer struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn
	ended bool
}

// serveEach has each connection served in a goroutine of its own.
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

// reset ends a connection the hard way.
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
