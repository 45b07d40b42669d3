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
)

const channel = "3f2a0c5e-9c35-4a68-8c38-0a1b2c3d4e5f"

type hec struct {
	*siemtest.Client
	t *testing.T
}

func newHEC(t *testing.T) hec { return hecOf(t, siem.Options{}) }

func hecOf(t *testing.T, o siem.Options) hec {
	t.Helper()
	s := siemtest.Start(t, splunk.New, o)
	return hec{siemtest.NewClient(t, s, "/services/collector/event", map[string]string{
		"Authorization": "Splunk " + s.Secret()["SPLUNK_HEC_TOKEN"], "Content-Type": "application/json",
		"X-Splunk-Request-Channel": channel}), t}
}

func client(t *testing.T) *siemtest.Client { return newHEC(t).Client }

type answer struct {
	Code   int  `json:"code"`
	Number *int `json:"invalid-event-number"`
	AckID  *int `json:"ackId"`
}

func (h hec) post(body string) (int, answer) {
	h.t.Helper()
	return h.do(http.MethodPost, h.Path, body)
}

func (h hec) do(method, path, body string) (int, answer) {
	h.t.Helper()
	status, text := h.Do(method, path, body)
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		h.t.Errorf("%s: %v", text, err)
	}
	return status, a
}

func envelope(event string) string {
	return `{"time":1741824000.123,"host":"h","source":"s","sourcetype":"t","index":"arbitex","event":` + event + `}`
}

func named(id string) string {
	return envelope(fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id))
}

func TestKeepsTheEvent(t *testing.T) {
	h := newHEC(t)
	if status, a := h.post(named("a") + "\n" + named("b")); status != 200 || a.Code != 0 || a.AckID == nil {
		t.Fatalf("answered %d %+v; %s", status, a, h.Stats().LastProblem)
	}
	got := h.Accepted()
	if len(got) != 2 || got[1].ID != "b" || got[1].Fields["index"] != "arbitex" ||
		string(got[1].Event) != `{"time":1741824000123,"metadata":{"uid":"b"}}` || len(h.Stats().Violations) > 0 {
		t.Errorf("accepted %+v, violations %q", got, h.Stats().Violations)
	}
}

func TestRefusesTheRequest(t *testing.T) {
	good := named("a")
	refuse := siemtest.Refuses(t, client)
	refuse("no token", siemtest.Header("Authorization", ""), good, 401, `"code":2`)
	refuse("another scheme", siemtest.Header("Authorization", "Bearer x"), good, 401, `"code":3`)
	refuse("another token", siemtest.Header("Authorization", "Splunk x"), good, 403, `"code":4`)
	refuse("a rotated token", siemtest.Rotate, good, 403, `"code":1}`)
	refuse("a token in the query", siemtest.Query("?token=x"), good, 400, `"code":16`)
	refuse("no channel", siemtest.Header("X-Splunk-Request-Channel", ""), good, 400, `"code":10`)
	refuse("a bad channel", siemtest.Header("X-Splunk-Request-Channel", "x"), good, 400, `"code":11`)
	refuse("no body", nil, "", 400, `"code":5`)
	refuse("white space", nil, " \n", 400, `"code":5`)
	refuse("too large", nil, named(strings.Repeat("y", 1_000_000)), 413,
		"Content-Length too large (maximum is 1000000)")
	refuse("not gzip", siemtest.Header("Content-Encoding", "gzip"), good, 415, `"code":6`)
	refuse("shutting down", siemtest.Product("23"), good, 503, `"code":23`)
	refuse("at capacity", siemtest.Product("26"), good, 429, `"code":26`)
	refuse("another path", siemtest.Path("/services/collector/raw"), good, 404, "")
	refuse("the login page", siemtest.Path("/en-US/account/login"), good, 404, "")
	refuse("get", siemtest.Method(http.MethodGet), "", 405, "")
}

