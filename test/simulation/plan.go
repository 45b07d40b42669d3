package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// Plan determines a run. It is a function of its seed, of the parts that were removed, and of a burst.
type Plan struct {
	Seed       uint64
	Connectors []string // deployed connectors
	Events     int      // per connector
	Span       time.Duration
	BatchSize  int
	Slots      int // concurrent invocations of one function
	Gzip       bool
	Poison     float64 // of events that the SIEM refuses until the faults end
	Blocked    float64 // of events, whose requests an intermediary refuses until the faults end
	Arrays     float64 // of messages that hold several events
	Forged     float64 // of messages with attributes that only functions may set
	Old        int     // dead letters from before the run
	Malformed  float64 // of events that are invalid
	Proxy      string  // scheme of the proxy: http, https (with a CA of its own), or "" for none
	Faults     []Fault
	Rotations  []Rotation
	Replays    []Replay
	Burst      Burst
	Guard      Guarded
	Story      bool // record the story
}

// Fault is a fault that applies with probability P, from From to To, at every point where it can.
type Fault struct {
	ID        int
	Kind      Kind
	Connector string // "": all
	Part      string // of a connector's requests; "": all
	From, To  time.Duration
	P         float64
	N         int // its parameter: steps, seconds, an index; see the kinds
}

// concerns reports whether the fault applies to a lane.
func (f Fault) concerns(lane string) bool {
	role, check := strings.CutSuffix(lane, " "+checks)
	return (f.Connector == "" || lane == "" || f.Connector == role) && (f.Part == "" || (f.Part == checks) == check)
}

// Rotation is the revocation of a credential, whose successor is published after Gap.
type Rotation struct {
	Connector string
	At, Gap   time.Duration
}

// Replay is a call of the replay function.
type Replay struct {
	At   time.Duration
	Body string
}

// NewPlan returns the plan of a seed.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 0x51e4))
	p := Plan{Seed: seed, Connectors: pickConnectors(r)}
	p.Events = max(5, (60+r.IntN(120))/len(p.Connectors))
	p.Span = time.Duration(1+r.IntN(600)) * time.Second
	p.BatchSize = []int{1, 3, 10, 30, 100, 100, 100}[r.IntN(7)]
	p.Slots = 1 + r.IntN(3)
	p.Gzip = r.IntN(4) == 0
	if r.IntN(2) == 0 {
		p.Poison = []float64{0.01, 0.05, 0.3, 0.9, 0.98}[r.IntN(5)]
	}
	if r.IntN(4) == 0 {
		p.Blocked = []float64{0.01, 0.05, 0.3}[r.IntN(3)]
	}
	if r.IntN(2) == 0 {
		p.Malformed = 0.03
	}
	if r.IntN(2) == 0 {
		p.Arrays = []float64{0.3, 1}[r.IntN(2)]
	}
	if r.IntN(4) == 0 {
		p.Forged = 0.2
	}
	if r.IntN(5) == 0 {
		p.Proxy = []string{"http", "https"}[r.IntN(2)]
	}
	switch n := r.IntN(60); {
	case n == 0:
		p.Old = manyOld
	case n < 6:
		p.Old = fewOld
	}
	for id := range r.IntN(10) {
		p.Faults = append(p.Faults, newFault(r, id, p))
	}
	for _, lane := range p.Connectors {
		if lane != "qradar" && r.IntN(4) == 0 {
			p.Rotations = append(p.Rotations, Rotation{lane, span(r, p.Span), []time.Duration{0, span(r, 10*time.Second),
				span(r, 30*time.Minute)}[r.IntN(3)]})
		}
	}
	for range r.IntN(4) {
		at := span(r, 2*p.Span+10*time.Minute)
		body := []string{"", `{"limit":3}`, `{"force":true}`, `{"dry_run":true}`, `{"connector":"` + p.Connectors[0] + `"}`,
			fromStart}[r.IntN(6)]
		p.Replays = append(p.Replays, Replay{at, body})
		if r.IntN(3) == 0 { // a concurrent call
			p.Replays = append(p.Replays, Replay{at + span(r, 300*time.Millisecond), body})
		}
	}
	if g := rand.New(rand.NewPCG(seed, 13)); g.IntN(guardEvery) == 0 {
		p.addGuard(g)
	}
	return p
}

// manyOld and someOld are numbers of dead letters that a replay passes in several calls, fewOld in one.
const manyOld, someOld, fewOld = 1000, 400, 30

func pickConnectors(r *rand.Rand) []string {
	all := connectors.Names()
	n := 1 + r.IntN(3)
	if r.IntN(12) == 0 {
		n = len(all)
	}
	var lanes []string
	for _, i := range r.Perm(len(all))[:n] {
		lanes = append(lanes, all[i])
	}
	return lanes
}

func span(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most) + 1))
}

// newFault draws a fault. Half of the faults are short and certain, the others are long and rare.
func newFault(r *rand.Rand, id int, p Plan) Fault {
	k := kinds[r.IntN(len(kinds))]
	f := Fault{ID: id, Kind: k.kind, From: span(r, p.Span+5*time.Minute), N: k.measure[0] +
		r.IntN(k.measure[1]-k.measure[0]+1)}
	if len(p.Connectors) > 1 && r.IntN(2) == 0 {
		f.Connector = p.Connectors[r.IntN(len(p.Connectors))]
	}
	if r.IntN(3) == 0 {
		f.From = 0
	}
	if r.IntN(2) == 0 {
		f.P, f.To = 1, f.From+time.Second+span(r, 90*time.Second)
	} else {
		f.P, f.To = []float64{0.5, 0.2, 0.05}[r.IntN(3)], f.From+time.Minute+span(r, 40*time.Minute)
	}
	if k.rare && f.P > 0.2 {
		f.P = 0.2
	}
	return f
}

