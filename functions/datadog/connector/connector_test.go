package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const testKey = "0123456789abcdef0123456789abcdef"

// intake simulates Datadog's intake. It records requests and sends the configured responses.
type intake struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   [][]byte
	answer   http.HandlerFunc
}

func newIntake(t testing.TB, answer http.HandlerFunc) *intake {
	t.Helper()
	s := &intake{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, body)
		s.mu.Unlock()
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func accept(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write([]byte("{}"))
}

func answer(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func env(values map[string]string) settings.Lookup {
	return func(name string) string { return values[name] }
}

// configure reads the settings of a connector to the intake at url, with more or other values.
func configure(t testing.TB, url string, more map[string]string) config {
	t.Helper()
	values := map[string]string{
		"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url, "SIEM_ALLOW_HTTP": "true", "SIEM_COMPRESSION": "none",
	}
	maps.Copy(values, more)
	s := settings.New(env(values), nil)
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func parse(t testing.TB, body []byte) *event.Event {
	t.Helper()
	var p event.Parser
	e := new(event.Event)
	if err := p.Parse(body, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// source is a deliver.Source whose connector stays the same.
type source struct{ deliver.Connector }

func (s source) Current() deliver.Connector              { return s.Connector }
func (s source) Renew(context.Context) deliver.Connector { return s.Connector }

func send(t *testing.T, c deliver.Connector, events ...*event.Event) []deliver.Outcome {
	t.Helper()
	items := make([]deliver.Item, len(events))
	for i, e := range events {
		items[i].Event = e
	}
	outcomes := make([]deliver.Outcome, len(events))
	deliver.Deliver(t.Context(), source{c}, items, outcomes)
	return outcomes
}

func TestPage(t *testing.T) {
	body, err := os.ReadFile("testdata/page.event.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/page.golden")
	if err != nil {
		t.Fatal(err)
	}
	s := newIntake(t, accept)
	c := open(configure(t, s.URL, map[string]string{"DATADOG_TAGS": "env:production"}))
	if o := send(t, c, parse(t, body)); o[0].State != deliver.Delivered || o[0].Truncated {
		t.Fatalf("outcome %+v", o[0])
	}
	if got := append(s.bodies[0], '\n'); !bytes.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}
	r := s.requests[0]
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
	s := newIntake(t, accept)
	c := open(configure(t, s.URL, map[string]string{"SIEM_HOST": "h", "DATADOG_SERVICE": `s"1`, "DATADOG_SOURCE": "src"}))
	g := ocsfgen.New(4)
	var events []*event.Event
	for range 100 {
		events = append(events, parse(t, g.Next()))
	}
	for i, o := range send(t, c, events...) {
		if o.State != deliver.Delivered || o.Truncated {
			t.Fatalf("event %d: %+v", i, o)
		}
	}
	var entries []entry
	if err := json.Unmarshal(s.bodies[0], &entries); err != nil || len(entries) != 100 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, got := range entries {
		want := entry{Source: "src", Tags: `service:s"1`, Host: "h", Service: `s"1`, Message: string(events[i].Body)}
		if got != want {
			t.Errorf("entry %d is %+v, want %+v", i, got, want)
		}
	}
}

// sized makes an event whose entry has exactly that many bytes.
func sized(t *testing.T, c *connector, size int) *event.Event {
	t.Helper()
	with := func(pad int) *event.Event {
		return parse(t, []byte(`{"time":1741824000123,"class_uid":6003,"metadata":{"uid":"big"},"pad":"`+strings.Repeat("x",
			pad)+`"}`))
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
	s := newIntake(t, accept)
	c := open(configure(t, s.URL, nil))
	long := parse(t, []byte(`{"time":1741824000123,"metadata":{"uid":"`+strings.Repeat("x", maxEntryBytes)+`"}}`))
	o := send(t, c, long, parse(t, []byte(`{"time":1}`)))
	if o[0].State != deliver.Rejected || !strings.Contains(o[0].Fault.Error(), "at most 1000000") ||
		o[1].State != deliver.Delivered {
		t.Errorf("outcomes %+v", o)
	}
}

func TestRequestLimits(t *testing.T) {
	for _, test := range []struct {
		name          string
		sizes         []int
		first, second int // entries in the requests
	}{
		{"exactly the bytes", []int{1e6, 1e6, 1e6, 1e6, 1e6 - 6}, 5, 0},
		{"one byte over", []int{1e6, 1e6, 1e6, 1e6, 1e6 - 5}, 4, 1},
		{"exactly the entries", make([]int, 100), 100, 0},
		{"one entry over", make([]int, 101), 100, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newIntake(t, accept)
			c := open(configure(t, s.URL, nil))
			small := parse(t, []byte(`{"time":1}`))
			events := make([]*event.Event, len(test.sizes))
			for i, size := range test.sizes {
				if events[i] = small; size > 0 {
					events[i] = sized(t, c, size)
				}
			}
			send(t, c, events...)
			counts := [2]int{}
			for i, body := range s.bodies {
				var entries []json.RawMessage
				if err := json.Unmarshal(body, &entries); err != nil || len(body) > maxRequestBytes {
					t.Fatalf("request %d: %d bytes, %v", i, len(body), err)
				}
				counts[i] = len(entries)
			}
			if counts != [2]int{test.first, test.second} {
				t.Errorf("requests of %v entries, want %d and %d", counts, test.first, test.second)
			}
		})
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
		record, _, err := c.Append(nil, parse(t, fmt.Appendf(nil, `{"time":%d}`, at)))
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
	s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey}), nil)
	c := Open(s)
	g := ocsfgen.New(1)
	events := make([]*event.Event, 100)
	for i := range events {
		events[i] = parse(b, g.Next())
	}
	var dst []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		dst, _, _ = c.Append(dst[:0], events[i%len(events)])
		i++
	}
}

// clientAt is the client of cfg with a fixed clock.
func clientAt(cfg config, now time.Time) *httpsend.Client {
	cfg.http.Now = func() time.Time { return now }
	return httpsend.New(cfg.http)
}

func TestDefaults(t *testing.T) {
	s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey}), nil)
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
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
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_SITE": site}), nil)
		cfg := readConfig(s)
		if err := s.Err(); err != nil || cfg.intake.Host != "http-intake.logs."+site || cfg.validate.Host != "api."+site {
			t.Errorf("%s: %v and %v, %v", site, cfg.intake, cfg.validate, err)
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
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url,
			"DATADOG_SITE": "dd.example.com"}), nil)
		cfg := readConfig(s)
		if err := s.Err(); err != nil || cfg.intake.String() != want || cfg.validate != nil ||
			cfg.http.URLSetting != "DATADOG_INTAKE_URL" {
			t.Errorf("%s: %v, %v, validate %v, setting %s", url, cfg.intake, err, cfg.validate, cfg.http.URLSetting)
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

func TestEverySettingWrongInOneError(t *testing.T) {
	wrong := map[string]string{
		"DATADOG_SITE": "datadoghq.org", "DATADOG_SERVICE": "a,b", "DATADOG_EVENT_TIME": "maybe", "DATADOG_SOURCE": "a\nb",
		"DATADOG_TAGS": "a\tb", "SIEM_HOST": "a\x00b", "SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"SIEM_ALLOW_HTTP": "si",
	}
	s := settings.New(env(wrong), map[string]string{})
	Open(s) // must survive it all
	err := s.Err()
	if err == nil {
		t.Fatal("no error")
	}
	for name := range wrong {
		if strings.Count(err.Error(), name+": ") != 1 {
			t.Errorf("%s is not named once in %v", name, err)
		}
	}
	for _, want := range []string{"DATADOG_API_KEY: expected the API key", `found "datadoghq.org"`, "uk1.datadoghq.com"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

func TestBadIntakeURL(t *testing.T) {
	for _, url := range []string{"http://intake.example.com", "intake.example.com", "https://u:p@intake.example.com",
		"https://intake.example.com?dd-api-key=" + testKey} {
		s := settings.New(env(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url}), nil)
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
		Accept:       func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
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

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
