// Package connectortest is the conformance suite of connectors. Every connector runs it against a server on loopback
// that simulates its SIEM and its faults. An accepted event is delivered, an event that is not accepted is not, a
// response that is not the SIEM's is retried or held, and no secret appears anywhere.
//
// The suite uses the real engine, so it tests the outcomes of events and not how a connector reports them.
package connectortest

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Suite is a connector over HTTP, as the suite needs it.
type Suite struct {
	Open func(*settings.Settings) deliver.Connector

	// Settings returns the variables for a connector whose SIEM is at url, with a certificate of the CA whose PEM is
	// given.
	Settings func(url, ca string) map[string]string

	// PlainHTTP reports whether the connector has no setting for a CA: url is then http, and the suite sets
	// SIEM_ALLOW_HTTP.
	PlainHTTP bool

	// Secrets are texts among the settings that must not appear anywhere.
	Secrets []string

	// Accept responds to a request as the SIEM does that accepts everything. body is decompressed. It also responds to
	// requests that carry no events, such as a token request; Delivers distinguishes them.
	Accept func(w http.ResponseWriter, r *http.Request, body []byte)

	// Refuse responds, in the SIEM's own format, as the SIEM does that refuses the events whose text contains bad.
	Refuse func(w http.ResponseWriter, r *http.Request, body []byte, bad string)

	// Delivers reports whether a request carries events; nil if all do.
	Delivers func(r *http.Request) bool

	// Outcomes are the outcomes of a status without a body that differ from Defaults.
	Outcomes map[int]Want

	// EmptyAccepts reports whether a 200 without a body confirms acceptance.
	EmptyAccepts bool

	// MaxBytes is the SIEM's limit on the body of a request before compression.
	MaxBytes int

	// Wrong are settings of which each has a wrong value.
	Wrong map[string]string
}

// With returns the suite with a setting changed.
func (s Suite) With(name, value string) Suite {
	settings := s.Settings
	s.Settings = func(url, ca string) map[string]string {
		env := settings(url, ca)
		env[name] = value
		return env
	}
	return s
}

// Want is the expected outcome of the events of a batch.
type Want uint8

// The expectations.
const (
	WantRetry Want = iota // back to the queue, with a growing delay
	WantHeld              // back to the queue, with the longest delay
	WantDelivered
)

// Defaults are the outcomes of a status without a body. Such a refusal is not in the SIEM's own format, so no event is
// at fault.
var Defaults = map[int]Want{
	301: WantHeld, 302: WantHeld, 307: WantHeld, 308: WantHeld,
	400: WantHeld, 401: WantHeld, 402: WantHeld, 403: WantHeld, 404: WantHeld, 405: WantHeld, 406: WantHeld,
	408: WantRetry,
	409: WantHeld, 413: WantHeld, 418: WantHeld, 422: WantHeld, 425: WantRetry, 429: WantRetry, 500: WantRetry,
	502: WantRetry, 503: WantRetry, 504: WantRetry, 599: WantRetry,
}

// Server is the SIEM of a test. It counts requests and sends the responses that the test configures.
type Server struct {
	*httptest.Server
	suite    Suite
	mu       sync.Mutex
	requests []string // bodies, decompressed, of requests that deliver
	dumped   strings.Builder
}

// Requests is the number of requests that carried events.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// Bodies are the decompressed bodies of the requests that carried events.
func (s *Server) Bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// Serve starts a server for the suite that accepts what Accept accepts.
func Serve(t *testing.T, s Suite) *Server {
	t.Helper()
	return s.serve(t, s.Accept)
}

// Open opens the suite's connector for the server.
func (s *Server) Open(t *testing.T) deliver.Connector {
	t.Helper()
	return s.suite.open(t, s.suite.env(s))
}

// Response makes a response of the HTTP client with that status, header and body, for tests of its classification.
func Response(t testing.TB, status int, header map[string]string, body string) *httpsend.Response {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	to, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	a, err := httpsend.New(httpsend.Config{Timeout: 10 * time.Second}).Do(t.Context(), httpsend.Request{URL: to})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve starts a server for the suite. respond is called for every request that carries events; the others are
// accepted.
func (s Suite) serve(t *testing.T, respond func(w http.ResponseWriter, r *http.Request, body []byte)) *Server {
	t.Helper()
	srv := &Server{suite: s}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := readBody(r)
		srv.mu.Lock()
		srv.dumped.WriteString(dump(r, body))
		delivers := s.Delivers == nil || s.Delivers(r)
		if delivers {
			srv.requests = append(srv.requests, string(body))
		}
		srv.mu.Unlock()
		switch {
		case !ok:
			http.Error(w, "unreadable body", http.StatusTeapot)
		case delivers:
			respond(w, r, body)
		default:
			s.Accept(w, r, body)
		}
	})
	srv.Server = httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = quiet
	if s.PlainHTTP {
		srv.Start()
	} else {
		srv.StartTLS()
	}
	t.Cleanup(srv.Close)
	return srv
}

