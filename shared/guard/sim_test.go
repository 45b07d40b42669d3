package guard

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

const (
	page    = "../../docs/guard.md"
	diagram = "../../docs/guard-states.mermaid"
)

var (
	seeds  = flag.Int("seeds", 1000, "number of seeds of TestSimulation")
	update = flag.Bool("update", false, "write the figures into docs/guard.md")
	oneSim = flag.Uint64("seed", 0, "run only this seed")
)

// Recovery is the longest time from the recovery of a SIEM to a mapping that runs with its own settings, without
// faults in the guard's own calls: a trial begins TrialFailures checks after the hold, or the next check after
// MaxWait.
const recoveryBound = 80 * time.Minute

// deadLetterMinutes is the number of minutes whose events may become dead letters in an outage that the check detects.
const deadLetterMinutes = 4

// scenario is one kind of outage.
type scenario struct {
	name   string
	weight int
	script func(*rand.Rand) []condition
}

func minutes(rng *rand.Rand, from, to float64) float64 { return from + rng.Float64()*(to-from) }

func outage(c condition, length float64) []condition {
	c.fromMinute, c.untilMinute = 2, 2+length
	return []condition{c}
}

// scenarios returns all kinds of outages.
func scenarios() []scenario {
	down := func(rng *rand.Rand) condition {
		return condition{failing: 1, checkFails: true, slow: rng.IntN(2) == 0}
	}
	one := func(c func(*rand.Rand) condition, from, to float64) func(*rand.Rand) []condition {
		return func(rng *rand.Rand) []condition { return outage(c(rng), minutes(rng, from, to)) }
	}
	return []scenario{
		{"minutes", 24, one(down, 1, 60)},
		{"hours", 12, func(rng *rand.Rand) []condition {
			all := one(down, 60, 600)(rng)
			until := all[0].untilMinute
			return append(all, condition{busy: true, fromMinute: until, untilMinute: until + 30})
		}},
		{"days", 1, one(down, 1440, 2880)},
		{longOutage, 2, one(down, 26*60, 32*60)},
		{"flapping", 14, func(rng *rand.Rand) (all []condition) {
			at := 2.0
			for range 3 + rng.IntN(6) {
				c := down(rng)
				c.fromMinute = at
				c.untilMinute = at + minutes(rng, 3, 15)
				at = c.untilMinute + minutes(rng, 1, 8)
				all = append(all, c)
			}
			return all
		}},
		{"partial", 10, func(rng *rand.Rand) []condition {
			length := minutes(rng, 10, 120)
			half := condition{failing: minutes(rng, .1, .6), fromMinute: 2, untilMinute: 2 + length}
			full := down(rng)
			full.fromMinute, full.untilMinute = half.untilMinute, half.untilMinute+minutes(rng, 5, 60)
			return []condition{half, full}
		}},
		{"delivery fails, check succeeds", 12, one(func(rng *rand.Rand) condition {
			return condition{failing: 1, held: rng.IntN(2) == 0, slow: rng.IntN(2) == 0}
		}, 5, 240)},
		{wrongCheck, 12, func(rng *rand.Rand) []condition {
			c := down(rng)
			c.fromMinute, c.untilMinute = 2, 2+minutes(rng, 4, 30)
			wrong := condition{checkFails: true, fromMinute: c.untilMinute, untilMinute: c.untilMinute + minutes(rng, 120, 600)}
			return []condition{c, wrong}
		}},
		{longCheck, 1, func(rng *rand.Rand) []condition {
			c := outage(down(rng), minutes(rng, 4, 30))[0]
			return []condition{c, {checkFails: true, fromMinute: c.untilMinute, untilMinute: c.untilMinute + 26*60}}
		}},
		{"credentials expired", 12, one(func(*rand.Rand) condition {
			return condition{failing: 1, held: true, checkFails: true}
		}, 5, 240)},
	}
}

// longOutage and longCheck are longer than the connectors' queues keep events, which is then a day.
const longOutage, longCheck = "longer than the retention", "check fails for longer than the retention"

const wrongCheck = "check fails, delivery works"

func beyondRetention(scenario string) bool { return scenario == longOutage || scenario == longCheck }

// outcome is the result of one seed.
type outcome struct {
	scenario    string
	transitions map[string]int
	enqueued    int
	exhausted   int
	recovery    time.Duration
	hours       float64
	invocations int
	crashes     int
	calm        bool // no fault but the SIEM's
	broken      []string
}

func pick(rng *rand.Rand, all []scenario) scenario {
	total := 0
	for _, s := range all {
		total += s.weight
	}
	n := rng.IntN(total)
	for _, s := range all {
		if n -= s.weight; n < 0 {
			return s
		}
	}
	panic("unreachable")
}

