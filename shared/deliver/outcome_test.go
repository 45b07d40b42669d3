package deliver_test

import (
	"context"
	"slices"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestOutcomesAreCleared: the outcomes of an earlier batch are not outcomes of this one.
func TestOutcomesAreCleared(t *testing.T) {
	s := &script{answer: refuses(rejected, "e001")}
	out := []deliver.Outcome{{State: deliver.Delivered}, {State: deliver.Delivered}, {State: deliver.Rejected},
		{State: deliver.Delivered}}
	deliver.Deliver(context.Background(), s, items(numbered(4)...), out)
	if states(out) != "dxdd" {
		t.Errorf("outcomes %s, want dxdd", states(out))
	}
	sent := map[string]bool{}
	for _, ids := range s.requests[1:] { // the first was refused as a whole
		for _, id := range ids {
			sent[id] = true
		}
	}
	if len(sent) != 4 {
		t.Errorf("after the refusal %d events were sent, want all four: %v", len(sent), s.requests)
	}
}

// TestResultsDoNotFit: a response with another number of results decides nothing.
func TestResultsDoNotFit(t *testing.T) {
	for _, n := range []int{0, 2, 4} {
		s := &script{answer: always(&deliver.PartialError{Results: make([]error, n)})}
		if out, _ := run(s, items(numbered(3)...)); states(out) != "rrr" {
			t.Errorf("%d results for 3 records: %s, want rrr", n, states(out))
		}
	}
}

// TestRefusedForDifferentReasons: if the refusals differ, the events are at fault, not the configuration.
func TestRefusedForDifferentReasons(t *testing.T) {
	for name, other := range map[string]*failure.Error{
		"another code":   {Kind: failure.Rejected, Status: 400, Code: "12"},
		"another status": {Kind: failure.Rejected, Status: 422},
	} {
		s := &script{answer: func(ids []string) error {
			if slices.Contains(ids, "a") {
				return rejected
			}
			return other
		}}
		if out, _ := run(s, items("a", "b")); states(out) != "xx" {
			t.Errorf("%s: %s, want xx", name, states(out))
		}
	}
}
