package main

import (
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// ending is how an attempt to deliver an event ended, as the mapping saw it.
type ending uint8

const (
	never    ending = iota
	finished        // the function said it was done: delivered, or made a dead letter
	listed          // the function wants it again
	killed          // the function's process ended
	timedOut        // the function ran into its time limit
	failed          // the function answered with an error
)

// maxAltered bounds what is kept of events that came through changed.
const maxAltered = 5

// entry is one event in the books.
type entry struct {
	lane       *lane
	sum        uint64 // of what must arrive
	sent, took int64  // Unix time in nanoseconds; took: when it was first seen in the SIEM
	accepted   uint16 // how often the SIEM took it
	seen       uint16 // of these, how many before its last attempt ended
	letters    uint16 // how often it is a dead letter
	settled    bool
	last       ending // of its last attempt
	blame      ending // of the attempt in which the SIEM last took it
}

// books are the account of every event, by its id: when it was sent, what the SIEM took, how its attempts ended.
type books struct {
	seed maphash.Seed

	mu        sync.Mutex
	entries   map[string]*entry
	settled   int
	opened    map[*lane]int // events that are not settled
	delivered int
	twice     map[cause]int
	altered   []string
	changed   int // how many were altered
	standins  int // truncated stand-ins, which the SIEM's limits demand
	progress  chan struct{}
}

func newBooks() *books {
	return &books{
		seed: maphash.MakeSeed(), entries: map[string]*entry{}, opened: map[*lane]int{}, twice: map[cause]int{},
		progress: make(chan struct{}),
	}
}

func (b *books) sum(text []byte) uint64 { return maphash.Bytes(b.seed, text) }

// enqueue enters an event that is about to be sent, with what must arrive.
func (b *books) enqueue(id string, l *lane, key []byte) {
	e := &entry{lane: l, sum: b.sum(key), sent: time.Now().UnixNano()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = e
	b.opened[l]++
}

// accept enters an event that a SIEM took. One that is not what was enqueued counts as altered.
func (b *books) accept(l *lane, a siem.Accepted, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[a.ID]
	if e == nil || e.lane != l || !a.Truncated && b.sum(l.arrived(a)) != e.sum {
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
}

func (b *books) alter(where, id string, came []byte) {
	b.changed++
	if len(b.altered) < maxAltered {
		b.altered = append(b.altered, fmt.Sprintf("%s: id %q, %d bytes: %.300q", where, id, len(came), came))
	}
}

// finish enters how an attempt of an event ended.
func (b *books) finish(id string, how ending) {
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
	if how == finished {
		b.settle(e)
	}
}

// drained enters that a dead letter of an event is in S3.
func (b *books) drained(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[id]; e != nil {
		b.settle(e)
	}
}

// settle notes that an event is where it stays. The caller holds the lock.
func (b *books) settle(e *entry) {
	if e.settled {
		return
	}
	e.settled = true
	b.settled++
	b.opened[e.lane]--
	e.lane.release()
	close(b.progress)
	b.progress = make(chan struct{})
}

// letter enters an event that was made a dead letter.
func (b *books) letter(id string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[id]
	if e == nil {
		b.alter("dead letters", id, body)
		return
	}
	if b.sum(e.lane.key(body)) != e.sum {
		b.alter("dead letters", id, body)
	}
	e.letters++
	b.settle(e)
}

// standing is how many events are where.
func (b *books) standing() (sent, settled, delivered int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries), b.settled, b.delivered
}

// open is how many events of a lane are not where they stay, of all when it is nil, and a channel that is closed at the
// next change.
func (b *books) open(l *lane) (n int, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l == nil {
		return len(b.entries) - b.settled, b.progress
	}
	return b.opened[l], b.progress
}

// balance is the account of some events.
type balance struct {
	enqueued, delivered, dead, lost int
	twice                           int // acceptances beyond the first
	both                            int // delivered, and a dead letter too
	again                           int // more dead letters than one of an event
}

// add enters one event. What is neither in the SIEM nor in a dead letter is lost.
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

// balance closes the books of the lanes.
func (b *books) balance() map[*lane]balance {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[*lane]balance{}
	for _, e := range b.entries {
		sum := out[e.lane]
		sum.add(*e)
		out[e.lane] = sum
	}
	return out
}

// delays are how long the events sent in a span of time took from being sent to being in the SIEM, without those of one
// lane.
func (b *books) delays(from, to time.Time, without *lane) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []time.Duration
	for _, e := range b.entries {
		if e.lane != without && e.accepted > 0 && e.sent >= from.UnixNano() && e.sent < to.UnixNano() {
			out = append(out, time.Duration(e.took-e.sent))
		}
	}
	return out
}

// sum adds another account.
func (b *balance) sum(o balance) {
	b.enqueued += o.enqueued
	b.delivered += o.delivered
	b.dead += o.dead
	b.lost += o.lost
	b.twice += o.twice
	b.both += o.both
	b.again += o.again
}

// strange is what came altered, a few of them in words, and how many came truncated.
func (b *books) strange() (altered []string, changed, standins int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.altered, b.changed, b.standins
}

// causes are how many events were taken once more, and why.
func (b *books) causes() map[cause]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.twice)
}
