package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

func (a *app) showStatus(st *status) error {
	if a.out.JSON {
		return a.out.Object(st)
	}
	if a.out.Columns() < term.DefaultWidth {
		a.showConnectorBlocks(st)
	} else {
		a.showConnectorTable(st)
	}
	a.showHolds(st)
	a.showAlarms(st.Alarms)
	if n := st.DeadLetterQueue; n > 0 {
		a.out.Line("\n%s in the dead-letter queue, not stored yet", term.Count(n, "message"))
	}
	a.showGroups(st)
	for _, n := range st.Notes {
		a.out.Note("note: %s", n)
	}
	return nil
}

func (a *app) showConnectorTable(st *status) {
	var rows [][]term.Cell
	for _, c := range st.Connectors {
		rows = append(rows, term.Row(c.Connector, styledState(c.State), term.Approx(c.Queued), term.Approx(c.InFlight),
			term.Right(c.oldest()), term.Approx(c.Delivered), term.Approx(c.Filtered),
			term.Flag(c.DeadLetters, term.Bad, term.Approx(c.DeadLetters)), term.Right(a.last(c.LastSuccess))))
	}
	a.out.Table([]string{"CONNECTOR", "STATE", "QUEUED", "IN FLIGHT", "OLDEST", "DELIVERED", "FILTERED", "DEAD", "LAST"},
		rows)
}

// showConnectorBlocks is the table's content for a narrow terminal.
func (a *app) showConnectorBlocks(st *status) {
	for _, c := range st.Connectors {
		a.out.Line("%s: %s, last delivery: %s", a.out.Paint(term.Bold, c.Connector),
			a.out.Paint(styledState(c.State).Style, c.State), a.last(c.LastSuccess))
		a.out.Line("  queued %s, in flight %s, oldest %s", term.Approximate(c.Queued), term.Approximate(c.InFlight),
			c.oldest())
		a.out.Line("  delivered %s, filtered %s, dead letters %s", term.Approximate(c.Delivered),
			term.Approximate(c.Filtered), term.Approximate(c.DeadLetters))
	}
}

func (a *app) showHolds(st *status) {
	for _, c := range st.Connectors {
		if c.HeldSince == nil {
			continue
		}
		next := "now"
		if wait := c.NextTry.Sub(a.now()); wait >= time.Second {
			next = "in " + shortAge(wait)
		}
		a.out.Line("\n%s: held by the guard since %s, next try %s", c.Connector,
			c.HeldSince.UTC().Format("2006-01-02 15:04Z"), next)
	}
}

func (a *app) showAlarms(alarms []deployed.Alarm) {
	if len(alarms) == 0 {
		return
	}
	a.out.Line("\n%s", a.out.Paint(term.Bold, "Alarms"))
	var rows [][]term.Cell
	for _, alarm := range alarms {
		rows = append(rows, term.Row(cmp.Or(alarm.Connector, "all"), term.Styled(term.Bad, alarm.Name),
			alarm.Since.UTC().Format("2006-01-02 15:04Z")))
	}
	a.out.TableWithin(a.out.Columns(), []string{"CONNECTOR", "ALARM", "SINCE"}, rows)
}

// maxReason is the largest length of a reason in a table, in characters.
const maxReason = 100

func (a *app) showGroups(st *status) {
	if len(st.Groups) == 0 {
		return
	}
	a.out.Line("\n%s", a.out.Paint(term.Bold, "Dead letters"))
	var rows [][]term.Cell
	for _, g := range st.Groups {
		rows = append(rows, term.Row(g.Hour.Format("01-02 15:00Z"), g.Connector, term.Approx(g.Count),
			term.Shorten(g.Reason, maxReason)))
	}
	a.out.TableWithin(a.out.Columns(), []string{"HOUR", "CONNECTOR", "COUNT", "REASON"}, rows)
}

func (c *connectorStatus) oldest() string {
	if c.Oldest == nil {
		return "-"
	}
	return shortAge(time.Duration(*c.Oldest) * time.Second)
}

// last is the time since a delivery, "-" if none is known.
func (a *app) last(at *time.Time) string {
	if at == nil {
		return "-"
	}
	if passed := a.now().Sub(*at); passed >= 2*time.Minute { // metrics have a resolution of a minute
		return shortAge(passed)
	}
	return "now"
}

// shortAge writes an age in at most four characters.
func shortAge(age time.Duration) string {
	switch {
	case age < 2*time.Minute:
		return fmt.Sprintf("%ds", int(age.Seconds()))
	case age < 2*time.Hour:
		return fmt.Sprintf("%dm", int(age.Minutes()))
	case age < 2*day:
		return fmt.Sprintf("%dh", int(age.Hours()))
	}
	return fmt.Sprintf("%dd", int(age/day))
}
