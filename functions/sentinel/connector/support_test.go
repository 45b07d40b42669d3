package connector

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const clientSecret = "s3cret~with/odd+chars"

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{
		"SENTINEL_TENANT_ID":       "11111111-2222-3333-4444-555555555555",
		"SENTINEL_CLIENT_ID":       "client-1",
		"SENTINEL_CLIENT_SECRET":   clientSecret,
		"SENTINEL_DCR_ENDPOINT":    "https://dce.example.com",
		"SENTINEL_DCR_RULE_ID":     "dcr-0123456789abcdef",
		"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL",
	}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func newSettings(e map[string]string) *settings.Settings {
	return settings.New(func(name string) string { return e[name] }, nil)
}

// azure is both servers of the connector: the token endpoint and the ingestion endpoint.
type azure struct {
	*httptest.Server
	grant  http.HandlerFunc // of the token endpoint
	ingest http.HandlerFunc

	mu      sync.Mutex
	asked   int        // token requests
	posted  []*request // ingestion requests
	forms   []string
	clock   time.Time
	expires int // seconds
}

type request struct {
	uri, body string
	header    http.Header
}

func newAzure(t testing.TB) *azure {
	a := &azure{clock: time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC), expires: 3599}
	a.grant = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%[1]d,"access_token":%q}`, a.expires,
			accessToken(a.tokens()))
	}
	a.ingest = connectortest.Status(http.StatusNoContent, "")
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
			a.mu.Lock()
			a.asked++
			a.forms = append(a.forms, string(body))
			a.mu.Unlock()
			a.grant(w, r)
			return
		}
		a.mu.Lock()
		a.posted = append(a.posted, &request{r.RequestURI, string(body), r.Header})
		a.mu.Unlock()
		a.ingest(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// accessToken is the nth token: as long as a real one.
func accessToken(n int) string { return fmt.Sprintf("eyJ0.%d.%s", n, strings.Repeat("aB3-_", 300)) }

func (a *azure) tokens() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *azure) requests() []*request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*request(nil), a.posted...)
}

func (a *azure) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clock
}

func (a *azure) pass(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clock = a.clock.Add(d)
}

// open makes a connector that talks to a, by a's clock.
func (a *azure) open(t testing.TB, pairs ...string) *connector {
	t.Helper()
	s := newSettings(env(append([]string{
		"SENTINEL_DCR_ENDPOINT", a.URL, "SENTINEL_AUTHORITY_HOST", a.URL, "SIEM_ALLOW_HTTP", "true", "SIEM_COMPRESSION",
		"none",
	}, pairs...)...))
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	cfg.http.Now = a.now
	return open(cfg)
}

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(ctx context.Context, t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(ctx, connectortest.Batch(t, c, someEvent)))
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
