package syslogsend

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

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

func TestPeerClosesBetweenBatches(t *testing.T) {
	for name, hangUp := range map[string]func(net.Conn){"close": func(c net.Conn) { c.Close() }, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			closeNow, closed := make(chan bool), make(chan bool)
			p := newPeer(t, func(p *peer, n int, c net.Conn) {
				if n > 0 {
					p.reads(n, c)
					return
				}
				_, _ = io.CopyN(p, c, int64(len("first\n")))
				<-closeNow
				hangUp(c)
				close(closed)
			})
			s := newSender(t, TCP, p.Addr().String(), nil)
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

// TestPeerDoesNotTakeTheBatch lists the ways in which a write succeeds and the bytes are lost.
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
			s := newSender(t, TCP, p.Addr().String(), nil)
			wantTransient(t, send(s, strings.Repeat("x", 1000)))
		})
	}
}

// TestDisconnected: a broken connection is told apart from a peer that does not read in time, because one event may
// have caused the former.
func TestDisconnected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		treat func(p *peer, n int, c net.Conn)
		want  bool
	}{
		"the peer closes the connection": {func(_ *peer, _ int, c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1000)
			c.Close()
		}, true},
		"the peer does not read": {func(_ *peer, _ int, c net.Conn) { _ = c.(*net.TCPConn).SetReadBuffer(4 << 10) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, c.treat)
			s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Timeout = time.Second })
			f := failure.Of(send(s, strings.Repeat("x", 32<<20)))
			if f == nil || f.Disconnected != c.want || f.Step != failure.Request {
				t.Errorf("%+v, want a failure of step request, disconnected %v", f, c.want)
			}
		})
	}
}

// TestPeerStopsReading: only bytes that the peer's kernel has acknowledged count, not bytes in our own send buffer.
func TestPeerStopsReading(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"in our kernel": 256 << 10, "beyond our kernel": 32 << 20} {
		t.Run(name, func(t *testing.T) {
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
			s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Timeout = 2 * time.Second })
			var stuck sync.WaitGroup
			stuck.Go(func() {
				text := wantFault(t, send(s, strings.Repeat("x", size)), failure.Request, failure.Transient)
				if !strings.Contains(text, "not confirmed in time") {
					t.Errorf("%q does not say that time was up", text)
				}
			})
			for p.connections() == 0 {
				p.mu.Lock()
				p.grown.Wait()
				p.mu.Unlock()
			}
			if err := send(s, "from another invocation\n"); err != nil {
				t.Errorf("beside a batch that is stuck: %v", err)
			}
			p.waitFor(t, []byte("from another invocation\n"))
			stuck.Wait()
			if err := send(s, "later\n"); err != nil {
				t.Errorf("after a batch that was stuck: %v", err)
			}
		})
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
		s := newSender(t, TCP, p.Addr().String(), nil)
		wantFault(t, send(s, "x\n"), failure.Request, failure.Transient)
	})
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	release := make(chan bool)
	defer close(release)
	p := newPeer(t, func(_ *peer, _ int, c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		<-release
	})
	s := newSender(t, TCP, p.Addr().String(), func(cfg *Config) { cfg.Timeout = time.Hour })
	for name, size := range map[string]int{"while confirming": 256 << 10, "while writing": 32 << 20} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			wantFault(t, s.Send(ctx, make([]byte, size), nil), failure.Request, failure.Transient)
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, cancel)
			wantFault(t, s.Send(ctx, make([]byte, size), nil), failure.Request, failure.Transient)
		})
	}
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
	s = newSender(t, TCP, p.Addr().String(), nil)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) > maxIdle {
		t.Errorf("%d connections are kept, want at most %d", len(s.idle), maxIdle)
	}
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