// end returns the end of the last fault.
func (p Plan) end() time.Duration {
	end := max(p.Span, p.Burst.At)
	for _, f := range p.Faults {
		end = max(end, f.To)
	}
	for _, r := range p.Rotations {
		end = max(end, r.At+r.Gap)
	}
	for _, r := range p.Replays {
		end = max(end, r.At)
	}
	return end
}

// part is a part of a plan that can be removed.
type part struct {
	name    string
	present bool
	remove  func()
}

func (p *Plan) parts() []part {
	parts := []part{
		{"rotations", len(p.Rotations) > 0, func() { p.Rotations = nil }},
		{"replays", len(p.Replays) > 0, func() { p.Replays = nil }},
	}
	for _, r := range p.rates() {
		parts = append(parts, part{r.name, *r.value > 0, func() { *r.value = 0 }})
	}
	return append(
		parts,
		part{"proxy", p.Proxy != "", func() { p.Proxy = "" }},
		part{"old", p.Old > 0, func() { p.Old = 0 }},
		part{"operations", len(p.Guard.Operations) > 0, func() { p.Guard.Operations = nil }},
		part{"guard", p.Guard.On, func() { p.Guard = Guarded{} }},
	)
}

// rate is the probability of a kind of event or message.
type rate struct {
	name  string
	value *float64
}

func (p *Plan) rates() []rate {
	return []rate{{"poison", &p.Poison}, {"blocked", &p.Blocked}, {"malformed", &p.Malformed}, {"arrays", &p.Arrays},
		{"forged", &p.Forged}}
}

// String returns the plan as text for [ParsePlan]: its seed and the parts that differ from the seed's plan.
func (p Plan) String() string {
	whole := NewPlan(p.Seed)
	text := []string{strconv.FormatUint(p.Seed, 10)}
	if !slices.Equal(p.Connectors, whole.Connectors) {
		text = append(text, "connectors="+strings.Join(p.Connectors, "+"))
	}
	if p.Events != whole.Events {
		text = append(text, "events="+strconv.Itoa(p.Events))
	}
	if len(p.Faults) != len(whole.Faults) {
		ids := make([]string, len(p.Faults))
		for i, f := range p.Faults {
			ids[i] = strconv.Itoa(f.ID)
		}
		text = append(text, "faults="+strings.Join(ids, "+"))
	}
	parts := p.parts()
	for i, one := range whole.parts() {
		if one.present && !parts[i].present {
			text = append(text, one.name+"=0")
		}
	}
	if p.Slots != whole.Slots {
		text = append(text, "slots=1")
	}
	if p.Burst != whole.Burst {
		text = append(text, "burst="+p.Burst.String())
	}
	return strings.Join(text, ",")
}

// ParsePlan parses the result of String.
func ParsePlan(text string) (Plan, error) {
	first, rest, _ := strings.Cut(text, ",")
	seed, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return Plan{}, fmt.Errorf("plan %q: expected a seed, and optionally the remaining parts of its plan", text)
	}
	p := NewPlan(seed)
	for part := range strings.SplitSeq(rest, ",") {
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		if err := p.keep(key, value); err != nil {
			return Plan{}, fmt.Errorf("plan %q: %w", text, err)
		}
	}
	return p, nil
}

func (p *Plan) keep(key, value string) (err error) {
	switch key {
	case "connectors":
		p.Connectors = strings.Split(value, "+")
	case "events", "slots":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("%s: expected a number, found %q", key, value)
		}
		if key == "events" {
			p.Events = n
		} else {
			p.Slots = n
		}
	case "faults":
		ids := strings.Split(value, "+")
		p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return !slices.Contains(ids, strconv.Itoa(f.ID)) })
	case "burst":
		p.Burst, err = parseBurst(value)
	default:
		parts := p.parts()
		i := slices.IndexFunc(parts, func(one part) bool { return one.name == key })
		if i < 0 {
			return fmt.Errorf("a plan has no part %q", key)
		}
		parts[i].remove()
	}
	return err
}

// Describe describes a plan.
func (p Plan) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events for each of %s within %s; batches of %d, %d at a time\n", p.Events,
		strings.Join(p.Connectors, ", "), p.Span, p.BatchSize, p.Slots)
	for _, r := range p.rates() {
		if *r.value > 0 {
			fmt.Fprintf(&b, "  %s: %g\n", r.name, *r.value)
		}
	}
	if p.Proxy != "" {
		fmt.Fprintf(&b, "  a proxy with %s\n", p.Proxy)
	}
	if p.Old > 0 {
		fmt.Fprintf(&b, "  %d old dead letters of %s\n", p.Old, p.Connectors[0])
	}
	if p.Burst.Events > 0 {
		fmt.Fprintf(&b, "  %d more for %s at %s\n", p.Burst.Events, p.Burst.Connector, p.Burst.At)
	}
	if p.Guard.On {
		b.WriteString(p.Guard.describe())
	}
	for _, f := range p.Faults {
		where := f.Connector
		if where == "" {
			where = "all"
		}
		if f.Part != "" {
			where += ", " + f.Part
		}
		fmt.Fprintf(&b, "  fault %d: %s (%d), %s, from %s to %s, probability %g\n", f.ID, f.Kind, f.N, where, f.From, f.To,
			f.P)
	}
	for _, r := range p.Rotations {
		fmt.Fprintf(&b, "  %s's credential is revoked at %s, the new one published %s later\n", r.Connector, r.At, r.Gap)
	}
	for _, r := range p.Replays {
		fmt.Fprintf(&b, "  replay at %s: %s\n", r.At, r.Body)
	}
	return b.String()
}
