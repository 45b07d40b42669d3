// Package sqsbatch takes a batch of SQS messages through one attempt of delivery. It determines the outcome of every
// event in the messages, and tells SQS what to do with each message: delete it, deliver it again after the back-off, or
// replace it by a message with the events that are left. Events that can never be delivered go to the dead-letter
// queue.
//
// SQS deletes a message that the response does not list. The response therefore lists every message until each of its
// events is safe: accepted by the SIEM, excluded by the operator's filter, or confirmed by an SQS queue.
package sqsbatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// Handler handles the batches of one connector. It is safe for concurrent use.
type Handler struct {
	Connector       string // its name
	Stack           string // name of the stack, for metrics and receipts
	Queue           Queue
	QueueURL        string // the connector's own queue
	DeadLetterQueue string // URL
	Backoff         Backoff
	Filter          Filter
	Roles           Roles
	Receipts        bool // write a receipt for every delivered event
	Log             *slog.Logger
	Out             io.Writer // metrics and receipts
	Now             func() time.Time
}

// batch is the work of one invocation.
type batch struct {
	*Handler
	messages []message
	records  []record // the events of all messages, in order
	report   report

	// Storage of one round.
	parser   event.Parser
	entries  []event.Entry // of the last len(entries) records
	items    []deliver.Item
	outcomes []deliver.Outcome
	numbers  []int // the record of an item

	mu sync.Mutex // guards report.queueErrors
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// Handle takes the messages through one attempt, before ctx ends, and returns the response of the invocation: the list
// of messages that SQS is to deliver again. An error means that nothing was done, and that SQS delivers all of them
// again. The request id for receipts is that of the Lambda context.
func (h *Handler) Handle(ctx context.Context, source deliver.Source, messages []sqsevent.Message) ([]byte, error) {
	if err := sqsevent.CheckIDs(messages); err != nil {
		return nil, err
	}
	b := batches.Get().(*batch)
	defer b.release()
	b.Handler = h
	b.deliver(ctx, source, messages)
	b.apply(ctx)
	b.write(ctx)
	var failed [][]byte
	for i := range b.messages {
		if b.messages[i].retained {
			failed = append(failed, b.messages[i].ID)
		}
	}
	return sqsevent.Response(failed), nil
}

func (b *batch) release() {
	clear(b.messages)
	clear(b.records)
	clear(b.entries)
	clear(b.items)
	clear(b.outcomes)
	b.Handler, b.report = nil, report{}
	b.messages, b.records = b.messages[:0], b.records[:0]
	if cap(b.records) > maxRound {
		b.records, b.entries = nil, nil // an unusual batch must not occupy memory for good
	}
	batches.Put(b)
}

// deliveryMargin is reserved before the Lambda deadline for requests to SQS. A function with a short time limit
// reserves a fifth.
const deliveryMargin = 4 * time.Second

// maxRound bounds the events that are parsed at a time, and with them the memory. The payload of an invocation, 6 MB,
// holds more only if they are much smaller than OCSF events are.
const maxRound = 4096

// maxRecords bounds the events of an invocation, and with them the memory. A payload of 6 MB holds more only if they
// are too short for events: a producer that sends bytes as JSON numbers could otherwise use up the function's memory.
const maxRecords = 250_000

// errPostponed is the reason of a message that was not read.
var errPostponed = errors.New("the batch has more than " + strconv.Itoa(maxRecords) + " events")

// deliver sends the events of the messages to the SIEM.
func (b *batch) deliver(ctx context.Context, source deliver.Source, messages []sqsevent.Message) {
	start := b.Now()
	ctx, cancel := Reserve(ctx, deliveryMargin, 5)
	defer cancel()
	sortArrays(messages)
	for len(messages) > 0 && len(b.records) < maxRecords {
		messages = messages[b.read(messages):]
		b.round(ctx, source)
	}
	b.postpone(messages)
	b.report.ended = b.Now()
	b.report.took = b.report.ended.Sub(start)
}

// sortArrays moves arrays to the end, the longest last, if they may hold more than maxRecords events: their neighbours
// then do not wait.
func sortArrays(messages []sqsevent.Message) {
	size := func(m *sqsevent.Message) int {
		if event.IsArray(m.Body) {
			return len(m.Body)
		}
		return 0
	}
	total := 0
	for i := range messages {
		total += size(&messages[i])
	}
	if total >= maxRecords*len("1,") {
		slices.SortStableFunc(messages, func(x, y sqsevent.Message) int { return cmp.Compare(size(&x), size(&y)) })
	}
}

// postpone leaves messages to a later invocation, without reading them.
func (b *batch) postpone(messages []sqsevent.Message) {
	if len(messages) == 0 {
		return
	}
	b.report.Warnings = append(b.report.Warnings,
		fmt.Sprintf("messages left in the queue: %d; %v", len(messages), errPostponed))
	fault := failure.Of(errPostponed)
	for i := range messages {
		m := b.newMessage(&messages[i])
		b.records = append(b.records, record{message: len(b.messages), index: event.Whole, body: m.Body, fault: fault})
		m.end = len(b.records)
		b.messages = append(b.messages, m)
	}
}

// newMessage returns a message whose records are added next.
func (b *batch) newMessage(of *sqsevent.Message) message {
	m := message{Message: of, first: len(b.records)}
	m.resent, m.replays = b.Roles.counts(of)
	m.attempts = m.Receives + m.resent
	return m
}

// read reads the events of messages until there are enough for a round, and returns the number of messages read.
func (b *batch) read(messages []sqsevent.Message) (n int) {
	b.parser.Reset()
	b.entries = b.entries[:0]
	invalid := make(map[string]*failure.Error) // an array may have the same invalid element many times
	for ; n < len(messages) && len(b.entries) < maxRound; n++ {
		m := b.newMessage(&messages[n])
		known := len(b.entries)
		b.entries = b.parser.ParseMessage(b.entries, m.Body)
		for i := range b.entries[known:] {
			entry := &b.entries[known+i]
			r := record{message: len(b.messages), index: entry.Index, body: entry.Event.Body}
			if entry.Index == event.Whole {
				r.body = m.Body // with a byte order mark
			}
			if entry.Err != nil {
				r.disposition = deadLetter
				text := entry.Err.Error()
				if invalid[text] == nil {
					invalid[text] = &failure.Error{Kind: failure.Rejected, Code: "invalid event", Err: entry.Err}
				}
				r.fault = invalid[text]
			}
			b.records = append(b.records, r)
		}
		m.end = len(b.records)
		b.messages = append(b.messages, m)
	}
	return n
}

// round sends the events just read.
func (b *batch) round(ctx context.Context, source deliver.Source) {
	first := len(b.records) - len(b.entries)
	b.items, b.numbers = b.items[:0], b.numbers[:0]
	for i := range b.entries {
		r, e := &b.records[first+i], &b.entries[i].Event
		switch {
		case r.fault != nil:
		case b.Filter.excludes(e):
			r.disposition = filtered
		default:
			b.report.sent(e)
			m := &b.messages[r.message]
			b.items = append(b.items, deliver.Item{
				Event: e, First: m.attempts == 1 && m.replays == 0, Last: b.Backoff.Exhausted(m.attempts),
			})
			b.numbers = append(b.numbers, first+i)
		}
	}
	if len(b.items) == 0 {
		return
	}
	b.outcomes = slices.Grow(b.outcomes[:0], len(b.items))[:len(b.items)]
	b.report.add(deliver.Deliver(ctx, source, b.items, b.outcomes))
	for n := range b.items {
		b.decide(&b.records[b.numbers[n]], b.items[n].Event, b.outcomes[n])
	}
	b.writeReceipts(ctx)
}

// errUndecided is the reason of an event that has no reason of its own.
var errUndecided = errors.New("not sent")

// decide sets the disposition of an event from the outcome of its delivery.
func (b *batch) decide(r *record, e *event.Event, o deliver.Outcome) {
	if o.State == deliver.Delivered {
		r.disposition = delivered
		b.delivered(e, o.Truncated)
		return
	}
	if r.fault = o.Fault; r.fault == nil {
		r.fault = failure.Of(errUndecided)
	}
	if o.State == deliver.Rejected {
		r.disposition = deadLetter
		return
	}
	m := &b.messages[r.message]
	unsent := errors.Is(r.fault, deliver.ErrTimeOver)
	m.unsent = m.unsent || unsent
	if b.Backoff.Exhausted(m.attempts) && (!unsent || m.Receives > 1) {
		r.disposition, r.exhausted = deadLetter, true
	}
}

// Filter excludes events from delivery. The zero value excludes none.
type Filter struct {
	MinSeverity int64   // severity_id; 0 excludes none
	Classes     []int64 // class_uid; empty excludes none
}

// ReadFilter reads the filter's settings.
func ReadFilter(s *settings.Settings) Filter {
	const fatal = 6
	f := Filter{MinSeverity: int64(s.Int("SIEM_MIN_SEVERITY", 0, 0, fatal))}
	list := s.String("SIEM_CLASSES", "")
	if list == "" {
		return f
	}
	for text := range strings.SplitSeq(list, ",") {
		class, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
		if err != nil {
			s.Problem("SIEM_CLASSES", list, "comma-separated values of class_uid, such as 6003,2001")
			return f
		}
		f.Classes = append(f.Classes, int64(class))
	}
	return f
}

// excludes reports whether the filter excludes an event. The severity 99 (other) and an absent one always pass.
func (f *Filter) excludes(e *event.Event) bool {
	if f.MinSeverity > 0 && e.HasSeverity && e.Severity < f.MinSeverity { // severity_id may be negative
		return true
	}
	return len(f.Classes) > 0 && !slices.Contains(f.Classes, e.Class)
}

// Backoff is the schedule of attempts.
type Backoff struct {
	Attempts     int           // an event becomes a dead letter after so many failed attempts
	Initial, Max time.Duration // the waits after the first and after the last but one attempt
}

// maxRetryAfter bounds the wait that a SIEM asks for.
const maxRetryAfter = 900 * time.Second

// ReadBackoff reads the schedule's settings.
func ReadBackoff(s *settings.Settings) Backoff {
	b := Backoff{
		Attempts: s.Int("SIEM_MAX_ATTEMPTS", 5, 1, 1000),
		Initial:  time.Duration(s.Int("SIEM_BACKOFF_INITIAL_SECONDS", 1, 1, maxVisibility/2)) * time.Second,
		Max:      time.Duration(s.Int("SIEM_BACKOFF_MAX_SECONDS", 300, 1, maxVisibility/2)) * time.Second,
	}
	if b.Max < b.Initial {
		s.Problem("SIEM_BACKOFF_MAX_SECONDS", b.Max.String(),
			"at least SIEM_BACKOFF_INITIAL_SECONDS, which is "+b.Initial.String())
	}
	return b
}

// Exhausted reports whether attempt is the last one.
func (b Backoff) Exhausted(attempt int) bool { return attempt >= b.Attempts }

// Wait returns the back-off after a failed attempt (1 is the first), in whole seconds. It grows geometrically from
// Initial to Max over the waits between the attempts. It is Max at once if the setup is at fault, and at least what the
// SIEM asked for.
func (b Backoff) Wait(attempt int, f *failure.Error) time.Duration {
	wait := b.grow(attempt)
	if f == nil {
		return wait
	}
	if f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized {
		wait = b.Max
	}
	return max(wait, min(f.RetryAfter, maxRetryAfter))
}

func (b Backoff) grow(attempt int) time.Duration {
	waits := b.Attempts - 1
	switch {
	case waits <= 1 || attempt <= 1:
		return b.Initial
	case attempt >= waits:
		return b.Max
	}
	ratio := b.Max.Seconds() / b.Initial.Seconds()
	seconds := b.Initial.Seconds() * math.Pow(ratio, float64(attempt-1)/float64(waits-1))
	return time.Duration(math.Round(seconds)) * time.Second
}
