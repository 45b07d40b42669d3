package simulation

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/siem/qradar"
	"github.com/arbitex/siem-connectors/internal/pki"
)

// simulator is a simulated SIEM whose handler is called directly.
type simulator interface {
	siem.Simulator
	http.Handler
}

// web is a SIEM that uses HTTP: a simulator, with the faults of the simulation before it.
type web struct {
	*pipeline
	simulator
	listener *listener
	idle     *listener // the simulator's own, which is not used
	server   *http.Server
	env      map[string]string
	judging  sync.Mutex
}

// authority signs the certificates of the SIEMs, proxyAuthority those of the proxy.
var (
	authority      = sync.OnceValue(newAuthority) //nolint:gochecknoglobals // keys take time
	proxyAuthority = sync.OnceValue(newAuthority) //nolint:gochecknoglobals // keys take time
)

func newAuthority() *pki.Authority {
	a := pki.New("simulation")
	return a
}

type connKey struct{}

func newHTTP(l *pipeline) *web {
	at := l.name + ".sim:80"
	if l.proxied() {
		at = l.name + ".sim:443"
	}
	s := &web{pipeline: l, listener: newListener(at), idle: newListener(at)}
	simulator, err := simulate(l.name, siem.Options{
		Authority: authority(), Plain: !l.proxied(), Now: time.Now,
		Listen: func() (net.Listener, error) { return s.idle, nil },
	})
	if err != nil {
		panic(err) // memory does not fail
	}
	s.simulator, s.env = simulator, simulator.Settings()
	simulator.Inject(siem.Fault{Kind: siem.Poison, Name: "poison", Match: s.poisoned})
	s.server = &http.Server{
		Handler: http.HandlerFunc(s.serve), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, rawConn(c))
		},
	}
	var listener net.Listener = s.listener
	if l.proxied() {
		listener = tls.NewListener(s.listener, serverTLS(authority(), l.name+".sim"))
	}
	l.spawn(func() { _ = s.server.Serve(listener) })
	return s
}

func simulate(name string, o siem.Options) (simulator, error) {
	for _, entry := range catalog.List() {
		if entry.Name != name || entry.New == nil {
			continue
		}
		s, err := entry.New(o)
		if err != nil {
			return nil, err
		}
		if s, ok := s.(simulator); ok {
			return s, nil
		}
	}
	return nil, fmt.Errorf("emulator/siem/catalog has no HTTP simulator of %q", name)
}

func (s *web) poisoned(id string) bool {
	e := s.byUID[id]
	return e != nil && e.sort == poisonous
}

func (s *web) settings() map[string]string { return s.env }
func (s *web) secret() map[string]string   { return s.Secret() }
func (s *web) rotate()                     { s.Rotate() }
func (s *web) heal()                       { s.Inject(siem.Fault{Kind: siem.Heal}) }
func (s *web) violations() []string        { return s.Stats().Violations }

func (s *web) connected(ctx context.Context, c *conn) error { return s.listener.hand(ctx, c) }

func (s *web) close() {
	_ = s.server.Close()
	_ = s.Close()
}

// syslog simulates QRadar, which reads lines and sends no responses. A function can only know whether the connection
// has failed.
type syslog struct {
	*pipeline
	at    string
	mu    sync.Mutex
	wrong []string
	stop  chan struct{}
}

func newSyslog(l *pipeline) *syslog {
	return &syslog{pipeline: l, at: l.name + ".sim:514", stop: make(chan struct{})}
}

func (s *syslog) settings() map[string]string {
	return map[string]string{
		"QRADAR_SYSLOG_HOST": "qradar.sim", "QRADAR_SYSLOG_PORT": "514", "QRADAR_SYSLOG_PROTOCOL": "tcp",
		"QRADAR_CEF_KEYS": "standard", "QRADAR_MAX_MESSAGE_BYTES": "32000",
	}
}

func (s *syslog) secret() map[string]string { return nil }
func (s *syslog) rotate()                   {}
func (s *syslog) heal()                     {}
func (s *syslog) close()                    { close(s.stop) }

