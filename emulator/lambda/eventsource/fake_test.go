package eventsource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const queueARN = "arn:aws:sqs:eu-west-1:123456789012:siem-splunk"

// fake is a queue whose messages arrive at set times of a clock that only waiting moves.
type fake struct {
	// idle is what a request does that finds nothing more to come; nil: it returns.
	idle func(ctx context.Context)

	mu       sync.Mutex
	now      time.Time
	arrivals []arrival // by time
	limits   []int     // of the requests so far
	deleted  []string
	stubborn map[string]int // how often a message's deletion is refused
	fail     int            // how many requests fail first
}

type arrival struct {
	at time.Duration // from the start
	m  Message
}

func newFake(arrivals ...arrival) *fake {
	return &fake{now: start(), arrivals: arrivals, stubborn: map[string]int{}}
}

func start() time.Time { return time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC) }

// at makes n messages that arrive at one time.
func at(when time.Duration, first, n int) []arrival {
	out := make([]arrival, n)
	for i := range out {
		out[i] = arrival{when, message(fmt.Sprintf("m%03d", first+i), "{}")}
	}
	return out
}

func message(id, body string) Message {
	return Message{
		ID: id, ReceiptHandle: "handle of " + id, Body: body, MD5OfBody: "0",
		Attributes: map[string]string{"ApproximateReceiveCount": "1"},
	}
}

func (f *fake) time() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Receive implements Queue.
func (f *fake) Receive(ctx context.Context, limit int, wait time.Duration) ([]Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limits = append(f.limits, limit)
	if f.fail > 0 {
		f.fail--
		return nil, errors.New("told to fail")
	}
	if len(f.arrivals) == 0 && f.idle != nil {
		f.mu.Unlock()
		f.idle(ctx)
		f.mu.Lock()
		return nil, ctx.Err()
	}
	latest := f.now.Add(wait)
	if len(f.arrivals) == 0 || start().Add(f.arrivals[0].at).After(latest) {
		f.now = latest
		return nil, nil
	}
	if next := start().Add(f.arrivals[0].at); next.After(f.now) {
		f.now = next
	}
	var out []Message
	for len(f.arrivals) > 0 && len(out) < limit && !start().Add(f.arrivals[0].at).After(f.now) {
		out = append(out, f.arrivals[0].m)
		f.arrivals = f.arrivals[1:]
	}
	return out, nil
}

// Delete implements Queue.
func (f *fake) Delete(_ context.Context, messages []Message) ([]Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(messages) > deleteAtOnce {
		return nil, fmt.Errorf("%d entries", len(messages))
	}
	if f.fail > 0 {
		f.fail--
		return nil, errors.New("told to fail")
	}
	var failed []Message
	for _, m := range messages {
		if f.stubborn[m.ID] > 0 {
			f.stubborn[m.ID]--
			failed = append(failed, m)
			continue
		}
		f.deleted = append(f.deleted, m.ID)
	}
	return failed, nil
}
