package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const (
	testCode = "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA/b+Kx=="
	testPath = sourcePath + "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA%2Fb+Kx=="
)

func accept(http.ResponseWriter, *http.Request) {}

// connect opens a connector to the source at url, with more or other values.
func connect(tb testing.TB, url string, more map[string]string) *connector {
	tb.Helper()
	values := map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath, "SIEM_ALLOW_HTTP": "true",
		"SIEM_COMPRESSION": "none"}
	maps.Copy(values, more)
	return connectortest.Read(tb, values, Open).(*connector)
}

func TestPage(t *testing.T) {
	const want = `{"class_uid":6003,"time":1741824000123,"actor":{"user":{"uid":"user_abc"}}}` + "\n" +
		`{"class_uid":6003,"time":1741824000456,"actor":{"user":{"uid":"user_def"}}}`
	s := connectortest.Record(t, accept)
	connectortest.Delivered(t, connect(t, s.URL, nil),
		"{ \"class_uid\": 6003, \"time\": 1741824000123,\n\"actor\": { \"user\": { \"uid\": \"user_abc\" } } }\n",
		`{"class_uid":6003,"time":1741824000456,"actor":{"user":{"uid":"user_def"}}}`)
	r := s.Requests()[0]
	if r.Text != want {
		t.Errorf("sent\n%s\nwant\n%s", r.Text, want)
	}
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
	s := connectortest.Record(t, accept)
	c := connect(t, s.URL, map[string]string{"SUMO_CATEGORY": "a b", "SUMO_HOST": "h"})
	events := connectortest.Generated(4, 100)
	connectortest.Delivered(t, c, events...)
	var lines []string
	for _, r := range s.Requests() {
		lines = append(lines, r.Text)
	}
	if strings.Join(lines, "\n") != strings.Join(events, "\n") {
		t.Error("the lines are not the events")
	}
	if h := s.Requests()[0].Header; h.Get("X-Sumo-Category") != "a b" || h.Get("X-Sumo-Host") != "h" {
		t.Errorf("headers %v", h)
	}
}

// TestLargeEvents: the limit of a request is also that of an event. Sumo Logic slices lines over 64 KB.
func TestLargeEvents(t *testing.T) {
	sized := func(size int) string {
		const before, after = `{"time":1,"pad":"`, `"}`
		return before + strings.Repeat("x", size-len(before)-len(after)) + after
	}
	for _, test := range []struct {
		sizes, requests []int // bytes
		rejected        int
	}{
		{[]int{1_000_000}, []int{1_000_000}, 0},
		{[]int{100, 1_000_001, 100}, []int{201}, 1},
		{[]int{70_000, 70_000}, []int{140_001}, 0},
	} {
		s := connectortest.Record(t, accept)
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
		for _, r := range s.Requests() {
			sizes = append(sizes, len(r.Text))
		}
		if rejected != test.rejected || !slices.Equal(sizes, test.requests) {
			t.Errorf("events of %v bytes: requests of %v, %d rejected; want %v, %d", test.sizes, sizes, rejected,
				test.requests, test.rejected)
		}
	}
}

// FuzzAppend: every event makes one line that is the event.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(`{"time":1741824000123}`))
	f.Add([]byte("{ \"time\" : 1 ,\r\n\"a\":\"\\n\\u2028 b\" , \"l\":[ 1, {} ] }\n"))
	f.Add([]byte(`{"time":0,"metadata":{"uid":"\u0000"},"n":1.00e400}`))
	c := Open(connectortest.Settings(nil))
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
	connectortest.BenchmarkAppend(b, connect(b, "https://collectors.sumologic.com", nil))
}

func TestDefaults(t *testing.T) {
	s := settings.New(func(string) string { return "" },
		map[string]string{"SUMO_HTTP_SOURCE_URL": " https://collectors.sumologic.com" + testPath + "\n"})
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
			s := connectortest.Settings(values)
			if from == "secret" {
				s = settings.New(func(string) string { return "" }, values)
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
		s := connectortest.Settings(map[string]string{"SUMO_HTTP_SOURCE_URL": "https://collectors.sumologic.com" + path})
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
		MaxBytes:     1_000_000,
		Wrong: map[string]string{
			"SUMO_HTTP_SOURCE_URL": "ftp://collectors.sumologic.com" + testPath, "SUMO_CATEGORY": "a\nb",
			"SUMO_HOST": "a\rb", "SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
		},
		Accept: func(w http.ResponseWriter, r *http.Request, _ []byte) { accept(w, r) },
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"id":"A1B2C-D3E4F","status":400,"code":"parameter.invalid","message":"no","errors":[]}`)
			}
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }
