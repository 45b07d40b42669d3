package main

import (
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// ending is how an attempt to deliver an event ended, as the event source mapping saw it.
type ending uint8

const (
	never    ending = iota
	finished        // the function deleted the message: the event is delivered, a dead letter, or in a new message
	listed          // the function wants it again
	killed          // the function's process ended
	timedOut        // the function ran into its time limit
	failed          // the function answered with an error
)

// maxAltered bounds the number of altered events that are kept.
const maxAltered = 5

// entry is one event.
type entry struct {
	pipeline   *pipeline
	sum        uint64 // of what must arrive
	sent, took int64  // Unix time in nanoseconds; took: when it was first seen in the SIEM
	accepted   uint16 // how often the SIEM took it
	seen       uint16 // of these, how many before its last attempt ended
	letters    uint16 // how often it is a dead letter
	settled    bool
	array      bool   // it was sent together with others
	last       ending // of its last attempt
	blame      ending // of the attempt in which the SIEM last took it
}

// tracker records every event by its id: when it was sent, what the SIEM accepted, how its attempts ended.
type tracker struct {
	seed maphash.Seed

	mu        sync.Mutex
	entries   map[string]*entry
	settled   int
	opened    map[*pipeline]int // events that are not settled
	delivered int
	twice     map[cause]int
	altered   []string
	changed   int // how many were altered
	standins  int // truncated events, which the SIEM's limits require
	progress  chan struct{}
}

func newTracker() *tracker {
	return &tracker{
		seed: maphash.MakeSeed(), entries: map[string]*entry{}, opened: map[*pipeline]int{}, twice: map[cause]int{},
		progress: make(chan struct{}),
	}
}

func (b *tracker) sum(text string) uint64 { return maphash.String(b.seed, text) }

// enqueue records an event before it is sent, with what must arrive.
func (b *tracker) enqueue(id string, l *pipeline, key string, array bool) {
	e := &entry{pipeline: l, sum: b.sum(key), sent: time.Now().UnixNano(), array: array}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = e
	b.opened[l]++
}

// accept records an event that a SIEM accepted. One that differs from what was enqueued counts as altered.
func (b *tracker) accept(l *pipeline, a siem.Accepted, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[a.ID]
	if e == nil || e.pipeline != l || !a.Truncated && b.sum(l.Arrived(a)) != e.sum {
		b.alter(l.Name, a.ID, a.Event)
		return
	}
	if a.Truncated {
		b.standins++
	}
	if e.accepted++; e.accepted > 1 {
		b.twice[e.cause()]++
		return
	}
	e.took = now.UnixNano()
	b.delivered++
	if e.last == finished { // over syslog, the function may end before the SIEM has read
		b.settle(e)
	}
}

func (b *tracker) alter(where, id string, came []byte) {
	b.changed++
	if len(b.altered) < maxAltered {
		b.altered = append(b.altered, fmt.Sprintf("%s: id %q, %d bytes: %.300q", where, id, len(came), came))
	}
}

// finish records how an attempt ended.
func (b *tracker) finish(id string, how ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil {
		return
	}
	if e.accepted > e.seen {
		e.blame, e.seen = how, e.accepted
	}
	e.last = how
	if how == finished && e.accepted > 0 {
		b.settle(e)
	}
}

// drained records that a dead letter of an event is in S3.
func (b *tracker) drained(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil {
		b.settle(e)
	}
}

// settle records that an event has its final place. The caller holds the lock.
func (b *tracker) settle(e *entry) {
	if e.settled {
		return
	}
	e.settled = true
	b.settled++
	b.opened[e.pipeline]--
	e.pipeline.release()
	close(b.progress)
	b.progress = make(chan struct{})
}

// letter records an event that became a dead letter.
func (b *tracker) letter(id string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil {
		b.alter("dead letters", id, body)
		return
	}
	if b.sum(e.pipeline.KeyOf(string(body))) != e.sum {
		b.alter("dead letters", id, body)
	}
	e.letters++
	b.settle(e)
}

// standing returns the numbers of events by place.
func (b *tracker) standing() (sent, settled, delivered int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries), b.settled, b.delivered
}

