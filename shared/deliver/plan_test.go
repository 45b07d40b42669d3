package deliver

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestDecide states the policy: what follows from a response.
func TestDecide(t *testing.T) {
	status := func(kind failure.Kind, status int, foreign bool) *failure.Error {
		return &failure.Error{Kind: kind, Status: status, Foreign: foreign}
	}
	var (
		several = request{events: 2}
		last    = request{events: 2, last: true, anyLast: true}
		alone   = request{events: 1, last: true, anyLast: true}
	)
	for name, c := range map[string]struct {
		request request
		err     error
		want    string
	}{
		"accepted":           {several, nil, "delivered"},
		"an unknown error":   {last, errors.New("unknown"), "retry, stop"},
		"credential refused": {several, status(failure.Unauthorized, 401, false), "renew"},
		"credential refused again": {request{events: 2, renewed: true}, status(failure.Unauthorized, 401, false),
			"retry, stop"},
		"refused":                         {several, status(failure.Rejected, 400, false), "bisect"},
		"refused alone":                   {alone, status(failure.Rejected, 400, false), "rejected"},
		"too large":                       {several, status(failure.TooLarge, 413, true), "bisect"},
		"too large alone":                 {alone, status(failure.TooLarge, 413, true), "rejected"},
		"foreign refusal":                 {several, status(failure.Rejected, 400, true), "held"},
		"foreign refusal, last attempt":   {last, status(failure.Rejected, 400, true), "bisect"},
		"foreign refusal alone":           {alone, status(failure.Rejected, 400, true), "held"},
		"foreign 422, held, last attempt": {last, status(failure.Misconfigured, 422, true), "bisect"},
		"500":                             {several, status(failure.Transient, 500, false), "retry"},
		"500, last attempt":               {last, status(failure.Transient, 500, false), "bisect"},
		"502, last attempt":               {last, status(failure.Transient, 502, true), "bisect"},
		"599, last attempt":               {last, status(failure.Transient, 599, false), "bisect"},
		"500 alone":                       {alone, status(failure.Transient, 500, false), "retry"},
		"503, last attempt":               {last, status(failure.Transient, 503, true), "retry, stop"},
		"501 of the setup, last attempt":  {last, status(failure.Misconfigured, 501, false), "held, stop"},
		"429, last attempt":               {last, status(failure.Throttled, 429, true), "retry, stop"},
		"408, last attempt":               {last, status(failure.Transient, 408, true), "retry"},
		"403, last attempt": {request{2, true, true, true}, status(failure.Unauthorized, 403, false),
			"retry, stop"},
		"foreign 403, last attempt": {request{2, true, true, true}, status(failure.Unauthorized, 403, true),
			"bisect"},
		"foreign 403": {request{events: 2, renewed: true}, status(failure.Unauthorized, 403, true),
			"retry"},
		"foreign 401, last attempt": {request{2, true, true, true}, status(failure.Unauthorized, 401, true),
			"retry, stop"},
		"406":                                 {several, status(failure.Transient, 406, false), "retry"},
		"406, last attempt":                   {last, status(failure.Misconfigured, 406, false), "bisect"},
		"foreign 404, last attempt":           {last, status(failure.Misconfigured, 404, true), "held, stop"},
		"foreign 407, last attempt":           {last, status(failure.Misconfigured, 407, true), "held, stop"},
		"redirect, last attempt":              {last, status(failure.Misconfigured, 302, true), "held, stop"},
		"another code of a 400, last attempt": {last, &failure.Error{Status: 400, Code: "99"}, "bisect"},
		"425, last attempt":                   {last, status(failure.Transient, 425, false), "retry"},
		"timeout, last attempt":               {last, &failure.Error{Step: failure.Request}, "retry, stop"},
		"no connection, last attempt":         {last, &failure.Error{Step: failure.Connect}, "retry, stop"},
		"broken connection":                   {several, &failure.Error{Disconnected: true}, "retry, stop"},
		"broken connection, another is last": {request{events: 2, anyLast: true}, &failure.Error{Disconnected: true},
			"retry"},
		"broken connection, last attempt": {last, &failure.Error{Disconnected: true}, "bisect"},
		"broken connection, alone":        {alone, &failure.Error{Disconnected: true}, "retry"},
		"results":                         {several, &PartialError{make([]error, 2)}, "results"},
		"results with a 429": {several, &PartialError{[]error{nil, status(failure.Throttled, 429, false)}},
			"results, stop"},
		"results with a 503": {several, &PartialError{[]error{status(failure.Transient, 503, false), nil}}, "results, stop"},
		"results with a 500": {several, &PartialError{[]error{status(failure.Transient, 500, false), nil}}, "results"},
		"no results":         {several, &PartialError{}, "retry, stop"},
		"too few results":    {several, &PartialError{make([]error, 1)}, "retry, stop"},
		"too many results":   {several, &PartialError{make([]error, 3)}, "retry, stop"},
	} {
		if got := describe(decide(c.request, c.err)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func describe(d decision) string {
	var s string
	switch {
	case d.renew:
		s = "renew"
	case d.bisect:
		s = "bisect"
	case d.results != nil:
		s = "results"
	case d.outcome.State == Retry && d.outcome.Fault.Kind == failure.Misconfigured:
		s = "held"
	default:
		s = [...]string{"retry", "delivered", "rejected"}[d.outcome.State]
	}
	if d.stop != nil {
		s += ", stop"
	}
	return s
}

// model is a SIEM that responds to a request by the worst of its events. It keeps what the engine may conclude from.
type model struct {
	failures []*failure.Error        // per event: how the SIEM responds to it, nil if it accepts it
	partial  bool                    // responds with a result per event
	perEvent map[int][]failure.Error // refusals of the event alone, or of the event in a partial response
	accepted []int                   // per event: how often the SIEM accepted it
	requests int
}

func (m *model) send(events []int) error {
	m.requests++
	if m.partial {
		p := &PartialError{make([]error, len(events))}
		for n, i := range events {
			p.Results[n] = m.respond(i)
		}
		return p
	}
	var worst *failure.Error
	for _, i := range events {
		if f := m.failures[i]; f != nil && (worst == nil || f.Status > worst.Status) {
			worst = f
		}
	}
	for _, i := range events {
		if worst == nil || len(events) == 1 {
			_ = m.respond(i)
		}
	}
	if worst == nil {
		return nil
	}
	return worst
}

// respond returns the SIEM's response to an event by itself.
func (m *model) respond(i int) error {
	if f := m.failures[i]; f != nil {
		m.perEvent[i] = append(m.perEvent[i], *f)
		return f
	}
	m.accepted[i]++
	return nil
}

// deliver drives a plan with the model, at most limit events per request.
func (m *model) deliver(items []Item, limit int) []Outcome {
	outcomes := make([]Outcome, len(items))
	m.accepted, m.perEvent = make([]int, len(items)), map[int][]failure.Error{}
	var p plan
	p.start(items, outcomes)
	for events := p.next(0); events != nil; events = p.next(m.requests) {
		events = slices.DeleteFunc(events, func(i int) bool { return !p.pending(i) })
		n := min(len(events), limit)
		p.first(batch{events: events[n:]})
		if n > 0 {
			p.apply(events[:n], m.send(slices.Clone(events[:n])))
		}
	}
	p.finish()
	return outcomes
}

// modelFailures are failures that one event can cause.
var modelFailures = []*failure.Error{
	{Kind: failure.Rejected, Status: 400},
	{Kind: failure.Rejected, Status: 400, Code: "6"},
	{Kind: failure.TooLarge, Status: 413},
	{Kind: failure.Misconfigured, Status: 422, Foreign: true},
	{Kind: failure.Transient, Status: 500},
	{Kind: failure.Transient, Status: 502, Foreign: true},
	{Kind: failure.Transient, Disconnected: true},
}

// FuzzBisect checks the outcomes of a bisection against what the model SIEM does with each event alone.
func FuzzBisect(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed, uint16(seed*seed), uint8(seed*6), uint8(seed%4), seed%5 == 0)
	}
	f.Add(uint64(1), uint16(4000), uint8(0), uint8(3), false)
	f.Add(uint64(2), uint16(4000), uint8(255), uint8(3), false)
	for seed := range uint64(100) { // few good events
		f.Add(seed, uint16(100), uint8(250), uint8(2+seed%3), false)
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, bad, last uint8, partial bool) {
		rng := rand.New(rand.NewPCG(seed, 1))
		items := make([]Item, n%4001)
		m := &model{failures: make([]*failure.Error, len(items)), partial: partial}
		kinds := 1 + rng.IntN(len(modelFailures))
		offset := rng.IntN(len(modelFailures))
		for i := range items {
			items[i].Last = rng.IntN(4) < int(last%5)
			if rng.IntN(256) < int(bad) {
				m.failures[i] = modelFailures[(offset+rng.IntN(kinds))%len(modelFailures)]
			}
		}
		out := m.deliver(items, 1+rng.IntN(100))
		if limit := max(200, 2*len(items)); m.requests > limit {
			t.Errorf("%d requests for %d events, want at most %d", m.requests, len(items), limit)
		}
		for i, o := range out {
			m.check(t, i, items[i].Last, o)
			if f := m.failures[i]; f != nil && items[i].Last && slices.Contains(m.accepted, 1) &&
				(f.Kind == failure.Rejected || f.Kind == failure.TooLarge) != (o.State == Rejected) {
				t.Fatalf("event %d is refused with %v beside accepted ones, outcome %+v", i, f, o)
			}
		}
	})
}

