package simulation_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/test/simulation"
)

// TestOutage: an outage of an hour of each SIEM. With the guard, nothing is left to an operator, and the events of the
// other connectors are accepted at the same nanosecond as without the outage. Without it, the events become dead
// letters.
func TestOutage(t *testing.T) {
	const length = time.Hour
	calm := simulation.NewOutage("", length)
	calm.Faults, calm.Guard.Affected = nil, nil
	quiet := simulation.Run(t, calm)
	for _, name := range connectors.Names() {
		t.Run(name, func(t *testing.T) {
			plan := simulation.NewOutage(name, length)
			with := simulation.Run(t, plan)
			plan.Guard.On = false
			without := simulation.Run(t, plan)
			for _, r := range []simulation.Result{quiet, with, without} {
				for _, v := range r.Violations[:min(5, len(r.Violations))] {
					t.Errorf("violation: %s", v)
				}
			}
			if n := with.Counts["alarms of connectors"]; n != 1 || quiet.Counts["alarms of connectors"] != 0 {
				t.Errorf("%d alarms", n)
			}
			if a, b := dead(with), dead(without); a >= b {
				t.Errorf("%d dead letters with the guard, %d without it", a, b)
			}
			if !slices.Equal(others(with, name), others(quiet, name)) {
				t.Error("the outage affects other connectors")
			}
			t.Logf("%d dead letters with the guard, %d without it", dead(with), dead(without))
		})
	}
}

// dead returns the number of events that were dead letters.
func dead(r simulation.Result) (n int) {
	for _, e := range r.Events {
		if e.Dead {
			n++
		}
	}
	return n
}

// others returns the results of the other connectors' events.
func others(r simulation.Result, name string) []simulation.EventResult {
	return slices.DeleteFunc(slices.Clone(r.Events),
		func(e simulation.EventResult) bool { return e.Connector == name })
}

var burst = flag.Int("burst", testenv.Scale(1000, 100), "number of events to enqueue at once while a SIEM is down")

// TestBurst: a burst that is enqueued while a SIEM is down is delivered completely once the SIEM has recovered. The
// events of the other connectors are delivered at the same nanosecond as without the burst. Five attempts take about
// six minutes: in the shorter outage all events stay queued, in the longer one all become dead letters and are
// replayed.
func TestBurst(t *testing.T) {
	var text strings.Builder
	fmt.Fprintf(&text, "%d events for splunk at once, and a few for the other six connectors all the time.\n\n", *burst)
	for _, o := range []struct {
		down    time.Duration
		letters int
	}{{5 * time.Minute, 0}, {20 * time.Minute, *burst}} {
		t.Run(o.down.String(), func(t *testing.T) {
			b := runBurst(t, o.down)
			b.checkPromises(t)
			b.checkBurst(t, o.letters)
			b.checkOthers(t)
			t.Log(b.line())
			text.WriteString(b.line() + "\n")
		})
	}
	if *update != "" && !t.Failed() {
		docgen.Check(t, *update, "burst", text.String(), true)
	}
}

// burstRun is a plan with its runs, with and without the burst.
type burstRun struct {
	plan          simulation.Plan
	with, without simulation.Result
	down, back    time.Duration // duration of the outage, and its end
	drained       time.Duration // when the last event of the burst is accepted
}

func runBurst(t *testing.T, down time.Duration) burstRun {
	t.Helper()
	b := burstRun{plan: simulation.NewBurst(*burst, down), down: down}
	b.back = b.plan.Burst.At + down
	b.with = simulation.Run(t, b.plan)
	quiet := b.plan
	quiet.Burst.Events = 0
	b.without = simulation.Run(t, quiet)
	for _, f := range b.with.Events {
		if f.Burst {
			b.drained = max(b.drained, f.Accepted)
		}
	}
	return b
}

func (b *burstRun) checkPromises(t *testing.T) {
	t.Helper()
	for _, r := range []simulation.Result{b.with, b.without} {
		for _, v := range r.Violations[:min(5, len(r.Violations))] {
			t.Errorf("violation: %s", v)
		}
	}
}

// checkBurst checks that the whole burst was delivered after the outage, and the number of dead letters.
func (b *burstRun) checkBurst(t *testing.T, want int) {
	t.Helper()
	events, letters := 0, 0
	for _, f := range b.with.Events {
		if !f.Burst {
			continue
		}
		events++
		if f.Dead {
			letters++
		}
		if f.Enqueued != b.plan.Burst.At || f.Accepted < b.back {
			t.Fatalf("event %s, enqueued at %s, is accepted at %s; the SIEM is down from %s to %s", f.ID, f.Enqueued, f.Accepted,
				b.plan.Burst.At, b.back)
		}
	}
	if events != *burst || letters != want {
		t.Errorf("%d events, of which %d were dead letters; expected %d and %d", events, letters, *burst, want)
	}
	if b.drained >= b.plan.Span {
		t.Errorf("the burst is delivered at %s, when the others have no events any more", b.drained)
	}
}

// checkOthers checks that the results of the other connectors' events are the same without the burst.
func (b *burstRun) checkOthers(t *testing.T) {
	t.Helper()
	if n, want := len(b.others(b.with)), b.plan.Events*(len(b.plan.Connectors)-1); n != want {
		t.Fatalf("%d events of the other connectors, expected %d", n, want)
	}
	if n := b.moved(); n > 0 {
		t.Errorf("the burst moves %d events of the other connectors", n)
	}
}

// others returns the events of the connectors without the burst.
func (b *burstRun) others(r simulation.Result) []simulation.EventResult {
	return others(r, b.plan.Burst.Connector)
}

// moved returns the number of the others' events that have another result without the burst.
func (b *burstRun) moved() (n int) {
	with := b.others(b.with)
	for i, f := range b.others(b.without) {
		if f != with[i] {
			n++
		}
	}
	return n
}

// line returns the result as an item of a list.
func (b *burstRun) line() string {
	letters := 0
	for _, f := range b.with.Events {
		if f.Burst && f.Dead {
			letters++
		}
	}
	before, during := delays(b.others(b.with), 0, b.plan.Burst.At), delays(b.others(b.with), b.plan.Burst.At, b.drained)
	return fmt.Sprintf("- Down for %s: %d dead letters; all delivered %s after the recovery; %d requests to all SIEMs "+
		"instead of %d. The others' median delay is %s before and %s during it, the 99th percentile %s and %s.", b.down,
		letters, (b.drained - b.back).Round(time.Second), b.with.Counts["requests"], b.without.Counts["requests"],
		percentile(before, 50), percentile(during, 50), percentile(before, 99), percentile(during, 99))
}

// delays returns the sorted times from enqueueing to acceptance of the events enqueued between two times.
func delays(events []simulation.EventResult, from, to time.Duration) (all []time.Duration) {
	for _, f := range events {
		if f.Enqueued >= from && f.Enqueued < to {
			all = append(all, f.Accepted-f.Enqueued)
		}
	}
	slices.Sort(all)
	return all
}

// percentile returns the n-th percentile of sorted delays.
func percentile(delays []time.Duration, n int) time.Duration {
	if len(delays) == 0 {
		return 0
	}
	return delays[(len(delays)*n+99)/100-1].Round(10 * time.Millisecond)
}
