package splunk_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/splunk"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

type hec struct {
	*splunk.Simulator
	t       *testing.T
	client  *http.Client
	headers map[string]string
	query   string
}

func newHEC(t *testing.T) *hec {
	t.Helper()
	s := siemtest.Start(t, splunk.New, siem.Options{})
	return &hec{
		Simulator: s, t: t,
		client: siemtest.Client(s),
		headers: map[string]string{
			"Authorization": "Splunk " + s.Secret()["SPLUNK_HEC_TOKEN"], "Content-Type": "application/json",
			"X-Splunk-Request-Channel": "3f2a0c5e-9c35-4a68-8c38-0a1b2c3d4e5f",
		},
	}
}

type answer struct {
	Code   int  `json:"code"`
	Number *int `json:"invalid-event-number"`
	AckID  *int `json:"ackId"`
}

func (h *hec) do(method, url, body string) (int, answer) {
	h.t.Helper()
	status, text := siemtest.Do(h.t, h.client, method, url+h.query, body, h.headers)
	a := answer{Code: -1}
	_ = json.Unmarshal([]byte(text), &a) // a 413 is a page
	return status, a
}

func (h *hec) post(body string) (int, answer) {
	h.t.Helper()
	return h.do(http.MethodPost, h.Settings()["SPLUNK_HEC_URL"], body)
}

func envelope(event string) string {
	return `{"time":1741824000.123,"host":"h","source":"s","sourcetype":"t","index":"arbitex","event":` + event + `}`
}

const event = `{"time":1741824000123,"metadata":{"uid":"e-1"}}`

func named(id string) string {
	return envelope(fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id))
}

func TestTakesTheWireFormat(t *testing.T) {
	h := newHEC(t)
	g := ocsfgen.New(1)
	var bodies, events []string
	for range 50 {
		raw := g.Next()
		var e struct{ Time int64 }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, string(raw))
		bodies = append(bodies, strings.Replace(envelope(string(raw)), "1741824000.123", fmt.Sprintf("%d.%03d", e.Time/1000,
			e.Time%1000), 1))
	}
	status, a := h.post(strings.Join(bodies, "\n"))
	if status != 200 || a.Code != 0 || a.AckID == nil {
		t.Fatalf("answered %d %+v; %s", status, a, h.Stats().LastProblem)
	}
	for i, accepted := range h.Accepted() {
		if string(accepted.Event) != events[i] || accepted.Fields["index"] != "arbitex" || !strings.Contains(events[i],
			accepted.ID) {
			t.Errorf("event %d was kept as %+v", i, accepted)
		}
	}
	if s := h.Stats(); s.Accepted != 50 || len(s.Violations) > 0 {
		t.Errorf("accepted %d, violations %q", s.Accepted, s.Violations)
	}
}

func TestRefusesTheRequest(t *testing.T) {
	big := envelope(`{"time":1741824000123,"x":"` + strings.Repeat("y", 1_000_000) + `"}`)
	for _, test := range []struct {
		name         string
		spoil        func(h *hec)
		body         string
		status, code int
	}{
		{"no token", func(h *hec) { delete(h.headers, "Authorization") }, envelope(event), 401, 2},
		{"another scheme", func(h *hec) { h.headers["Authorization"] = "Bearer x" }, envelope(event), 401, 3},
		{"another token", func(h *hec) { h.headers["Authorization"] = "Splunk x" }, envelope(event), 403, 4},
		{"a rotated token", func(h *hec) { h.Rotate() }, envelope(event), 403, 1},
		{"a token in the query", func(h *hec) { h.query = "?token=x" }, envelope(event), 400, 16},
		{"no channel", func(h *hec) { delete(h.headers, "X-Splunk-Request-Channel") }, envelope(event), 400, 10},
		{"a bad channel", func(h *hec) { h.headers["X-Splunk-Request-Channel"] = "x" }, envelope(event), 400, 11},
		{"no body", nil, "", 400, 5},
		{"white space", nil, " \n", 400, 5},
		{"too large", nil, big, 413, -1},
		{"not gzip", func(h *hec) { h.headers["Content-Encoding"] = "gzip" }, envelope(event), 415, 6},
		{"shutting down", func(h *hec) { h.Inject(siem.Fault{Kind: siem.Product, Code: "23"}) }, envelope(event), 503, 23},
		{"at capacity", func(h *hec) { h.Inject(siem.Fault{Kind: siem.Product, Code: "26"}) }, envelope(event), 429, 26},
	} {
		h := newHEC(t)
		if test.spoil != nil {
			test.spoil(h)
		}
		status, a := h.post(test.body)
		if status != test.status || a.Code != test.code || len(h.Accepted()) != 0 {
			t.Errorf("%s: %d code %d, accepted %d; want %d code %d", test.name, status, a.Code, len(h.Accepted()), test.status,
				test.code)
		}
	}
}

