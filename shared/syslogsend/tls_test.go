package syslogsend

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func TestTLSPeer(t *testing.T) {
	t.Parallel()
	version := func(v uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = v, v }
	}
	wantsCertificate := func(c *tls.Config) { c.ClientAuth = tls.RequireAndVerifyClientCert }
	rsaOnly := func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256} }
	for name, c := range map[string]struct {
		server []func(*tls.Config)
		client func(*Config)
		kind   failure.Kind
		hint   string // "" means that the batch is delivered
	}{
		"1.2":         {server: []func(*tls.Config){version(tls.VersionTLS12)}},
		"1.3":         {server: []func(*tls.Config){version(tls.VersionTLS13)}},
		"1.3, mutual": {server: []func(*tls.Config){version(tls.VersionTLS13), wantsCertificate}, client: ours(ca)},
		"1.2, mutual": {server: []func(*tls.Config){version(tls.VersionTLS12), wantsCertificate}, client: ours(ca)},
		"name set":    {client: func(c *Config) { c.ServerName = "collector.test" }},
		"other name": {client: func(c *Config) { c.ServerName = "other.test" }, kind: failure.Unauthorized,
			hint: "X_NAME"},
		"unknown CA":   {client: func(c *Config) { c.RootCAs = other.Pool() }, kind: failure.Unauthorized, hint: "X_CA"},
		"system's CAs": {client: func(c *Config) { c.RootCAs = nil }, kind: failure.Unauthorized, hint: "X_CA"},
		"1.1 only": {server: []func(*tls.Config){version(tls.VersionTLS11)}, kind: failure.Misconfigured,
			hint: "versions"},
		"1.2, RSA only": {server: []func(*tls.Config){version(tls.VersionTLS12), rsaOnly}, kind: failure.Misconfigured,
			hint: "cipher suites"},
		"1.3, missing": {server: []func(*tls.Config){version(tls.VersionTLS13), wantsCertificate},
			kind: failure.Unauthorized, hint: "set X_CERT"},
		"1.2, missing": {server: []func(*tls.Config){version(tls.VersionTLS12), wantsCertificate},
			kind: failure.Unauthorized, hint: "set X_CERT"},
		"1.3, not its CA": {server: []func(*tls.Config){version(tls.VersionTLS13), wantsCertificate}, client: ours(other),
			kind: failure.Unauthorized, hint: "certificate of X_CERT"},
		"1.2, not its CA": {server: []func(*tls.Config){version(tls.VersionTLS12), wantsCertificate}, client: ours(other),
			kind: failure.Unauthorized, hint: "certificate of X_CERT"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := server()
			for _, change := range c.server {
				change(cfg)
			}
			p := newTLSPeer(t, cfg, (*peer).reads)
			s := newSender(t, TLS, p.Addr().String(), c.client)
			if c.hint != "" {
				patient(s)
			}
			check, err := s.Check(t.Context()), send(s, "a message\n")
			if c.hint == "" {
				if check != nil || err != nil {
					t.Fatalf("check %v, send %v, want both to work", check, err)
				}
				p.waitFor(t, []byte("a message\n"))
				return
			}
			for _, err := range []error{check, err} {
				if text := wantFault(t, err, failure.TLS, c.kind); !strings.Contains(text, c.hint) {
					t.Errorf("%q does not mention %q", text, c.hint)
				}
			}
			p.waitFor(t, nil)
		})
	}
}

// ours gives the client a certificate signed by a.
func ours(a *pki.Authority) func(*Config) {
	certificate := a.Client("leaf").TLS
	return func(c *Config) { c.Certificate = &certificate }
}

// TestRefusedWithoutAnAlert: the peer verifies our certificate after the handshake and closes the connection. If it has
// never asked for one, that is not the reason.
func TestRefusedWithoutAnAlert(t *testing.T) {
	for _, c := range []struct {
		name string
		auth tls.ClientAuthType
		step failure.Step
		kind failure.Kind
	}{
		{"close", tls.RequestClientCert, failure.TLS, failure.Unauthorized},
		{"reset", tls.RequestClientCert, failure.TLS, failure.Unauthorized},
		{"close", tls.NoClientCert, failure.Request, failure.Transient},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := server()
			cfg.ClientAuth = c.auth
			p := newTLSPeer(t, cfg, func(_ *peer, _ int, conn net.Conn) { hangUps[c.name](conn) })
			s := patient(newSender(t, TLS, p.Addr().String(), nil))
			wantFault(t, send(s, "x\n"), c.step, c.kind)
		})
	}
}

func TestTLSPeerThatIsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		treat func(p *peer, n int, c net.Conn)
		kind  failure.Kind
	}{
		"uses another protocol": {func(_ *peer, _ int, c net.Conn) { _, _ = c.Write([]byte("220 ready to serve you\r\n")) },
			failure.Misconfigured},
		"says nothing": {(*peer).reads, failure.Transient},
		"resets":       {func(_ *peer, _ int, c net.Conn) { reset(c) }, failure.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, c.treat)
			ctx, h := newDeadline(t), hooked{}
			if name == "says nothing" {
				h.writing = func([]byte) { ctx.pass() }
			}
			s := newSender(t, TLS, p.Addr().String(), func(cfg *Config) { cfg.Dial = h.dial })
			if err := s.Send(ctx, []byte("x\n"), nil); name == "resets" {
				wantTransient(t, err)
			} else {
				wantFault(t, err, failure.TLS, c.kind)
			}
		})
	}
}

