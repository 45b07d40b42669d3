package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
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

// azure is both servers of the connector: the token endpoint and the ingestion endpoint.
type azure struct {
	*httptest.Server
	grant  http.HandlerFunc // of the token endpoint
	ingest http.HandlerFunc

	mu      sync.Mutex
	asked   int                      // token requests
	posted  []*connectortest.Request // ingestion requests
	forms   []string
	clock   time.Time
	expires int // seconds
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
		a.posted = append(a.posted, &connectortest.Request{Request: r, Text: string(body)})
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

func (a *azure) requests() []*connectortest.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.posted)
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
	cfg := connectortest.Read(t, env(append([]string{
		"SENTINEL_DCR_ENDPOINT", a.URL, "SENTINEL_AUTHORITY_HOST", a.URL, "SIEM_ALLOW_HTTP", "true", "SIEM_COMPRESSION",
		"none",
	}, pairs...)...), readConfig)
	cfg.http.Now = a.now
	return open(cfg)
}

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(ctx context.Context, t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(ctx, connectortest.Batch(t, c, someEvent)))
}

// page is the event of the platform's page, and pageRow its row there, up to the event, which the page leaves out.
var page = strings.Replace(connectortest.FullEvent, "1741824000123", "1773360000123", 1)

const pageRow = `{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":"req_xyz","UserId":"user_abc",` +
	`"UserEmail":"alice@example.com","Operation":"chat_completion","ModelId":"gpt-4o","PolicyAction":"allow",` +
	`"DlpLabels":"[]","TokensInput":512,"TokensOutput":256,"SeverityId":1,"RawOCSF":`

func TestPage(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	var m telemetry.Meter
	b := connectortest.Batch(t, c, page)
	b.Meter = &m
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := a.requests()[0]
	event, _ := json.Marshal(page)
	if want := "[" + pageRow + string(event) + "}]"; r.Text != want {
		t.Errorf("body\n%s\nwant\n%s", r.Text, want)
	}
	const want = "/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01"
	if r.RequestURI != want {
		t.Errorf("uri %s, want %s", r.RequestURI, want)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer "+accessToken(1) {
		t.Errorf("header %v", r.Header)
	}
	if m.Requests != 2 || m.Bytes != int64(len(r.Text)+len(a.forms[0])) {
		t.Errorf("meter %+v", m)
	}
}

func TestAppendColumns(t *testing.T) {
	for _, test := range []struct{ name, event, want string }{
		{
			"nothing but a time", `{"time":0}`,
			`{"TimeGenerated":"1970-01-01T00:00:00.000Z","EventId":null,"UserId":null,"UserEmail":null,"Operation":null,"ModelId":null,` +
				`"PolicyAction":null,"DlpLabels":"[]","TokensInput":null,"TokensOutput":null,"SeverityId":0,"RawOCSF":"{\"time\":0}"}`,
		},
		{
			"labels, escapes and white space",
			"{ \"time\": 1773360000123, " +
				"\"activity_name\":\"a\\\"b\",\"severity_id\":99,\n" +
				"\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0} }",
			`{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":null,"UserId":null,"UserEmail":null,"Operation":"a\"b","ModelId":null,` +
				`"PolicyAction":null,"DlpLabels":"[\"pii\",\"x\\\\y\"]","TokensInput":0,"TokensOutput":null,"SeverityId":99,` +
				`"RawOCSF":"{\"time\":1773360000123,\"activity_name\":\"a\\\"b\",\"severity_id\":99,\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0}}"}`,
		},
	} {
		record, truncated, err := (&connector{}).Append([]byte("before"), connectortest.Parse(t, test.event))
		if got := string(record); got != "before"+test.want || truncated || err != nil {
			t.Errorf("%s:\n%s\nwant\n%s (%v, %v)", test.name, got, test.want, truncated, err)
		}
	}
}

// sized makes an event of n compact bytes, with white space of w bytes more.
func sized(n, w int) string {
	const head, tail = `{"time":1773360000123,"class_uid":6003,"metadata":{"uid":"big"},"x":"`, `"}`
	return head + strings.Repeat("x", n-len(head)-len(tail)) + tail[:1] + strings.Repeat(" ", w) + tail[1:]
}

