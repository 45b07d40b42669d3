package demo

import (
	"context"
	"fmt"
	"time"
)

const accountFormat = "%-10s %9s  = %12s  + %15s %7s %11s %9s"

// account closes the books of every SIEM and says whether they add up.
func (d *demo) account(ctx context.Context) error {
	letters, err := d.letters.pending(ctx)
	if err != nil {
		return err
	}
	d.screen.lines(strong, "", "The account")
	d.screen.lines(faint, fmt.Sprintf(accountFormat, "", "enqueued", "in the SIEM", "in dead letters", "lost", "duplicates", "altered"))
	ok := true
	var duplicates, truncated int
	for _, a := range d.actors {
		a.catchUp()
		b := a.ledger.balance(letters[a.Name])
		st := good
		if !b.adds() {
			st, ok = bad, false
		}
		d.screen.lines(st, fmt.Sprintf(accountFormat, a.Name, number(b.enqueued), number(b.delivered), number(b.pending),
			number(b.lost), number(b.duplicates), number(b.altered)))
		duplicates += b.duplicates
		truncated += b.truncated
	}
	d.explain(duplicates, truncated)
	ok = d.complain() && ok
	d.measures()
	if !ok {
		d.screen.lines(bad, "", "It does not add up.")
		return ErrAccount
	}
	d.screen.lines(good, "", fmt.Sprintf("It adds up: lost 0, in %.0f s.", time.Since(d.began).Seconds()))
	return nil
}

func (d *demo) explain(duplicates, truncated int) {
	d.screen.lines(faint, "", "Compared byte for byte with what was enqueued; of an event that was not compact, the white space between its tokens is gone.")
	if duplicates > 0 {
		d.screen.lines(faint, "Duplicates: the SIEM took them, its answer was lost, so they came again. Most SIEMs cannot tell; metadata.uid can.")
	}
	if truncated > 0 {
		d.screen.lines(faint, fmt.Sprintf("%s too large for a field came as a stand-in that says so, with size and SHA-256.", count(truncated, "event")))
	}
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
