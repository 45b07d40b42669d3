package demo

import (
	"fmt"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxAltered bounds what is kept of events that came through changed.
const maxAltered = 10

// ledger is the account of one SIEM: what was enqueued for it and what it took, event by event, by their bytes.
type ledger struct {
	key      func(event []byte) string
	took     func(siem.Accepted) string
	enqueued map[string]int
	accepted map[string]int
	byID     map[string]string // key of the event of that id, for what came as a stand-in

	delivered, duplicates, truncated, replaced int
	altered                                    []string
	alteredCount                               int
}

// newLedger makes one. Both functions are nil where the SIEM gets an event's own bytes: see [all.SIEM].
func newLedger(key func([]byte) string, took func(siem.Accepted) string) *ledger {
	return &ledger{key: key, took: took, enqueued: map[string]int{}, accepted: map[string]int{}, byID: map[string]string{}}
}

// keyOf is what tells a body apart: itself, compact, or what the SIEM's format keeps of it.
func (l *ledger) keyOf(wire string) string {
	if l.key == nil {
		return wire
	}
	return l.key([]byte(wire))
}

func (l *ledger) enqueue(m message) {
	key := l.keyOf(m.wire)
	l.enqueued[key]++
	if m.id != "" {
		l.byID[m.id] = key
	}
}

// accept enters an event the SIEM took. One that is not, byte for byte, what was enqueued counts as altered.
func (l *ledger) accept(a siem.Accepted) {
	key := string(a.Event)
	switch {
	case a.Truncated:
		l.truncated++
		key = l.byID[a.ID]
	case l.took != nil:
		key = l.took(a)
	}
	if l.enqueued[key] == 0 {
		l.alter(a)
		return
	}
	if a.Fields["result"] == "replaced" { // of Elasticsearch: see its simulator
		l.replaced++
	}
	l.accepted[key]++
	if l.accepted[key] > l.enqueued[key] {
		l.duplicates++
	} else {
		l.delivered++
	}
}

func (l *ledger) alter(a siem.Accepted) {
	l.alteredCount++
	if len(l.altered) < maxAltered {
		came := a.Event
		if l.took != nil {
			came = []byte(l.took(a))
		}
		l.altered = append(l.altered, fmt.Sprintf("id %q, %d bytes: %.300q", a.ID, len(came), came))
	}
}

// balance is one line of the account.
type balance struct {
	enqueued, delivered, pending, lost, duplicates, altered, truncated, replaced int
}

// balance closes the books with what stands in dead letters. An event both delivered and in a dead letter is delivered, and
// the dead letter a duplicate.
func (l *ledger) balance(letters []deadLetter) balance {
	dead := map[string]int{}
	for _, letter := range letters {
		dead[l.keyOf(letter.body)]++
	}
	b := balance{delivered: l.delivered, duplicates: l.duplicates, altered: l.alteredCount, truncated: l.truncated, replaced: l.replaced}
	for key, enqueued := range l.enqueued {
		b.enqueued += enqueued
		open := max(0, enqueued-l.accepted[key])
		pending := min(open, dead[key])
		b.pending += pending
		b.lost += open - pending
		b.duplicates += dead[key] - pending
		delete(dead, key)
	}
	for _, strange := range dead {
		b.altered += strange
	}
	return b
}

// add sums up.
func (b *balance) add(o balance) {
	b.enqueued += o.enqueued
	b.delivered += o.delivered
	b.pending += o.pending
	b.lost += o.lost
	b.duplicates += o.duplicates
	b.altered += o.altered
	b.truncated += o.truncated
	b.replaced += o.replaced
}

// adds tells whether the line is as it must be.
func (b balance) adds() bool {
	return b.lost == 0 && b.altered == 0 && b.enqueued == b.delivered+b.pending
}
