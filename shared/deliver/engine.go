package deliver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Source provides the connector to use.
type Source interface {
	// Current returns the connector in use.
	Current() Connector
	// Renew reads the credential again and returns the connector to use from now on: the one in use if it cannot.
	Renew(ctx context.Context) Connector
}

// State is the outcome of an event.
type State uint8

// The states. The zero value is the one that loses nothing.
const (
	Retry State = iota
	Delivered
	Rejected
)

// Outcome is the outcome of one event, with the reason.
type Outcome struct {
	State     State
	Fault     *failure.Error // nil if Delivered
	Truncated bool           // delivered with less than the whole event
}

// ErrTimeOver is the reason of an event that was not sent, or not sent alone, because the context ended.
var ErrTimeOver = errors.New("the time for this batch is over")

// Item is one event to deliver.
type Item struct {
	Event *event.Event
	First bool // this is the event's first attempt, and it is not replayed
	Last  bool // this is the event's last attempt
}

// Report describes a delivery.
type Report struct {
	telemetry.Meter
	Warnings []string // from the SIEM, about events that it accepted
}

// Deliver sends items through the source's connector and fills outcomes, which must be as long. It ends when ctx does;
// an event that is not delivered by then is to be retried.
func Deliver(ctx context.Context, source Source, items []Item, outcomes []Outcome) Report {
	d := deliveries.Get().(*delivery)
	defer d.release()
	d.plan.start(items, outcomes)
	d.use(source.Current())
	for events := d.plan.next(0); events != nil && ctx.Err() == nil; events = d.plan.next(max(d.sends, d.meter.Requests)) {
		sent := d.pack(events)
		if len(sent) == 0 {
			continue
		}
		d.sends++
		err := d.connector.Send(ctx, &d.batch)
		if p, ok := err.(*PendingError); ok { //nolint:errorlint // Send returns a PendingError itself, never wrapped
			d.pend(p.ID, sent)
			continue
		}
		if renew := d.plan.apply(sent, err); renew {
			d.confirm(ctx) // by the connector that sent the requests
			d.use(source.Renew(ctx))
		}
	}
	if ctx.Err() != nil {
		d.plan.stopped = &failure.Error{Detail: "not delivered", Err: ErrTimeOver}
	}
	d.confirm(ctx)
	d.plan.finish()
	return Report{Meter: d.meter, Warnings: d.batch.warnings}
}

// deliveries keeps the buffers of earlier deliveries, because they grow to the size of a batch.
var deliveries = sync.Pool{New: func() any { return new(delivery) }}

// maxKeptBody bounds the request body that is kept, so that one large batch does not occupy memory for good.
const maxKeptBody = 8 << 20

// delivery is one call of Deliver.
type delivery struct {
	plan      plan
	connector Connector
	format    Format
	batch     Batch
	meter     telemetry.Meter
	sends     int
	ids       []int64 // of requests that the SIEM has not confirmed
	sent      [][]int // their events
}

// pend notes a request that the SIEM accepted and has not confirmed.
func (d *delivery) pend(id int64, events []int) {
	d.ids, d.sent = append(d.ids, id), append(d.sent, events)
	d.plan.accepted += len(events)
}

// confirm waits for the confirmation of all requests that lack it, and settles their events.
func (d *delivery) confirm(ctx context.Context) {
	if len(d.ids) == 0 {
		return
	}
	for n, err := range d.connector.(Confirmer).Confirm(ctx, d.ids, &d.meter) {
		o := Outcome{State: Delivered}
		if f := failure.Of(err); f != nil {
			o = outcomeOf(f)
		}
		for _, i := range d.sent[n] {
			d.plan.settle(i, o)
		}
	}
	d.ids, d.sent = nil, nil
}

func (d *delivery) release() {
	if cap(d.batch.Body) > maxKeptBody {
		d.batch.Body = nil
	}
	clear(d.batch.Events[:cap(d.batch.Events)])
	d.plan.start(nil, nil)
	*d = delivery{
		plan:  d.plan,
		batch: Batch{Body: d.batch.Body[:0], Events: d.batch.Events[:0], spans: d.batch.spans[:0], first: d.batch.first[:0]},
	}
	deliveries.Put(d)
}

func (d *delivery) use(c Connector) { d.connector, d.format = c, c.Format() }

// pack encodes pending events into the request until a limit is reached. It returns the events that are in the request,
// stored at the start of the given slice, and leaves the remaining ones to the next request. It rejects an event that
// is over the limit by itself.
func (d *delivery) pack(events []int) (sent []int) {
	b, f := &d.batch, d.format
	b.Body = append(b.Body[:0], f.Open...)
	b.Events, b.spans, b.first = b.Events[:0], b.spans[:0], b.first[:0]
	b.Meter = &d.meter
	most, n := f.recordsLimit(), 0
	for sent = events[:0]; n < len(events) && (most == 0 || len(sent) < most); n++ {
		i := events[n]
		if !d.plan.pending(i) {
			continue
		}
		before := len(b.Body)
		if len(sent) > 0 {
			b.Body = append(b.Body, f.Separator...)
		}
		start := len(b.Body)
		if !d.encode(i) {
			b.Body = b.Body[:before]
			continue
		}
		if f.MaxBytes > 0 && len(sent) > 0 && len(b.Body)+len(f.Close) > f.MaxBytes {
			b.Body = b.Body[:before]
			break
		}
		b.spans = append(b.spans, span{start, len(b.Body)})
		b.Events = append(b.Events, d.plan.items[i].Event)
		b.first = append(b.first, d.plan.items[i].First)
		sent = append(sent, i)
	}
	b.Body = append(b.Body, f.Close...)
	d.plan.first(batch{events: events[n:]})
	return sent
}

// encode appends event i's record to the body. If it cannot, it rejects the event and returns false.
func (d *delivery) encode(i int) bool {
	start := len(d.batch.Body)
	body, truncated, err := d.connector.Append(d.batch.Body, d.plan.items[i].Event)
	if size, limit := len(body)-start, d.format.recordLimit(); err == nil && limit > 0 && size > limit {
		err = fmt.Errorf("the event takes %d bytes as a record, and the SIEM takes at most %d", size, limit)
	}
	if err != nil {
		f := &failure.Error{Kind: failure.Rejected, Code: unencodable, Err: err}
		d.plan.settle(i, Outcome{State: Rejected, Fault: f})
		return false
	}
	d.batch.Body = body
	d.plan.outcomes[i].Truncated = truncated
	return true
}

// unencodable is the code of a rejection that does not come from the SIEM, so that it never counts as a refusal.
const unencodable = "not sent"