func (m *model) check(t *testing.T, i int, last bool, o Outcome) {
	t.Helper()
	bad := m.failures[i]
	own := m.perEvent[i]
	switch {
	case m.accepted[i] > 1, (o.State == Delivered) != (m.accepted[i] == 1):
		t.Fatalf("event %d: accepted %d times, outcome %+v", i, m.accepted[i], o)
	case o.State == Delivered:
	case o.Fault == nil:
		t.Fatalf("event %d has no reason", i)
	case o.State == Rejected && len(own) == 0:
		t.Fatalf("event %d is rejected, and was never sent alone", i)
	case last && bad == nil:
		t.Fatalf("event %d is acceptable, on its last attempt, and not delivered: %v", i, o.Fault)
	case last && len(own) == 0:
		t.Fatalf("event %d is on its last attempt, and was never sent alone: %v", i, o.Fault)
	case last && (o.Fault.Status != own[0].Status || o.Fault.Code != own[0].Code):
		t.Fatalf("event %d has the reason %v, and was refused with %v", i, o.Fault, own[0])
	case len(own) == 0 && (o.Fault.Kind == failure.Rejected || o.Fault.Kind == failure.TooLarge || o.Fault.Status == 400):
		t.Fatalf("event %d was never sent alone, and has the refusal of another event: %v", i, o.Fault)
	}
}
