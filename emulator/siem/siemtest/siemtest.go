// Package siemtest makes requests to the simulated SIEMs, and opens connectors to them.
package siemtest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Start starts a simulator for the duration of a test.
func Start[S siem.Simulator](t *testing.T, open func(siem.Options) (S, error), o siem.Options) S {
	t.Helper()
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Client trusts a simulator's certificate.
func Client(s interface{ Options() siem.Options }) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.Options().Authority.Pool(), MinVersion: tls.VersionTLS12}}}
}

// Do makes a request, and returns the status and the body of the response.
func Do(t *testing.T, client *http.Client, method, url, body string, headers map[string]string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Gzip compresses a text.
func Gzip(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Open opens a connector with the settings and the secret of a simulator.
func Open(t *testing.T, s siem.Simulator, open func(*settings.Settings) deliver.Connector) deliver.Connector {
	t.Helper()
	env := s.Settings()
	set := settings.New(func(name string) string { return env[name] }, s.Secret())
	c := open(set)
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// Source opens a connector again for each renewal, with the secret that the simulator then has.
type Source struct {
	Renewed int // number of renewals

	current deliver.Connector
	open    func() deliver.Connector
}

// NewSource opens a connector.
func NewSource(t *testing.T, s siem.Simulator, open func(*settings.Settings) deliver.Connector) *Source {
	t.Helper()
	again := func() deliver.Connector { return Open(t, s, open) }
	return &Source{current: again(), open: again}
}

// Current implements deliver.Source.
func (s *Source) Current() deliver.Connector { return s.current }

// Renew implements deliver.Source.
func (s *Source) Renew(context.Context) deliver.Connector {
	s.Renewed++
	s.current = s.open()
	return s.current
}

// Deliver passes events to the engine, in items with that value of Last. It returns the number of delivered events, and
// the outcome of each.
func Deliver(t *testing.T, from deliver.Source, bodies [][]byte, last bool) (delivered int,
	outcomes []deliver.Outcome) {
	t.Helper()
	items := make([]deliver.Item, len(bodies))
	for i, body := range bodies {
		items[i] = deliver.Item{Event: new(event.Event), Last: last}
		if err := new(event.Parser).Parse(body, items[i].Event); err != nil {
			t.Fatal(err)
		}
	}
	outcomes = make([]deliver.Outcome, len(items))
	deliver.Deliver(t.Context(), from, items, outcomes)
	for _, o := range outcomes {
		if o.State == deliver.Delivered {
			delivered++
		}
	}
	return delivered, outcomes
}