// simulate runs one seed.
func simulate(seed uint64) outcome {
	rng := rand.New(rand.NewPCG(seed, 13))
	s := pick(rng, scenarios())
	w := newWorld(rng, time.Duration(rng.IntN(300))*time.Second)
	script := s.script(rng)
	end := 0.0
	for _, c := range script {
		if c.failing > 0 {
			end = max(end, c.untilMinute)
		}
	}
	for i, name := range []string{"splunk", "elastic", "qradar"} {
		p := w.add(name, (1+rng.IntN(100))*int(tick/time.Second), []int{0, 2, 5, 10}[rng.IntN(4)],
			[]int{1, 2, 10, 100}[rng.IntN(4)], nil)
		p.rate = min(p.rate, p.capacity(condition{})/8)
		if i == 0 || i == 1 && rng.IntN(3) == 0 {
			p.script = script
		}
	}
	ops := &operator{w: w}
	chaos(w, s.name, ops, end)
	return w.run(s.name, end, ops)
}

// chaos adds faults of the guard's surroundings and operators to some of the seeds.
func chaos(w *simWorld, name string, ops *operator, end float64) {
	rng := w.rng
	if rng.IntN(3) == 0 {
		w.kills = []float64{.002, .02, .1}[rng.IntN(3)]
	}
	if rng.IntN(4) == 0 {
		w.errors = []float64{.01, .1}[rng.IntN(2)]
	}
	if rng.IntN(3) == 0 {
		w.replayFault = []string{"timeout", "locked", "error"}[rng.IntN(3)]
		w.replayUntil = w.start.Add(time.Duration(end+minutes(rng, 1, 200)) * time.Minute)
		if rng.IntN(20) == 0 || beyondRetention(name) && rng.IntN(2) == 0 {
			w.replayUntil = w.replayUntil.Add(24 * time.Hour)
		}
	}
	if rng.IntN(6) == 0 {
		ops.jump = minutes(rng, 0, end+20)
	}
	if rng.IntN(4) == 0 {
		for range 1 + rng.IntN(3) {
			ops.at = append(ops.at, minutes(rng, 0, end+20))
		}
		slices.Sort(ops.at)
	}
	if rng.IntN(8) == 0 {
		ops.in = []State{Held, Resumed, Trial, Running, Replaying, Operator}[rng.IntN(6)]
		if ops.in == Held || ops.in == Trial {
			w.kills = .05
		}
	} else if name == wrongCheck && rng.IntN(4) == 0 { // other scenarios have few trials, and a trial is short
		ops.in = Trial
	}
}

// operator acts at some times.
type operator struct {
	w      *simWorld
	at     []float64     // minutes
	resume float64       // minute at which a paused connector is resumed; 0 = none is paused
	jump   float64       // minute at which the guard's clock jumps
	by     time.Duration // 0 = a random number of minutes
	in     State         // the operator acts as soon as the tag has this state and the mapping is enabled
	acted  bool
}

func (o *operator) step() {
	p, rng := o.w.plants[0], o.w.rng
	if o.jump > 0 && p.minute() >= o.jump {
		o.jump = 0
		if o.w.clock = o.by; o.by == 0 {
			o.w.clock = time.Duration((rng.IntN(18) - 9)) * time.Minute
		}
	}
	if p.paused && p.minute() >= o.resume && p.mapping.off() && p.mapping.State != "Disabling" {
		o.enable(p)
		p.paused, o.resume = false, 0
	}
	if o.in == None && (len(o.at) == 0 || p.minute() < o.at[0]) {
		return
	}
	h, _ := ParseHold(p.tag)
	switch {
	case p.paused || p.mapping.State == "Enabling" || p.mapping.State == "Disabling":
		return
	case o.in != None && h != nil && h.State == o.in && p.mapping.on():
		o.in = None
	case len(o.at) > 0 && p.minute() >= o.at[0]:
		o.at = o.at[1:]
	default:
		return
	}
	o.acted = true
	o.act(p, h)
}

func (o *operator) act(p *plant, h *Hold) {
	visible := h == nil || h.State != Holding && (h.State != Held || p.mapping.Concurrency == Gradual)
	switch n := o.w.rng.IntN(4); {
	case n == 0: // siemctl pause
		if h != nil && h.State != Done && h.State != Ended && h.State != Operator {
			h.State = Operator
			o.w.write(p, h.String())
		}
		o.disable(p)
	case n == 1 && p.mapping.on() && p.own.Concurrency != Gradual && visible: // in the console
		o.disable(p)
	case n == 2: // siemctl resume
		o.enable(p)
	default: // a deployment that changes MaximumConcurrency
		p.change(Change{Enabled: new(true), Concurrency: new(3 + o.w.rng.IntN(9))})
	}
}

