// Package producer sends OCSF events to ArbitexSIEM connectors through SQS or SNS.
//
//	p := producer.New(producer.SQS(sqs.NewFromConfig(cfg), queueURL), producer.Options{})
//	err := p.Add(ctx, event) // JSON of one event
//	err = p.Close(ctx)
//
// A message holds up to 100 events or 256 KB, or what arrived within a second of its first event. SQS and Lambda bill
// by message. A request holds up to ten messages. Entries that AWS refuses temporarily are sent again with back-off. An
// event can arrive twice, but none is dropped silently: see [SendError].
package producer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// The limits of SQS and SNS.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
// https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
const (
	MaxMessageBytes    = 1 << 20
	maxSQSRequestBytes = 1 << 20
	maxSNSRequestBytes = 256 << 10
	maxEntries         = 10
)

// Options are the producer's limits. The zero value has the defaults.
type Options struct {
	MaxBytes  int           // of a message; default 256 KiB, at most MaxMessageBytes
	MaxEvents int           // in a message; default 100
	MaxDelay  time.Duration // that an event waits for others; default 1 s, negative sends only on Flush
	Attempts  int           // requests for one message before its events fail; default 5

	// OnError receives the failures of requests that MaxDelay started. Without it, the next call returns them.
	// Flush and Close wait until OnError returns: it must not call them.
	OnError func(*SendError)

	// Wait waits between attempts; default a timer that obeys ctx.
	Wait func(ctx context.Context, d time.Duration) error
}

// SendError reports events that were not sent, and the last error. If the context of Flush or Close ends first, Events
// includes those of requests whose outcome is not known yet.
type SendError struct {
	Events [][]byte
	Err    error
}

// Error implements error.
func (e *SendError) Error() string {
	return fmt.Sprintf("%d events were not sent: %v", len(e.Events), e.Err)
}

// Unwrap returns the last error.
func (e *SendError) Unwrap() error { return e.Err }

// Destination sends one request of messages. It returns one error per message, nil for an accepted one; an error that
// wraps [ErrRefused] is final. Its second result is an error of the whole request.
type Destination interface {
	Send(ctx context.Context, bodies []string) ([]error, error)
	maxRequestBytes() int
}

// ErrRefused marks an entry that AWS refuses for its content.
var ErrRefused = errors.New("refused")

// Producer collects events and sends them. It is safe for concurrent use.
type Producer struct {
	to Destination
	o  Options

	mu       sync.Mutex
	events   [][]byte // of the message being filled
	size     int
	ready    []message
	inFlight map[*transfer]struct{}
	timer    *time.Timer
	late     *SendError // of requests that MaxDelay started
}

// transfer is a send that take began. finish closes done.
type transfer struct {
	messages []message
	done     chan struct{}
}

type message struct {
	body   string
	events [][]byte
}

