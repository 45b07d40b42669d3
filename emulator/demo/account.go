package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/downalarm"
)

// accountFormat fits in 79 columns.
const accountFormat = "%-8s %8s %8s %5s %5s %6s %9s %8s %7s %6s"

// account prints the event counts of every SIEM, and reports whether they add up.
func (d *demo) account(ctx context.Context) error {
	letters, err := d.pending(ctx)
	if err != nil {
		return err
	}
	d.catchUp(ctx, letters)
	d.screen.lines(strong, "", "The account", "")
	d.screen.lines(faint, fmt.Sprintf(accountFormat, "", "enqueued", "in SIEM", "dead", "lost", "twice", "attempts",
		"retried", "cold", "CPU"))
	var sum balance
	ok := true
	for _, a := range d.actors {
		b := a.ledger.balance(letters[a.Name])
		sum.add(b)
		st := good
		if !b.adds() {
			st, ok = bad, false
		}
		d.screen.lines(st, d.accountLine(a, b))
	}
	d.screen.lines(plain, "")
	d.remain(letters)
	d.explain(sum)
	ok = d.complain() && ok
	return d.verdict(sum, ok)
}

// unread bounds the time in which a simulator reads what its kernel has acknowledged: syslog has no other confirmation.
const unread = time.Minute

// catchUp adds the accepted events to the ledgers. While an event is missing, it waits for the simulators.
func (d *demo) catchUp(ctx context.Context, letters map[string][]deadLetter) {
	for end := time.Now().Add(unread); ; {
		lost := 0
		for _, a := range d.actors {
			a.catchUp()
			lost += a.ledger.balance(letters[a.Name]).lost
		}
		if lost == 0 || time.Now().After(end) || !wait(ctx, time.Now().Add(100*time.Millisecond)) {
			return
		}
	}
}

func (d *demo) accountLine(a *actor, b balance) string {
	stats := d.system.Stats()[a.Function()]
	return fmt.Sprintf(accountFormat, a.Name, number(b.enqueued), number(b.delivered), number(b.pending), number(b.lost),
		number(b.duplicates), number(d.meters.sum(a.Name, "Received")), number(d.meters.sum(a.Name, "Retried")),
		short(median(stats.Inits)), short(d.meters.steady(a.Function())))
}

// remain lists the reasons of the remaining dead letters.
func (d *demo) remain(letters map[string][]deadLetter) {
	for _, r := range d.reasons(letters) {
		d.screen.prose(plain, "  ", fmt.Sprintf("dead: %s ×  %s  (%s)", number(r.count), r.text, strings.Join(r.connectors,
			", ")))
	}
}

// explain describes the columns.
func (d *demo) explain(sum balance) {
	d.screen.lines(plain, "")
	note := func(text string) { d.screen.prose(faint, "  ", text) }
	note("Compared byte for byte with the enqueued events, without the white space between tokens; for QRadar, whose " +
		"CEF does not contain the whole event, field by field.")
	if sum.duplicates > 0 {
		note("twice: the SIEM accepted them and its response was lost, so they were sent again. metadata.uid identifies " +
			"them; Elasticsearch stores them once.")
	}
	if sum.truncated > 0 {
		note(count(sum.truncated, "event") + " too large for a field were replaced by an object with their size and SHA-256.")
	}
	if sum.replaced > 0 {
		note(fmt.Sprintf("elastic: %s replaced another with the same _id.", count(sum.replaced, "event")))
	}
	note(fmt.Sprintf("cold: from process start to the first request for an invocation. CPU: user and system time of a "+
		"warm process for 1,000 events without failures (median of its batches of %d events and more).", fullBatch))
	if low, high := d.allIn(); high > 0 {
		took := short(high)
		if low != high {
			took = short(low) + " to " + took
		}
		note(fmt.Sprintf("In total, %s for 1,000 enqueued events, including failures and retries, and %s for each "+
			"process's start, secret, TLS handshake and first batch.", took, short(d.meters.start())))
	}
}

