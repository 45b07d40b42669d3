package datadog_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/functions/datadog/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var now = time.Date(2026, time.March, 13, 12, 0, 0, 0, time.UTC)

type intake struct {
	*datadog.Simulator
	t       *testing.T
	client  *http.Client
	headers map[string]string
	query   string
}

func newIntake(t *testing.T) *intake {
	t.Helper()
	s := siemtest.Start(t, datadog.New, siem.Options{Now: func() time.Time { return now }})
	return &intake{
		Simulator: s, t: t,
		client:  siemtest.Client(s),
		headers: map[string]string{"DD-API-KEY": s.Secret()["DATADOG_API_KEY"], "Content-Type": "application/json"},
	}
}

func (s *intake) do(method, path, body string) (int, string) {
	s.t.Helper()
	return siemtest.Do(s.t, s.client, method, s.URL()+path+s.query, body, s.headers)
}

func (s *intake) post(body string) (int, string) {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/v2/logs", body)
}

// entry is an entry with that event, and more members behind it.
func entry(event, more string) string {
	message, _ := json.Marshal(event)
	return `{"ddsource":"arbitex-audit","ddtags":"env:x,service:arbitex","hostname":"h","service":"arbitex","message":` +
		string(message) + more + `}`
}

func named(id string) string {
	return entry(fmt.Sprintf(`{"time":%d,"metadata":{"uid":%q}}`, now.UnixMilli(), id), "")
}

func TestTakesTheWireFormat(t *testing.T) {
	s := newIntake(t)
	g := ocsfgen.New(1)
	var entries, events []string
	for range 50 {
		events = append(events, string(g.Next()))
		entries = append(entries, entry(events[len(events)-1], ""))
	}
	if status, body := s.post("[" + strings.Join(entries, ",") + "]"); status != 202 || body != "{}" {
		t.Fatalf("answered %d %s; %s", status, body, s.Stats().LastProblem)
	}
	for i, accepted := range s.Accepted() {
		if string(accepted.Event) != events[i] || accepted.Fields["ddsource"] != "arbitex-audit" ||
			!strings.Contains(events[i], accepted.ID) || accepted.Truncated {
			t.Errorf("event %d was kept as %+v", i, accepted)
		}
	}
	if stats := s.Stats(); stats.Accepted != 50 || len(stats.Violations) > 0 {
		t.Errorf("accepted %d, violations %q", stats.Accepted, stats.Violations)
	}
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(s *intake)
		body   string
		status int
		word   string
	}{
		{"no key", func(s *intake) { delete(s.headers, "DD-API-KEY") }, "[]", 401, "no API key"},
		{"another key", func(s *intake) { s.headers["DD-API-KEY"] = "x" }, "[]", 403, "invalid"},
		{"a rotated key", func(s *intake) { s.Rotate() }, "[" + named("a") + "]", 403, "invalid"},
		{"no body", nil, "", 400, ""},
		{"invalid JSON", nil, "[" + named("a"), 400, ""},
		{"null", nil, "null", 400, ""},
		{"an entry that is not an object", nil, "[" + named("a") + ",1]", 400, "entry 1"},
		{"a host that is not a string", nil, "[" + strings.Replace(named("a"), `"h"`, `7`, 1) + "]", 400, "entry 0"},
		{"poisoned", nil, "[" + named("a") + "," + named("poison") + "]", 400, "Invalid payload"},
		{"too large", nil, "[" + named(strings.Repeat("x", 5_000_000)) + "]", 413, "5MB"},
		{"too many", nil, "[" + strings.Repeat(named("a")+",", 1000) + named("b") + "]", 413, "1001"},
		{"not gzip", func(s *intake) { s.headers["Content-Encoding"] = "gzip" }, "[]", 400, ""},
	} {
		s := newIntake(t)
		s.Inject(siem.PoisonEvent("poison"))
		if test.spoil != nil {
			test.spoil(s)
		}
		status, body := s.post(test.body)
		if status != test.status || !strings.Contains(body, `{"errors":[`) || !strings.Contains(body, test.word) ||
			len(s.Accepted()) != 0 {
			t.Errorf("%s: %d %s, accepted %d; want %d %s", test.name, status, body, len(s.Accepted()), test.status, test.word)
		}
		if stats := s.Stats(); stats.Refused[fmt.Sprint(test.status)] != 1 || (stats.AuthFailures == 1) != (status == 401 ||
			status == 403) {
			t.Errorf("%s: %+v", test.name, stats)
		}
	}
}

func TestKeyAndPaths(t *testing.T) {
	s := newIntake(t)
	s.Rotate()
	s.headers["DD-API-KEY"] = s.Secret()["DATADOG_API_KEY"]
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/api/v2/logs", 202}, {"GET", "/api/v1/validate", 200}, {"GET", "/api/v2/logs", 405},
		{"POST", "/api/v1/validate", 405},
		{"POST", "/", 404}, {"POST", "/v1/input", 404},
	} {
		if status, body := s.do(test.method, test.path, "[]"); status != test.status {
			t.Errorf("%s %s: %d %s", test.method, test.path, status, body)
		}
	}
	s.headers["DD-API-KEY"] = "x"
	if status, _ := s.do("GET", "/api/v1/validate", ""); status != 403 || len(s.Accepted()) != 0 {
		t.Errorf("validate with another key: %d", status)
	}
}

