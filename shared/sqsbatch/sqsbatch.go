// Package intake takes a batch of SQS messages through the delivery, and tells SQS what is to become of each: deleted,
// brought back after a while, or kept as a dead letter that says why. It knows nothing of the Lambda runtime.
//
// A message is deleted by leaving its id out of the response, so the response lists every message until there is proof
// that it may go: the SIEM has the event, or the dead-letter queue has it.
package sqsbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// Intake takes batches for one connector. It is safe for concurrent use.
type Intake struct {
	Connector       string // its name
	Queue           Queue
	QueueURL        string // the connector's own queue
	DeadLetterQueue string // URL
	Backoff         Backoff
	Log             *slog.Logger
	Metrics         io.Writer
	Now             func() time.Time
}

// batch is one invocation's work. Messages and events are kept apart: message tells which one an event came in.
type batch struct {
	*Intake
	messages []sqsevent.Message
	events   []event.Event
	parser   event.Parser

	items    []deliver.Item
	outcomes []deliver.Outcome
	message  []int // of an item

	fates  []fate // of messages
	report report
}

// fate is what becomes of a message.
type fate struct {
	listed    bool           // SQS shall keep it
	state     deliver.State  // Retry, Delivered; Rejected means dead letter
	exhausted bool           // it would be tried again, had it not had all its attempts
	fault     *failure.Error // why it is not delivered
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// Handle takes the messages through one attempt and returns the response of the invocation, which lists the messages to
// keep. An error means that nothing was done, and SQS keeps them all. It ends before ctx does.
func (in *Intake) Handle(ctx context.Context, source deliver.Source, messages []sqsevent.Message) ([]byte, error) {
	for i := range messages {
		if len(messages[i].ID) == 0 {
			return nil, fmt.Errorf("Records[%d].messageId: expected the id of an SQS message, is empty", i)
		}
	}
	b := batches.Get().(*batch)
	defer b.release()
	b.Intake, b.messages = in, messages
	b.prepare()
	b.deliver(ctx, source)
	b.decide()
	b.apply(ctx)
	b.write(ctx)
	return b.response(), nil
}

func (b *batch) release() {
	clear(b.events)
	clear(b.items)
	clear(b.outcomes)
	clear(b.fates)
	b.Intake, b.messages, b.report = nil, nil, report{}
	batches.Put(b)
}

// prepare parses every message. One that is no event is rejected here, and has no item.
func (b *batch) prepare() {
	n := len(b.messages)
	b.events = resize(b.events, n)
	b.fates = resize(b.fates, n)
	b.items, b.message = b.items[:0], b.message[:0]
	b.parser.Reset()
	for i := range b.messages {
		m, e := &b.messages[i], &b.events[i]
		if err := b.parser.Parse(m.Body, e); err != nil {
			b.fates[i] = fate{state: deliver.Rejected, fault: &failure.Error{Kind: failure.Rejected, Code: "invalid event", Err: err}}
			continue
		}
		b.items = append(b.items, deliver.Item{Event: e, Last: b.Backoff.Exhausted(m.Receives)})
		b.message = append(b.message, i)
	}
	b.outcomes = resize(b.outcomes, len(b.items))
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// reserve is what is kept of the time for visibility changes and dead letters; a short-lived function keeps a fifth.
const reserve = 4 * time.Second

// deliver sends the events, leaving time for what comes after.
func (b *batch) deliver(ctx context.Context, source deliver.Source) {
	start := b.Now()
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(start)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(reserve, left/5)))
		defer cancel()
	}
	if len(b.items) > 0 {
		b.report.Report = deliver.Deliver(ctx, source, b.items, b.outcomes)
	}
	b.report.ended = b.Now()
	b.report.took = b.report.ended.Sub(start)
}

// errUndecided is the reason of an event about which nobody has said anything.
var errUndecided = errors.New("not sent")

// decide turns the outcomes of events into fates of messages: a message is delivered when all its events are.
func (b *batch) decide() {
	for n, o := range b.outcomes {
		i := b.message[n]
		f := &b.fates[i]
		f.state, f.fault = o.State, o.Fault
		if o.State == deliver.Delivered {
			b.report.delivered(&b.events[i], o.Truncated)
			continue
		}
		if f.fault == nil {
			f.fault = failure.Of(errUndecided)
		}
		if o.State == deliver.Retry && b.Backoff.Exhausted(b.messages[i].Receives) {
			f.state, f.exhausted = deliver.Rejected, true
		}
	}
	for i := range b.fates {
		b.fates[i].listed = b.fates[i].state != deliver.Delivered
		b.report.failed(b.fates[i].fault)
	}
}

// response lists the messages that SQS shall keep.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func (b *batch) response() []byte {
	r := append(make([]byte, 0, 64), `{"batchItemFailures":[`...)
	first := true
	for i := range b.fates {
		if !b.fates[i].listed {
			continue
		}
		if !first {
			r = append(r, ',')
		}
		first = false
		r = append(r, `{"itemIdentifier":`...)
		r = jsonscan.AppendQuoted(r, b.messages[i].ID)
		r = append(r, '}')
	}
	return append(r, `]}`...)
}
