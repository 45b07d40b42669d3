package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// confirming is a script whose SIEM confirms requests later: request n, counted from 0, with results[n].
type confirming struct {
	script
	results   []error
	confirmed [][]int64
}

func (c *confirming) Confirm(_ context.Context, ids []int64, m *telemetry.Meter) (results []error) {
	m.Add(1)
	c.confirmed = append(c.confirmed, slices.Clone(ids))
	for _, id := range ids {
		results = append(results, c.results[id])
	}
	return results
}

func (c *confirming) Current() deliver.Connector { return c }

func (c *confirming) Renew(context.Context) deliver.Connector {
	c.renewals++
	return c
}

// TestConfirm: the requests of a delivery are confirmed together, after the last one.
func TestConfirm(t *testing.T) {
	late := &failure.Error{Detail: "late"}
	c := &confirming{results: []error{nil, late, nil}, script: script{format: deliver.Format{MaxRecords: 2}}}
	c.answer = func([]string) error { return &deliver.PendingError{ID: int64(len(c.requests) - 1)} }
	out := make([]deliver.Outcome, 6)
	report := deliver.Deliver(t.Context(), c, items(numbered(6)...), out)
	if got := states(out); got != "ddrrdd" || out[2].Fault != late {
		t.Errorf("%s, want ddrrdd", got)
	}
	if fmt.Sprint(c.confirmed) != "[[0 1 2]]" || report.Requests != 4 {
		t.Errorf("confirmed %v, %d requests", c.confirmed, report.Requests)
	}
}

// TestConfirmBesides: a pending request does not change what happens to the others.
func TestConfirmBesides(t *testing.T) {
	for name, test := range map[string]struct {
		second          error
		want, confirmed string
	}{
		"refused":    {&failure.Error{Kind: failure.Rejected}, "dx", "[[0]]"},
		"throttled":  {&failure.Error{Kind: failure.Throttled}, "dr", "[[0]]"},
		"renewed":    {&failure.Error{Kind: failure.Unauthorized}, "dd", "[[0] [2]]"},
		"an outage":  {errors.New("reset"), "dr", "[[0]]"},
		"it pends":   {&deliver.PendingError{ID: 1}, "dd", "[[0 1]]"},
		"it accepts": {nil, "dd", "[[0]]"},
	} {
		c := &confirming{results: make([]error, 3), script: script{format: deliver.Format{MaxRecords: 1}}}
		c.answer = func([]string) error {
			if n := len(c.requests); n != 2 {
				return &deliver.PendingError{ID: int64(n - 1)}
			}
			return test.second
		}
		out := make([]deliver.Outcome, 2)
		deliver.Deliver(t.Context(), c, items(numbered(2)...), out)
		if got := states(out); got != test.want || fmt.Sprint(c.confirmed) != test.confirmed {
			t.Errorf("%s: %s, confirmed %v, want %s, %s", name, got, c.confirmed, test.want, test.confirmed)
		}
	}
}
