package syslogsend

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// ca signs the certificates of peers and senders, other those that the other side does not know.
var ca, other = pki.New("a test's CA"), pki.New("a test's CA")

// server is the configuration of a server. It verifies client certificates.
func server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1", "collector.test").TLS}, ClientCAs: ca.Pool()}
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

// length is how many bytes were read.
func (p *peer) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.received.Len()
}

// waitFor waits until the peer has read want, and fails when it has read something else.
func (p *peer) waitFor(t *testing.T, want []byte) {
	t.Helper()
	timeout := time.AfterFunc(time.Minute, func() { p.Close(); p.grown.Broadcast() })
	defer timeout.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.received.Len() < len(want) {
		if !timeout.Stop() {
			t.Fatalf("the peer has read %d bytes, want %d", p.received.Len(), len(want))
		}
		timeout.Reset(time.Minute)
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

// hooked is a connection that calls functions of a test; each may be nil.
type hooked struct {
	*net.TCPConn
	kernel socket

	writing        func(b []byte)                                  // before a write
	unacknowledged func(n int) int                                 // changes the number
	pending        func(kernel func() (bool, error)) (bool, error) // instead of kernel
}

func (h *hooked) Write(b []byte) (int, error) {
	if h.writing != nil {
		h.writing(b)
	}
	return h.TCPConn.Write(b)
}

func (h *hooked) Unacknowledged() (int, error) {
	n, err := h.kernel.Unacknowledged()
	if h.unacknowledged != nil && err == nil {
		n = h.unacknowledged(n)
	}
	return n, err
}

func (h *hooked) Pending() (bool, error) {
	if h.pending != nil {
		return h.pending(h.kernel.Pending)
	}
	return h.kernel.Pending()
}

// dial returns a Config.Dial whose connections have the hooks.
func (h hooked) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	h.TCPConn = raw.(*net.TCPConn)
	h.kernel.RawConn, err = h.SyscallConn()
	return &h, err
}

// deadline is a context whose deadline passes when a test says so.
type deadline struct {
	context.Context
	passed chan struct{}
	pass   func()
}

func newDeadline(t *testing.T) deadline {
	passed := make(chan struct{})
	return deadline{t.Context(), passed, sync.OnceFunc(func() { close(passed) })}
}

func (d deadline) Deadline() (time.Time, bool) { return time.Now().Add(time.Hour), true }
func (d deadline) Done() <-chan struct{}       { return d.passed }

func (d deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// patient makes s wait for a refusal that comes: on a busy machine it may be late.
func patient(s *Sender) *Sender {
	s.waits = waits{grace: time.Minute, ticket: time.Minute, settling: time.Minute}
	return s
}

func newSender(t *testing.T, network Network, address string, change func(*Config)) *Sender {
	t.Helper()
	cfg := Config{
		Network: network, Address: address, Timeout: 2 * time.Minute, RootCAs: ca.Pool(),
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
	f := failure.Of(err)
	if f == nil || f.Step != step || f.Kind != kind {
		t.Fatalf("%+v, want a fault of kind %s at %s", f, kind, step)
	}
	return f.Error()
}

// wantTransient checks that err is a transient fault, wherever it came: a reset may be as fast as the connecting.
func wantTransient(t *testing.T, err error) {
	t.Helper()
	if f := failure.Of(err); f == nil || f.Kind != failure.Transient || f.Step == "" {
		t.Fatalf("%+v, want a transient fault", f)
	}
}

func TestBatchesShareAConnection(t *testing.T) {
	p := newPeer(t, (*peer).reads)
	s := newSender(t, TCP, p.Addr().String(), nil)
	var want []byte
	var m telemetry.Meter
	for i := range 5 {
		body := bytes.Repeat([]byte{byte('a' + i)}, 100_000)
		if err := s.Send(t.Context(), body, &m); err != nil {
			t.Fatal(err)
		}
		want = append(want, body...)
	}
	p.waitFor(t, want)
	if n := p.connections(); n != 1 {
		t.Errorf("5 batches took %d connections, want 1", n)
	}
	if m.Requests != 5 || m.Bytes != int64(len(want)) {
		t.Errorf("counted %d batches and %d bytes, want 5 and %d", m.Requests, m.Bytes, len(want))
	}
}

// hangUps are the ways to end a connection.
var hangUps = map[string]func(net.Conn){"close": func(c net.Conn) { c.Close() }, "reset": reset}

func TestPeerClosesBetweenBatches(t *testing.T) {
	t.Parallel()
	for name, hangUp := range hangUps {
		for _, network := range []Network{TCP, TLS} {
			t.Run(string(network)+" "+name, func(t *testing.T) {
				closeNow, closed := make(chan bool), make(chan bool)
				treat := func(p *peer, n int, c net.Conn) {
					if n > 0 {
						p.reads(n, c)
						return
					}
					_, _ = io.CopyN(p, c, int64(len("first\n")))
					<-closeNow
					hangUp(c)
					close(closed)
				}
				p := newPeer(t, treat)
				if network == TLS {
					p = newTLSPeer(t, server(), treat)
				}
				s := newSender(t, network, p.Addr().String(), nil)
				if err := send(s, "first\n"); err != nil {
					t.Fatal(err)
				}
				close(closeNow)
				<-closed
				if err := send(s, "second\n"); err != nil {
					t.Fatalf("after the peer had closed: %v, want a new connection", err)
				}
				p.waitFor(t, []byte("first\nsecond\n"))
			})
		}
	}
}

// TestPeerDoesNotTakeTheBatch lists the ways in which a write succeeds and the bytes are lost. A broken connection is
// marked, because one event may have caused it.
func TestPeerDoesNotTakeTheBatch(t *testing.T) {
	for name, treat := range map[string]func(p *peer, n int, c net.Conn){
		"reset when accepted": func(_ *peer, _ int, c net.Conn) { reset(c) },
		"close when accepted": func(_ *peer, _ int, c net.Conn) { c.Close() },
		"reset with half of it read": func(_ *peer, _ int, c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 500)
			reset(c)
		},
		"close with half of it read": func(_ *peer, _ int, c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 500)
			c.Close()
		},
		"close with all of it read": func(_ *peer, _ int, c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1000)
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, treat)
			s := patient(newSender(t, TCP, p.Addr().String(), nil))
			err := send(s, strings.Repeat("x", 1000))
			wantTransient(t, err)
			if f := failure.Of(err); f.Disconnected != (f.Step == failure.Request) {
				t.Errorf("%+v, want it disconnected if the request has begun", f)
			}
		})
	}
}

