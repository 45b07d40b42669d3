package sumo_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/sumo"
	"github.com/arbitex/siem-connectors/functions/sumo/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
)

type source struct {
	*sumo.Simulator
	t       *testing.T
	client  *http.Client
	url     string
	headers map[string]string
}

func newSource(t *testing.T) *source {
	t.Helper()
	s := siemtest.Start(t, sumo.New, siem.Options{})
	return &source{
		Simulator: s, t: t, url: s.Secret()["SUMO_HTTP_SOURCE_URL"],
		client:  siemtest.Client(s),
		headers: map[string]string{"Content-Type": "application/json", "X-Sumo-Category": "c", "X-Sumo-Host": "h"},
	}
}

func (s *source) do(method, url, body string) (int, string) {
	s.t.Helper()
	return siemtest.Do(s.t, s.client, method, url, body, s.headers)
}

func (s *source) post(body string) (int, string) {
	s.t.Helper()
	return s.do(http.MethodPost, s.url, body)
}

func named(id string) string { return fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id) }

func TestTakesTheWireFormat(t *testing.T) {
	s := newSource(t)
	g := ocsfgen.New(1)
	var events []string
	for range 50 {
		events = append(events, string(g.Next()))
	}
	if status, body := s.post(strings.Join(events, "\n")); status != 200 || body != "" {
		t.Fatalf("answered %d %s; %s", status, body, s.Stats().LastProblem)
	}
	for i, accepted := range s.Accepted() {
		if string(accepted.Event) != events[i] || accepted.Fields["_sourceCategory"] != "c" ||
			accepted.Fields["_sourceHost"] != "h" || !strings.Contains(events[i], accepted.ID) {
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
		spoil  func(s *source)
		body   string
		status int
	}{
		{"another code", func(s *source) { s.url += "x" }, named("a"), 401},
		{"an old code", func(s *source) { s.Rotate() }, named("a"), 401},
		{"another path", func(s *source) { s.url = s.URL() + "/" }, named("a"), 404},
		{"poisoned", nil, named("a") + "\n" + named("poison"), 400},
		{"too large", nil, named(strings.Repeat("x", 1_000_000)), 413},
		{"not gzip", func(s *source) { s.headers["Content-Encoding"] = "gzip" }, named("a"), 400},
	} {
		s := newSource(t)
		s.Inject(siem.PoisonEvent("poison"))
		if test.spoil != nil {
			test.spoil(s)
		}
		if status, body := s.post(test.body); status != test.status || len(s.Accepted()) != 0 {
			t.Errorf("%s: %d %s, accepted %d; want %d", test.name, status, body, len(s.Accepted()), test.status)
		}
		if stats := s.Stats(); len(stats.Refused) != 1 || (stats.AuthFailures == 1) != (test.status == 401) {
			t.Errorf("%s: %+v", test.name, stats)
		}
	}
}

func TestOtherMethods(t *testing.T) {
	s := newSource(t)
	s.Rotate()
	s.url = s.Secret()["SUMO_HTTP_SOURCE_URL"]
	for method, want := range map[string]int{"GET": 200, "POST": 200, "PUT": 405} {
		if status, body := s.do(method, s.url, named("a")); status != want {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	if n := len(s.Accepted()); n != 1 {
		t.Errorf("accepted %d", n)
	}
}

func TestProductFaults(t *testing.T) {
	s := newSource(t)
	s.Inject(siem.Fault{Kind: siem.Product, Code: "408", Times: 1})
	s.Inject(siem.Fault{Kind: siem.Product, Code: "header.invalid", Times: 1})
	body := strings.Join([]string{named("a"), named("b"), named("c"), named("d")}, "\n")
	if status, _ := s.post(body); status != 408 || len(s.Accepted()) != 2 {
		t.Errorf("late: %d, accepted %d", status, len(s.Accepted()))
	}
	if status, text := s.post(body); status != 200 || !strings.Contains(text, `"code":"header.invalid"`) ||
		len(s.Accepted()) != 6 {
		t.Errorf("warned: %d %s, accepted %d", status, text, len(s.Accepted()))
	}
	if status, text := s.post(body); status != 200 || text != "" {
		t.Errorf("healed: %d %s", status, text)
	}
}

// TestViolations sends what Sumo Logic takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := named("a")
	for name, test := range map[string]struct {
		body  string
		spoil func(s *source)
	}{
		"no body":              {"", nil},
		"a line break at end":  {good + "\n", nil},
		"two line breaks":      {good + "\n\n" + good, nil},
		"a carriage return":    {good + "\r\n" + good, nil},
		"white space":          {strings.Replace(good, ":", ": ", 1), nil},
		"invalid JSON":         {"hello", nil},
		"half an event a line": {strings.Replace(good, ",", ",\n", 1), nil},
		"no time":              {`{"metadata":{"uid":"a"}}`, nil},
		"no utf-8":             {strings.Replace(good, "uid", "ui\xff", 1), nil},
		"no category":          {good, func(s *source) { delete(s.headers, "X-Sumo-Category") }},
		"no host":              {good, func(s *source) { delete(s.headers, "X-Sumo-Host") }},
		"content type":         {good, func(s *source) { s.headers["Content-Type"] = "text/plain" }},
		"a query":              {good, func(s *source) { s.url += "?x=y" }},
	} {
		s := newSource(t)
		if test.spoil != nil {
			test.spoil(s)
		}
		status, _ := s.post(test.body)
		if stats := s.Stats(); status != 200 || len(stats.Violations) == 0 {
			t.Errorf("%s: %d, violations %q", name, status, stats.Violations)
		}
	}
	s := newSource(t)
	if s.post(strings.Replace(good, `"a"`, `"a b\" c \\"`, 1)); len(s.Stats().Violations) != 0 {
		t.Errorf("white space in a string: %q", s.Stats().Violations)
	}
}

// TestConnector has the connector deliver to the simulator through its faults, and the simulator find nothing wrong.
func TestConnector(t *testing.T) {
	s := siemtest.Start(t, sumo.New, siem.Options{Plain: true})
	c := siemtest.Open(t, s, connector.Open)
	if err := c.(deliver.Checker).Check(t.Context()); err != nil {
		t.Errorf("checking: %v", err)
	}
	g := ocsfgen.New(2)
	var events []string
	for range 400 {
		events = append(events, string(g.Next()))
	}
	events[7] = named("poison")
	s.Inject(siem.PoisonEvent("poison"))
	s.Inject(siem.Fault{Kind: siem.Product, Code: "header.invalid", Times: 1})
	for i, o := range connectortest.Deliver(t, c, events...) {
		if want := i == 7; (o.State == deliver.Rejected) != want || !want && o.State != deliver.Delivered {
			t.Errorf("event %d: %+v", i, o)
		}
	}
	got, sliced := map[string]bool{}, 0
	for _, a := range s.Accepted() {
		got[string(a.Event)] = true
		if a.Fields["sliced"] != "" {
			sliced++
		}
	}
	if stats := s.Stats(); len(got) != 399 || stats.Accepted != 399 || len(stats.Violations) > 0 {
		t.Errorf("%d events, accepted %d, violations %q", len(got), stats.Accepted, stats.Violations)
	}
	if sliced == 0 {
		t.Error("no event was over 64 KB, so that nothing is shown about those")
	}
}