func (s *syslog) violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrong
}

func (s *syslog) connected(_ context.Context, c *conn) error {
	s.spawn(func() { s.read(c) })
	return nil
}

// reading is the state of reading one connection.
type reading struct {
	*syslog
	c    *conn
	n    int
	rest []byte
}

func (s *syslog) read(c *conn) {
	r := &reading{syslog: s, c: c}
	defer c.Close() //nolint:errcheck // it is in memory
	b := make([]byte, 16<<10)
	for {
		if !c.readable() {
			return
		}
		p := c.process
		p.guard.Lock()
		inv := p.current
		p.guard.Unlock()
		r.n++
		if !r.pass(inv, time.Millisecond, 20*time.Millisecond, "arrives") || !r.before(inv) {
			return
		}
		n, err := c.Read(b)
		if err != nil {
			return
		}
		s.count("requests", 1)
		_ = p.step("while the SIEM has the messages")
		r.take(inv, b[:n])
		if !r.after(inv) {
			return
		}
	}
}

// pass waits for a time that differs from all others. It returns false at the end of the run.
func (r *reading) pass(inv *invocation, least, most time.Duration, what string) bool {
	timer := time.NewTimer(r.rng.between(least, most, what, inv.process.name, inv.number, r.n))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.stop:
		return false
	}
}

func (r *reading) inject(kind Kind, inv *invocation) bool {
	struck := r.injects(kind, inv.process.lane, inv.process.name, inv.number, r.n)
	if struck {
		r.tell("%s: %s", inv, kind)
		r.c.markFaulty()
		inv.answer(nil, answer{network: true})
	}
	return struck
}

// before applies the faults before a read. It returns false if the connection has ended.
func (r *reading) before(inv *invocation) bool {
	switch {
	case r.inject(resetBefore, inv):
		r.c.reset()
		return false
	case r.inject(closedBefore, inv):
		return false // the unread data is lost, and the sender gets a reset
	case r.inject(vanished, inv):
		r.c.vanish()
		return false
	}
	if f, ok := r.fault(slow, inv.process.lane, inv.process.name, inv.number, r.n); ok {
		r.c.markFaulty()
		inv.answer(nil, answer{network: true})
		r.tell("%s: qradar does not read for %d s", inv, f.N)
		return r.pass(inv, time.Duration(f.N)*time.Second, time.Duration(f.N+1)*time.Second, "slow")
	}
	return true
}

// after applies the faults after a read.
func (r *reading) after(inv *invocation) bool {
	switch {
	case r.inject(resetDuring, inv), r.inject(acceptedReset, inv):
		r.c.reset()
		return false
	case r.inject(acceptedHang, inv):
		r.c.vanish()
		return false
	}
	return true
}

// take processes the complete messages.
func (r *reading) take(inv *invocation, b []byte) {
	r.rest = append(r.rest, b...)
	state, cause := undecided, ""
	if inv.process.isDead() || r.c.gone() || !inv.running() {
		state, cause = unknown, "the function had stopped waiting"
	}
	for {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			return
		}
		r.rest = rest
		m, err := qradar.Parse(line)
		if err != nil {
			r.mu.Lock()
			r.wrong = append(r.wrong, err.Error())
			r.mu.Unlock()
			continue
		}
		id, _ := m.Value("externalId")
		e := r.byUID[id]
		if e == nil || e.pipeline != r.pipeline || e.sort == malformed {
			r.broken("nothing is invented", "%s got an event %q that was never enqueued", r.name, id)
			continue
		}
		kept := !r.injects(lie, r.name, e.uid, inv.process.name, inv.number)
		inv.keep(e, kept)
		inv.learn(e, state, cause)
	}
}

// proxyAddress is the address of the plan's proxy.
const proxyAddress = "proxy.sim:3128"

