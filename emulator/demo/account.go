package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// accountFormat fits into 79 columns.
const accountFormat = "%-8s %8s %8s %5s %5s %6s %9s %8s %7s %6s"

// account closes the books of every SIEM and says whether they add up.
func (d *demo) account(ctx context.Context) error {
	letters, err := d.letters.pending(ctx)
	if err != nil {
		return err
	}
	d.screen.lines(strong, "", "The account", "")
	d.screen.lines(faint, fmt.Sprintf(accountFormat, "", "enqueued", "in SIEM", "dead", "lost", "twice", "attempts", "retried", "cold", "CPU"))
	var sum balance
	ok := true
	for _, a := range d.actors {
		a.catchUp()
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

func (d *demo) accountLine(a *actor, b balance) string {
	did, stats := d.meters.tally(a.Name), d.cloud.Stats()[a.Function()]
	return fmt.Sprintf(accountFormat, a.Name, number(b.enqueued), number(b.delivered), number(b.pending), number(b.lost),
		number(b.duplicates), number(did.Received), number(did.Retried), short(median(stats.Inits)), short(d.meters.steady(a.Function())))
}

// remain lists why what is dead now stays so.
func (d *demo) remain(letters map[string][]deadLetter) {
	for _, r := range d.reasons(letters) {
		d.screen.prose(plain, "  ", fmt.Sprintf("dead: %s ×  %s  (%s)", number(r.count), r.text, strings.Join(r.connectors, ", ")))
	}
}

// explain says what the columns mean, and what there is to know of this account.
func (d *demo) explain(sum balance) {
	d.screen.lines(plain, "")
	note := func(text string) { d.screen.prose(faint, "  ", text) }
	note("Compared byte for byte with what was enqueued, less the white space between an event's tokens; for QRadar, whose CEF does not carry the event whole, column by column.")
	if sum.duplicates > 0 {
		note("twice: the SIEM took them and its answer was lost, so they came again. Most SIEMs cannot tell; metadata.uid can, and in Elasticsearch it is the document's id.")
	}
	if sum.truncated > 0 {
		note(count(sum.truncated, "event") + " too large for a field came as a stand-in that says so, with size and SHA-256.")
	}
	if sum.replaced > 0 {
		note(fmt.Sprintf("elastic: %s came under the metadata.uid of another and took its place: Elasticsearch keeps one document of an id.", count(sum.replaced, "event")))
	}
	note(fmt.Sprintf("cold: from process start to the first call for work. CPU: user and system time for 1,000 events, by a warm process where nothing fails (median of its batches of %d events and more).", fullBatch))
	if low, high := d.allIn(); high > 0 {
		took := short(high)
		if low != high {
			took = short(low) + " to " + took
		}
		note(fmt.Sprintf("All in, it was %s for 1,000 events enqueued: with every failure and retry, and %s for each process's start, secret, TLS handshake and first batch.", took, short(d.meters.start())))
	}
}

// allIn is the least and the most CPU time that a connector's processes took for 1,000 events enqueued, in all.
func (d *demo) allIn() (low, high time.Duration) {
	stats := d.cloud.Stats()
	var all []time.Duration
	for _, a := range d.actors {
		all = append(all, stats[a.Function()].CPU*1000/time.Duration(len(d.messages)))
	}
	return slices.Min(all), slices.Max(all)
}

// complain names what came through altered, and what a SIEM took though the contract forbids it.
func (d *demo) complain() bool {
	ok := true
	for _, a := range d.actors {
		for _, one := range a.ledger.altered {
			d.screen.lines(bad, a.Name+" took an event that was never enqueued so: "+one)
		}
		for _, violation := range a.simulator.Stats().Violations {
			ok = false
			d.screen.lines(bad, a.Name+": "+violation)
		}
	}
	return ok
}

// verdict is the last line.
func (d *demo) verdict(sum balance, ok bool) error {
	line := fmt.Sprintf("%s enqueued = %s in the SIEMs + %s in dead letters; lost %s, altered %s, duplicates %s.",
		number(sum.enqueued), number(sum.delivered), number(sum.pending), number(sum.lost), number(sum.altered), number(sum.duplicates))
	d.screen.lines(plain, "")
	if !ok {
		d.screen.prose(bad, "", line)
		d.screen.prose(bad, "", "It does not add up.")
		return ErrAccount
	}
	d.screen.prose(good, "", line)
	d.screen.prose(good, "", fmt.Sprintf("It adds up, after %.0f s.", time.Since(d.began).Seconds()))
	return nil
}

// short writes a duration with as much precision as anybody wants to read.
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
