package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const testKey = "0123456789abcdef0123456789abcdef"

func accept(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write([]byte("{}"))
}

// configure reads the settings of a connector to the intake at url, with more or other values.
func configure(t testing.TB, url string, more map[string]string) config {
	t.Helper()
	values := map[string]string{
		"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url, "SIEM_ALLOW_HTTP": "true", "SIEM_COMPRESSION": "none",
	}
	maps.Copy(values, more)
	return connectortest.Read(t, values, readConfig)
}

// TestPage sends the sample event of the platform's page, with white space between its tokens.
func TestPage(t *testing.T) {
	var event bytes.Buffer
	if err := json.Indent(&event, []byte(connectortest.SampleEvent), "", "  "); err != nil {
		t.Fatal(err)
	}
	s := connectortest.Record(t, accept)
	c := open(configure(t, s.URL, map[string]string{"DATADOG_TAGS": "env:production"}))
	connectortest.Delivered(t, c, event.String())
	const want = `[{"ddsource":"arbitex-audit","ddtags":"env:production,service:arbitex",` +
		`"hostname":"platform.arbitex.ai","service":"arbitex","message":`
	message, _ := json.Marshal(connectortest.SampleEvent)
	r := s.Requests()[0]
	if r.Text != want+string(message)+"}]" {
		t.Errorf("sent\n%s\nwant\n%s%s}]", r.Text, want, message)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/api/v2/logs" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("DD-API-KEY") != testKey {
		t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
	}
}

// entry is a log entry as Datadog reads it.
type entry struct {
	Source    string `json:"ddsource"`
	Tags      string `json:"ddtags"`
	Host      string `json:"hostname"`
	Service   string `json:"service"`
	Message   string `json:"message"`
	Timestamp *int64 `json:"timestamp"`
}

func TestEveryEventArrivesAsItWas(t *testing.T) {
	s := connectortest.Record(t, accept)
	c := open(configure(t, s.URL, map[string]string{"SIEM_HOST": "h", "DATADOG_SERVICE": `s"1`, "DATADOG_SOURCE": "src"}))
	events := connectortest.Generated(4, 100)
	connectortest.Delivered(t, c, events...)
	var entries []entry
	if err := json.Unmarshal([]byte(s.Requests()[0].Text), &entries); err != nil || len(entries) != 100 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, got := range entries {
		want := entry{Source: "src", Tags: `service:s"1`, Host: "h", Service: `s"1`, Message: events[i]}
		if got != want {
			t.Errorf("entry %d is %+v, want %+v", i, got, want)
		}
	}
}

// sized makes an event whose entry has exactly that many bytes.
func sized(t *testing.T, c *connector, size int) *event.Event {
	t.Helper()
	with := func(pad int) *event.Event {
		return connectortest.Parse(t, `{"time":1741824000123,"class_uid":6003,"metadata":{"uid":"big"},"pad":"`+
			strings.Repeat("x", pad)+`"}`)
	}
	record, _, _ := c.Append(nil, with(0))
	return with(size - len(record))
}

func TestEntryLimit(t *testing.T) {
	c := open(configure(t, "http://127.0.0.1:1", map[string]string{"DATADOG_EVENT_TIME": "true"}))
	c.client = clientAt(c.cfg, time.UnixMilli(1741824000123))
	e := sized(t, c, maxEntryBytes)
	record, truncated, err := c.Append([]byte("before"), e)
	if err != nil || truncated || len(record)-len("before") != maxEntryBytes {
		t.Errorf("at the limit: %d bytes, truncated %v, %v", len(record), truncated, err)
	}
	e = sized(t, c, maxEntryBytes+1)
	record, truncated, err = c.Append([]byte("before"), e)
	var got entry
	if err != nil || !truncated || !bytes.HasPrefix(record, []byte("before")) || json.Unmarshal(record[len("before"):],
		&got) != nil {
		t.Fatalf("over the limit: %.200s, truncated %v, %v", record, truncated, err)
	}
	if want := string(e.AppendTruncated(nil)); got.Message != want || got.Timestamp == nil || got.Service != "arbitex" {
		t.Errorf("over the limit: %+v, want the message %s", got, want)
	}
}