func TestStopsAtTheFirstBadEvent(t *testing.T) {
	for _, test := range []struct {
		name, bad string
		code      int
	}{
		{"array", `[` + named("a") + `]`, 6},
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

func TestHealth(t *testing.T) {
	h := newHEC(t)
	for _, step := range []struct {
		name         string
		change       siemtest.Change
		status, code int
	}{
		{"healthy", siemtest.Query(""), 200, 17}, {"unhealthy", siemtest.Product("18"), 503, 18},
		{"another token", siemtest.Header("Authorization", "Splunk x"), 400, 21},
	} {
		step.change(h.Client)
		if status, a := h.do(http.MethodGet, "/services/collector/health/1.0", ""); status != step.status ||
			a.Code != step.code {
			t.Errorf("%s: %d %+v", step.name, status, a)
		}
		h.Inject(siem.Fault{Kind: siem.Heal})
	}
}

// TestViolations sends what HEC takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := named("a")
	replace := func(old, other string) string { return strings.Replace(good, old, other, 1) }
	siemtest.Violates(t, client, good, map[string]string{
		"no separator":        good + named("b"),
		"two separators":      good + "\n\n" + named("b"),
		"a line break at end": good + "\n",
		"key order":           replace(`"time":1741824000.123,"host":"h"`, `"host":"h","time":1741824000.123`),
		"a key too many":      replace(`"event"`, `"fields":{},"event"`),
		"a key twice":         replace(`"host":"h"`, `"host":"h","host":"h"`),
		"no index":            replace(`"index":"arbitex",`, ``),
		"empty host":          replace(`"host":"h"`, `"host":""`),
		"time as a string":    replace(`1741824000.123`, `"1741824000.123"`),
		"time cut":            replace(`1741824000.123`, `1741824000.12`),
		"another time":        replace(`1741824000.123`, `1741824000.124`),
		"event as a string":   envelope(`"text"`),
		"a line break inside": replace(`"uid":`, "\"uid\":\n"),
		"no utf-8":            replace(`"uid":"a"`, "\"uid\":\"\xff\""),
		"too many events":     strings.TrimSuffix(strings.Repeat(good+"\n", 101), "\n"),
	}, map[string]siemtest.Change{"content type": siemtest.Header("Content-Type", "text/plain")})
	// A time in microseconds is as in the wild.
	siemtest.Violates(t, client, envelope(`{"time":1741824000123456,"metadata":{"uid":"a"}}`), nil, nil)
}

// acks asks for acknowledgements on the channel of the headers.
func (h hec) acks(query string) (int, string) {
	h.t.Helper()
	status, text := h.Do(http.MethodPost, "/services/collector/ack", query)
	var reply struct{ Acks json.RawMessage }
	if json.Unmarshal([]byte(text), &reply) == nil && reply.Acks != nil {
		text = string(bytes.TrimSpace(reply.Acks))
	}
	return status, text
}

// TestAcks: ids start at 0 in each channel, are true once, and are lost with an idle channel.
func TestAcks(t *testing.T) {
	now := time.Now()
	h := hecOf(t, siem.Options{Now: func() time.Time { return now }})
	for want := range 3 {
		if _, a := h.post(named("e")); a.AckID == nil || *a.AckID != want {
			t.Fatalf("ackId %v, want %d", a.AckID, want)
		}
	}
	h.Headers["X-Splunk-Request-Channel"] = strings.Replace(channel, "3f", "4f", 1)
	if _, a := h.post(named("e")); *a.AckID != 0 {
		t.Errorf("the first ackId of another channel is %d", *a.AckID)
	}
	h.Headers["X-Splunk-Request-Channel"] = channel
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

func (h hec) want(query, want string) {
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
	delete(h.Headers, "X-Splunk-Request-Channel")
	if status, text := h.acks(`{"acks":[0]}`); status != 400 || !strings.Contains(text, `"code":10`) {
		t.Errorf("without a channel: %d %s", status, text)
	}
	h.Headers["Authorization"] = "Splunk x"
	if status, _ := h.acks(`{"acks":[0]}`); status != 403 {
		t.Errorf("with another token: %d", status)
	}
}