// proxyRefusals are the responses to CONNECT of the kind proxyRefuses.
var proxyRefusals = [...]struct {
	status, retryAfter int
	class              class
}{
	{407, 0, longest}, {403, 0, longest}, {302, 0, longest}, {429, 20, growing}, {429, 400, growing}, {502, 0, growing},
	{503, 0, growing},
}

// proxied reports whether the plan has a proxy between the connector and its SIEM: those connectors that have a setting
// for the SIEM's own CA, because a proxy is only used for https.
func (l *pipeline) proxied() bool {
	return l.plan.Proxy != "" && slices.Contains([]string{"splunk", "elastic"}, l.name)
}

// proxySetting returns the variables of the proxy.
func (p *process) proxySetting(name string) string {
	switch {
	case !p.pipeline.proxied():
	case name == "HTTPS_PROXY" && p.badProxy:
		return "http://svc:50%off@" + proxyAddress
	case name == "HTTPS_PROXY":
		return p.plan.Proxy + "://svc:p%40ss@" + proxyAddress + "\n"
	case name == "SIEM_PROXY_CA_BUNDLE" && p.plan.Proxy == "https":
		return proxyAuthority().PEM()
	}
	return ""
}

// tunnel is a connection to the proxy.
type tunnel struct {
	*process
	conn *conn
}

// connect passes the server's end of a new connection to the proxy or to the SIEM.
func (p *process) connect(ctx context.Context, to string, c *conn) error {
	switch {
	case !p.pipeline.proxied():
		return p.pipeline.siem.connected(ctx, c)
	case to != proxyAddress:
		p.broken("a proxy is used if it is set", "%s connects to %s", p.name, to)
	}
	t := tunnel{p, c}
	p.spawn(func() { //nolint:contextcheck // the proxy does not know the client's context
		if !t.serve() {
			_ = c.Close()
		}
	})
	return nil
}

// serve responds to CONNECT, and reports whether the connection was passed to the SIEM.
func (t tunnel) serve() bool {
	var c net.Conn = t.conn
	if t.plan.Proxy == "https" {
		c = tls.Server(t.conn, serverTLS(proxyAuthority(), "proxy.sim"))
	}
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return false
	}
	inv, n := t.next("connect")
	time.Sleep(t.rng.between(time.Millisecond, 20*time.Millisecond, "proxy", t.name, inv.number, n))
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("svc:p@ss"))
	if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want ||
		r.Header.Get("Authorization") != "" {
		t.broken("a proxy gets its own credential", "%s sends %s %v", inv, r.Method, r.Header)
	}
	if f, ok := t.fault(proxyRefuses, t.lane, t.name, inv.number, n); ok {
		p := proxyRefusals[f.N]
		t.tell("%s: the proxy responds %d", inv, p.status)
		inv.answer(nil, answer{status: p.status, class: p.class, retry: p.retryAfter, proxy: true})
		header := ""
		if p.retryAfter > 0 {
			header = fmt.Sprintf("Retry-After: %d\r\n", p.retryAfter)
		}
		_, _ = io.WriteString(c, raw(p.status, header, "<html>proxy</html>"))
		return false
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return false
	}
	return t.pipeline.siem.(*web).listener.hand(context.Background(), c) == nil
}

// checkProxy checks the end of an invocation whose proxy setting cannot be parsed.
func (p *process) checkProxy(inv *invocation, r result) {
	if p.badProxy && !r.died && (r.err == nil || !strings.Contains(r.err.Error(), "HTTPS_PROXY")) {
		p.broken("a proxy is used if it is set", "%s has a proxy setting that cannot be parsed, and ends with %v",
			inv, r.err)
	}
}

// serverTLS returns the TLS configuration of a server with that name.
func serverTLS(a *pki.Authority, name string) *tls.Config {
	certificate := a.Server(name)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate.TLS}}
}

// rawConn returns the connection under TLS.
func rawConn(c net.Conn) *conn {
	for {
		secure, ok := c.(*tls.Conn)
		if !ok {
			return c.(*conn) //nolint:forcetypeassert // the only kind
		}
		c = secure.NetConn()
	}
}