// allIn returns the least and the most CPU time of a connector's processes for 1,000 enqueued events.
func (d *demo) allIn() (low, high time.Duration) {
	stats := d.system.Stats()
	var all []time.Duration
	for _, a := range d.actors {
		all = append(all, stats[a.Function()].CPU*1000/time.Duration(len(d.messages)))
	}
	return slices.Min(all), slices.Max(all)
}

// complain lists altered events, and what a SIEM has accepted against the wire format.
func (d *demo) complain() bool {
	ok := true
	for _, a := range d.actors {
		for _, one := range a.ledger.altered {
			d.screen.lines(bad, a.Name+" accepted an event that was never enqueued in this form: "+one)
		}
		for _, violation := range a.Simulator.Stats().Violations {
			ok = false
			d.screen.lines(bad, a.Name+": "+violation)
		}
	}
	return ok
}

// verdict prints the last line.
func (d *demo) verdict(sum balance, ok bool) error {
	line := fmt.Sprintf("%s enqueued = %s in the SIEMs + %s in dead letters; lost %s, altered %s, duplicates %s.",
		number(sum.enqueued), number(sum.delivered), number(sum.pending), number(sum.lost), number(sum.altered),
		number(sum.duplicates))
	d.screen.lines(plain, "")
	if !ok {
		d.screen.prose(bad, "", line)
		d.screen.prose(bad, "", "The event counts do not add up.")
		return ErrAccount
	}
	d.screen.prose(good, "", line)
	d.screen.prose(good, "", fmt.Sprintf("The event counts add up, after %.0f s.", time.Since(d.began).Seconds()))
	return nil
}

// short formats a duration with a readable precision.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// meters collects the metrics of the functions and the CPU time of their processes.
type meters struct {
	mu   sync.Mutex
	sums map[[2]string]float64 // by connector and metric
	warm map[string][]sample   // by function
	cold []time.Duration       // first batches, with any result
}

// sample is a batch without failures, of a process that had completed a batch before.
type sample struct {
	events int
	cpu    time.Duration
}

func newMeters() *meters { return &meters{sums: map[[2]string]float64{}, warm: map[string][]sample{}} }

// read records a line of embedded metrics, and ignores other lines.
func (m *meters) read(printed []byte) {
	connector, _, sums, _ := downalarm.Metrics(printed)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, n := range sums {
		m.sums[[2]string{connector, name}] += n
	}
}

// observe records a batch; see cloud.Options.
func (m *meters) observe(function string, payload []byte, r runtimeapi.Result) {
	var batch struct{ Records []struct{} }
	var answer struct{ BatchItemFailures []struct{} }
	if r.Init > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cold = append(m.cold, r.CPU)
		return
	}
	if r.Error != nil || r.CPU == 0 || json.Unmarshal(payload, &batch) != nil || json.Unmarshal(r.Payload,
		&answer) != nil {
		return
	}
	if len(batch.Records) == 0 || len(answer.BatchItemFailures) > 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warm[function] = append(m.warm[function], sample{len(batch.Records), r.CPU})
}

// sum returns the sum of a connector's metric. Received counts attempts: an event that was received three times counts
// three times.
func (m *meters) sum(connector, metric string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.sums[[2]string{connector, metric}])
}

// dead returns the number of a connector's pending dead letters.
func (m *meters) dead(connector string) int {
	return m.sum(connector, "Drained") - m.sum(connector, "Replayed") - m.sum(connector, "Discarded")
}

// fullBatch is the smallest batch that is counted. In smaller ones, the fixed cost of a batch dominates.
const fullBatch = 50

// fewBatches are too few for a median: one of them may have been bisected.
const fewBatches = 3

// steady returns the CPU time of a warm process for 1,000 events: the median of the batches, 0 if there are too few.
func (m *meters) steady(function string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var costs []time.Duration
	for _, s := range m.warm[function] {
		if s.events >= fullBatch {
			costs = append(costs, s.cpu*1000/time.Duration(s.events))
		}
	}
	if len(costs) < fewBatches {
		return 0
	}
	return median(costs)
}

// start returns the CPU time of a process from its start to the end of its first batch, including the secret and the
// TLS handshakes; 0 if there was none.
func (m *meters) start() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return median(m.cold)
}

func median(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

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
