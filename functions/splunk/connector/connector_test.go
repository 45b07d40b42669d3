package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
)

func opened(t testing.TB, env map[string]string) *connector {
	t.Helper()
	if env["SPLUNK_HEC_URL"] == "" {
		env["SPLUNK_HEC_URL"] = "https://splunk.example:8088"
	}
	env["SPLUNK_HEC_TOKEN"] = testToken
	return connectortest.Read(t, env, Open).(*connector)
}

// TestPage: the platform's page shows these bytes for its sample event.
func TestPage(t *testing.T) {
	const want = `{"time":1741824000.123,"host":"platform.arbitex.ai","source":"arbitex-platform",` +
		`"sourcetype":"arbitex:audit","index":"arbitex","event":` + connectortest.SampleEvent + "}"
	got, truncated, err := opened(t, map[string]string{}).Append(nil,
		connectortest.Parse(t, connectortest.SampleEvent))
	if err != nil || truncated || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEnvelope(t *testing.T) {
	c := opened(t, map[string]string{"SPLUNK_HEC_INDEX": `in"dex`, "SPLUNK_HEC_SOURCE": "söurce",
		"SPLUNK_HEC_SOURCETYPE": "st", "SIEM_HOST": "h"})
	for in, want := range map[string]string{
		`{"time":0}`: `{"time":0.000,"host":"h","source":"söurce","sourcetype":"st","index":"in\"dex",` +
			`"event":{"time":0}}`,
		`{"time":5}`:                        `{"time":0.005,`,
		`{"time":1099}`:                     `{"time":1.099,`,
		`{"time":253402300799999}`:          `{"time":253402300799.999,`,
		" { \"time\" : 1 ,\n\"a\":\" b \"}": `"event":{"time":1,"a":" b "}}`,
	} {
		got, _, err := c.Append(nil, connectortest.Parse(t, in))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h:8088":                              "https://h:8088/services/collector/event",
		"https://h:8088/":                             "https://h:8088/services/collector/event",
		"https://h/services/collector":                "https://h/services/collector",
		"https://h/proxy/services/collector/event":    "https://h/proxy/services/collector/event",
		"https://h:8088/services/collector/event/1.0": "https://h:8088/services/collector/event/1.0",
		"https://h:8088?a=b":                          "https://h:8088/services/collector/event?a=b",
		"https://h/services/collector/event?a=b&c=d":  "https://h/services/collector/event?a=b&c=d",
	} {
		if got := opened(t, map[string]string{"SPLUNK_HEC_URL": in}).cfg.url.String(); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

func TestBadURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h:8088/services/collector/raw":           "not the raw endpoint",
		"https://h:8088/services/collector/raw/1.0?a=b":   "not the raw endpoint",
		"https://h:8088/services/collector?token=0123456": "without a token",
		"https://h:8088/services/collector#x":             "no fragment",
	} {
		s := connectortest.Settings(map[string]string{"SPLUNK_HEC_URL": in, "SPLUNK_HEC_TOKEN": "t"})
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123456") {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// TestRequestOnTheWire: what a HEC sees of a request.
func TestRequestOnTheWire(t *testing.T) {
	var heads []http.Header
	s := suite()
	s.Accept = func(w http.ResponseWriter, r *http.Request, _ []byte) {
		heads = append(heads, r.Header.Clone())
		_, _ = w.Write([]byte(`{"text":"Success","code":0}`))
	}
	srv := connectortest.Serve(t, s)
	c := srv.Open(t)
	connectortest.Deliver(t, c, connectortest.Event(1, "a"), connectortest.Event(2, "b"))
	connectortest.Deliver(t, c, connectortest.Event(3, "c"))
	if len(heads) != 2 {
		t.Fatalf("%d requests, want 2", len(heads))
	}
	h := heads[0]
	if h.Get("Authorization") != "Splunk "+testToken || h.Get("Content-Type") != "application/json" ||
		h.Get("Content-Encoding") != "gzip" {
		t.Errorf("header %v", h)
	}
	channel := h.Get("X-Splunk-Request-Channel")
	if parts := strings.Split(channel, "-"); len(channel) != 36 || len(parts) != 5 ||
		heads[1].Get("X-Splunk-Request-Channel") != channel {
		t.Errorf("channel %q, then %q: want one GUID", channel, heads[1].Get("X-Splunk-Request-Channel"))
	}
	if body := srv.Bodies()[0]; strings.Count(body, "\n") != 1 || strings.HasSuffix(body, "\n") {
		t.Errorf("body %q, want two objects with a line break between them", body)
	}
}

// TestLargeEventGoesAlone: an event that is larger than a request should be is sent by itself.
func TestLargeEventGoesAlone(t *testing.T) {
	srv := connectortest.Serve(t, suite())
	connectortest.Delivered(t, srv.Open(t), connectortest.Event(0, "a"),
		connectortest.Event(1, strings.Repeat("x", 1_040_000)), connectortest.Event(2, "b"))
	if n := srv.Requests(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"token is good":  {400, `{"text":"No data","code":5}`, ""},
		"unknown token":  {403, `{"text":"Invalid token","code":4}`, "does not know the token"},
		"disabled token": {403, `{"text":"Token disabled","code":1}`, "disabled"},
		"channel is lost": {400, `{"text":"Data channel is missing","code":10}`,
			"removes the X-Splunk-Request-Channel header"},
		"web port":         {404, `<html>`, "does not lead to a HEC"},
		"takes everything": {200, `{"text":"Success","code":0}`, "does not lead to a HEC event endpoint"},
		"health endpoint":  {200, `{"text":"HEC is healthy","code":17}`, "health endpoint"},
		"busy":             {503, `{"text":"Server is busy","code":9}`, "Server is busy"},
	} {
		s := suite()
		var length int64
		s.Accept = func(w http.ResponseWriter, r *http.Request, _ []byte) {
			length = r.ContentLength
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}
		err := connectortest.Serve(t, s).Open(t).(deliver.Checker).Check(context.Background())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if length != 0 {
			t.Errorf("%s: a body of %d bytes was sent", name, length)
		}
	}
}

// FuzzAppend: whatever the event, its record is one line of JSON with the event's own bytes in it.
func FuzzAppend(f *testing.F) {
	for _, e := range connectortest.Generated(1, 5) {
		f.Add([]byte(e))
	}
	f.Add([]byte(" {\"time\": 1, \"x\": \"\\u0000\\\"\"}\n"))
	c := opened(f, map[string]string{})
	f.Fuzz(func(t *testing.T, body []byte) {
		e := new(event.Event)
		if new(event.Parser).Parse(body, e) != nil {
			return
		}
		record, _, err := c.Append(nil, e)
		var envelope struct {
			Time  json.Number
			Event json.RawMessage
		}
		if err != nil || strings.ContainsAny(string(record), "\n\r") || json.Unmarshal(record, &envelope) != nil {
			t.Fatalf("%q: %q %v", body, record, err)
		}
		if string(envelope.Event) != string(e.AppendCompact(nil)) {
			t.Fatalf("%q: the event in the record is %q", body, envelope.Event)
		}
	})
}

func BenchmarkAppend(b *testing.B) { connectortest.BenchmarkAppend(b, opened(b, map[string]string{})) }

const testToken = "11111111-2222-3333-4444-secret-token"

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"SPLUNK_HEC_URL": url, "SPLUNK_HEC_TLS_CA_BUNDLE": ca, "SPLUNK_HEC_TOKEN": testToken}
		},
		Secrets:  []string{testToken},
		MaxBytes: 1_000_000,
		Wrong: map[string]string{
			"SPLUNK_HEC_URL": "splunk.example:8088", "SPLUNK_HEC_TOKEN": testToken + "\nb", "SPLUNK_HEC_INDEX": "a\nb",
			"SPLUNK_HEC_SOURCE": "a\rb", "SPLUNK_HEC_SOURCETYPE": "a\x00b", "SPLUNK_HEC_TLS_CA_BUNDLE": "/no/such/file",
			"SPLUNK_HEC_ACK": "maybe", "SPLUNK_HEC_ACK_TIMEOUT_SECONDS": "0", "SIEM_HOST": "a\nb", "SIEM_COMPRESSION": "zip",
			"SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
		},
		Accept: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			fmt.Fprint(w, `{"text":"Success","code":0}`)
		},
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			i := slices.IndexFunc(strings.Split(string(body), "\n"), func(line string) bool {
				return strings.Contains(line, bad)
			})
			if i < 0 {
				fmt.Fprint(w, `{"text":"Success","code":0}`)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"text":"Invalid data format","code":6,"invalid-event-number":%d}`, i)
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

// TestConformanceWithoutNumber plays a HEC, or a proxy, that does not say which event it refuses.
func TestConformanceWithoutNumber(t *testing.T) {
	s := suite()
	s.Refuse = func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
		if !strings.Contains(string(body), bad) {
			fmt.Fprint(w, `{"text":"Success","code":0}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"text":"Invalid data format","code":6}`)
	}
	connectortest.Run(t, s)
}