// New makes a producer for a destination.
func New(to Destination, o Options) *Producer {
	if o.MaxBytes <= 0 || o.MaxBytes > MaxMessageBytes {
		o.MaxBytes = 256 << 10
	}
	if o.MaxEvents <= 0 {
		o.MaxEvents = 100
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = time.Second
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	return &Producer{to: to, o: o, inFlight: map[*transfer]struct{}{}}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Add adds one event, a JSON object in UTF-8. It sends a request when ten messages are full. The producer keeps event.
//
// After an error of another type than [*SendError], the producer has not accepted event. The Events of a SendError are
// those that were not sent, also of earlier calls; unless event is one of them, the producer sends it.
func (p *Producer) Add(ctx context.Context, event []byte) error {
	event, err := normalize(event)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if len(p.events) > 0 && (p.size+len(event)+len("[,]") > p.o.MaxBytes || len(p.events) >= p.o.MaxEvents) {
		p.closeMessage()
	}
	p.events, p.size = append(p.events, event), p.size+len(event)+len(",")
	if len(p.events) >= p.o.MaxEvents {
		p.closeMessage()
	}
	var full *transfer
	if len(p.ready) >= maxEntries {
		full = p.take()
	}
	if p.o.MaxDelay > 0 && p.timer == nil && len(p.events)+len(p.ready) > 0 {
		p.timer = time.AfterFunc(p.o.MaxDelay, p.expire)
	}
	late := p.takeLate()
	p.mu.Unlock()
	if full == nil {
		return asError(late)
	}
	defer p.finish(full)
	return asError(merge(late, p.send(ctx, full.messages)))
}

// normalize returns the event in a form that can share a message with others and that SQS accepts.
func normalize(event []byte) ([]byte, error) {
	const expected = "event: expected a JSON object in UTF-8, found "
	event = bytes.Trim(bytes.TrimPrefix(event, []byte("\ufeff")), " \t\r\n")
	var object json.RawMessage
	switch err := json.Unmarshal(event, &object); {
	case len(event) == 0:
		return nil, errors.New(expected + "no text")
	case !utf8.Valid(event):
		return nil, errors.New(expected + "invalid UTF-8")
	case err != nil:
		return nil, fmt.Errorf(expected+"invalid JSON: %w", err)
	case event[0] != '{':
		return nil, fmt.Errorf(expected+"a value that begins with %q", event[0])
	}
	// SQS refuses these two characters. Valid JSON has them only in strings.
	for raw, escaped := range map[string]string{"\uFFFE": `\ufffe`, "\uFFFF": `\uffff`} {
		if bytes.Contains(event, []byte(raw)) {
			event = bytes.ReplaceAll(event, []byte(raw), []byte(escaped))
		}
	}
	if len(event) > MaxMessageBytes-len("[]") {
		return nil, fmt.Errorf("event: expected at most %d bytes, found %d", MaxMessageBytes-len("[]"), len(event))
	}
	return event, nil
}

// Flush sends everything that was added, and returns when AWS has confirmed it. It also waits for the requests that
// MaxDelay or calls of other goroutines began; those calls return their own failures.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	others := slices.Collect(maps.Keys(p.inFlight))
	p.closeMessage()
	all := p.take()
	p.mu.Unlock()
	failed := p.send(ctx, all.messages)
	p.finish(all)
	for _, t := range others {
		select {
		case <-t.done:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failed = merge(p.takeLate(), failed)
	for _, t := range others {
		if _, ok := p.inFlight[t]; ok {
			failed = merge(failed, notSent(t.messages, ctx.Err()))
		}
	}
	return asError(failed)
}

// Close flushes and stops the timer.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	return p.Flush(ctx)
}

func (p *Producer) takeLate() *SendError {
	failed := p.late
	p.late = nil
	return failed
}

// merge returns one error that has the events of both and the later reason. Either can be nil.
func merge(earlier, later *SendError) *SendError {
	switch {
	case earlier == nil:
		return later
	case later == nil:
		return earlier
	}
	return &SendError{slices.Concat(earlier.Events, later.Events), later.Err}
}

func asError(failed *SendError) error {
	if failed == nil {
		return nil
	}
	return failed
}

func notSent(messages []message, err error) *SendError {
	failed := &SendError{Err: err}
	for _, m := range messages {
		failed.Events = append(failed.Events, m.events...)
	}
	return failed
}

func (p *Producer) closeMessage() {
	switch len(p.events) {
	case 0:
		return
	case 1:
		p.ready = append(p.ready, message{string(p.events[0]), p.events})
	default:
		p.ready = append(p.ready, message{"[" + string(bytes.Join(p.events, []byte(","))) + "]", p.events})
	}
	p.events, p.size = nil, 0
}

// take begins a transfer of the full messages. The caller must finish it, after it has reported the failure.
func (p *Producer) take() *transfer {
	t := &transfer{p.ready, make(chan struct{})}
	p.ready = nil
	p.inFlight[t] = struct{}{}
	return t
}

func (p *Producer) finish(t *transfer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inFlight, t)
	close(t.done)
}

// expire sends what has waited for MaxDelay.
func (p *Producer) expire() {
	p.mu.Lock()
	p.timer = nil
	p.closeMessage()
	all := p.take()
	p.mu.Unlock()
	defer p.finish(all)
	failed := p.send(context.Background(), all.messages)
	if failed != nil && p.o.OnError != nil {
		p.o.OnError(failed)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = merge(p.late, failed)
}

// send sends messages in as few requests as the limits allow.
func (p *Producer) send(ctx context.Context, messages []message) (failed *SendError) {
	limit := max(p.to.maxRequestBytes(), p.o.MaxBytes)
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && n < maxEntries && (n == 0 || size+len(messages[n].body) <= limit) {
			size += len(messages[n].body)
			n++
		}
		if rest, err := p.request(ctx, messages[:n]); len(rest) > 0 {
			failed = merge(failed, notSent(rest, err))
		}
		messages = messages[n:]
	}
	return failed
}

// request sends one request until AWS has accepted or refused every message of it. It returns the messages that were
// not accepted, and the last error.
func (p *Producer) request(ctx context.Context, messages []message) (unsent []message, last error) {
	for attempt := range p.o.Attempts {
		if attempt > 0 {
			pause := min(200*time.Millisecond<<attempt, 10*time.Second)
			if err := p.o.Wait(ctx, pause/2+rand.N(pause/2)); err != nil {
				return append(unsent, messages...), errors.Join(err, last)
			}
		}
		bodies := make([]string, len(messages))
		for i, m := range messages {
			bodies[i] = m.body
		}
		results, err := p.to.Send(ctx, bodies)
		if err != nil {
			last = err
			continue
		}
		var again []message
		for i, m := range messages {
			switch err := result(results, i); {
			case err == nil:
			case errors.Is(err, ErrRefused):
				unsent, last = append(unsent, m), err
			default:
				again, last = append(again, m), err
			}
		}
		if messages = again; len(messages) == 0 {
			return unsent, last
		}
	}
	return append(unsent, messages...), last
}

func result(results []error, i int) error {
	if i >= len(results) {
		return errors.New("no result for message " + strconv.Itoa(i))
	}
	return results[i]
}
