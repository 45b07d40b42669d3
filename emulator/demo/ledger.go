package demo

import (
	"fmt"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxAltered bounds the altered events that are kept.
const maxAltered = 10

// ledger counts the events of one SIEM that were enqueued and accepted, by their bytes.
type ledger struct {
	key      func(event []byte) string
	took     func(siem.Accepted) string
	enqueued map[string]int
	accepted map[string]int
	byID     map[string]string // key of the event with an id, for truncated events

	delivered, duplicates, truncated, replaced int
	altered                                    []string
	alteredCount                               int
}

// newLedger returns an empty ledger. Both functions are nil if the SIEM gets the event's own bytes: see [catalog.SIEM].
func newLedger(key func([]byte) string, took func(siem.Accepted) string) *ledger {
	return &ledger{key: key, took: took, enqueued: map[string]int{}, accepted: map[string]int{}, byID: map[string]string{}}
}

// keyOf returns the key of a body: its compact form, or the fields that the SIEM's format contains.
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

// accept records an accepted event. An event whose bytes differ from those enqueued counts as altered.
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

// balance is a line of the account.
type balance struct {
	enqueued, delivered, pending, lost, duplicates, altered, truncated, replaced int
}

// balance returns the counts with those of the dead letters. An event that is both delivered and a dead letter counts
// as delivered, and the dead letter as a duplicate.
func (l *ledger) balance(letters []deadLetter) balance {
	dead := map[string]int{}
	for _, letter := range letters {
		dead[l.keyOf(letter.body)]++
	}
	b := balance{delivered: l.delivered, duplicates: l.duplicates, altered: l.alteredCount, truncated: l.truncated,
		replaced: l.replaced}
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

// add adds the counts of another SIEM.
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

// adds reports whether the counts add up.
func (b balance) adds() bool {
	return b.lost == 0 && b.altered == 0 && b.enqueued == b.delivered+b.pending
}
