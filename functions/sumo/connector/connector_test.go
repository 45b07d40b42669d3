package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const (
	testCode = "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA/b+Kx=="
	testPath = sourcePath + "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA%2Fb+Kx=="
)

// source simulates an HTTP source of Sumo Logic. It records requests and sends the configured responses.
type source struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   [][]byte
	answer   http.HandlerFunc
}

func newSource(tb testing.TB, answer http.HandlerFunc) *source {
	tb.Helper()
	s := &source{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Errorf("reading a request: %v", err)
		}
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, body)
		s.mu.Unlock()
		s.answer(w, r)
	}))
	tb.Cleanup(s.Close)
	return s
}

func accept(http.ResponseWriter, *http.Request) {}

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

// connect opens a connector to the source at url, with more or other values.
func connect(tb testing.TB, url string, more map[string]string) *connector {
	tb.Helper()
	values := map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath, "SIEM_ALLOW_HTTP": "true",
		"SIEM_COMPRESSION": "none"}
	maps.Copy(values, more)
	s := settings.New(env(values), nil)
	c := Open(s).(*connector)
	if err := s.Err(); err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestPage(t *testing.T) {
	want, err := os.ReadFile("testdata/page.golden")
	if err != nil {
		t.Fatal(err)
	}
	s := newSource(t, accept)
	c := connect(t, s.URL, nil)
	outcomes := connectortest.Deliver(t, c,
		"{ \"class_uid\": 6003, \"time\": 1741824000123,\n\"actor\": { \"user\": { \"uid\": \"user_abc\" } } }\n",
		`{"class_uid":6003,"time":1741824000456,"actor":{"user":{"uid":"user_def"}}}`)
	for _, o := range outcomes {
		if o.State != deliver.Delivered || o.Truncated {
			t.Fatalf("outcome %+v", o)
		}
	}
	if got := append(s.bodies[0], '\n'); !bytes.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}
	r := s.requests[0]
	if r.Method != http.MethodPost || r.RequestURI != testPath {
		t.Errorf("%s %s", r.Method, r.RequestURI)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Sumo-Category": "arbitex/audit", "X-Sumo-Host": "platform.arbitex.ai",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestEveryEventArrivesAsItWas(t *testing.T) {
	s := newSource(t, accept)
	c := connect(t, s.URL, map[string]string{"SUMO_CATEGORY": "a b", "SUMO_HOST": "h"})
	g := ocsfgen.New(4)
	var events []string
	for range 100 {
		events = append(events, string(g.Next()))
	}
	for i, o := range connectortest.Deliver(t, c, events...) {
		if o.State != deliver.Delivered {
			t.Fatalf("event %d: %+v", i, o)
		}
	}
	if got := strings.Split(string(bytes.Join(s.bodies, []byte("\n"))), "\n"); strings.Join(got,
		"\n") != strings.Join(events, "\n") {
		t.Error("the lines are not the events")
	}
	if h := s.requests[0].Header; h.Get("X-Sumo-Category") != "a b" || h.Get("X-Sumo-Host") != "h" {
		t.Errorf("headers %v", h)
	}
}

// sized makes an event of exactly that many bytes.
func sized(size int) string {
	const before, after = `{"time":1,"pad":"`, `"}`
	return before + strings.Repeat("x", size-len(before)-len(after)) + after
}

func TestLimit(t *testing.T) {
	for _, test := range []struct {
		name     string
		sizes    []int
		requests []int // bytes
		rejected int   // of the events
	}{
		{"exactly, with the line break", []int{400_000, 599_999}, []int{1_000_000}, 0},
		{"one byte over", []int{400_000, 600_000}, []int{400_000, 600_000}, 0},
		{"exactly, alone", []int{1_000_000}, []int{1_000_000}, 0},
		{"one byte over, alone", []int{100, 1_000_001, 100}, []int{201}, 1},
		{"lines that Sumo Logic slices", []int{70_000, 70_000}, []int{140_001}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSource(t, accept)
			var events []string
			for _, size := range test.sizes {
				events = append(events, sized(size))
			}
			rejected := 0
			for _, o := range connectortest.Deliver(t, connect(t, s.URL, nil), events...) {
				if o.State == deliver.Rejected && strings.Contains(o.Fault.Error(), "at most 1000000") {
					rejected++
				} else if o.State != deliver.Delivered {
					t.Errorf("outcome %+v", o)
				}
			}
			var sizes []int
			for _, body := range s.bodies {
				sizes = append(sizes, len(body))
			}
			if rejected != test.rejected || !slices.Equal(sizes, test.requests) {
				t.Errorf("requests of %v bytes, %d rejected; want %v, %d", sizes, rejected, test.requests, test.rejected)
			}
		})
	}
}