// env returns the suite's settings for a server.
func (s Suite) env(srv *Server) map[string]string {
	ca := ""
	if cert := srv.Certificate(); cert != nil {
		ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	env := s.Settings(srv.URL, ca)
	if s.PlainHTTP {
		env["SIEM_ALLOW_HTTP"] = "true"
	}
	if env["SIEM_REQUEST_TIMEOUT_SECONDS"] == "" {
		env["SIEM_REQUEST_TIMEOUT_SECONDS"] = "5"
	}
	return env
}

// open opens the suite's connector from env, which must be valid.
func (s Suite) open(t *testing.T, env map[string]string) deliver.Connector {
	t.Helper()
	return Read(t, env, s.Open)
}

// Settings are settings in the environment.
func Settings(env map[string]string) *settings.Settings {
	return settings.New(func(name string) string { return env[name] }, nil)
}

// Read returns what read makes of settings, which must be valid.
func Read[T any](t testing.TB, env map[string]string, read func(*settings.Settings) T) T {
	t.Helper()
	s := Settings(env)
	v := read(s)
	if err := s.Err(); err != nil {
		t.Fatalf("opening with valid settings: %v", err)
	}
	return v
}

// Recorder is the server of a test, which records requests.
type Recorder struct {
	*httptest.Server

	mu       sync.Mutex
	respond  http.HandlerFunc
	requests []*Request
}

// Request is a recorded request.
type Request struct {
	*http.Request

	Text string // body, as it was sent
}

// Record starts a server that responds so. respond may read the body again.
func Record(t testing.TB, respond http.HandlerFunc) *Recorder {
	t.Helper()
	r := newRecorder(t, respond)
	r.Start()
	return r
}

// RecordTLS is Record over TLS. It returns the server's certificate, too.
func RecordTLS(t testing.TB, respond http.HandlerFunc) (r *Recorder, ca string) {
	t.Helper()
	r = newRecorder(t, respond)
	r.StartTLS()
	return r, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

func newRecorder(t testing.TB, respond http.HandlerFunc) *Recorder {
	rec := &Recorder{respond: respond}
	rec.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec.mu.Lock()
		rec.requests = append(rec.requests, &Request{r, string(body)})
		respond := rec.respond
		rec.mu.Unlock()
		respond(w, r)
	}))
	rec.Config.ErrorLog = quiet // of connections that tests break on purpose
	t.Cleanup(rec.Close)
	return rec
}

// Respond changes the response.
func (r *Recorder) Respond(respond http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = respond
}

// Reset forgets the requests so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// Requests returns the requests so far.
func (r *Recorder) Requests() []*Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Only returns the one request whose path contains a text, with its body decompressed. Any other number ends the test.
func (r *Recorder) Only(t testing.TB, within string) *Request {
	t.Helper()
	found := slices.DeleteFunc(r.Requests(), func(q *Request) bool { return !strings.Contains(q.URL.Path, within) })
	if len(found) != 1 {
		t.Fatalf("%d requests to %q, want 1", len(found), within)
	}
	q := found[0]
	text, ok := readBody(&http.Request{Header: q.Header, Body: io.NopCloser(strings.NewReader(q.Text))})
	if !ok {
		t.Fatal("the body is not gzip, as its header says")
	}
	return &Request{q.Request, string(text)}
}

// fixed is a Source whose credential never changes.
type fixed struct {
	deliver.Connector
	renewals int
}

func (f *fixed) Current() deliver.Connector { return f.Connector }

func (f *fixed) Renew(context.Context) deliver.Connector {
	f.renewals++
	return f.Connector
}

// Source returns a source whose connector never changes.
func Source(c deliver.Connector) deliver.Source { return &fixed{Connector: c} }

// Deliver delivers events through c and the engine.
func Deliver(t *testing.T, c deliver.Connector, bodies ...string) []deliver.Outcome {
	t.Helper()
	return deliverThrough(t, &fixed{Connector: c}, bodies...)
}

// Delivered delivers events through c and the engine. It fails the test unless each is delivered whole.
func Delivered(t *testing.T, c deliver.Connector, bodies ...string) {
	t.Helper()
	for i, o := range Deliver(t, c, bodies...) {
		if o.State != deliver.Delivered || o.Truncated {
			t.Errorf("event %d: %s, truncated %t", i, describe(o), o.Truncated)
		}
	}
}

func deliverThrough(t *testing.T, source deliver.Source, bodies ...string) []deliver.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var p event.Parser
	items := make([]deliver.Item, len(bodies))
	for i, body := range bodies {
		e := new(event.Event)
		if err := p.Parse([]byte(body), e); err != nil {
			t.Fatalf("parsing test event %d: %v", i, err)
		}
		items[i].Event = e
	}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(ctx, source, items, outcomes)
	return outcomes
}

// is reports whether an outcome is the wanted one.
func (w Want) is(o deliver.Outcome) bool {
	held := o.Fault != nil && (o.Fault.Kind == failure.Misconfigured || o.Fault.Kind == failure.Unauthorized)
	switch w {
	case WantDelivered:
		return o.State == deliver.Delivered
	case WantHeld:
		return o.State == deliver.Retry && held
	case WantRetry:
		return o.State == deliver.Retry && !held && o.Fault != nil
	}
	return false
}

// String names the expectation.
func (w Want) String() string {
	return [...]string{"retry", "held", "delivered"}[w]
}

func describe(o deliver.Outcome) string {
	name := [...]string{"retry", "delivered", "rejected"}[o.State]
	if o.Fault != nil {
		name += " (" + o.Fault.Brief() + ": " + o.Fault.Error() + ")"
	}
	return name
}

// all checks that every event of a batch has the wanted outcome.
func all(t *testing.T, want Want, what string, outcomes []deliver.Outcome) {
	t.Helper()
	for i, o := range outcomes {
		if !want.is(o) {
			t.Errorf("%s: event %d: %s, want %s", what, i, describe(o), want)
			return
		}
	}
}
