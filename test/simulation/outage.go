package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/guard"
)

// guardEvery is the number of seeds of which one has the guard.
const guardEvery = 4

// Guarded is the part of a plan with the guard.
type Guarded struct {
	On         bool
	Outage     string        // name of the kind
	Calm       bool          // nothing fails but the SIEM
	Affected   []string      // connectors
	From, To   time.Duration // of the outage
	Retention  int           // of the connectors' queues, days
	Operations []Operation
}

// Operation is an action of an operator, some time after a connector's tag has a state.
type Operation struct {
	Connector string
	State     guard.State
	After     time.Duration
	What      string        // pause or resume with siemctl, disable in the console, deploy
	For       time.Duration // until the connector is resumed
}

const (
	deliveries = "deliveries" // part of a connector's requests
	checks     = "checks"     // the others: of the guard's checks
	outageFrom = 2 * time.Minute
)

// outage is a kind of outage. It adds faults for a connector to the plan, and returns the end.
type outage struct {
	name   string
	weight int
	strict bool // the guard restores everything, and no operator is needed
	add    func(r *rand.Rand, p *Plan, connector string) time.Duration
}

// guardEvents is the number of events of a connector with which an alarm fires within minutes.
const guardEvents = 60

const longOutage = "longer than the retention"

// outages returns all kinds.
func outages() []outage {
	single := func(least, most int) func(*rand.Rand, *Plan, string) time.Duration {
		return func(r *rand.Rand, p *Plan, c string) time.Duration {
			return p.down(r, c, "", outageFrom, minutes(r, least, most))
		}
	}
	return []outage{
		{"minutes", 24, true, single(1, 60)},
		{"hours", 12, true, single(60, 600)},
		{"days", 2, true, single(1440, 2880)},
		{longOutage, 2, false, single(26*60, 32*60)},
		{"credentials expired", 12, true, func(r *rand.Rand, p *Plan, c string) time.Duration {
			if c == "qradar" { // has none
				return single(5, 240)(r, p, c)
			}
			gap := minutes(r, 5, 240)
			p.Rotations = append(slices.DeleteFunc(p.Rotations, func(r Rotation) bool { return r.Connector == c }),
				Rotation{c, outageFrom, gap})
			return outageFrom + gap
		}},
		{"the check succeeds, deliveries fail", 12, false, func(r *rand.Rand, p *Plan, c string) time.Duration {
			return p.down(r, c, deliveries, outageFrom, minutes(r, 5, 240))
		}},
		{"the check fails, deliveries succeed", 12, true, func(r *rand.Rand, p *Plan, c string) time.Duration {
			end := p.down(r, c, "", outageFrom, minutes(r, 5, 30))
			p.down(r, c, checks, end, 3*time.Hour)
			return end
		}},
		{"flapping", 14, false, func(r *rand.Rand, p *Plan, c string) time.Duration {
			at := outageFrom
			for range 3 + r.IntN(6) {
				at = p.down(r, c, "", at, minutes(r, 3, 15)) + minutes(r, 1, 8)
			}
			return at
		}},
		{"partial", 10, false, func(r *rand.Rand, p *Plan, c string) time.Duration {
			half := outageFrom + minutes(r, 10, 120)
			p.fail(c, "", 0.1+r.Float64()/2, outageFrom, half, resetBefore, 0)
			return p.down(r, c, "", half, minutes(r, 5, 60))
		}},
		{"the replay fails", 4, false, func(r *rand.Rand, p *Plan, c string) time.Duration {
			end := p.down(r, c, "", outageFrom, minutes(r, 8, 40))
			until := end + minutes(r, 1, 200)
			if r.IntN(6) == 0 {
				p.Guard.Retention, until = 1, end+26*time.Hour
			}
			p.fail("replay", "", 1, 0, until, s3Fails, 0)
			return end
		}},
	}
}

func minutes(r *rand.Rand, least, most int) time.Duration {
	return time.Duration(least)*time.Minute + span(r, time.Duration(most-least)*time.Minute)
}