// An id can be so long that even the truncated event does not fit.
func TestEntryThatCannotBeTruncated(t *testing.T) {
	s := connectortest.Record(t, accept)
	c := open(configure(t, s.URL, nil))
	o := connectortest.Deliver(t, c, `{"time":1741824000123,"metadata":{"uid":"`+strings.Repeat("x", maxEntryBytes)+`"}}`,
		`{"time":1}`)
	if o[0].State != deliver.Rejected || !strings.Contains(o[0].Fault.Error(), "at most 1000000") ||
		o[1].State != deliver.Delivered {
		t.Errorf("outcomes %+v", o)
	}
}

func TestEventTime(t *testing.T) {
	now := time.Date(2026, time.March, 13, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		setting string
		age     time.Duration
		told    bool
	}{
		{"", 0, false},
		{"false", 0, false},
		{"true", 0, true},
		{"true", -time.Minute, true},
		{"true", 17*time.Hour - time.Millisecond, true},
		{"true", 17 * time.Hour, false},
		{"true", 18 * time.Hour, false},
	} {
		c := open(configure(t, "http://127.0.0.1:1", map[string]string{"DATADOG_EVENT_TIME": test.setting}))
		c.client = clientAt(c.cfg, now)
		at := now.Add(-test.age).UnixMilli()
		record, _, err := c.Append(nil, connectortest.Parse(t, fmt.Sprintf(`{"time":%d}`, at)))
		var got entry
		if err != nil || json.Unmarshal(record, &got) != nil {
			t.Fatalf("%s, %v", record, err)
		}
		if told := got.Timestamp != nil && *got.Timestamp == at; told != test.told || got.Timestamp != nil && !told {
			t.Errorf("setting %q, age %v: %s", test.setting, test.age, record)
		}
		if test.told && !bytes.HasSuffix(record, fmt.Appendf(nil, `,"timestamp":%d}`, at)) {
			t.Errorf("the time is elsewhere: %s", record)
		}
	}
}