// FuzzAppend: every event makes one line that is the event.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"time":1741824000123}`))
	f.Add([]byte("{ \"time\" : 1 ,\r\n\"a\":\"\\n\\u2028 b\" , \"l\":[ 1, {} ] }\n"))
	f.Add([]byte(`{"time":0,"metadata":{"uid":"\u0000"},"n":1.00e400}`))
	c := Open(settings.New(env(nil), nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		var p event.Parser
		e := new(event.Event)
		if p.Parse(body, e) != nil {
			return
		}
		record, truncated, err := c.Append([]byte("before\n"), e)
		line, ok := bytes.CutPrefix(record, []byte("before\n"))
		var want bytes.Buffer
		if json.Compact(&want, body) != nil || err != nil || truncated || !ok || !bytes.Equal(line, want.Bytes()) ||
			bytes.ContainsAny(line, "\r\n") {
			t.Errorf("%q makes %q, want %q; truncated %v, %v", body, record, want.Bytes(), truncated, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c := connect(b, "https://collectors.sumologic.com", nil)
	g := ocsfgen.New(1)
	events := make([]*event.Event, 100)
	for i := range events {
		events[i] = connectortest.Parse(b, string(g.Next()))
	}
	var dst []byte
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		dst, _, _ = c.Append(dst[:0], events[i%len(events)])
		i++
	}
}

func TestDefaults(t *testing.T) {
	s := settings.New(env(nil), map[string]string{"SUMO_HTTP_SOURCE_URL": " https://collectors.sumologic.com" + testPath +
		"\n"})
	cfg := readConfig(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if cfg.url.Host != "collectors.sumologic.com" || cfg.url.RequestURI() != testPath || cfg.category != "arbitex/audit" ||
		cfg.host != "platform.arbitex.ai" {
		t.Errorf("%q, category %q, host %q", cfg.url, cfg.category, cfg.host)
	}
	if !cfg.http.Gzip || cfg.http.Timeout != 10*time.Second || cfg.http.URLSetting != "SUMO_HTTP_SOURCE_URL" {
		t.Errorf("%+v", cfg.http)
	}
}

func TestEverySettingWrongInOneError(t *testing.T) {
	wrong := map[string]string{
		"SUMO_HTTP_SOURCE_URL": "ftp://collectors.sumologic.com" + testPath, "SUMO_CATEGORY": "a\nb", "SUMO_HOST": "a\rb",
		"SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
	}
	s := settings.New(env(wrong), nil)
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
}

// TestBadURL: problems do not quote an invalid URL, because it may be a credential.
func TestBadURL(t *testing.T) {
	for _, url := range []string{
		"http://collectors.sumologic.com" + testPath, "collectors.sumologic.com" + testPath,
		"https://u:p@collectors.sumologic.com" + testPath,
		"https://collectors.sumologic.com" + testPath + "?a=b", "https://collectors.sumologic.com:x" + testPath, "https://" +
			testCode + "\x7f",
	} {
		for _, from := range []string{"environment", "secret"} {
			values := map[string]string{"SUMO_HTTP_SOURCE_URL": url}
			s := settings.New(env(values), nil)
			if from == "secret" {
				s = settings.New(env(nil), values)
			}
			Open(s)
			err := s.Err()
			if err == nil || !strings.Contains(err.Error(), "SUMO_HTTP_SOURCE_URL: ") || strings.Contains(err.Error(),
				testCode[:10]) {
				t.Errorf("%s in the %s: %v", url, from, err)
			}
		}
	}
}

func TestURLWithoutCode(t *testing.T) {
	for path, good := range map[string]bool{
		"": false, "/": false, "/receiver": false, "/receiver/v1/": false, "/receiver/v1/http": false,
		"/receiver/v1/http/":     false,
		"/receiver/v1/http/code": true, "/receiver/v1/http/code/": true, "/somewhere/else": true,
	} {
		s := settings.New(env(map[string]string{"SUMO_HTTP_SOURCE_URL": "https://collectors.sumologic.com" + path}), nil)
		Open(s)
		if err := s.Err(); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath}
		},
		PlainHTTP:    true,
		EmptyAccepts: true,
		Secrets:      []string{testPath, testPath[len(sourcePath):]},
		Accept:       func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"id":"A1B2C-D3E4F","status":400,"code":"parameter.invalid","message":"no","errors":[]}`)
			}
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