func TestStopsAtTheFirstBadEvent(t *testing.T) {
	for _, test := range []struct {
		name, bad string
		code      int
	}{
		{"array", `[` + envelope(event) + `]`, 6},
		{"half an object", `{"event":`, 6},
		{"no event", `{"time":1741824000.123}`, 12},
		{"null event", envelope(`null`), 12},
		{"blank event", envelope(`""`), 13},
		{"nested fields", strings.Replace(named("x"), `"event"`, `"fields":{"a":{"b":1}},"event"`, 1), 15},
		{"other index", strings.Replace(named("x"), "arbitex", "secret", 1), 7},
		{"time in words", strings.Replace(named("x"), "1741824000.123", `"now"`, 1), 6},
		{"poisoned", named("poison"), 6},
	} {
		h := newHEC(t)
		h.Inject(siem.PoisonEvent("poison"))
		status, a := h.post(named("a") + "\n" + named("b") + "\n" + test.bad + "\n" + named("c"))
		if status != 400 || a.Code != test.code || a.Number == nil || *a.Number != 2 {
			t.Errorf("%s: %d %+v, want code %d at 2", test.name, status, a, test.code)
		}
		if got := h.Accepted(); len(got) != 2 || got[1].ID != "b" {
			t.Errorf("%s: accepted %+v, want a and b", test.name, got)
		}
	}
}

func TestCodesOnDemand(t *testing.T) {
	h := newHEC(t)
	h.Inject(siem.Fault{Kind: siem.Product, Code: "24", Times: 1})
	h.Inject(siem.Fault{Kind: siem.Product, Code: "25", Times: 1})
	h.Inject(siem.Fault{Kind: siem.Product, Code: "9", Times: 1})
	body := strings.Join([]string{named("a"), named("b"), named("c"), named("d")}, "\n")
	status, a := h.post(body) // busy comes first: it is met while parsing
	if status != 503 || a.Code != 9 || a.Number == nil || *a.Number != 2 || len(h.Accepted()) != 2 {
		t.Errorf("busy: %d %+v, accepted %d", status, a, len(h.Accepted()))
	}
	for _, want := range []int{24, 25, 0} {
		if status, a := h.post(named("x")); status != 200 || a.Code != want {
			t.Errorf("%d code %d, want 200 code %d", status, a.Code, want)
		}
	}
}

func TestRotateMakesANewToken(t *testing.T) {
	h := newHEC(t)
	h.Rotate()
	h.headers["Authorization"] = "Splunk " + h.Secret()["SPLUNK_HEC_TOKEN"]
	if status, a := h.post(named("a")); status != 200 || a.Code != 0 {
		t.Errorf("%d %+v", status, a)
	}
}

func TestOtherPaths(t *testing.T) {
	h := newHEC(t)
	health := h.URL() + "/services/collector/health/1.0"
	if status, a := h.do(http.MethodGet, health, ""); status != 200 || a.Code != 17 {
		t.Errorf("health: %d %+v", status, a)
	}
	h.Inject(siem.Fault{Kind: siem.Product, Code: "18", Times: 1})
	if status, a := h.do(http.MethodGet, health, ""); status != 503 || a.Code != 18 {
		t.Errorf("unhealthy: %d %+v", status, a)
	}
	h.headers["Authorization"] = "Splunk x"
	if status, a := h.do(http.MethodGet, health, ""); status != 400 || a.Code != 21 {
		t.Errorf("health with a bad token: %d %+v", status, a)
	}
	for _, path := range []string{"/", "/services/collector/raw", "/en-US/account/login"} {
		if status, _ := h.do(http.MethodPost, h.URL()+path, "x"); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := h.do(http.MethodGet, h.Settings()["SPLUNK_HEC_URL"], ""); status != 405 {
		t.Errorf("get: %d", status)
	}
}

// TestTimeInMicroseconds: such a time is what it is in the wild.
func TestTimeInMicroseconds(t *testing.T) {
	h := newHEC(t)
	status, _ := h.post(envelope(`{"time":1741824000123456,"metadata":{"uid":"a"}}`))
	if s := h.Stats(); status != 200 || s.Accepted != 1 || len(s.Violations) != 0 {
		t.Errorf("%d, violations %q", status, s.Violations)
	}
}

// TestViolations sends what HEC takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := named("a")
	for name, body := range map[string]string{
		"no separator":        good + named("b"),
		"two separators":      good + "\n\n" + named("b"),
		"a line break at end": good + "\n",
		"key order": strings.Replace(good, `"time":1741824000.123,"host":"h"`, `"host":"h","time":1741824000.123`,
			1),
		"a key too many":      strings.Replace(good, `"event"`, `"fields":{},"event"`, 1),
		"a key twice":         strings.Replace(good, `"host":"h"`, `"host":"h","host":"h"`, 1),
		"no index":            strings.Replace(good, `"index":"arbitex",`, ``, 1),
		"empty host":          strings.Replace(good, `"host":"h"`, `"host":""`, 1),
		"time as a string":    strings.Replace(good, `1741824000.123`, `"1741824000.123"`, 1),
		"time cut":            strings.Replace(good, `1741824000.123`, `1741824000.12`, 1),
		"another time":        strings.Replace(good, `1741824000.123`, `1741824000.124`, 1),
		"event as a string":   envelope(`"text"`),
		"a line break inside": strings.Replace(good, `"uid":`, "\"uid\":\n", 1),
		"no utf-8":            strings.Replace(good, `"uid":"a"`, "\"uid\":\"\xff\"", 1),
		"too many events":     strings.TrimSuffix(strings.Repeat(good+"\n", 101), "\n"),
	} {
		h := newHEC(t)
		status, _ := h.post(body)
		if s := h.Stats(); status != 200 || len(s.Violations) == 0 {
			t.Errorf("%s: %d, violations %q", name, status, s.Violations)
		}
	}
	h := newHEC(t)
	h.headers["Content-Type"] = "text/plain"
	if h.post(good); len(h.Stats().Violations) != 1 {
		t.Errorf("content type: %q", h.Stats().Violations)
	}
}

