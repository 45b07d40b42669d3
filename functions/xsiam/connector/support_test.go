package connector

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const apiKey = "k3y-of-the-tenant"

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{
		"XSIAM_URL": "https://api-tenant.xsiam.paloaltonetworks.com", "XSIAM_API_KEY": apiKey, "XSIAM_API_KEY_ID": "42",
	}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func newSettings(e map[string]string) *settings.Settings {
	return settings.New(func(name string) string { return e[name] }, nil)
}

// tenant is the connector's server.
type tenant struct {
	*httptest.Server
	answer http.HandlerFunc

	mu     sync.Mutex
	posted []*request
}

type request struct {
	uri, body string
	header    http.Header
}

func newTenant(t testing.TB) *tenant {
	s := &tenant{answer: connectortest.Status(http.StatusAccepted, "")}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.posted = append(s.posted, &request{r.RequestURI, string(body), r.Header})
		s.mu.Unlock()
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tenant) requests() []*request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*request(nil), s.posted...)
}

// moment is the connector's clock in tests.
func moment() time.Time { return time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC) }

func (s *tenant) open(t testing.TB, pairs ...string) *connector {
	t.Helper()
	set := newSettings(env(append([]string{"XSIAM_URL", s.URL, "SIEM_ALLOW_HTTP", "true"}, pairs...)...))
	cfg := readConfig(set)
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	cfg.http.Now = moment
	return open(cfg)
}

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(t.Context(), connectortest.Batch(t, c, someEvent)))
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
