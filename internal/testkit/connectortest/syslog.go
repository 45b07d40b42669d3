package connectortest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// SyslogSuite is a connector that sends syslog over TCP, as the suite needs it. A SIEM of this kind sends no responses:
// what is refused, redirected or throttled over HTTP cannot be here, and what the peer's kernel took is delivered.
type SyslogSuite struct {
	Open func(*settings.Settings) deliver.Connector

	// Settings returns the variables for a connector whose SIEM listens at host and port.
	Settings func(host, port string) map[string]string

	// Mark occurs once in every message.
	Mark string

	// Wrong are settings of which each has a wrong value.
	Wrong map[string]string
}

// RunSyslog runs the part of the suite that holds for syslog.
func RunSyslog(t *testing.T, s SyslogSuite) {
	t.Run("accepts", s.accepts)
	t.Run("keeps connections", s.keepsConnections)
	t.Run("dead connection", s.deadConnection)
	t.Run("hangs up", s.hangsUp)
	t.Run("nobody listens", s.nobodyListens)
	t.Run("slow", s.slow)
	t.Run("allocations", func(t *testing.T) { allocations(t, s.open(t, s.serve(t, nil))) })
	t.Run("settings", func(t *testing.T) { checkSettings(t, s.Open, s.Wrong) })
}

// peer is a syslog server of a test.
type peer struct {
	net.Listener
	mu      sync.Mutex
	changed sync.Cond
	conns   []net.Conn
	got     strings.Builder
}

// serve starts a peer that calls handle with each connection. If handle is nil, the peer reads all data.
func (s SyslogSuite) serve(t *testing.T, handle func(net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l}
	p.changed.L = &p.mu
	if handle == nil {
		handle = p.read
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			all.Go(func() { handle(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.end(false)
		all.Wait()
	})
	return p
}

// read keeps what comes over a connection.
func (p *peer) read(c net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		p.mu.Lock()
		p.got.Write(buf[:n])
		p.changed.Broadcast()
		p.mu.Unlock()
		if err != nil {
			c.Close()
			return
		}
	}
}

// end closes all connections, with a reset if need be.
func (p *peer) end(reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if reset {
			abort(c)
		}
		c.Close()
	}
}

// abort closes a connection with a reset.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is on loopback
	}
	c.Close()
}

// connections is how many there were.
func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// await waits until a text has come so many times: the kernel has it before the peer.
func (p *peer) await(text string, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for strings.Count(p.got.String(), text) < times {
		p.changed.Wait()
	}
}

func (s SyslogSuite) open(t *testing.T, l net.Listener) deliver.Connector {
	t.Helper()
	return s.openWithTimeout(t, l, 60)
}

func (s SyslogSuite) openWithTimeout(t *testing.T, l net.Listener, seconds int) deliver.Connector {
	t.Helper()
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	env := s.Settings(host, port)
	env["SIEM_REQUEST_TIMEOUT_SECONDS"] = strconv.Itoa(seconds)
	return Read(t, env, s.Open)
}

// patient is a connection whose reads wait for the peer: on a busy machine, a close may be later than a connector
// waits for it.
type patient struct{ *net.TCPConn }

// SetReadDeadline implements net.Conn.
func (p patient) SetReadDeadline(at time.Time) error {
	return p.TCPConn.SetReadDeadline(at.Add(time.Minute))
}

// Patient returns an open function whose connections wait until the peer closes them, which it must do.
func Patient(open func(*settings.Settings) deliver.Connector) func(*settings.Settings) deliver.Connector {
	return func(s *settings.Settings) deliver.Connector {
		s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return patient{raw.(*net.TCPConn)}, nil
		}
		return open(s)
	}
}

func (s SyslogSuite) accepts(t *testing.T) {
	p := s.serve(t, nil)
	all(t, WantDelivered, "a hundred", Deliver(t, s.open(t, p), append(Events(100), SampleEvent, FullEvent)...))
	p.await(s.Mark, 102)
	if n := p.connections(); n != 1 {
		t.Errorf("a batch took %d connections, want 1", n)
	}
}

func (s SyslogSuite) keepsConnections(t *testing.T) {
	p := s.serve(t, nil)
	c := s.open(t, p)
	for range 5 {
		all(t, WantDelivered, "a batch", Deliver(t, c, Events(3)...))
	}
	if n := p.connections(); n != 1 {
		t.Errorf("5 batches took %d connections, want 1", n)
	}
}

// deadConnection ends the kept connection between two batches, politely and not: the second batch goes over another
// one.
func (s SyslogSuite) deadConnection(t *testing.T) {
	for name, reset := range map[string]bool{"closed": false, "reset": true} {
		p := s.serve(t, nil)
		c := s.open(t, p)
		all(t, WantDelivered, name+": the first batch", Deliver(t, c, Events(2)...))
		p.end(reset)
		all(t, WantDelivered, name+": the batch after it", Deliver(t, c, Events(2)...))
		if n := p.connections(); n != 2 {
			t.Errorf("%s: %d connections, want 2", name, n)
		}
	}
}

// hangsUp: the peer closes the connection during a batch. However much it received, the batch is not delivered.
func (s SyslogSuite) hangsUp(t *testing.T) {
	s.Open = Patient(s.Open)
	for name, handle := range map[string]func(net.Conn){
		"at once":        func(c net.Conn) { c.Close() },
		"with a reset":   abort,
		"after a byte":   func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 1)); c.Close() },
		"after a word":   func(c net.Conn) { fmt.Fprint(c, "go away\n"); c.Close() },
		"after a record": func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 300)); abort(c) },
	} {
		p := s.serve(t, handle)
		all(t, WantRetry, "the peer hangs up "+name, Deliver(t, s.open(t, p), Events(20)...))
	}
}

func (s SyslogSuite) nobodyListens(t *testing.T) {
	p := s.serve(t, nil)
	c := s.open(t, p)
	p.Close()
	all(t, WantRetry, "nobody listens", Deliver(t, c, Events(2)...))
}

// slow is a peer that reads nothing, and whose kernel has no room for all of a batch.
func (s SyslogSuite) slow(t *testing.T) {
	release := make(chan struct{})
	p := s.serve(t, func(c net.Conn) { <-release; c.Close() })
	t.Cleanup(func() { close(release) }) // before the peer's own
	const more = 40_000                  // some 12 MB, and the kernels between take 4 or so
	all(t, WantRetry, "the peer does not read", Deliver(t, s.openWithTimeout(t, p, 1), Events(more)...))
}
