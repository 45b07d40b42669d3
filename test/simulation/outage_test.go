package simulation_test

import (
	"slices"
	"testing"
	"time"

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
