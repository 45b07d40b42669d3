package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// accountFormat fits in 79 columns.
const accountFormat = "%-8s %8s %8s %5s %5s %6s %9s %8s %7s %6s"

// account prints the event counts of every SIEM, and reports whether they add up.
func (d *demo) account(ctx context.Context) error {
	letters, err := d.letters.pending(ctx)
	if err != nil {
		return err
	}
	d.screen.lines(strong, "", "The account", "")
	d.screen.lines(faint, fmt.Sprintf(accountFormat, "", "enqueued", "in SIEM", "dead", "lost", "twice", "attempts",
		"retried", "cold", "CPU"))
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
	did, stats := d.meters.tally(a.Name), d.system.Stats()[a.Function()]
	return fmt.Sprintf(accountFormat, a.Name, number(b.enqueued), number(b.delivered), number(b.pending), number(b.lost),
		number(b.duplicates), number(did.Received), number(did.Retried), short(median(stats.Inits)),
		short(d.meters.steady(a.Function())))
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