// addGuard adds the guard, and an outage for the first connector, and perhaps for the second.
func (p *Plan) addGuard(r *rand.Rand) {
	p.Guard = Guarded{On: true, Calm: r.IntN(2) == 0, Retention: 14, From: outageFrom, Affected: p.Connectors[:1]}
	if p.Guard.Calm {
		p.Faults, p.Rotations, p.Replays = nil, nil, nil
		for _, rate := range p.rates() {
			*rate.value = 0
		}
	}
	if r.IntN(10) == 0 {
		p.Old = someOld
	}
	o := drawOutage(r)
	p.Guard.Outage = o.name
	if o.name == longOutage {
		p.Guard.Retention = 1
	}
	if len(p.Connectors) > 2 && r.IntN(3) == 0 {
		p.Guard.Affected = p.Connectors[:2]
	}
	for _, c := range p.Guard.Affected {
		p.Guard.To = max(p.Guard.To, o.add(r, p, c))
	}
	p.Events = max(p.Events, guardEvents)
	p.Span = max(p.Span, p.Guard.To+5*time.Minute)
	if !p.Guard.Calm {
		p.disturb(r)
	}
}

func drawOutage(r *rand.Rand) outage {
	total := 0
	for _, o := range outages() {
		total += o.weight
	}
	n := r.IntN(total)
	for _, o := range outages() {
		if n -= o.weight; n < 0 {
			return o
		}
	}
	panic("simulation: the weights do not add up")
}

// strict reports whether the guard alone restores everything.
func (p *Plan) strict() bool {
	i := slices.IndexFunc(outages(), func(o outage) bool { return o.name == p.Guard.Outage })
	return p.Guard.Calm && p.Events >= guardEvents && i >= 0 && outages()[i].strict
}

// NewOutage returns the plan of an outage of one SIEM with all seven connectors, which nothing else disturbs.
func NewOutage(connector string, length time.Duration) Plan {
	all := connectors.Names()
	p := Plan{Seed: 1, Connectors: all, Events: guardEvents, BatchSize: 100, Slots: 2}
	p.Guard = Guarded{On: true, Outage: "minutes", Calm: true, Retention: 14, Affected: []string{connector},
		From: outageFrom, To: outageFrom + length}
	for _, kind := range []Kind{refused, resetBefore} {
		p.fail(connector, "", 1, p.Guard.From, p.Guard.To, kind, 0)
	}
	p.Span = p.Guard.To + 5*time.Minute
	return p
}

// fail adds a fault for the outage.
func (p *Plan) fail(connector, part string, chance float64, from, to time.Duration, kind Kind, n int) {
	p.Faults = append(p.Faults, Fault{ID: 100 + len(p.Faults), Kind: kind, Connector: connector, Part: part, From: from,
		To: to, P: chance, N: n})
}

// down adds a period in which the SIEM does not work for a part of the requests, and returns its end.
func (p *Plan) down(r *rand.Rand, connector, part string, from, length time.Duration) time.Duration {
	to := from + length
	way, code := r.IntN(4), []int{3, 5, 9, 10}[r.IntN(4)] // 503, 500, 401, 403
	switch {
	case way < 2 && connector != "qradar":
		p.fail(connector, part, 1, from, to, status, code)
	case way == 2:
		p.fail(connector, part, 1, from, to, unreachable, 0)
		p.fail(connector, part, 1, from, to, resetBefore, 0)
	default:
		p.fail(connector, part, 1, from, to, refused, 0)
		p.fail(connector, part, 1, from, to, resetBefore, 0)
	}
	return to
}

