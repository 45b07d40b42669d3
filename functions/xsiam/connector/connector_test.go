package connector

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
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

var update = flag.Bool("update", false, "write the golden files")

// TestPage sends the page's sample event. The golden file is the page's sample with the event in raw_ocsf; the page
// shows "{...}" there.
func TestPage(t *testing.T) {
	s := newTenant(t)
	c := s.open(t)
	sample := strings.TrimSpace(readFile(t, "testdata/page.event.json"))
	var m telemetry.Meter
	b := connectortest.Batch(t, c, sample)
	b.Meter = &m
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := s.requests()[0]
	if *update {
		if err := os.WriteFile("testdata/page.golden", []byte(r.body+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := strings.TrimSpace(readFile(t, "testdata/page.golden")); r.body != want {
		t.Errorf("body\n%s\nwant\n%s", r.body, want)
	}
	var body struct {
		Events []struct {
			Raw string `json:"raw_ocsf"`
		} `json:"events"`
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil || body.Events[0].Raw != sample {
		t.Errorf("raw_ocsf is not the event's own bytes: %v", err)
	}
	if r.uri != "/logs/v1/event" || r.header.Get("Content-Type") != "application/json" ||
		r.header.Get("Content-Encoding") != "" {
		t.Errorf("uri %s, header %v", r.uri, r.header)
	}
	if m.Requests != 1 || m.Bytes != int64(len(r.body)) {
		t.Errorf("meter %+v", m)
	}
}

func TestAppendKeys(t *testing.T) {
	s := newSettings(env("XSIAM_DATASET", `a"b`, "XSIAM_LOG_TYPE", "log"))
	c := Open(s)
	for _, test := range []struct{ event, want string }{
		{
			`{"time":0}`,
			`{"_time":"1970-01-01T00:00:00.000Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b","log_type":"log",` +
				`"event_id":null,"user_id":null,"user_email":null,"operation":null,"model_id":null,"policy_action":null,"dlp_labels":[],` +
				`"tokens_input":null,"tokens_output":null,"severity":"unknown","raw_ocsf":"{\"time\":0}"}`,
		},
		{
			"{ \"time\": 1773360000123, " +
				"\"activity_name\":\"a\\\"b\",\"severity_id\":4,\n\"unmapped\":{\"dlp_labels\":[\"pii\", " +
				"\"x\\\\y\"],\"tokens_input\":0} }",
			`{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b","log_type":"log",` +
				`"event_id":null,"user_id":null,"user_email":null,"operation":"a\"b","model_id":null,"policy_action":null,"dlp_labels":["pii","x\\y"],` +
				`"tokens_input":0,"tokens_output":null,"severity":"high",` +
				`"raw_ocsf":"{\"time\":1773360000123,\"activity_name\":\"a\\\"b\",\"severity_id\":4,\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0}}"}`,
		},
	} {
		record, truncated, err := c.Append([]byte("before"), connectortest.Parse(t, test.event))
		if got := string(record); got != "before"+test.want || truncated || err != nil {
			t.Errorf("\n%s\nwant\n%s (%v, %v)", got, test.want, truncated, err)
		}
	}
}

func TestSeverity(t *testing.T) {
	for id, want := range map[int64]string{
		0: "unknown", 1: "informational", 2: "low", 3: "medium", 4: "high", 5: "critical", 6: "fatal", 7: "other",
		99: "other", -1: "other",
		1 << 62: "other",
	} {
		if got := severity(id); got != want {
			t.Errorf("severity_id %d: %q, want %q", id, got, want)
		}
	}
}

func TestBodies(t *testing.T) {
	s := newTenant(t)
	for _, test := range []struct {
		settings []string
		envelope bool
	}{
		{nil, true},
		{[]string{"XSIAM_AUTH", "token"}, false},
		{[]string{"XSIAM_AUTH", "standard"}, true},
		{[]string{"XSIAM_AUTH", "advanced"}, true},
		{[]string{"XSIAM_AUTH", "token", "XSIAM_BODY", "envelope"}, true},
		{[]string{"XSIAM_BODY", "ndjson"}, false},
	} {
		c := s.open(t, test.settings...)
		b := connectortest.Batch(t, c, someEvent, someEvent)
		record := string(b.Record(0))
		want := record + "\n" + record
		if test.envelope {
			want = `{"events":[` + record + "," + record + "]}"
		}
		if string(b.Body) != want {
			t.Errorf("%v: %s", test.settings, b.Body)
		}
	}
}

// fixed is a connector for the engine whose credential never changes.
type fixed struct{ c deliver.Connector }

func (f fixed) Current() deliver.Connector              { return f.c }
func (f fixed) Renew(context.Context) deliver.Connector { return f.c }

// sized makes an event of n bytes.
func sized(n int) *event.Event {
	const head, tail = `{"time":1773360000123,"x":"`, `"}`
	e := new(event.Event)
	if err := new(event.Parser).Parse([]byte(head+strings.Repeat("x", n-len(head)-len(tail))+tail), e); err != nil {
		panic(err)
	}
	return e
}

// TestRequestsKeepTheLimit fills requests to the byte.
func TestRequestsKeepTheLimit(t *testing.T) {
	for _, auth := range []string{"hmac", "token"} {
		s := newTenant(t)
		c := s.open(t, "XSIAM_AUTH", auth)
		record, _, _ := c.Append(nil, sized(1000))
		const half = maxRequestBytes / 2
		f := c.Format()
		rest := maxRequestBytes - len(f.Open) - len(f.Close) - len(f.Separator) - half // for the other one
		for _, test := range []struct{ more, requests int }{{0, 1}, {1, 2}} {
			before := len(s.requests())
			overhead := len(record) - 1000
			items := []deliver.Item{{Event: sized(half - overhead)}, {Event: sized(rest - overhead + test.more)}}
			outcomes := make([]deliver.Outcome, 2)
			deliver.Deliver(t.Context(), fixed{c}, items, outcomes)
			got := s.requests()[before:]
			if len(got) != test.requests || outcomes[0].State != deliver.Delivered || outcomes[1].State != deliver.Delivered {
				t.Errorf("%s, %d bytes more: %d requests, want %d; %+v", auth, test.more, len(got), test.requests, outcomes)
			}
			if test.requests == 1 && len(got[0].body) != 1_048_576 {
				t.Errorf("%s: the full request has %d bytes", auth, len(got[0].body))
			}
		}
	}
}

// TestLargeEventGoesAlone: the largest event there can be takes more than a request should have, and less than a record
// may.
func TestLargeEventGoesAlone(t *testing.T) {
	s := newTenant(t)
	c := s.open(t)
	quotes := `{"time":1,"x":"` + strings.Repeat(`\"`, (event.MaxBytes-17)/2) + `"}`
	items := []deliver.Item{{Event: sized(100)}, {Event: connectortest.Parse(t, quotes)}, {Event: sized(100)}}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(t.Context(), fixed{c}, items, outcomes)
	for i, o := range outcomes {
		if o.State != deliver.Delivered {
			t.Errorf("event %d: %+v", i, o)
		}
	}
	if r := s.requests(); len(r) != 3 || len(r[1].body) < 2*maxRequestBytes || len(r[1].body) > maxRecordBytes {
		t.Errorf("%d requests, the second of %d bytes", len(r), len(r[1].body))
	}
}

func TestSendCompressesWhenTold(t *testing.T) {
	s := newTenant(t)
	c := s.open(t, "SIEM_COMPRESSION", "gzip")
	b := connectortest.Batch(t, c, someEvent, someEvent)
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := s.requests()[0]
	z, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil || r.header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, header %v", err, r.header)
	}
	if body, _ := io.ReadAll(z); !bytes.Equal(body, b.Body) {
		t.Errorf("body %s", body)
	}
}

// FuzzAppend: every valid event becomes an object on one line, with the event's own bytes in raw_ocsf.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(readFile(f, "testdata/page.event.json")))
	f.Add([]byte(`{"time":1,"unmapped":{"dlp_labels":["\"","\\","\u0041"]},"api":{"request":{"uid":"\ud800"}}}`))
	f.Add([]byte("{\"time\":1,\"x\":\"é\U0001F600|=\", \"y\" :[ ]}"))
	c := Open(newSettings(env()))
	f.Fuzz(func(t *testing.T, body []byte) {
		var e event.Event
		if new(event.Parser).Parse(body, &e) != nil {
			return
		}
		record, _, err := c.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := json.Unmarshal(record, &object); err != nil || bytes.ContainsAny(record, "\n\r") || len(object) != 16 {
			t.Fatalf("%v: %s", err, record)
		}
		if raw, _ := object["raw_ocsf"].(string); raw != string(e.AppendCompact(nil)) {
			t.Fatalf("raw_ocsf %s", raw)
		}
		if labels, _ := object["dlp_labels"].([]any); len(labels) != len(e.DLPLabels) {
			t.Fatalf("dlp_labels %v", object["dlp_labels"])
		}
	})
}

func TestAppendDoesNotAllocate(t *testing.T) {
	c, e := Open(newSettings(env())), connectortest.Parse(t, strings.TrimSpace(readFile(t, "testdata/page.event.json")))
	dst, _, _ := c.Append(nil, e)
	dst, _, _ = c.Append(dst[:0], e)
	if n := testing.AllocsPerRun(100, func() { dst, _, _ = c.Append(dst[:0], e) }); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	c, e := Open(newSettings(env())), connectortest.Parse(b, strings.TrimSpace(readFile(b, "testdata/page.event.json")))
	dst := make([]byte, 0, 16<<10)
	b.SetBytes(int64(len(e.Body)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _, _ = c.Append(dst[:0], e)
	}
}

func TestCheckWritesNothingIfPossible(t *testing.T) {
	for _, test := range []struct {
		auth, body string
	}{{"hmac", `{"events":[]}`}, {"token", ""}} {
		s := newTenant(t)
		if err := s.open(t, "XSIAM_AUTH", test.auth).Check(t.Context()); err != nil {
			t.Error(err)
		}
		if r := s.requests(); len(r) != 1 || r[0].body != test.body {
			t.Errorf("%s: %d requests, the first with body %q, want %q", test.auth, len(r), r[0].body, test.body)
		}
	}
}

// TestCheckWritesOneRecordIfNeeded: an endpoint that takes no empty request.
func TestCheckWritesOneRecordIfNeeded(t *testing.T) {
	for _, refusal := range []int{400, 411, 422, 500} {
		s := newTenant(t)
		c := s.open(t, "XSIAM_AUTH", "token")
		s.answer = connectortest.Status(refusal, "")
		if f := failure.Of(c.Check(t.Context())); f == nil || f.Status != refusal {
			t.Errorf("%d to everything: %v", refusal, f)
		}
		r := s.requests()
		if len(r) != 2 || strings.Count(r[1].body, "raw_ocsf") != 1 || strings.Contains(r[1].body, "\n") {
			t.Errorf("%d: %d requests", refusal, len(r))
			continue
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(r[1].body), &record); err != nil || record["operation"] != "connection_check" ||
			record["severity"] != "informational" || record["_time"] != "2026-03-13T00:00:00.000Z" {
			t.Errorf("%d: the record is %s", refusal, r[1].body)
		}
	}
}

func TestConfigNamesEverythingMissing(t *testing.T) {
	s := newSettings(nil)
	Open(s) // survives it
	for _, name := range []string{"XSIAM_URL", "XSIAM_API_KEY", "XSIAM_API_KEY_ID"} {
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s is missing, and not named in %v", name, err)
		}
	}
	s = newSettings(map[string]string{"XSIAM_AUTH": "token"})
	Open(s)
	if err := s.Err(); err == nil || strings.Contains(err.Error(), "XSIAM_API_KEY_ID") {
		t.Errorf("a collector's token needs no ID: %v", err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]string{
		"XSIAM_URL":                    "http://api.example.com",
		"XSIAM_API_KEY":                apiKey + "\nb",
		"XSIAM_API_KEY_ID":             "abc",
		"XSIAM_AUTH":                   "basic",
		"XSIAM_BODY":                   "array",
		"XSIAM_LOG_TYPE":               "a\nb",
		"XSIAM_DATASET":                "a\nb",
		"SIEM_COMPRESSION":             "zstd",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "-1",
		"SIEM_ALLOW_HTTP":              "perhaps",
	} {
		s := newSettings(env(name, wrong))
		Open(s)
		err := s.Err()
		if err == nil || !strings.Contains(err.Error(), name+":") || strings.Count(err.Error(), "expected") != 1 {
			t.Errorf("%s=%q: %v", name, wrong, err)
		}
		if err != nil && strings.Contains(err.Error(), apiKey) {
			t.Errorf("the key shows in %v", err)
		}
	}
}

func TestConfigURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://api-x.xdr.au.paloaltonetworks.com":               "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/":              "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event": "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://proxy.example.com/cortex":                        "https://proxy.example.com/cortex",
	} {
		s := newSettings(env("XSIAM_URL", given))
		cfg := readConfig(s)
		if s.Err() != nil || cfg.url.String() != want || cfg.url.RequestURI() != strings.TrimPrefix(want, "https://"+
			cfg.url.Host) {
			t.Errorf("%s: %v, want %s (%v)", given, cfg.url, want, s.Err())
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg := readConfig(newSettings(env()))
	if cfg.auth != "hmac" || !cfg.envelope || cfg.http.Gzip || cfg.dataset != "arbitex_audit_raw" ||
		cfg.logType != "arbitex_audit" {
		t.Errorf("%+v", cfg)
	}
	cfg = readConfig(newSettings(env("XSIAM_AUTH", "TOKEN")))
	if cfg.auth != "token" || cfg.envelope {
		t.Errorf("%+v", cfg)
	}
}

func TestKeyComesFromTheSecret(t *testing.T) {
	e := env()
	delete(e, "XSIAM_API_KEY")
	s := settings.New(func(name string) string { return e[name] }, map[string]string{"XSIAM_API_KEY": apiKey})
	if cfg := readConfig(s); s.Err() != nil || cfg.key.Reveal() != apiKey {
		t.Errorf("key not taken: %v", s.Err())
	}
}