func TestRawIsTruncated(t *testing.T) {
	for _, test := range []struct {
		name      string
		event     string
		truncated bool
	}{
		{"at the limit", sized(64_000, 0), false},
		{"one over", sized(64_001, 0), true},
		{"at the limit without its white space", sized(64_000, 10), false},
		{"one over without its white space", sized(64_001, 10), true},
	} {
		record, truncated, err := (&connector{}).Append(nil, connectortest.Parse(t, test.event))
		var row struct{ RawOCSF, TimeGenerated string }
		if uerr := json.Unmarshal(record, &row); uerr != nil || err != nil || truncated != test.truncated {
			t.Errorf("%s: truncated %v, %v, %v", test.name, truncated, err, uerr)
			continue
		}
		if !test.truncated {
			var compact bytes.Buffer
			_ = json.Compact(&compact, []byte(test.event))
			if row.RawOCSF != compact.String() {
				t.Errorf("%s: RawOCSF is not the event", test.name)
			}
			continue
		}
		want := fmt.Sprintf(`{"truncated":true,"bytes":%d,"sha256":"`, len(test.event))
		if !strings.HasPrefix(row.RawOCSF, want) || !strings.HasSuffix(row.RawOCSF,
			`","class_uid":6003,"time":1773360000123,"metadata":{"uid":"big"}}`) {
			t.Errorf("%s: RawOCSF %s", test.name, row.RawOCSF)
		}
	}
}

func TestAppendRejectsALongID(t *testing.T) {
	_, _, err := (&connector{}).Append(nil, connectortest.Parse(t, `{"time":1,"metadata":{"uid":"`+strings.Repeat("u",
		maxRawBytes)+`"}}`))
	if err == nil || !strings.Contains(err.Error(), "metadata.uid") {
		t.Errorf("err = %v", err)
	}
}

// TestTokenRequestIsNotCompressed: Entra ID takes a plain form.
func TestTokenRequestIsNotCompressed(t *testing.T) {
	a := newAzure(t)
	if f := send(t.Context(), t, a.open(t, "SIEM_COMPRESSION", "gzip")); f != nil {
		t.Fatal(f)
	}
	if !strings.Contains(a.forms[0], "grant_type=client_credentials") {
		t.Errorf("%q", a.forms[0])
	}
}

// FuzzAppend: every valid event becomes a row that JSON can read, with the event's own bytes in RawOCSF.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte(`{"time":1,"unmapped":{"dlp_labels":["\"","\\","\u0041"]},"api":{"request":{"uid":"\ud800"}}}`))
	f.Add([]byte("{\"time\":1,\"x\":\"é\U0001F600|=\", \"y\" :[ ]}"))
	c := &connector{}
	f.Fuzz(func(t *testing.T, body []byte) {
		var e event.Event
		if new(event.Parser).Parse(body, &e) != nil {
			return
		}
		record, truncated, err := c.Append([]byte(nil), &e)
		if err != nil {
			return
		}
		var row map[string]any
		if err := json.Unmarshal(record, &row); err != nil || bytes.ContainsAny(record, "\n\r") || len(row) != 12 {
			t.Fatalf("%v: %s", err, record)
		}
		raw, _ := row["RawOCSF"].(string)
		if want := string(e.AppendCompact(nil)); !truncated && raw != want {
			t.Fatalf("RawOCSF\n%s\nis not\n%s", raw, want)
		}
		var labels []string
		if text, _ := row["DlpLabels"].(string); json.Unmarshal([]byte(text), &labels) != nil ||
			len(labels) != len(e.DLPLabels) {
			t.Fatalf("DlpLabels %v", row["DlpLabels"])
		}
	})
}

func BenchmarkAppend(b *testing.B) { connectortest.BenchmarkAppend(b, &connector{}) }

// TestCheck: an empty array, and a token of its own.
func TestCheck(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	for range 2 {
		if err := c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.requests(); len(r) != 2 || r[1].Text != "[]" || a.tokens() != 2 {
		t.Errorf("%d requests, body %q, %d tokens", len(r), r[1].Text, a.tokens())
	}
	if a.requests()[1].Header.Get("Authorization") != "Bearer "+accessToken(2) {
		t.Error("the check used the old token")
	}
}