func (o *operator) disable(p *plant) {
	p.change(Change{Enabled: new(false)})
	p.paused, o.resume = true, p.minute()+minutes(o.w.rng, 1, 90)
}

func (o *operator) enable(p *plant) {
	c := Change{Enabled: new(true)}
	if h, _ := ParseHold(p.tag); h != nil && (h.State == Resumed || h.State == Trial || h.State == Operator) {
		c.Concurrency, c.BatchSize = &h.Concurrency, &h.BatchSize
	}
	p.change(c)
}

// quiet reports whether nothing is left to do.
func (w *simWorld) quiet() bool {
	if len(w.messages) > 0 {
		return false
	}
	for _, p := range w.plants {
		if p.waiting() > 0 || p.paused || p.mapping.State != "Enabled" {
			return false
		}
	}
	return true
}

// run simulates until everything is quiet, and checks what the guard promises.
func (w *simWorld) run(name string, end float64, ops *operator) outcome {
	g := w.guard()
	if beyondRetention(name) {
		g.Retention = 24 * time.Hour
	}
	last := w.start.Add(time.Duration((end + 72*60) * float64(time.Minute)))
	over := w.start.Add(time.Duration((end + 1) * float64(time.Minute)))
	var recovery time.Duration
	for ; w.now.Before(last); w.now = w.now.Add(tick) {
		producing := w.now.Before(over)
		for _, p := range w.plants {
			p.step(producing)
		}
		w.alarms()
		ops.step()
		w.deliverMessages(g)
		w.tick++
		if w.now.After(over) {
			if p := w.plants[0]; recovery == 0 && p.mapping.State == "Enabled" {
				recovery = w.now.Sub(over) + time.Minute
			}
			if len(ops.at) == 0 && w.quiet() {
				break
			}
		}
	}
	o := outcome{scenario: name, transitions: w.transitions, enqueued: w.plants[0].enqueued,
		exhausted: w.plants[0].exhausted,
		recovery:  recovery, hours: end / 60, invocations: w.invocations, crashes: w.crashes, broken: w.broken}
	w.judge(&o, ops)
	return o
}

func (w *simWorld) judge(o *outcome, ops *operator) {
	fail := func(format string, args ...any) { o.broken = append(o.broken, fmt.Sprintf(format, args...)) }
	if !w.now.Before(w.start.Add(time.Duration((o.hours*60 + 72*60) * float64(time.Minute)))) {
		fail("not quiet after 72 hours: %d messages, %v", len(w.messages), w.plants[0].tag)
	}
	calm := w.kills == 0 && w.errors == 0 && !ops.acted
	o.calm = calm
	for i, p := range w.plants {
		touched := p.script != nil
		if lost := p.enqueued - p.delivered - p.waiting() - p.pending(); lost != 0 {
			fail("%s: %d events are unaccounted for", p.name, lost)
		}
		if !touched && (p.touched > 0 || p.exhausted > 0 || p.tag != "") {
			fail("%s: a connector without an outage was changed", p.name)
		}
		inside := p.left()
		undisturbed := i != 0 || !ops.acted
		if inside > 0 && !beyondRetention(o.scenario) && undisturbed {
			fail("%s: %d dead letters are left", p.name, inside)
		}
		if h, err := ParseHold(p.tag); p.tag != "" && (err != nil || h.State != Done && h.State != Ended) {
			fail("%s: the tag is %q", p.name, p.tag)
		}
		if undisturbed && (p.mapping.Concurrency != p.own.Concurrency || p.mapping.BatchSize != p.own.BatchSize) {
			fail("%s: the mapping is %+v, was %+v", p.name, p.mapping, p.own)
		}
	}
	p := w.plants[0]
	if bound := deadLetterMinutes * 60 * p.rate / int(tick/time.Second); calm && o.hours <= 1 && p.exhausted > bound &&
		(o.scenario == "minutes" || o.scenario == "credentials expired") {
		fail("%d events became dead letters, want at most those of the first %d minutes, %d", p.exhausted, deadLetterMinutes,
			bound)
	}
	if calm && o.recovery > recoveryBound {
		fail("the connector ran again %s after the SIEM", o.recovery)
	}
	if calm && w.stuck > 0 && w.replayFault == "" && !beyondRetention(o.scenario) {
		fail("an operator was called %d times", w.stuck)
	}
}