// disturb adds faults of the guard's surroundings, and operators.
func (p *Plan) disturb(r *rand.Rand) {
	end := p.Guard.To + time.Hour
	for _, kind := range []Kind{lambdaFails, crash, mappingLost, clockStep} {
		if r.IntN(4) == 0 {
			n := 2 + r.IntN(18)
			if kind == clockStep {
				n = r.IntN(7200)
			}
			p.fail("guard", "", []float64{0.3, 0.1, 0.02}[r.IntN(3)], 0, end, kind, n)
		}
	}
	if r.IntN(2) == 0 {
		return
	}
	states := []guard.State{guard.Holding, guard.Held, guard.Held, guard.Resumed, guard.Trial, guard.Running,
		guard.Replaying, guard.Operator}
	for range 1 + r.IntN(3) {
		p.Guard.Operations = append(p.Guard.Operations, Operation{
			Connector: p.Connectors[0], State: states[r.IntN(len(states))], After: span(r, 4*time.Minute),
			What: []string{"pause", "pause", "resume", "disable", "deploy"}[r.IntN(5)], For: minutes(r, 1, 90),
		})
	}
}

// describe describes the part of the plan with the guard.
func (g Guarded) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  the guard; outage of %s from %s to %s: %s; calm: %t; retention %d days\n",
		strings.Join(g.Affected, ", "), g.From, g.To, g.Outage, g.Calm, g.Retention)
	for _, o := range g.Operations {
		fmt.Fprintf(&b, "  operator: %s %s %s after the state %s, for %s\n", o.What, o.Connector, o.After, o.State, o.For)
	}
	return b.String()
}

// Burst is a number of additional events for one connector, sent at once. NewPlan draws none.
type Burst struct {
	Connector string
	Events    int
	At        time.Duration
}

func (b Burst) String() string { return fmt.Sprintf("%s+%d+%s", b.Connector, b.Events, b.At) }

// Decisions about a message depend on its number. Therefore the messages of the burst's connector and the dead letters
// have numbers of their own: the other messages keep their numbers without the burst.
const (
	firstOfBurst = 10_000_000
	firstDead    = 20_000_000
)

func parseBurst(text string) (b Burst, err error) {
	parts := strings.Split(text, "+")
	if len(parts) != 3 || !slices.Contains(connectors.Names(), parts[0]) {
		return b, fmt.Errorf("burst: expected a connector, a number and a time, found %q", text)
	}
	b.Connector = parts[0]
	if b.Events, err = strconv.Atoi(parts[1]); err != nil || b.Events < 0 {
		return b, fmt.Errorf("burst: expected a number, found %q", parts[1])
	}
	if b.At, err = time.ParseDuration(parts[2]); err != nil {
		return b, fmt.Errorf("burst: expected a time, found %q", parts[2])
	}
	return b, nil
}

// NewBurst returns the plan of a burst for the first connector ten minutes after the beginning. Its SIEM is down from
// then on. An operator starts a replay five minutes after the SIEM has recovered. The other SIEMs respond 503 to one
// request in twenty, and each connector gets an event about every half minute.
func NewBurst(events int, down time.Duration) Plan {
	const (
		at, notices, total = 10 * time.Minute, 5 * time.Minute, time.Hour
		unavailable        = 3 // index of a 503 in statuses
	)
	lanes := connectors.Names()
	p := Plan{
		Seed: 1, Connectors: lanes, Events: 120, Span: total, BatchSize: 100, Slots: 2, Burst: Burst{lanes[0], events, at},
		Replays: []Replay{{at + down + notices, `{"limit":1000000}`}},
	}
	for _, kind := range []Kind{refused, resetBefore} { // existing connections are reset
		p.Faults = append(p.Faults, Fault{ID: len(p.Faults), Kind: kind, Connector: lanes[0], From: at, To: at + down, P: 1})
	}
	for _, lane := range lanes[1:] {
		p.Faults = append(p.Faults, Fault{ID: len(p.Faults), Kind: status, Connector: lane, To: total, P: 0.05,
			N: unavailable})
	}
	return p
}

// burst sends the events of the plan's burst.
func (l *pipeline) burst(ctx context.Context) {
	if l.name != l.plan.Burst.Connector || !wait(ctx, l.plan.Burst.At-l.since()) {
		return
	}
	for n, e := range l.events {
		if e.burst {
			l.put(e.body, n)
		}
	}
}
