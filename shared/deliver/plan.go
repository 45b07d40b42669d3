package deliver

import (
	"cmp"
	"slices"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// The bounds of a bisection.
const (
	// doubtAfter is the number of requests that must be bisected, with no event accepted, before the configuration is
	// suspected: a batch and both its halves.
	doubtAfter = 3

	// sampleSize is the number of events that are then sent alone. If all of them get the same refusal, a wrong
	// configuration is more likely than that many failing events.
	sampleSize = 16

	// minRequests and requestsPerEvent bound the requests of a delivery: 200 for each 100 events.
	minRequests      = 200
	requestsPerEvent = 2

	// spareRequests is reserved for requests that one call of Send makes besides its own: for a token, or a resend.
	spareRequests = 4
)

// plan holds the state of one delivery: the outcomes so far and the batches still to send. It makes no request and
// reads no clock, so a test can drive it with any responses. Events are numbered as in items.
//
// An event is pending while its outcome is the zero Outcome (Truncated aside). Every pending event is in one of the
// batches still to send.
type plan struct {
	items    []Item
	outcomes []Outcome
	numbers  []int // storage of the batches

	front []batch // sent first; the last one is next
	queue []batch // sent in order from head on
	head  int
	aside []batch // not sent unless an event is accepted, because the configuration is suspected

	sample   []int // events sent alone to find out whether the configuration is at fault
	accepted int   // events that the SIEM accepted
	bisected int   // requests that were bisected
	last     bool  // at least one event is on its last attempt
	renewed  bool  // the credential was renewed
	stalled  bool  // the last response left every event of its request unprocessed

	stopped *failure.Error // the outcome of events that are pending when no further request is made
}

// batch is a list of events to be sent together, as far as the SIEM's limits allow.
type batch struct {
	events []int
	alone  bool // all events are on their last attempt, and sent alone while the configuration is suspected
}

// start makes a plan that sends all items. It keeps the storage of an earlier plan.
func (p *plan) start(items []Item, outcomes []Outcome) {
	clear(outcomes)
	*p = plan{
		items: items, outcomes: outcomes, numbers: p.numbers[:0],
		front: p.front[:0], queue: p.queue[:0], aside: p.aside[:0], sample: p.sample[:0],
	}
	for i := range items {
		p.numbers = append(p.numbers, i)
		p.last = p.last || items[i].Last
	}
	p.first(batch{events: p.numbers})
}

func (p *plan) pending(i int) bool { return p.outcomes[i].State == Retry && p.outcomes[i].Fault == nil }

// first makes b the next batch.
func (p *plan) first(b batch) {
	if len(b.events) > 0 {
		p.front = append(p.front, b)
	}
}

func (p *plan) pop() (b batch, ok bool) {
	if n := len(p.front); n > 0 {
		b, p.front = p.front[n-1], p.front[:n-1]
		return b, true
	}
	if p.head == len(p.queue) {
		return batch{}, false
	}
	b = p.queue[p.head]
	p.head++
	return b, true
}

// next returns the events to send next, after requests requests. It returns nil when nothing more is to be sent.
// Some of the events may have got their outcome meanwhile.
func (p *plan) next(requests int) []int {
	for p.stopped == nil {
		p.takeSample()
		b, ok := p.pop()
		switch {
		case !ok && p.accepted > 0 && len(p.aside) > 0: // the sample was misleading
			p.front, p.aside = p.aside, p.front
		case !ok:
			return nil
		case p.overLimit(requests):
			p.stopped = &failure.Error{Detail: "not delivered: the limit of requests for this batch is reached"}
		case p.suspicion() == nil:
			return b.events
		case b.alone:
			p.first(batch{b.events[1:], true})
			return b.events[:1:1]
		default:
			p.separate(b.events)
		}
	}
	return nil
}

func (p *plan) overLimit(requests int) bool {
	return requests+spareRequests >= max(minRequests, requestsPerEvent*len(p.items))
}

// separate sets the events aside that have another attempt. The others are sent alone, because no conclusion from a
// sample is drawn about them.
func (p *plan) separate(events []int) {
	n := 0
	for k, i := range events {
		if p.items[i].Last {
			events[n], events[k] = i, events[n]
			n++
		}
	}
	if n < len(events) {
		p.aside = append(p.aside, batch{events: events[n:]})
	}
	p.first(batch{events[:n], true})
}

// takeSample queues a few pending events, spread over all of them, to be sent alone. It does so once, when requests
// were bisected and no event was accepted.
func (p *plan) takeSample() {
	if p.accepted > 0 || p.bisected < doubtAfter || len(p.sample) > 0 {
		return
	}
	var pending []int
	for i := range p.items {
		if p.pending(i) {
			pending = append(pending, i)
		}
	}
	for n, size := 0, min(sampleSize, len(pending)); n < size; n++ {
		p.sample = append(p.sample, pending[n*len(pending)/size])
	}
	for n := range p.sample {
		p.first(batch{events: p.sample[n : n+1 : n+1]})
	}
}

// suspicion returns the failure that every event of the sample shares. If there is one, and no event was accepted, the
// configuration is suspected. It returns nil if it is not.
func (p *plan) suspicion() *failure.Error {
	if p.accepted > 0 {
		return nil
	}
	var first *failure.Error
	for _, i := range p.sample {
		switch f := p.outcomes[i].Fault; {
		case f == nil:
			return nil
		case f.Code == unencodable:
		case first == nil:
			first = f
		case !f.Alike(first):
			return nil
		}
	}
	return first
}

// apply applies the response to a request of the given pending events: it settles them, or queues what is sent next.
// It reports whether the credential must be renewed before the next request.
func (p *plan) apply(events []int, err error) (renew bool) {
	r := request{events: len(events), anyLast: p.last, renewed: p.renewed}
	r.last = err != nil && p.last && slices.ContainsFunc(events, func(i int) bool { return p.items[i].Last })
	d := decide(r, err)
	switch {
	case d.renew:
		p.renewed = true
		p.first(batch{events: events})
	case d.bisect:
		p.bisected++
		half := len(events) / 2
		p.queue = append(p.queue, batch{events: events[:half]}, batch{events: events[half:]})
	case d.results != nil:
		p.applyResults(events, d.results)
	default:
		for _, i := range events {
			p.settle(i, d.outcome)
		}
	}
	if d.stop != nil {
		p.stop(d.stop)
	}
	return d.renew
}

// applyResults applies one result per event. Unprocessed events are sent again first.
func (p *plan) applyResults(events []int, results []error) {
	again := events[:0]
	for n, i := range events {
		switch f := failure.Of(results[n]); {
		case f == nil:
			p.settle(i, Outcome{State: Delivered})
		case f.Kind == failure.Unprocessed:
			again = append(again, i)
		default:
			p.settle(i, outcomeOf(f))
		}
	}
	if len(again) < len(events) {
		p.stalled = false
	} else if p.stalled {
		p.stopped = &failure.Error{Detail: "the SIEM leaves the same events unprocessed again and again"}
	} else {
		p.stalled = true // once: the SIEM asks for another form
	}
	p.first(batch{events: again})
}

func (p *plan) settle(i int, o Outcome) {
	if o.State == Delivered {
		o.Truncated = p.outcomes[i].Truncated
		p.accepted++
	}
	p.outcomes[i] = o
}

// stop ends the delivery because of f. The events that are pending were not sent, or not sent alone, so that f is not
// about them.
func (p *plan) stop(f *failure.Error) {
	rest := *f
	rest.Detail = "not delivered, because another request of the batch failed"
	if f.Detail != "" {
		rest.Detail += ": " + f.Detail
	}
	p.stopped = &rest
}

// finish gives every event an outcome that has none yet.
func (p *plan) finish() {
	reason := p.stopped
	if f := p.suspicion(); reason == nil && f != nil {
		reason = &failure.Error{Kind: f.Kind, Detail: "not sent alone: all events of a sample of the batch failed alike"}
		if outcomeOf(f).State == Rejected {
			reason.Kind = failure.Misconfigured
		}
	}
	p.holdRefused()
	for i := range p.outcomes {
		if p.pending(i) {
			p.outcomes[i] = Outcome{Fault: reason}
		}
	}
}

// holdRefused holds the refused events if no event was accepted and all refusals are the same: the configuration is at
// fault. If other events were not refused, the refused ones are only a sample, and those on their last attempt keep
// their own refusal.
func (p *plan) holdRefused() {
	var first *failure.Error
	refused, others := 0, 0
	for i := range p.outcomes {
		switch o := &p.outcomes[i]; {
		case o.State == Delivered:
			return
		case o.State == Retry:
			others++
		case o.Fault.Code == unencodable:
		case first != nil && !o.Fault.Alike(first):
			return
		default:
			first = o.Fault
			refused++
		}
	}
	if refused < 2 {
		return
	}
	for i := range p.outcomes {
		o := &p.outcomes[i]
		if o.State == Rejected && o.Fault.Code != unencodable && (others == 0 || !p.items[i].Last) {
			held := o.Fault.Held() // with its own words
			held.Hint = cmp.Or(held.Hint,
				"every event of the batch was refused alike, so the configuration is at fault and not the events")
			*o = Outcome{Fault: held}
		}
	}
}
