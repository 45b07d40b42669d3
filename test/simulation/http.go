package simulation

import (
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
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
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
	a, err := pki.New("simulation")
	if err != nil {
		panic(err) // no randomness
	}
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