// acks asks for acknowledgements on the channel of the headers.
func (h *hec) acks(query string) (int, string) {
	h.t.Helper()
	status, text := siemtest.Do(h.t, h.client, http.MethodPost, h.URL()+"/services/collector/ack", query, h.headers)
	var reply struct{ Acks json.RawMessage }
	if json.Unmarshal([]byte(text), &reply) == nil && reply.Acks != nil {
		text = string(bytes.TrimSpace(reply.Acks))
	}
	return status, text
}

// TestAcks: ids start at 0 in each channel, are true once, and are lost with an idle channel.
func TestAcks(t *testing.T) {
	now := time.Now()
	s := siemtest.Start(t, splunk.New, siem.Options{Now: func() time.Time { return now }})
	h := newHEC(t)
	h.Simulator = s
	h.client = siemtest.Client(s)
	h.headers["Authorization"] = "Splunk " + s.Secret()["SPLUNK_HEC_TOKEN"]
	first := h.headers["X-Splunk-Request-Channel"]
	for want := range 3 {
		if _, a := h.post(named("e")); a.AckID == nil || *a.AckID != want {
			t.Fatalf("ackId %v, want %d", a.AckID, want)
		}
	}
	h.headers["X-Splunk-Request-Channel"] = strings.Replace(first, "3f", "4f", 1)
	if _, a := h.post(named("e")); *a.AckID != 0 {
		t.Errorf("the first ackId of another channel is %d", *a.AckID)
	}
	h.headers["X-Splunk-Request-Channel"] = first
	h.want(`{"acks":[0,2,9]}`, `{"0":true,"2":true,"9":false}`)
	h.want(`{"acks":[0,1]}`, `{"0":false,"1":true}`)
	h.post(named("e"))
	now = now.Add(11 * time.Minute)
	h.want(`{"acks":[3]}`, `{"3":false}`)
	h.Inject(siem.Fault{Kind: siem.Product, Code: "ack never", Times: 1})
	h.post(named("e"))
	h.want(`{"acks":[0]}`, `{"0":false}`)
	h.post(named("e"))
	h.Inject(siem.Fault{Kind: siem.Product, Code: "ack lost", Times: 1})
	h.want(`{"acks":[1]}`, `{"1":false}`)
}

func (h *hec) want(query, want string) {
	h.t.Helper()
	if status, got := h.acks(query); status != 200 || got != want {
		h.t.Errorf("%s: %d %s, want %s", query, status, got, want)
	}
}

func TestAckRefuses(t *testing.T) {
	h := newHEC(t)
	if status, text := h.acks(`{}`); status != 400 || !strings.Contains(text, `"code":6`) {
		t.Errorf("without acks: %d %s", status, text)
	}
	delete(h.headers, "X-Splunk-Request-Channel")
	if status, text := h.acks(`{"acks":[0]}`); status != 400 || !strings.Contains(text, `"code":10`) {
		t.Errorf("without a channel: %d %s", status, text)
	}
	h.headers["Authorization"] = "Splunk x"
	if status, _ := h.acks(`{"acks":[0]}`); status != 403 {
		t.Errorf("with another token: %d", status)
	}
}