// open returns the number of events of a pipeline (nil means all) without a final place, and a channel that is closed
// at the next change.
func (b *tracker) open(l *pipeline) (n int, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l == nil {
		return len(b.entries) - b.settled, b.progress
	}
	return b.opened[l], b.progress
}

// balance is the result of some events.
type balance struct {
	enqueued, delivered, dead, lost int
	twice                           int // acceptances beyond the first
	both                            int // delivered, and a dead letter too
	again                           int // more dead letters than one of an event
}

// add adds one event. An event that is neither in the SIEM nor in a dead letter is lost.
func (b *balance) add(e entry) {
	b.enqueued++
	switch {
	case e.accepted > 0:
		b.delivered++
		b.twice += int(e.accepted) - 1
		if e.letters > 0 {
			b.both++
		}
	case e.letters > 0:
		b.dead++
	default:
		b.lost++
	}
	if e.letters > 1 {
		b.again += int(e.letters) - 1
	}
}

// balance returns the result of each pipeline.
func (b *tracker) balance() map[*pipeline]balance {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[*pipeline]balance{}
	for _, e := range b.entries {
		sum := out[e.pipeline]
		sum.add(*e)
		out[e.pipeline] = sum
	}
	return out
}

// delays returns the delays from sending to acceptance of the events sent in a span of time, without those of one
// pipeline.
func (b *tracker) delays(from, to time.Time, without *pipeline) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []time.Duration
	for _, e := range b.entries {
		if e.pipeline != without && e.accepted > 0 && e.sent >= from.UnixNano() && e.sent < to.UnixNano() {
			out = append(out, time.Duration(e.took-e.sent))
		}
	}
	return out
}

// sum adds another result.
func (b *balance) sum(o balance) {
	b.enqueued += o.enqueued
	b.delivered += o.delivered
	b.dead += o.dead
	b.lost += o.lost
	b.twice += o.twice
	b.both += o.both
	b.again += o.again
}

// strange returns the altered events, descriptions of a few of them, and the number of truncated ones.
func (b *tracker) strange() (altered []string, changed, standins int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.altered, b.changed, b.standins
}

// causes returns the numbers of repeated acceptances by cause.
func (b *tracker) causes() map[cause]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.twice)
}

// cause is the reason why a SIEM has an event twice.
type cause int

const (
	causeAnswer  cause = iota // the SIEM accepted it and the response was lost
	causePartial              // the SIEM accepted a part of the request and responded 408
	causeKilled
	causeTimedOut
	causeFailed
	causeQueue  // SQS delivered it again after its deletion
	causeWithin // the response was lost on a kept connection, and the request was repeated in the same attempt
)

// String returns the text of the report.
func (c cause) String() string {
	return [...]string{
		"the response was lost after the SIEM had accepted them",
		"the SIEM accepted half of a request and responded 408",
		"the function was killed",
		"the function reached its time limit", "the function failed", "SQS delivered them again",
		"the response was lost on a kept connection, and the request was repeated in the same attempt",
	}[c]
}

// cause returns why the SIEM accepted an event again: how the attempt ended in which it accepted it before. A lost
// response and a 408 differ by the plan: only Sumo Logic responds 408, and it loses no other response.
func (e *entry) cause() cause {
	how := e.blame
	if e.accepted-1 > e.seen {
		how = e.last // it was taken after its attempt had ended, or twice in one
	}
	switch how {
	case finished, listed: // or in a new message, with the remainder of an array
		if how == finished && !e.array {
			return causeQueue
		}
		if e.pipeline != nil && e.pipeline.Name == sumo {
			return causePartial
		}
		return causeAnswer
	case killed:
		return causeKilled
	case timedOut:
		return causeTimedOut
	case failed:
		return causeFailed
	case never:
	}
	return causeWithin
}
