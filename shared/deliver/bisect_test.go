package deliver_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// lastAttempt returns events that are all on their last attempt.
func lastAttempt(n int) []deliver.Item {
	in := items(numbered(n)...)
	for i := range in {
		in[i].Last = true
	}
	return in
}

// TestMisleadingSample: once an event is accepted, the events that were set aside are sent.
func TestMisleadingSample(t *testing.T) {
	in := items(numbered(100)...)
	in[98].Last = true // it is acceptable, and not in the sample
	s := &script{}
	s.answer = func(ids []string) error {
		if slices.ContainsFunc(ids, func(id string) bool { return id < "e095" }) {
			return rejected
		}
		return nil
	}
	if out, _ := run(s, in); states(out) != strings.Repeat("x", 95)+"ddddd" {
		t.Errorf("outcomes %s, want the last five events delivered", states(out))
	}
}

// TestReasonOfUnsentEvents: an event that was not sent alone does not get the refusal of another event as its reason.
func TestReasonOfUnsentEvents(t *testing.T) {
	s := &script{answer: func(ids []string) error {
		if len(ids) > 1 {
			return errTooLarge
		}
		return &failure.Error{Kind: failure.Unauthorized, Status: 403, Foreign: true}
	}}
	out, _ := run(s, lastAttempt(40))
	for i, o := range out {
		if o.State != deliver.Retry || o.Fault.Status != 403 {
			t.Errorf("event %d: %v %v, want the 403 that it got alone", i, o.State, o.Fault)
		}
	}
	s = &script{answer: always(rejected)}
	out, _ = run(s, items(numbered(100)...))
	unsent := 0
	for i, o := range out {
		if o.Fault.Status == 0 && strings.Contains(o.Fault.Error(), "sample") {
			unsent++
		} else if !slices.ContainsFunc(s.requests, func(ids []string) bool {
			return len(ids) == 1 && ids[0] == numbered(100)[i]
		}) {
			t.Errorf("event %d was not sent alone, and has the reason %v", i, o.Fault)
		}
	}
	if unsent != 100-16 {
		t.Errorf("%d events were not sent alone, want 84", unsent)
	}
}

// TestRefusedAlikeOnTheLastAttempt: the conclusion that the configuration is at fault is drawn from every event.
func TestRefusedAlikeOnTheLastAttempt(t *testing.T) {
	s := &script{answer: always(rejected)}
	if out, _ := run(s, lastAttempt(100)); states(out) != strings.Repeat("h", 100) || out[7].Fault.Status != 400 ||
		len(s.requests) != 103 {
		t.Errorf("outcomes %s in %d requests, want all held in 103", states(out), len(s.requests))
	}
	in := items(numbered(100)...)
	in[50].Last = true // no conclusion about this one: most of the others are not sent alone
	if out, _ := run(s, in); states(out) != strings.Repeat("h", 50)+"x"+strings.Repeat("h", 49) {
		t.Errorf("outcomes %s, want all held except event 50, which is rejected", states(out))
	}
}

// TestManyEvents: one failing event among 4,000 adds at most 200 requests and does not stop the others; no request has
// more than 100 events.
func TestManyEvents(t *testing.T) {
	for _, bad := range []string{"e000", "e041", "e3999"} {
		for name, err := range map[string]*failure.Error{"refused": rejected, "500": broken,
			"broken connection": {Disconnected: true}} {
			s := &script{answer: refuses(err, bad)}
			out, _ := run(s, lastAttempt(4000))
			if got := strings.Count(states(out), "d"); got != 3999 || len(s.requests) > 40+14 {
				t.Errorf("%s, %s: %d events delivered in %d requests, want 3,999 in at most 54", name, bad, got, len(s.requests))
			}
			for _, ids := range s.requests {
				if len(ids) > 100 {
					t.Errorf("a request of %d events", len(ids))
				}
			}
		}
	}
	s := &script{answer: always(rejected)}
	if out, _ := run(s, items(numbered(4000)...)); states(out) != strings.Repeat("h", 4000) || len(s.requests) != 3+16 {
		t.Errorf("all refused: %d requests, want 19 and every event held", len(s.requests))
	}
	s = &script{format: deliver.Format{Stream: true}, answer: accept}
	if run(s, items(numbered(4000)...)); len(s.requests) != 1 {
		t.Errorf("stream: %d requests, want 1", len(s.requests))
	}
}

