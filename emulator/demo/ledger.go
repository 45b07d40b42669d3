package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

// maxAltered bounds the altered events that are kept.
const maxAltered = 10

// ledger counts the events of one SIEM that were enqueued and accepted, by their bytes.
type ledger struct {
	siem     catalog.SIEM
	enqueued map[string]int
	accepted map[string]int
	byID     map[string]string // key of the event with an id, for truncated events

	delivered, duplicates, truncated, replaced int
	altered                                    []string
	alteredCount                               int
}

func newLedger(s catalog.SIEM) *ledger {
	return &ledger{siem: s, enqueued: map[string]int{}, accepted: map[string]int{}, byID: map[string]string{}}
}

func (l *ledger) enqueue(m message) {
	key := l.siem.KeyOf(m.wire)
	l.enqueued[key]++
	if m.id != "" {
		l.byID[m.id] = key
	}
}

// accept records an accepted event. An event whose bytes differ from those enqueued counts as altered.
func (l *ledger) accept(a siem.Accepted) {
	key := l.siem.Arrived(a)
	if a.Truncated {
		l.truncated++
		key = l.byID[a.ID]
	}
	if l.enqueued[key] == 0 {
		if l.alteredCount++; len(l.altered) < maxAltered {
			came := l.siem.Arrived(a)
			l.altered = append(l.altered, fmt.Sprintf("id %q, %d bytes: %.300q", a.ID, len(came), came))
		}
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

// balance is a line of the account.
type balance struct {
	enqueued, delivered, pending, lost, duplicates, altered, truncated, replaced int
}

// balance returns the counts with those of the dead letters. An event that is both delivered and a dead letter counts
// as delivered, and the dead letter as a duplicate.
func (l *ledger) balance(letters []deadLetter) balance {
	dead := map[string]int{}
	for _, letter := range letters {
		dead[l.siem.KeyOf(letter.body)]++
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

// maxLine is the longest line of the events file: SQS accepts 1 MiB.
const maxLine = 1 << 20

// broken is an invalid event. It must become a dead letter with that reason, and remain one.
const broken = "this is no event, somebody typed it into the console"

// message is the body of an SQS message.
type message struct {
	body string
	id   string // of the event, "" if invalid
	// wire is the body as it must arrive: without white space between tokens, otherwise unchanged.
	wire string
}

func newMessage(body []byte) message {
	var wire bytes.Buffer
	if json.Compact(&wire, body) != nil {
		return message{body: string(body), wire: string(body)}
	}
	return message{body: string(body), wire: wire.String(), id: siem.EventID(body)}
}

// loadMessages reads the file or generates events. The generated events include an invalid one.
func loadMessages(o Options) ([]message, error) {
	if o.Events != "" {
		return readMessages(o.Events)
	}
	generator := ocsfgen.New(o.Seed)
	generator.Now = time.Now
	var out []message
	for n := range o.Count {
		if n == o.Count/2 {
			out = append(out, newMessage([]byte(broken)))
		}
		out = append(out, newMessage(generator.Next()))
	}
	return out, nil
}

func readMessages(path string) ([]message, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the events: %w", err)
	}
	defer file.Close()
	var out []message
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine+2)
	for lines.Scan() {
		if line := lines.Bytes(); len(bytes.TrimSpace(line)) > 0 {
			out = append(out, newMessage(line))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the events of %q after line %d: %w", path, len(out), err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading the events of %q: there are none; one JSON object a line is expected", path)
	}
	return out, nil
}

// poison chooses the event that a SIEM refuses: an early one, so that later faults apply to it as well, and if possible
// one with a unique id.
func poison(messages []message) (id string) {
	times := map[string]int{}
	for _, m := range messages {
		times[m.id]++
	}
	for _, m := range messages[len(messages)/50:] {
		switch {
		case m.id == "":
		case times[m.id] == 1:
			return m.id
		case id == "":
			id = m.id
		}
	}
	return id
}

// distinct reports whether all events have different ids.
func distinct(messages []message) bool {
	seen := map[string]bool{}
	for _, m := range messages {
		if m.id != "" && seen[m.id] {
			return false
		}
		seen[m.id] = true
	}
	return true
}
