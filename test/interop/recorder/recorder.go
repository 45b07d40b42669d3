// Package recorder is the other end of a comparison: a server on loopback that takes everything and keeps it, so that
// what a connector sends can be laid beside what the product's official client sends for the same events.
package recorder

import (
	"compress/gzip"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Request is one request as it came, its body decompressed.
type Request struct {
	Method, Path, Query string // path and query as written on the request line
	Header              http.Header
	Body                string
}

// Recorder is a server that keeps requests. It is safe for concurrent use.
type Recorder struct {
	URL    string
	CA     string       // PEM of its certificate, "" without TLS
	Client *http.Client // trusts it

	mu       sync.Mutex
	requests []Request
}

// Start starts a recorder with TLS, or without where plain; it ends with the test. answer may be nil, which is an empty
// 200.
func Start(t testing.TB, plain bool, answer func(http.ResponseWriter, Request)) *Recorder {
	t.Helper()
	r := new(Recorder)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		kept := Request{req.Method, req.URL.EscapedPath(), req.URL.RawQuery, req.Header.Clone(), read(t, req)}
		r.mu.Lock()
		r.requests = append(r.requests, kept)
		r.mu.Unlock()
		if answer != nil {
			answer(w, kept)
		}
	}))
	if plain {
		server.Start()
	} else {
		server.StartTLS()
		r.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	}
	t.Cleanup(server.Close)
	r.URL, r.Client = server.URL, server.Client()
	return r
}

// read reads a body, decompressed where its header says that it is compressed.
func read(t testing.TB, r *http.Request) string {
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Errorf("a body that is not gzip: %v", err)
			return ""
		}
		from = z
	}
	body, err := io.ReadAll(from)
	if err != nil {
		t.Errorf("reading a body: %v", err)
	}
	return string(body)
}

// Requests returns what has come so far, in order.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Only returns the one request that came to a path for which which is true; nil means any. Another number is the test's
// end.
func (r *Recorder) Only(t testing.TB, which func(Request) bool) Request {
	t.Helper()
	var found []Request
	for _, kept := range r.Requests() {
		if which == nil || which(kept) {
			found = append(found, kept)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d requests, want 1", len(found))
	}
	return found[0]
}

// Events makes n events of a seed, as the queue carries them.
func Events(seed uint64, n int) []string {
	g := ocsfgen.New(seed)
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = string(g.Next())
	}
	return bodies
}

// Open opens a connector from settings, which must be good.
func Open(t testing.TB, open func(*settings.Settings) deliver.Connector, env map[string]string) deliver.Connector {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	c := open(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// Deliver sends events with the engine and requires that every event is delivered.
func Deliver(t *testing.T, c deliver.Connector, bodies []string) {
	t.Helper()
	for i, o := range connectortest.Deliver(t, c, bodies...) {
		if o.State != deliver.Delivered {
			t.Fatalf("event %d: not delivered: %v", i, o.Fault)
		}
	}
}
