package simulation

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
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
		if !c.readable(s.stop) {
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