// TestLateVerification has the peer verify our certificate when the batch is on its way, or when the peer's kernel has
// acknowledged it and the connection showed no alert.
func TestLateVerification(t *testing.T) {
	t.Parallel()
	if !Confirms {
		t.Skip("NOT TESTED: this system does not report what the peer has acknowledged")
	}
	const handshakes = 4 << 10 // the longest write of a handshake
	for name, when := range map[string]struct {
		size, buffer int // of the batch, of the peer's kernel
		writing      bool
		verdict      error
	}{
		"refused while writing":              {256 << 10, 4 << 10, true, errors.New("not on the list")},
		"refused after the acknowledgement":  {8 << 10, 64 << 10, false, errors.New("not on the list")},
		"accepted after the acknowledgement": {8 << 10, 64 << 10, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			verify := make(chan bool)
			proceed := sync.OnceFunc(func() { close(verify) })
			cfg := server()
			cfg.ClientAuth = tls.RequestClientCert
			cfg.VerifyConnection = func(tls.ConnectionState) error {
				<-verify
				return when.verdict
			}
			p := newPeer(t, func(p *peer, n int, c net.Conn) {
				_ = c.(*net.TCPConn).SetReadBuffer(when.buffer)
				secured := tls.Server(c, cfg)
				if err := secured.Handshake(); (err == nil) != (when.verdict == nil) {
					t.Errorf("the peer's handshake: %v", err)
				}
				p.reads(n, secured)
			})
			written, acknowledged := false, false
			h := hooked{
				writing: func(b []byte) {
					if written = written || len(b) > handshakes; written && when.writing {
						proceed()
					}
				},
				unacknowledged: func(n int) int { acknowledged = written && n == 0; return n },
				pending: func(kernel func() (bool, error)) (bool, error) {
					something, err := kernel()
					if acknowledged {
						proceed()
					}
					return something, err
				},
			}
			s := newSender(t, TLS, p.Addr().String(), func(cfg *Config) {
				cfg.Dial = h.dial
				ours(ca)(cfg)
			})
			s.waits.ticket, s.waits.settling = time.Hour, -time.Second
			body := strings.Repeat("x", when.size)
			if when.verdict != nil {
				wantFault(t, send(s, body), failure.TLS, failure.Unauthorized)
				return
			}
			began := time.Now()
			if err := send(s, body); err != nil || time.Since(began) > s.cfg.Timeout/2 {
				t.Fatalf("%v after %s: the ticket has not ended the wait", err, time.Since(began))
			}
			p.waitFor(t, []byte(body))
		})
	}
}

// TestTicket: a session ticket ends the wait for a refusal after the first batch. A peer that sends none has the time
// of that wait.
func TestTicket(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version uint16
		tickets bool
		wait    time.Duration
	}{
		"1.3":             {tls.VersionTLS13, true, time.Hour},
		"1.3, no tickets": {tls.VersionTLS13, false, time.Millisecond},
		"1.2, no tickets": {tls.VersionTLS12, false, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := server()
			cfg.ClientAuth, cfg.MaxVersion = tls.RequireAndVerifyClientCert, c.version
			cfg.SessionTicketsDisabled = !c.tickets
			p := newTLSPeer(t, cfg, (*peer).reads)
			s := newSender(t, TLS, p.Addr().String(), ours(ca))
			s.waits.grace, s.waits.ticket = -time.Second, c.wait
			for range 2 {
				if err := send(s, "x\n"); err != nil {
					t.Fatal(err)
				}
			}
			p.waitFor(t, []byte("x\nx\n"))
			if n := p.connections(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func sendDatagrams(t *testing.T, s *Sender, m *telemetry.Meter, messages ...string) error {
	t.Helper()
	return s.SendDatagrams(t.Context(), len(messages), func(i int) []byte { return []byte(messages[i]) }, m)
}

func TestDatagrams(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, UDP, l.LocalAddr().String(), nil)
	var m telemetry.Meter
	messages := []string{"one", "two", strings.Repeat("x", 1024)}
	if err := sendDatagrams(t, s, &m, messages...); err != nil {
		t.Fatal(err)
	}
	if m.Requests != 3 || m.Bytes != 3+3+1024 {
		t.Errorf("counted %d datagrams and %d bytes, want 3 and 1030", m.Requests, m.Bytes)
	}
	_ = l.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 2000)
	for _, want := range messages {
		n, _, err := l.ReadFrom(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("received %.20q (%v), want %.20q", b[:n], err, want)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	wantFault(t, sendDatagrams(t, s, nil, strings.Repeat("x", 70_000)), failure.Request, failure.TooLarge)

	l.Close() // now nobody listens
	if !Confirms {
		t.Skip("NOT TESTED: this system does not report refused datagrams in time")
	}
	if text := wantFault(t, sendDatagrams(t, s, nil, "lost"), failure.Request, failure.Transient); !strings.Contains(text,
		"X_HOST") {
		t.Errorf("%q names no setting", text)
	}
	l, err = net.ListenPacket("udp", l.LocalAddr().String())
	if err != nil {
		t.Skipf("NOT TESTED: another process has taken the port: %v", err)
	}
	defer l.Close()
	if err := sendDatagrams(t, s, nil, "again"); err != nil {
		t.Errorf("after the peer has come back: %v", err)
	}
}
