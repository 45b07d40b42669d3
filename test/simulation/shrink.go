package simulation

import (
	"slices"
	"strings"
	"testing"
)

// Shrink removes parts of a plan as long as it violates the same rule. It returns the smallest plan, with its story,
// and the result of running it.
func Shrink(t *testing.T, plan Plan, first Result) (Plan, Result) {
	t.Helper()
	if len(first.Violations) == 0 {
		return plan, first
	}
	s := &shrinker{t: t, rule: rule(first.Violations[0]), left: 150}
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range candidates(plan) {
			if s.breaks(candidate) {
				plan, smaller = candidate, true
				break
			}
		}
	}
	plan.Story = true
	return plan, Run(t, plan)
}

// rule returns the rule of a violation.
func rule(violation string) string {
	name, _, _ := strings.Cut(violation, ":")
	return name
}

type shrinker struct {
	t    *testing.T
	rule string
	left int // runs
}

func (s *shrinker) breaks(p Plan) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	return slices.ContainsFunc(Run(s.t, p).Violations, func(v string) bool { return rule(v) == s.rule })
}

// candidates returns smaller plans, the smallest first.
func candidates(p Plan) []Plan {
	var all []Plan
	add := func(change func(*Plan)) {
		smaller := p
		smaller.Connectors, smaller.Faults = slices.Clone(p.Connectors), slices.Clone(p.Faults)
		change(&smaller)
		all = append(all, smaller)
	}
	if n := len(p.Connectors); n > 1 {
		for i := range n {
			add(func(s *Plan) { s.Connectors = s.Connectors[i : i+1] })
		}
	}
	if n := len(p.Faults); n > 1 {
		add(func(s *Plan) { s.Faults = s.Faults[:n/2] })
		add(func(s *Plan) { s.Faults = s.Faults[n/2:] })
	}
	for i := range p.Faults {
		add(func(s *Plan) { s.Faults = slices.Delete(s.Faults, i, i+1) })
	}
	if len(p.Rotations) > 0 {
		add(func(s *Plan) { s.Rotations = nil })
	}
	if len(p.Replays) > 0 {
		add(func(s *Plan) { s.Replays = nil })
	}
	for i, r := range p.rates() {
		if *r.value > 0 {
			add(func(s *Plan) { *s.rates()[i].value = 0 })
		}
	}
	if p.Proxy != "" {
		add(func(s *Plan) { s.Proxy = "" })
	}
	if p.Old > 0 {
		add(func(s *Plan) { s.Old = 0 })
	}
	if len(p.Guard.Operations) > 0 {
		add(func(s *Plan) { s.Guard.Operations = nil })
	}
	if p.Guard.On {
		add(func(s *Plan) { s.Guard = Guarded{} })
	}
	if p.Slots > 1 {
		add(func(s *Plan) { s.Slots = 1 })
	}
	if p.Burst.Events > 0 {
		add(func(s *Plan) { s.Burst = Burst{} })
		add(func(s *Plan) { s.Burst.Events /= 2 })
	}
	if p.Events > 1 {
		add(func(s *Plan) { s.Events = 1 })
		add(func(s *Plan) { s.Events = p.Events / 2 })
		add(func(s *Plan) { s.Events = p.Events * 7 / 8 })
	}
	return all
}
