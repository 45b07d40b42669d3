package connector

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// simulated is a connector with the cluster it leads to. Renewing opens another with the key that is then valid.
type simulated struct {
	*elastic.Simulator
	t    *testing.T
	more map[string]string
	c    deliver.Connector
}

func simulate(t *testing.T, more map[string]string) *simulated {
	t.Helper()
	s, err := elastic.New(siem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	sim := &simulated{Simulator: s, t: t, more: more}
	sim.c = sim.open()
	return sim
}

func (s *simulated) open() deliver.Connector {
	env := s.Settings()
	maps.Copy(env, s.more)
	set := settings.New(func(name string) string { return env[name] }, s.Secret())
	c := Open(set)
	if err := set.Err(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *simulated) Current() deliver.Connector { return s.c }

func (s *simulated) Renew(context.Context) deliver.Connector {
	s.c = s.open()
	return s.c
}

func (s *simulated) deliver(bodies ...string) []deliver.Outcome {
	s.t.Helper()
	var items []deliver.Item
	for _, e := range events(s.t, bodies...) {
		items = append(items, deliver.Item{Event: e})
	}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(s.t.Context(), s, items, outcomes)
	return outcomes
}

// arrived requires that the cluster has each event once, byte for byte, and reports no violation.
func (s *simulated) arrived(bodies ...string) {
	s.t.Helper()
	accepted := s.Accepted()
	if len(accepted) != len(bodies) {
		s.t.Fatalf("%d documents, want %d; %s", len(accepted), len(bodies), s.Stats().LastProblem)
	}
	for i, a := range accepted {
		if string(a.Event) != bodies[i] {
			s.t.Errorf("document %d is %s, want %s", i, a.Event, bodies[i])
		}
	}
	if v := s.Stats().Violations; len(v) > 0 {
		s.t.Errorf("violations %q", v)
	}
}

func generated(n int) []string {
	g := ocsfgen.New(3)
	var list []string
	for range n {
		list = append(list, string(g.Next()))
	}
	return list
}

func delivered(outcomes []deliver.Outcome) (n int) {
	for _, o := range outcomes {
		if o.State == deliver.Delivered {
			n++
		}
	}
	return n
}

func TestArriveByteForByte(t *testing.T) {
	for _, more := range []map[string]string{
		nil, {"SIEM_COMPRESSION": "none"}, {"ELASTIC_INDEX": "logs-arbitex.audit-default"}, {"ELASTIC_OP_TYPE": "create"},
		{"ELASTIC_PIPELINE": "arbitex"},
	} {
		s := simulate(t, more)
		bodies := generated(100)
		if n := delivered(s.deliver(bodies...)); n != 100 {
			t.Errorf("%v: %d delivered", more, n)
		}
		s.arrived(bodies...)
		if n := delivered(s.deliver(bodies...)); n != 100 { // a replay
			t.Errorf("%v: %d delivered the second time", more, n)
		}
		s.arrived(bodies...)
	}
}

func TestSimulatedFailures(t *testing.T) {
	for _, test := range []struct {
		name      string
		faults    []siem.Fault
		delivered int // of 10, at the first attempt
		kind      failure.Kind
		accepted  int
	}{
		{"every second item 429", []siem.Fault{{Kind: siem.Product, Code: "item 429", Times: 1}}, 5, failure.Throttled, 5},
		{"every second item 503", []siem.Fault{{Kind: siem.Product, Code: "item 503", Times: 1}}, 5, failure.Transient, 5},
		{"blocked", []siem.Fault{{Kind: siem.Product, Code: "item 403", Times: 1}}, 0, failure.Misconfigured, 0},
		{"no index", []siem.Fault{{Kind: siem.Product, Code: "item 404", Times: 1}}, 0, failure.Misconfigured, 0},
		{"accepted, answer cut", []siem.Fault{{Kind: siem.Product, Code: "cut", Times: 1}}, 0, failure.Transient, 10},
		{"accepted, then hung up", []siem.Fault{{Kind: siem.AcceptClose, Times: 1}}, 0, failure.Transient, 10},
		{"pretty", []siem.Fault{{Kind: siem.Product, Code: "pretty", Times: 1}}, 10, 0, 10},
		{"failure store", []siem.Fault{{Kind: siem.Product, Code: "failure-store", Times: 1}}, 10, 0, 10},
		{"busy", []siem.Fault{siem.RetryAfter(429, "3", 1)}, 0, failure.Throttled, 0},
		{"endless", []siem.Fault{{Kind: siem.Endless, Times: 1}}, 0, failure.Transient, 0},
	} {
		s := simulate(t, nil)
		for _, f := range test.faults {
			s.Inject(f)
		}
		bodies := generated(10)
		outcomes := s.deliver(bodies...)
		if n := delivered(outcomes); n != test.delivered || len(s.Accepted()) != test.accepted {
			t.Errorf("%s: %d delivered, %d documents", test.name, n, len(s.Accepted()))
		}
		for i, o := range outcomes {
			if o.State != deliver.Delivered && (o.State != deliver.Retry || o.Fault.Kind != test.kind) {
				t.Errorf("%s: event %d: %d %v", test.name, i, o.State, o.Fault)
			}
		}
		if n := delivered(s.deliver(bodies...)); n != 10 || len(s.Accepted()) != 10 || len(s.Stats().Violations) > 0 {
			t.Errorf("%s: then %d delivered, %d documents, violations %q", test.name, n, len(s.Accepted()), s.Stats().Violations)
		}
	}
}

// TestPoison has one event of a hundred refused: it costs no request more, into an index as into a data stream.
func TestPoison(t *testing.T) {
	for index, requests := range map[string]int{"arbitex-audit": 1, "logs-arbitex-default": 2} {
		s := simulate(t, map[string]string{"ELASTIC_INDEX": index})
		bodies := generated(100)
		id := connectortest.Parse(t, bodies[41]).AppendID(nil)
		s.Inject(siem.Fault{Kind: siem.Poison, Match: func(is string) bool { return is == string(id) }})
		outcomes := s.deliver(bodies...)
		if n := delivered(outcomes); n != 99 || outcomes[41].State != deliver.Rejected ||
			!strings.Contains(outcomes[41].Fault.Error(), "document_parsing_exception") {
			t.Errorf("%s: %d delivered, the poisoned one %v", index, n, outcomes[41].Fault)
		}
		if n := s.Stats().Requests; n != requests {
			t.Errorf("%s: %d requests", index, n)
		}
	}
}

// TestMisconfigured has one event alone meet a wrong set-up, which must not make it a dead letter.
func TestMisconfigured(t *testing.T) {
	for name, more := range map[string]map[string]string{
		"pipeline": {"ELASTIC_PIPELINE": "other"}, "name": {"ELASTIC_INDEX": "Arbitex"},
		"privilege": {"ELASTIC_INDEX": "other"},
		"path":      {"ELASTIC_URL": "/a/b"},
	} {
		s := simulate(t, nil)
		if path, ok := more["ELASTIC_URL"]; ok {
			more = map[string]string{"ELASTIC_URL": s.URL() + path}
		}
		s.more = more
		s.c = s.open()
		o := s.deliver(named("a"))[0]
		if o.State != deliver.Retry || o.Fault.Kind != failure.Misconfigured || o.Fault.Hint == "" {
			t.Errorf("%s: %v, %+v", name, o.State, o.Fault)
		}
	}
}

func TestRotatedKey(t *testing.T) {
	s := simulate(t, nil)
	s.deliver(named("a"))
	s.Rotate()
	if o := s.deliver(named("b"))[0]; o.State != deliver.Delivered {
		t.Errorf("%v", o.Fault)
	}
	if n := s.Stats().AuthFailures; n != 1 {
		t.Errorf("%d authentication failures", n)
	}
}

func TestCheckOfSimulator(t *testing.T) {
	s := simulate(t, nil)
	if err := s.c.(deliver.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.more = map[string]string{"ELASTIC_INDEX": "other"}
	if f := failure.Of(s.open().(deliver.Checker).Check(t.Context())); f == nil || f.Step != failure.Auth {
		t.Errorf("no privilege: %+v", f)
	}
	s.Rotate()
	if f := failure.Of(s.c.(deliver.Checker).Check(t.Context())); f == nil || f.Status != 401 {
		t.Errorf("a revoked key: %+v", f)
	}
	if n := len(s.Accepted()); n != 0 {
		t.Errorf("the check wrote %d documents", n)
	}
}
