// Package connectortest is the conformance suite of connectors. Every connector over HTTP runs it against a server on
// loopback that simulates its SIEM: an accepted event is delivered, an event that is not accepted is not, a response
// that is not the SIEM's is retried or held, requests keep the SIEM's limits, and no secret appears anywhere. The tests
// of shared/httpsend and test/matrix cover what may happen to a connection.
//
// The suite uses the real engine, so it tests the outcomes of events and not how a connector reports them.
package connectortest

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"io"
	"log"
	"maps"
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

	// Accept responds to a request as the SIEM does that accepts everything. It also responds to requests that carry no
	// events, such as a token request; Delivers distinguishes them.
	Accept http.HandlerFunc

	// Refuse responds, in the SIEM's own format, to a request with events of which some contain Bad: those are refused.
	Refuse http.HandlerFunc

	// Delivers reports whether a request carries events; nil if all do.
	Delivers func(r *http.Request) bool

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

// Recorder is the server of a test. It records requests.
type Recorder struct {
	*httptest.Server

	mu       sync.Mutex
	respond  http.HandlerFunc
	requests []*Request
}

// Request is a recorded request.
type Request struct {
	*http.Request

	Text string // body, decompressed
}

// Record starts a server that responds so. respond may read the body, which is decompressed.
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
	return r, r.startTLS()
}

func (r *Recorder) startTLS() (ca string) {
	r.StartTLS()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

func newRecorder(t testing.TB, respond http.HandlerFunc) *Recorder {
	rec := &Recorder{respond: respond}
	rec.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Errorf("a body that is not gzip: %v", err)
				return
			}
			r.Body = z
		}
		text := Body(r)
		recorded := *r // the server still uses r
		recorded.Body = http.NoBody
		rec.mu.Lock()
		rec.requests = append(rec.requests, &Request{&recorded, text})
		respond := rec.respond
		rec.mu.Unlock()
		respond(w, r)
	}))
	rec.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that tests break on purpose
	t.Cleanup(rec.Close)
	return rec
}

// Body returns the body of a request, which can be read again.
func Body(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return string(body)
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

// Only returns the one request whose path contains a text. Any other number ends the test.
func (r *Recorder) Only(t testing.TB, within string) *Request {
	t.Helper()
	found := slices.DeleteFunc(r.Requests(), func(q *Request) bool { return !strings.Contains(q.URL.Path, within) })
	if len(found) != 1 {
		t.Fatalf("%d requests to %q, want 1", len(found), within)
	}
	return found[0]
}

// Bodies returns the bodies of the requests so far.
func (r *Recorder) Bodies() (all []string) {
	for _, request := range r.Requests() {
		all = append(all, request.Text)
	}
	return all
}

// Status answers every request with a status, a body and pairs of header names and values.
func Status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// Response makes a response of the HTTP client with that status, header and body, for tests of its classification.
func Response(t testing.TB, status int, header map[string]string, body string) *httpsend.Response {
	t.Helper()
	var pairs []string
	for name, value := range header {
		pairs = append(pairs, name, value)
	}
	srv := Record(t, Status(status, body, pairs...))
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

// Serve starts a server for the suite that accepts what Accept accepts, and opens the suite's connector for it.
func Serve(t *testing.T, s Suite) (*Recorder, deliver.Connector) {
	t.Helper()
	return s.serve(t, s.Accept, nil)
}

// serve starts a server for the suite, and opens the suite's connector for it, with more or other settings. respond is
// called for every request that carries events; the others are accepted.
func (s Suite) serve(t *testing.T, respond http.HandlerFunc, more map[string]string) (*Recorder, deliver.Connector) {
	t.Helper()
	handle := func(w http.ResponseWriter, r *http.Request) {
		if s.Delivers == nil || s.Delivers(r) {
			respond(w, r)
		} else {
			s.Accept(w, r)
		}
	}
	srv, ca := newRecorder(t, handle), ""
	if s.PlainHTTP {
		srv.Start()
	} else {
		ca = srv.startTLS()
	}
	env := s.Settings(srv.URL, ca)
	env["SIEM_REQUEST_TIMEOUT_SECONDS"] = "60" // of a busy machine
	if s.PlainHTTP {
		env["SIEM_ALLOW_HTTP"] = "true"
	}
	maps.Copy(env, more)
	return srv, Read(t, env, s.Open)
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

// Source is a deliver.Source whose Renew opens another connector.
type Source struct {
	deliver.Connector

	Open     func() deliver.Connector // nil if the credential never changes
	Renewals int
}

// Current implements deliver.Source.
func (s *Source) Current() deliver.Connector { return s.Connector }

// Renew implements deliver.Source.
func (s *Source) Renew(context.Context) deliver.Connector {
	if s.Renewals++; s.Open != nil {
		s.Connector = s.Open()
	}
	return s.Connector
}

// Deliver delivers events through c, which may be a *Source, and the engine.
func Deliver(t *testing.T, c deliver.Connector, bodies ...string) []deliver.Outcome {
	t.Helper()
	source, ok := c.(*Source)
	if !ok {
		source = &Source{Connector: c}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	items := make([]deliver.Item, len(bodies))
	for i, body := range bodies {
		items[i].Event = Parse(t, body)
	}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(ctx, source, items, outcomes)
	return outcomes
}

// Delivered delivers events through c and the engine. It ends the test unless each is delivered whole.
func Delivered(t *testing.T, c deliver.Connector, bodies ...string) {
	t.Helper()
	for i, o := range Deliver(t, c, bodies...) {
		if o.State != deliver.Delivered || o.Truncated {
			t.Fatalf("event %d: %s, truncated %t", i, describe(o), o.Truncated)
		}
	}
}

// Parse makes an event of a body.
func Parse(t testing.TB, body string) *event.Event {
	t.Helper()
	e := new(event.Event)
	if err := new(event.Parser).Parse([]byte(body), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// Batch makes a batch of events as the engine does.
func Batch(t testing.TB, c deliver.Connector, bodies ...string) *deliver.Batch {
	t.Helper()
	var records [][]byte
	var events []*event.Event
	for _, body := range bodies {
		e := Parse(t, body)
		record, _, err := c.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		records, events = append(records, record), append(events, e)
	}
	return deliver.NewBatch(c.Format(), records, events)
}

func describe(o deliver.Outcome) string {
	name := [...]string{"retry", "delivered", "rejected"}[o.State]
	if o.Fault != nil {
		name += " (" + o.Fault.Brief() + ": " + o.Fault.Error() + ")"
	}
	return name
}

// CheckOutcomes verifies the outcomes of a batch's events: delivered, retry, held or rejected. The last one applies to
// all further events.
func CheckOutcomes(t *testing.T, what string, outcomes []deliver.Outcome, want ...string) {
	t.Helper()
	for i, o := range outcomes {
		got := [...]string{"retry", "delivered", "rejected"}[o.State]
		if got == "retry" && (o.Fault.Kind == failure.Misconfigured || o.Fault.Kind == failure.Unauthorized) {
			got = "held"
		}
		if want := want[min(i, len(want)-1)]; got != want {
			t.Errorf("%s: event %d: %s, want %s", what, i, describe(o), want)
		}
	}
}
