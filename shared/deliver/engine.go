package deliver

import (
	"context"
	"fmt"
	"sync"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Source gives the connector to use.
type Source interface {
	// Current returns the connector in use.
	Current() Connector
	// Renew reads the credential again and returns the connector to use from now on. When it cannot, that is the one
	// in use.
	Renew(ctx context.Context) Connector
}

// State is what has become of an event.
type State uint8

// The states. The zero value is the one that loses nothing.
const (
	Retry State = iota
	Delivered
	Rejected
)

// Outcome is what has become of one event, and why.
type Outcome struct {
	State     State
	Fault     *failure.Error // nil when Delivered
	Truncated bool           // delivered with less than the whole event
}

// Item is one event to deliver.
type Item struct {
	Event *event.Event
	Last  bool // this is the last attempt
}

// Report says what the delivery of a batch took.
type Report struct {
	telemetry.Meter
	Warnings []string // what the SIEM let us know although it took the events
}

// Deliver sends items through the source's connector and fills outcomes, which must be as long. It ends when ctx does;
// what is not done by then stays Retry.
func Deliver(ctx context.Context, source Source, items []Item, outcomes []Outcome) Report {
	clear(outcomes)
	r := runs.Get().(*run)
	defer r.release()
	r.ctx, r.source, r.items, r.outcomes = ctx, source, items, outcomes
	r.use(source.Current())
	for i := range items {
		r.todo = append(r.todo, i)
	}
	r.deliver(r.todo)
	r.blameConfiguration()
	return Report{Meter: r.meter, Warnings: r.batch.warnings}
}

// runs keeps the buffers of ended runs, since they grow to the size of a batch.
var runs = sync.Pool{New: func() any { return new(run) }}

// maxKeptBody bounds the buffer that outlives a run: one giant batch shall not be paid for until the process ends.
const maxKeptBody = 8 << 20

// run is the delivery of one batch of items. Indices count items.
type run struct {
	ctx       context.Context //nolint:containedctx // a run is one call of Deliver
	source    Source
	connector Connector
	format    Format
	items     []Item
	outcomes  []Outcome
	meter     telemetry.Meter

	batch   Batch
	sent    []int          // the items of batch
	todo    []int          // all items at first
	stopped *failure.Error // why nothing more is sent

	renewed  bool // the credential has been renewed
	accepted int  // records the SIEM took
	refusals int  // requests refused for their content
	sampled  bool // the doubt about the configuration has been settled
	stalled  bool // the last round of unjudged records settled none
}

func (r *run) release() {
	if cap(r.batch.Body) > maxKeptBody {
		r.batch.Body = nil
	}
	clear(r.batch.Events[:cap(r.batch.Events)])
	*r = run{
		batch: Batch{Body: r.batch.Body[:0], Events: r.batch.Events[:0], spans: r.batch.spans[:0]},
		sent:  r.sent[:0], todo: r.todo[:0],
	}
	runs.Put(r)
}

func (r *run) use(c Connector) { r.connector, r.format = c, c.Format() }

// deliver sends the items in order, in as few requests as the limits allow.
func (r *run) deliver(items []int) {
	for len(items) > 0 && r.stopped == nil {
		items = items[r.pack(items):]
		if len(r.sent) > 0 {
			r.settle(r.send())
		}
	}
	r.giveBack(items)
}

// giveBack leaves items for another attempt, for the reason that stopped the run.
func (r *run) giveBack(items []int) {
	for _, i := range items {
		r.outcomes[i] = Outcome{Fault: r.stopped}
	}
}

// pack encodes items into the batch until a limit is reached, and returns how many it has dealt with. A record that
// is over the limit by itself is rejected on the way.
func (r *run) pack(items []int) (n int) {
	b, f := &r.batch, r.format
	b.Body = append(b.Body[:0], f.Open...)
	b.Events, b.spans, r.sent = b.Events[:0], b.spans[:0], r.sent[:0]
	b.Meter = &r.meter
	for _, i := range items {
		if f.MaxRecords > 0 && len(r.sent) == f.MaxRecords {
			break
		}
		before := len(b.Body)
		if len(r.sent) > 0 {
			b.Body = append(b.Body, f.Separator...)
		}
		start := len(b.Body)
		if !r.encode(i) {
			b.Body = b.Body[:before]
			n++
			continue
		}
		if f.MaxBytes > 0 && len(r.sent) > 0 && len(b.Body)+len(f.Close) > f.MaxBytes {
			b.Body = b.Body[:before]
			break
		}
		b.spans = append(b.spans, span{start, len(b.Body)})
		b.Events = append(b.Events, r.items[i].Event)
		r.sent = append(r.sent, i)
		n++
	}
	b.Body = append(b.Body, f.Close...)
	return n
}

// encode appends item i's record to the body. When it cannot, it rejects the item and returns false; the body may then
// hold part of the record.
func (r *run) encode(i int) bool {
	start := len(r.batch.Body)
	body, truncated, err := r.connector.Append(r.batch.Body, r.items[i].Event)
	if err != nil {
		r.outcomes[i] = Outcome{State: Rejected, Fault: &failure.Error{Kind: failure.Rejected, Code: unencodable, Err: err}}
		return false
	}
	r.batch.Body = body
	if size, limit := len(body)-start, r.format.recordLimit(); limit > 0 && size > limit {
		r.outcomes[i] = Outcome{State: Rejected, Fault: &failure.Error{
			Kind: failure.Rejected, Code: unencodable,
			Detail: fmt.Sprintf("the event takes %d bytes as a record, and the SIEM takes at most %d", size, limit),
		}}
		return false
	}
	r.outcomes[i].Truncated = truncated
	return true
}

// unencodable marks the rejections that no SIEM has pronounced, so that they are never mistaken for its refusal.
const unencodable = "not sent"

// send makes the request of the packed batch, unless time is up.
func (r *run) send() error {
	if err := r.ctx.Err(); err != nil {
		return &failure.Error{Detail: "not sent: the time for this batch is over", Err: err}
	}
	return r.connector.Send(r.ctx, &r.batch)
}

// settle turns the answer to the packed batch into outcomes, and sends again what the answer asks for.
func (r *run) settle(err error) {
	if err == nil {
		r.accept(r.sent)
		return
	}
	if p, ok := err.(*PartialError); ok { //nolint:errorlint // the seam: a PartialError is Send's own answer, never wrapped
		r.settlePartial(p)
		return
	}
	f := failure.Of(err)
	switch {
	case f.Kind == failure.Unauthorized && !r.renewed:
		r.renewed = true
		r.use(r.source.Renew(r.ctx))
		r.deliver(clone(r.sent))
	case r.divisible(f):
		r.refusals++
		r.isolate(clone(r.sent), f)
	default:
		r.fail(r.sent, f)
	}
}

// accept notes that the SIEM took items.
func (r *run) accept(items []int) {
	for _, i := range items {
		r.outcomes[i] = Outcome{State: Delivered, Truncated: r.outcomes[i].Truncated}
	}
	r.accepted += len(items)
}

// fail gives items the outcome that f means for each of them, and stops the run where f is about the way to the SIEM.
func (r *run) fail(items []int, f *failure.Error) {
	state := Retry
	switch f.Kind {
	case failure.TooLarge, failure.Rejected:
		state = Rejected
	case failure.Transient, failure.Throttled, failure.Unauthorized, failure.Misconfigured, failure.Unprocessed:
		if stops(f) {
			r.stopped = f
		}
	}
	for _, i := range items {
		r.outcomes[i] = Outcome{State: state, Fault: f}
	}
}

// stops tells whether a failure would befall the next request as well: then the rest of the batch waits with it.
func stops(f *failure.Error) bool {
	const unavailable = 503
	switch f.Kind {
	case failure.Transient:
		return f.Status == 0 || f.Status == unavailable
	case failure.Throttled, failure.Unauthorized, failure.Misconfigured:
		return true
	case failure.TooLarge, failure.Rejected, failure.Unprocessed:
	}
	return false
}

// settlePartial takes the verdicts one by one. Records that were not judged are sent again at once.
func (r *run) settlePartial(p *PartialError) {
	if len(p.Results) != len(r.sent) {
		r.fail(r.sent, &failure.Error{Detail: fmt.Sprintf("%d verdicts for %d records", len(p.Results), len(r.sent))})
		return
	}
	items := clone(r.sent)
	var again []int
	for n, i := range items {
		switch f := failure.Of(p.Results[n]); {
		case f == nil:
			r.accept(items[n : n+1])
		case f.Kind == failure.Unprocessed:
			again = append(again, i)
		default:
			r.outcomes[i] = Outcome{State: stateOf(f), Fault: f}
		}
	}
	r.sendAgain(again, len(items))
}

func stateOf(f *failure.Error) State {
	if f.Kind == failure.Rejected || f.Kind == failure.TooLarge {
		return Rejected
	}
	return Retry
}

// sendAgain sends the records a SIEM did not judge. One round that settles nothing is the SIEM asking for another form;
// a second one in a row is a SIEM that does not know what it wants.
func (r *run) sendAgain(items []int, of int) {
	if len(items) < of {
		r.stalled = false
	} else if r.stalled {
		r.fail(items, &failure.Error{Detail: "the SIEM leaves the same records unjudged again and again"})
		return
	} else {
		r.stalled = true
	}
	r.deliver(items)
}

func clone(items []int) []int { return append([]int(nil), items...) }