// TestCloseAtTheEndOfTheWait: the time in which a new peer may close the connection is over before we have read, and
// the peer has closed it.
func TestCloseAtTheEndOfTheWait(t *testing.T) {
	if !Confirms {
		t.Skip("NOT TESTED: this system does not report what has arrived")
	}
	hangUp := make(chan bool)
	p := newPeer(t, func(_ *peer, _ int, c net.Conn) {
		<-hangUp
		reset(c)
	})
	acknowledged, looked := false, false
	h := hooked{
		unacknowledged: func(n int) int { acknowledged = n == 0; return n },
		pending: func(kernel func() (bool, error)) (bool, error) {
			if !acknowledged {
				return kernel()
			}
			if !looked { // while the batch is confirmed
				looked = true
				close(hangUp)
				return false, nil
			}
			for {
				if something, err := kernel(); something || err != nil {
					return something, err
				}
				runtime.Gosched()
			}
		},
	}
	s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Dial = h.dial })
	s.waits.settling = -time.Second
	wantFault(t, send(s, "x\n"), failure.Request, failure.Transient)
}

// TestPeerStopsReading: only bytes that the peer's kernel has acknowledged count, not bytes in our own send buffer. The
// end of the time ends the wait for them.
func TestPeerStopsReading(t *testing.T) {
	t.Parallel()
	for how, ending := range map[string]func() (context.Context, func()){
		"deadline": func() (context.Context, func()) {
			d := newDeadline(t)
			return d, d.pass
		},
		"cancelled": func() (context.Context, func()) { return context.WithCancel(t.Context()) },
	} {
		for name, size := range map[string]int{"in our kernel": 256 << 10, "beyond our kernel": 32 << 20} {
			t.Run(how+" "+name, func(t *testing.T) {
				release := make(chan bool)
				defer close(release)
				p := newPeer(t, func(p *peer, n int, c net.Conn) {
					if n > 0 {
						p.reads(n, c)
						return
					}
					_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
					<-release
				})
				writing := make(chan bool)
				h := hooked{writing: func(b []byte) {
					if len(b) == size {
						close(writing)
					}
				}}
				s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Dial = h.dial })
				ctx, end := ending()
				defer end()
				var stuck sync.WaitGroup
				stuck.Go(func() {
					err := s.Send(ctx, make([]byte, size), nil)
					text, f := wantFault(t, err, failure.Request, failure.Transient), failure.Of(err)
					if how == "deadline" && !strings.Contains(text, "not confirmed in time") || f.Disconnected {
						t.Errorf("%+v: want a failure that says that time was up", f)
					}
				})
				<-writing
				if err := send(s, "from another invocation\n"); err != nil {
					t.Errorf("beside a batch that is stuck: %v", err)
				}
				p.waitFor(t, []byte("from another invocation\n"))
				end()
				stuck.Wait()
				if err := send(s, "later\n"); err != nil {
					t.Errorf("after a batch that was stuck: %v", err)
				}
			})
		}
	}
}

