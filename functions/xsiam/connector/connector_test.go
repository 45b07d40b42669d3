package connector

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
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

// tenant is the connector's server.
type tenant struct{ *connectortest.Recorder }

func newTenant(t testing.TB) tenant {
	return tenant{connectortest.Record(t, connectortest.Status(http.StatusAccepted, ""))}
}

// moment is the connector's clock in tests.
func moment() time.Time { return time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC) }

func (s tenant) open(t testing.TB, pairs ...string) *connector {
	t.Helper()
	pairs = append([]string{"XSIAM_URL", s.URL, "SIEM_ALLOW_HTTP", "true"}, pairs...)
	cfg := connectortest.Read(t, env(pairs...), readConfig)
	cfg.http.Now = moment
	return open(cfg)
}

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(t.Context(), connectortest.Batch(t, c, someEvent)))
}

// page is the event of the platform's page, and pageRecord its record there up to the event, which the page leaves out.
var page = strings.Replace(connectortest.FullEvent, "1741824000123", "1773360000123", 1)

const pageRecord = `{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform",` +
	`"_dataset":"arbitex_audit_raw","log_type":"arbitex_audit","event_id":"req_xyz","user_id":"user_abc",` +
	`"user_email":"alice@example.com","operation":"chat_completion","model_id":"gpt-4o","policy_action":"allow",` +
	`"dlp_labels":[],"tokens_input":512,"tokens_output":256,"severity":"informational","raw_ocsf":`

func TestPage(t *testing.T) {
	s := newTenant(t)
	c := s.open(t)
	var m telemetry.Meter
	b := connectortest.Batch(t, c, page)
	b.Meter = &m
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := s.Requests()[0]
	event, _ := json.Marshal(page)
	if want := `{"events":[` + pageRecord + string(event) + `}]}`; r.Text != want {
		t.Errorf("body\n%s\nwant\n%s", r.Text, want)
	}
	if r.RequestURI != "/logs/v1/event" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("Content-Encoding") != "" {
		t.Errorf("uri %s, header %v", r.RequestURI, r.Header)
	}
	if m.Requests != 1 || m.Bytes != int64(len(r.Text)) {
		t.Errorf("meter %+v", m)
	}
}

func TestAppendKeys(t *testing.T) {
	c := Open(connectortest.Settings(env("XSIAM_DATASET", `a"b`, "XSIAM_LOG_TYPE", "log")))
	for _, test := range []struct{ event, want string }{
		{
			`{"time":0}`,
			`{"_time":"1970-01-01T00:00:00.000Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b",` +
				`"log_type":"log","event_id":null,"user_id":null,"user_email":null,"operation":null,"model_id":null,` +
				`"policy_action":null,"dlp_labels":[],"tokens_input":null,"tokens_output":null,"severity":"unknown",` +
				`"raw_ocsf":"{\"time\":0}"}`,
		},
		{
			"{ \"time\": 1773360000123, " +
				"\"activity_name\":\"a\\\"b\",\"severity_id\":4,\n\"unmapped\":{\"dlp_labels\":[\"pii\", " +
				"\"x\\\\y\"],\"tokens_input\":0} }",
			`{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b",` +
				`"log_type":"log","event_id":null,"user_id":null,"user_email":null,"operation":"a\"b","model_id":null,` +
				`"policy_action":null,"dlp_labels":["pii","x\\y"],"tokens_input":0,"tokens_output":null,"severity":"high",` +
				`"raw_ocsf":"{\"time\":1773360000123,\"activity_name\":\"a\\\"b\",\"severity_id\":4,` +
				`\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0}}"}`,
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

// TestLargeEventGoesAlone: the largest event there can be takes more than a request should have, and less than a record
// may.
func TestLargeEventGoesAlone(t *testing.T) {
	s := newTenant(t)
	quotes := `{"time":1,"x":"` + strings.Repeat(`\"`, (event.MaxBytes-17)/2) + `"}`
	connectortest.Delivered(t, s.open(t), someEvent, quotes, someEvent)
	if r := s.Requests(); len(r) != 3 || len(r[1].Text) < 2*maxRequestBytes || len(r[1].Text) > maxRecordBytes {
		t.Errorf("%d requests, the second of %d bytes", len(r), len(r[1].Text))
	}
}

// FuzzAppend: every valid event becomes an object on one line, with the event's own bytes in raw_ocsf.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(page))
	f.Add([]byte(`{"time":1,"unmapped":{"dlp_labels":["\"","\\","\u0041"]},"api":{"request":{"uid":"\ud800"}}}`))
	f.Add([]byte("{\"time\":1,\"x\":\"é\U0001F600|=\", \"y\" :[ ]}"))
	c := Open(connectortest.Settings(env()))
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

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, Open(connectortest.Settings(env())))
}

func TestCheckWritesNothingIfPossible(t *testing.T) {
	for _, test := range []struct {
		auth, body string
	}{{"hmac", `{"events":[]}`}, {"token", ""}} {
		s := newTenant(t)
		if err := s.open(t, "XSIAM_AUTH", test.auth).Check(t.Context()); err != nil {
			t.Error(err)
		}
		if r := s.Requests(); len(r) != 1 || r[0].Text != test.body {
			t.Errorf("%s: %d requests, the first with body %q, want %q", test.auth, len(r), r[0].Text, test.body)
		}
	}
}

// TestCheckWritesOneRecordIfNeeded: an endpoint that takes no empty request.
func TestCheckWritesOneRecordIfNeeded(t *testing.T) {
	for _, refusal := range []int{400, 411, 422, 500} {
		s := newTenant(t)
		c := s.open(t, "XSIAM_AUTH", "token")
		s.Respond(connectortest.Status(refusal, ""))
		if f := failure.Of(c.Check(t.Context())); f == nil || f.Status != refusal {
			t.Errorf("%d to everything: %v", refusal, f)
		}
		r := s.Requests()
		if len(r) != 2 || strings.Count(r[1].Text, "raw_ocsf") != 1 || strings.Contains(r[1].Text, "\n") {
			t.Errorf("%d: %d requests", refusal, len(r))
			continue
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(r[1].Text), &record); err != nil || record["operation"] != "connection_check" ||
			record["severity"] != "informational" || record["_time"] != "2026-03-13T00:00:00.000Z" {
			t.Errorf("%d: the record is %s", refusal, r[1].Text)
		}
	}
}

func TestTokenNeedsNoKeyID(t *testing.T) {
	s := connectortest.Settings(map[string]string{"XSIAM_AUTH": "token"})
	Open(s)
	if err := s.Err(); err == nil || strings.Contains(err.Error(), "XSIAM_API_KEY_ID") {
		t.Errorf("%v", err)
	}
}

func TestConfigURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://api-x.xdr.au.paloaltonetworks.com":               "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/":              "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event": "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://proxy.example.com/cortex":                        "https://proxy.example.com/cortex",
	} {
		u := connectortest.Read(t, env("XSIAM_URL", given), readConfig).url
		if u.String() != want || u.RequestURI() != strings.TrimPrefix(want, "https://"+u.Host) {
			t.Errorf("%s: %v, want %s", given, u, want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg := connectortest.Read(t, env(), readConfig)
	if cfg.auth != "hmac" || !cfg.envelope || cfg.http.Gzip || cfg.dataset != "arbitex_audit_raw" ||
		cfg.logType != "arbitex_audit" {
		t.Errorf("%+v", cfg)
	}
	cfg = connectortest.Read(t, env("XSIAM_AUTH", "TOKEN"), readConfig)
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