// TestSimulation runs the guard against simulated outages. With -v it prints a report.
func TestSimulation(t *testing.T) {
	first, count := uint64(1), *seeds
	if *oneSim > 0 {
		first, count = *oneSim, 1
	}
	outcomes := make([]outcome, count)
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				outcomes[i] = simulate(first + uint64(i))
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	wg.Wait()
	reached, failed := map[string]int{}, 0
	for i, o := range outcomes {
		for e, n := range o.transitions {
			reached[e] += n
		}
		if len(o.broken) > 0 {
			if failed++; failed <= 10 {
				t.Errorf("seed %d (%s): %s", first+uint64(i), o.scenario, strings.Join(o.broken[:min(3, len(o.broken))], "; "))
			}
		}
	}
	if failed > 10 {
		t.Errorf("%d seeds failed", failed)
	}
	table := report(t, outcomes, reached)
	if *oneSim == 0 {
		compareDiagram(t, reached)
	}
	if *update {
		docgen.Check(t, page, "simulation", table, true)
	}
}

// report prints the transitions, and returns the table for the docs.
func report(t *testing.T, outcomes []outcome, reached map[string]int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| outage | dead letters, in minutes of events | slowest recovery | with other faults |\n" +
		"|---|---|---|---|\n")
	for _, s := range scenarios() {
		var calm, faulty time.Duration
		most := 0.0
		for _, o := range outcomes {
			if o.scenario != s.name {
				continue
			}
			faulty = max(faulty, o.recovery)
			if o.calm {
				calm = max(calm, o.recovery)
				most = max(most, float64(o.exhausted)/float64(max(1, o.enqueued))*(o.hours*60+1))
			}
		}
		fmt.Fprintf(&b, "| %s | %.1f | %s | %s |\n", s.name, most, calm.Round(time.Second), faulty.Round(time.Second))
	}
	var crashes, invocations int
	for _, o := range outcomes {
		crashes, invocations = crashes+o.crashes, invocations+o.invocations
	}
	t.Logf("%d seeds, %d invocations of the guard, %d of which ended early\n%s", len(outcomes), invocations, crashes,
		b.String())
	for _, e := range slices.Sorted(maps.Keys(reached)) {
		t.Logf("%8d  %s", reached[e], e)
	}
	fmt.Fprintf(&b, "\n%d runs; the guard was invoked %d times, and %d invocations were ended between two calls.\n",
		len(outcomes), invocations, crashes)
	return b.String()
}

// compareDiagram compares the diagram in the docs with the transitions that the simulation reached.
func compareDiagram(t *testing.T, reached map[string]int) {
	t.Helper()
	text, err := os.ReadFile(diagram)
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\S+ --> \w+)`).FindAllStringSubmatch(string(text), -1) {
		drawn[m[1]] = true
		if reached[m[1]] == 0 {
			t.Errorf("docs/guard-states.mermaid: the simulation never reached %q", m[1])
		}
	}
	for e := range reached {
		if !drawn[e] {
			t.Errorf("docs/guard-states.mermaid: the diagram lacks %q", e)
		}
	}
}

// TestOneHour is the outage of the docs: one hour, 100 events a second, with every duration of a failing request.
func TestOneHour(t *testing.T) {
	var b strings.Builder
	b.WriteString("| a failing request takes | held after | dead letters | checked | recovered after the SIEM | events " +
		"in the SIEM |\n|---|---|---|---|---|---|\n")
	for _, slow := range []bool{false, true} {
		w := newWorld(rand.New(rand.NewPCG(1, 1)), 0)
		p := w.add("splunk", 100*int(tick/time.Second), 5, 100,
			outage(condition{failing: 1, checkFails: true, slow: slow}, 60))
		o := w.run("one hour", 62, &operator{w: w})
		if len(o.broken) > 0 || p.pending() > 0 || p.delivered != p.enqueued || w.transitions["holding --> held"] != 1 {
			t.Error(o.broken, p.pending(), p.delivered, p.enqueued, w.transitions)
		}
		if o.exhausted > deadLetterMinutes*60*100 {
			t.Errorf("%d dead letters", o.exhausted)
		}
		held := p.heldAt.Sub(w.start.Add(2 * time.Minute))
		fmt.Fprintf(&b, "| %s | %s | %d | %d times | %s | %d of %d |\n", map[bool]string{false: "0.2 s", true: "10 s"}[slow],
			held.Round(time.Second), o.exhausted, w.transitions["held --> held"]+1, o.recovery.Round(time.Second), p.delivered,
			p.enqueued)
	}
	docgen.Check(t, page, "one-hour", b.String(), *update)
}