func TestLongPauseMeansANewConnection(t *testing.T) {
	p := newPeer(t, (*peer).reads)
	now := time.Unix(1_700_000_000, 0)
	s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	for _, step := range []struct {
		pause time.Duration
		want  int
	}{{0, 1}, {maxPause, 1}, {maxPause + time.Millisecond, 2}, {-time.Hour, 3}} {
		now = now.Add(step.pause)
		if err := send(s, "x\n"); err != nil {
			t.Fatal(err)
		}
		if n := p.connections(); n != step.want {
			t.Errorf("%s after the last batch: %d connections, want %d", step.pause, n, step.want)
		}
	}
}

func TestPeerThatTalks(t *testing.T) {
	t.Run("a greeting", func(t *testing.T) {
		p := newPeer(t, func(p *peer, n int, c net.Conn) {
			_, _ = c.Write([]byte("220 at your service\r\n"))
			p.reads(n, c)
		})
		s := newSender(t, TCP, p.Addr().String(), nil)
		for range 2 {
			if err := send(s, "x\n"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("without end", func(t *testing.T) {
		p := newPeer(t, func(_ *peer, _ int, c net.Conn) {
			for _, err := c.Write(make([]byte, 1000)); err == nil; _, err = c.Write(make([]byte, 1000)) {
			}
		})
		s := patient(newSender(t, TCP, p.Addr().String(), nil))
		wantFault(t, send(s, "x\n"), failure.Request, failure.Transient)
	})
}

func TestNoPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := newSender(t, TCP, l.Addr().String(), nil)
	for name, err := range map[string]error{"send": send(s, "x\n"), "check": s.Check(t.Context())} {
		if text := wantFault(t, err, failure.Connect, failure.Transient); !strings.Contains(text, "X_HOST") {
			t.Errorf("%s: %q names no setting", name, text)
		}
	}
	s = newSender(t, TCP, "collector.invalid:514", nil)
	wantFault(t, send(s, "x\n"), failure.DNS, failure.Transient)
}

func TestCheck(t *testing.T) {
	p := newPeer(t, (*peer).reads)
	s := newSender(t, TCP, p.Addr().String(), nil)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.treating.Wait()
	p.waitFor(t, nil)
	p = newPeer(t, func(_ *peer, _ int, c net.Conn) { reset(c) })
	s = patient(newSender(t, TCP, p.Addr().String(), nil))
	wantTransient(t, s.Check(t.Context()))
}

func TestConcurrentSends(t *testing.T) {
	p := newPeer(t, (*peer).reads)
	s := newSender(t, TCP, p.Addr().String(), nil)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 5 {
				if err := send(s, "0123456789\n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	p.waitFor(t, []byte(strings.Repeat("0123456789\n", 80)))
}

// TestCloseSeenOnlyAfterTheAcknowledgement has nothing left to acknowledge, and the peer gone.
func TestCloseSeenOnlyAfterTheAcknowledgement(t *testing.T) {
	closed := make(chan bool)
	p := newPeer(t, func(_ *peer, _ int, c net.Conn) {
		c.Close()
		close(closed)
	})
	s := newSender(t, TCP, p.Addr().String(), nil)
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.abort()
	<-closed
	if err := c.confirm(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("confirmed with %v, want the peer's close", err)
	}
}