// TestViolations sends what Datadog takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := named("a")
	old := now.Add(-19 * time.Hour).UnixMilli()
	for name, test := range map[string]struct {
		body     string
		accepted int
	}{
		"one object": {good, 1},
		"key order": {"[" + strings.Replace(good, `"hostname":"h","service":"arbitex"`,
			`"service":"arbitex","hostname":"h"`, 1) + "]", 1},
		"a key too many":     {"[" + strings.Replace(good, `"hostname"`, `"x":1,"hostname"`, 1) + "]", 1},
		"a key twice":        {"[" + strings.Replace(good, `"hostname":"h"`, `"hostname":"h","hostname":"h"`, 1) + "]", 1},
		"an empty host":      {"[" + strings.Replace(good, `"h"`, `""`, 1) + "]", 1},
		"no service tag":     {"[" + strings.Replace(good, `,service:arbitex`, ``, 1) + "]", 1},
		"an empty tag":       {"[" + strings.Replace(good, `env:x,`, `env:x,,`, 1) + "]", 1},
		"no message":         {`[{"ddsource":"a","ddtags":"service:s","hostname":"h","service":"s"}]`, 1},
		"a message of words": {"[" + entry("hello", "") + "]", 1},
		"another timestamp":  {"[" + entry(`{"time":1}`, fmt.Sprintf(`,"timestamp":%d`, now.UnixMilli())) + "]", 1},
		"an old timestamp":   {"[" + entry(fmt.Sprintf(`{"time":%d}`, old), fmt.Sprintf(`,"timestamp":%d`, old)) + "]", 0},
		"an entry to be cut": {"[" + named(strings.Repeat("x", 1_000_000)) + "]", 1},
		"no utf-8":           {"[" + strings.Replace(good, `"h"`, "\"\xff\"", 1) + "]", 1},
	} {
		s := newIntake(t)
		status, body := s.post(test.body)
		if stats := s.Stats(); status != 202 || len(stats.Violations) == 0 || stats.Accepted != test.accepted {
			t.Errorf("%s: %d %s, accepted %d, violations %q", name, status, body, stats.Accepted, stats.Violations)
		}
	}
	s := newIntake(t)
	s.headers["Content-Type"] = "text/plain"
	if s.post("[]"); len(s.Stats().Violations) != 1 {
		t.Errorf("content type: %q", s.Stats().Violations)
	}
	s = newIntake(t)
	s.query = "?dd-api-key=" + s.headers["DD-API-KEY"]
	delete(s.headers, "DD-API-KEY")
	if status, _ := s.post("[]"); status != 202 || len(s.Stats().Violations) != 2 {
		t.Errorf("key in the url: %d %q", status, s.Stats().Violations)
	}
}

// TestConnector: the connector delivers difficult events, and the simulator records no violation.
func TestConnector(t *testing.T) {
	s := siemtest.Start(t, datadog.New, siem.Options{Plain: true})
	set := settings.New(func(name string) string {
		return map[string]string{"DATADOG_TAGS": "env:production", "DATADOG_EVENT_TIME": "true"}[name] + s.Settings()[name]
	}, s.Secret())
	c := connector.Open(set)
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.(deliver.Checker).Check(t.Context()); err != nil {
		t.Errorf("checking: %v", err)
	}
	g := ocsfgen.New(2)
	g.Now = time.Now
	var events []string
	for range 200 {
		events = append(events, string(g.Next()))
	}
	old, young := time.Now().Add(-20*time.Hour).UnixMilli(), time.Now().UnixMilli()
	events = append(events, fmt.Sprintf(`{"time":%d,"metadata":{"uid":"old"}}`, old),
		fmt.Sprintf(`{"time":%d,"metadata":{"uid":"large"},"pad":%q}`, young, strings.Repeat("y", 1_000_000)))
	s.Inject(siem.PoisonEvent("old"))
	for i, o := range connectortest.Deliver(t, c, events...) {
		if want := i == 200; (o.State == deliver.Rejected) != want || o.Truncated != (i == 201) {
			t.Errorf("event %d: %+v", i, o)
		}
	}
	s.Inject(siem.Fault{Kind: siem.Heal})
	connectortest.Deliver(t, c, events[200])
	got := map[string]siem.Accepted{}
	for _, a := range s.Accepted() {
		got[a.ID] = a
	}
	if stats := s.Stats(); len(got) != 202 || stats.Accepted != 202 || len(stats.Violations) > 0 {
		t.Errorf("%d events, accepted %d, violations %q", len(got), stats.Accepted, stats.Violations)
	}
	if a := got["old"]; a.Fields["timestamp"] != "" || string(a.Event) != events[200] {
		t.Errorf("the old one was kept as %+v", a)
	}
	if a := got["large"]; !a.Truncated || a.Fields["timestamp"] != fmt.Sprint(young) {
		t.Errorf("the large one was kept as %+v", a)
	}
}

// TestTimeInMicroseconds: the event keeps its time in microseconds, and the entry's timestamp is in milliseconds.
func TestTimeInMicroseconds(t *testing.T) {
	s := newIntake(t)
	s.post("[" + entry(fmt.Sprintf(`{"time":%d}`, now.UnixMicro()), fmt.Sprintf(`,"timestamp":%d`, now.UnixMilli())) + "]")
	if got := s.Stats(); got.Accepted != 1 || len(got.Violations) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestOtherReceivers: receivers of the same protocol accept a payload with an empty 200 or a 204.
func TestOtherReceivers(t *testing.T) {
	s := newIntake(t)
	for code, want := range map[string]int{"empty": 200, "204": 204} {
		s.Inject(siem.Fault{Kind: siem.Product, Code: code, Times: 1})
		if status, body := s.post("[" + named(code) + "]"); status != want || body != "" {
			t.Errorf("%s: %d %q", code, status, body)
		}
	}
	if n := len(s.Accepted()); n != 2 {
		t.Errorf("accepted %d entries, want 2", n)
	}
}