// TestLimitOfRequests: a batch makes at most 200 requests for each 100 events, those for tokens included.
func TestLimitOfRequests(t *testing.T) {
	for _, extra := range []int{0, 1, 2} {
		s := &script{extra: extra}
		s.answer = func(ids []string) error { return &failure.Error{Kind: failure.Rejected, Status: 400, Code: ids[0]} }
		out, report := run(s, lastAttempt(100))
		if report.Requests > 200 {
			t.Errorf("%d requests, want at most 200", report.Requests)
		}
		if got := strings.Count(states(out), "x"); (got == 100) != (extra == 0) {
			t.Errorf("%d further requests each: %d events rejected", extra, got)
		}
		for i, o := range out {
			if o.State == deliver.Retry && (o.Fault.Status != 0 || !strings.Contains(o.Fault.Error(), "limit of requests")) {
				t.Errorf("event %d: reason %v, want the limit of requests", i, o.Fault)
			}
		}
	}
}

// TestOverloadInAPartialResponse: no further request is made, and the remaining events wait as long as the SIEM asks
// for.
func TestOverloadInAPartialResponse(t *testing.T) {
	for _, f := range []*failure.Error{
		{Kind: failure.Throttled, Status: 429, RetryAfter: 17 * time.Second},
		{Status: 503, RetryAfter: 17 * time.Second},
	} {
		s := &script{format: deliver.Format{MaxRecords: 4}}
		s.answer = func([]string) error {
			return &deliver.PartialError{Results: []error{nil, rejected, f, &failure.Error{Kind: failure.Unprocessed}}}
		}
		out, _ := run(s, items(numbered(8)...))
		if states(out) != "dxrrrrrr" || len(s.requests) != 1 {
			t.Errorf("%d: outcomes %s in %d requests, want dxrrrrrr in 1", f.Status, states(out), len(s.requests))
		}
		if out[3].Fault.RetryAfter != f.RetryAfter || out[7].Fault.RetryAfter != f.RetryAfter || out[7].Fault.Kind != f.Kind {
			t.Errorf("%d: the events that were not sent have the reason %+v", f.Status, out[7].Fault)
		}
	}
}

// TestDeadlineInABisection: an event that was refused in a batch and not alone does not get that refusal as its reason.
func TestDeadlineInABisection(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &script{}
	s.answer = func(ids []string) error {
		if len(ids) > 1 && len(ids) < 50 {
			cancel()
		}
		return refuses(rejected, "e041", "e099")(ids)
	}
	out := make([]deliver.Outcome, 100)
	deliver.Deliver(ctx, s, lastAttempt(100), out)
	for i, o := range out {
		if o.State == deliver.Rejected || o.State == deliver.Retry &&
			(o.Fault.Status != 0 || !strings.Contains(o.Fault.Error(), "time for this batch")) {
			t.Errorf("event %d: %v %v, want a retry because time is up", i, o.State, o.Fault)
		}
	}
	if !strings.Contains(states(out), "d") {
		t.Error("no event was accepted before the deadline, so nothing is proven")
	}
}

// TestHeldWithItsOwnWords: if all events get the same refusal, each is held with the SIEM's response to that event.
func TestHeldWithItsOwnWords(t *testing.T) {
	s := &script{answer: func(ids []string) error {
		return &failure.Error{Kind: failure.Rejected, Status: 400, Detail: "refused " + ids[0]}
	}}
	out, _ := run(s, items(numbered(3)...))
	for i, o := range out {
		if want := "refused " + numbered(3)[i]; states(out) != "hhh" || o.Fault.Detail != want {
			t.Errorf("%s: event %d has the reason %q, want %q", states(out), i, o.Fault.Detail, want)
		}
	}
}

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
