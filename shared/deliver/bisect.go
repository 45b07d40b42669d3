package deliver

import (
	"slices"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// divisible tells whether the packed batch is to be halved because of f: it is too large, or one of its records is
// refused, or the SIEM breaks (500) over a batch of which a record would not get another attempt.
func (r *run) divisible(f *failure.Error) bool {
	if len(r.sent) < 2 {
		return false
	}
	const broken = 500
	switch f.Kind {
	case failure.TooLarge, failure.Rejected:
		return true
	case failure.Transient:
		return f.Status == broken && slices.ContainsFunc(r.sent, func(i int) bool { return r.items[i].Last })
	case failure.Throttled, failure.Unauthorized, failure.Misconfigured, failure.Unprocessed:
	}
	return false
}

// isolate halves refused items until every culprit stands alone. It goes breadth first: when both halves of a refused
// batch are refused as well, a sample tells whether the configuration is to blame, before each event is tried.
func (r *run) isolate(items []int, f *failure.Error) {
	for parts := [][]int{items}; len(parts) > 0 && r.stopped == nil; {
		part := parts[0]
		parts = parts[1:]
		if r.doubtful() {
			if r.sample(slices.Concat(append([][]int{part}, parts...)...), f); r.stopped != nil {
				return
			}
			part = r.unsettled(part)
		}
		for _, half := range [...][]int{part[:len(part)/2], part[len(part)/2:]} {
			if half = r.unsettled(half); len(half) > 0 {
				if again := r.tryPart(half); again != nil {
					parts = append(parts, again)
				}
			}
		}
		if r.stopped != nil {
			r.giveBack(r.unsettled(slices.Concat(append([][]int{part}, parts...)...)))
		}
	}
}

// tryPart sends a part of a refused batch. It returns the part when it is refused in turn and can be divided further.
func (r *run) tryPart(part []int) []int {
	if r.stopped != nil {
		return nil
	}
	if n := r.pack(part); n < len(part) || len(r.sent) < len(part) {
		r.deliver(part) // a renewed connector may pack otherwise
		return nil
	}
	err := r.send()
	if _, partial := err.(*PartialError); err != nil && !partial { //nolint:errorlint // as in settle
		if r.divisible(failure.Of(err)) {
			r.refusals++
			return clone(r.sent)
		}
	}
	r.settle(err)
	return nil
}

// unsettled returns the items that have no outcome of their own yet.
func (r *run) unsettled(items []int) []int {
	return slices.DeleteFunc(clone(items), func(i int) bool {
		return r.outcomes[i].State != Retry || r.outcomes[i].Fault != nil
	})
}

// doubtAfter is how many requests have to be refused, and none accepted, before the configuration comes into doubt: a
// batch and both its halves.
const doubtAfter = 3

// sampleSize is how many events are then tried alone. A culprit in every one of them, and none in the rest, is less
// likely than a wrong configuration; and nothing is lost if it is so, only tried again.
const sampleSize = 16

func (r *run) doubtful() bool {
	return !r.sampled && r.accepted == 0 && r.refusals >= doubtAfter
}

// sample tries a few items alone, spread over all. When all of them are refused alike, nothing more is sent.
func (r *run) sample(items []int, f *failure.Error) {
	r.sampled = true
	size := min(sampleSize, len(items))
	for n := range size {
		if r.stopped != nil {
			break
		}
		i := items[n*len(items)/size]
		r.tryPart([]int{i})
	}
	if r.stopped == nil && r.accepted == 0 && r.alike() {
		r.stopped = f
	}
	if r.stopped != nil {
		r.giveBack(r.unsettled(items))
	}
}

// refused lists the items that the SIEM has refused for their content.
func (r *run) refused() []int {
	var items []int
	for i, o := range r.outcomes {
		if o.State == Rejected && o.Fault.Code != unencodable {
			items = append(items, i)
		}
	}
	return items
}

// alike tells whether all refusals so far are the same.
func (r *run) alike() bool {
	items := r.refused()
	for _, i := range items {
		if !r.outcomes[i].Fault.Alike(r.outcomes[items[0]].Fault) {
			return false
		}
	}
	return true
}

// blameConfiguration holds the events of a batch that the SIEM has refused one and all, and all alike.
func (r *run) blameConfiguration() {
	if r.accepted > 0 {
		return
	}
	items := r.refused()
	if len(items) < 2 || !r.alike() {
		return
	}
	refusal := r.outcomes[items[0]].Fault
	held := *refusal
	held.Kind = failure.Misconfigured
	if held.Hint == "" {
		held.Hint = "every event of the batch is refused alike, so the configuration is to blame and not the events"
	}
	for i, o := range r.outcomes {
		refused := o.State == Rejected && o.Fault.Code != unencodable
		unasked := o.Fault != nil && o.Fault == r.stopped && o.Fault.Alike(refusal)
		if refused || unasked {
			r.outcomes[i] = Outcome{Fault: &held}
		}
	}
}