// FuzzAppend: every event makes an entry whose message is the event, whatever the settings hold.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"time":1741824000123}`), "arbitex", "env:production")
	f.Add([]byte("{ \"time\" : 1 ,\n\"a\":\"\\u2028\\ud83d\\ude00\\\"\\\\\" }"), "a\"b\\", ",a,,\u2028")
	f.Add([]byte(`{"time":0,"metadata":{"uid":"\u0000"},"n":1e400,"e":{},"l":[]}`), "", "")
	f.Fuzz(func(t *testing.T, body []byte, service, tags string) {
		var p event.Parser
		e := new(event.Event)
		if p.Parse(body, e) != nil || !utf8.ValidString(service) || !utf8.ValidString(tags) {
			return
		}
		c := open(config{service: service, tags: joinTags(tags, service), source: service, host: service})
		record, truncated, err := c.Append(nil, e)
		var got entry
		if err != nil || json.Unmarshal(record, &got) != nil || len(record) > maxEntryBytes && !truncated {
			t.Fatalf("%d bytes, truncated %v, %v: %.500q", len(record), truncated, err, record)
		}
		if want := string(e.AppendCompact(nil)); got.Message != want && !truncated {
			t.Errorf("the message is %q, want %q", got.Message, want)
		}
		if got.Service != service || got.Source != service || got.Host != service || !strings.HasSuffix(got.Tags, "service:"+
			service) {
			t.Errorf("%+v with the service %q", got, service)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, open(configure(b, "https://intake.example.com", nil)))
}

// clientAt is the client of cfg with a fixed clock.
func clientAt(cfg config, now time.Time) *httpsend.Client {
	cfg.http.Now = func() time.Time { return now }
	return httpsend.New(cfg.http)
}

func TestDefaults(t *testing.T) {
	cfg := connectortest.Read(t, map[string]string{"DATADOG_API_KEY": testKey}, readConfig)
	for _, check := range []struct{ what, got, want string }{
		{"intake", cfg.intake.String(), "https://http-intake.logs.datadoghq.com/api/v2/logs"},
		{"path", cfg.intake.RequestURI(), "/api/v2/logs"},
		{"validate", cfg.validate.String(), "https://api.datadoghq.com/api/v1/validate"},
		{"key", cfg.key.Reveal(), testKey},
		{"service", cfg.service, "arbitex"},
		{"source", cfg.source, "arbitex-audit"},
		{"tags", cfg.tags, "service:arbitex"},
		{"host", cfg.host, "platform.arbitex.ai"},
		{"setting", cfg.http.URLSetting, "DATADOG_SITE"},
	} {
		if check.got != check.want {
			t.Errorf("%s is %q, want %q", check.what, check.got, check.want)
		}
	}
	if cfg.eventTime || !cfg.http.Gzip || cfg.http.Timeout != 10*time.Second {
		t.Errorf("event time %v, gzip %v, timeout %v", cfg.eventTime, cfg.http.Gzip, cfg.http.Timeout)
	}
}

func TestSites(t *testing.T) {
	for _, site := range []string{
		"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com",
		"ap2.datadoghq.com", "uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
	} {
		cfg := connectortest.Read(t, map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_SITE": site}, readConfig)
		if cfg.intake.Host != "http-intake.logs."+site || cfg.validate.Host != "api."+site {
			t.Errorf("%s: %v and %v", site, cfg.intake, cfg.validate)
		}
	}
}

func TestIntakeURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://intake.example.com":              "https://intake.example.com/api/v2/logs",
		"https://intake.example.com/":             "https://intake.example.com/api/v2/logs",
		"https://proxy.example.com/datadog":       "https://proxy.example.com/datadog/api/v2/logs",
		"https://intake.example.com/api/v2/logs":  "https://intake.example.com/api/v2/logs",
		"https://proxy.example.com/x/api/v2/logs": "https://proxy.example.com/x/api/v2/logs",
	} {
		// The site is not used then.
		cfg := configure(t, url, map[string]string{"DATADOG_SITE": "dd.example.com"})
		if cfg.intake.String() != want || cfg.validate != nil || cfg.http.URLSetting != "DATADOG_INTAKE_URL" {
			t.Errorf("%s: %v, validate %v, setting %s", url, cfg.intake, cfg.validate, cfg.http.URLSetting)
		}
	}
}

func TestTags(t *testing.T) {
	for tags, want := range map[string]string{
		"":                                "service:arbitex",
		"env:production":                  "env:production,service:arbitex",
		"env:production,team:security":    "env:production,team:security,service:arbitex",
		" env:production , team:a b ,, ,": "env:production,team:a b,service:arbitex",
	} {
		if got := joinTags(tags, "arbitex"); got != want {
			t.Errorf("%q makes %q, want %q", tags, got, want)
		}
	}
}

func TestBadIntakeURL(t *testing.T) {
	for _, url := range []string{"http://intake.example.com", "intake.example.com", "https://u:p@intake.example.com",
		"https://intake.example.com?dd-api-key=" + testKey} {
		s := connectortest.Settings(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url})
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "DATADOG_INTAKE_URL: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return map[string]string{"DATADOG_INTAKE_URL": url, "DATADOG_API_KEY": testKey}
		},
		PlainHTTP:    true,
		EmptyAccepts: true,
		Secrets:      []string{testKey},
		MaxBytes:     5_000_000,
		Wrong: map[string]string{
			"DATADOG_SITE": "datadoghq.org", "DATADOG_SERVICE": "a,b", "DATADOG_EVENT_TIME": "maybe",
			"DATADOG_SOURCE": "a\nb", "DATADOG_TAGS": "a\tb", "SIEM_HOST": "a\x00b", "SIEM_COMPRESSION": "zip",
			"SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
		},
		Accept: func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if !strings.Contains(string(body), bad) {
				accept(w, r)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid payload"}]}`)
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }
