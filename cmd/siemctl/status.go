package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/guard"
)

// connectorStatus is the state of one connector. Its JSON keys are the headings of the table.
type connectorStatus struct {
	Connector   string     `json:"connector"`
	State       string     `json:"state"`
	Queued      int64      `json:"queued"`
	InFlight    int64      `json:"in_flight"`
	Oldest      *int64     `json:"oldest_seconds"`
	Delivered   int64      `json:"delivered"` // in the last hour, like Filtered
	Filtered    int64      `json:"filtered"`
	DeadLetters int        `json:"dead_letters"` // pending
	LastSuccess *time.Time `json:"last_success"`
	HeldSince   *time.Time `json:"held_since,omitempty"` // by the guard, which then tries again at NextTry
	NextTry     *time.Time `json:"next_try,omitempty"`

	note string
}

type status struct {
	Stack           string            `json:"stack"`
	Connectors      []connectorStatus `json:"connectors"`
	Alarms          []deployed.Alarm  `json:"alarms"`                // null if they could not be read
	DeadLetterQueue int64             `json:"dead_letters_in_queue"` // not stored yet
	OldestPending   *time.Time        `json:"oldest_dead_letter"`
	Groups          []deadLetterGroup `json:"dead_letter_groups"`
	Read            int               `json:"dead_letters_read"` // for the groups
	Notes           []string          `json:"notes,omitempty"`
}

type statusOptions struct {
	read     int
	watch    bool
	interval time.Duration
}

func (a *app) statusCommand() *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use: "status", Short: "Show queues, deliveries, alarms and dead letters", Args: cobra.NoArgs,
		Long: `Show the state of each connector, the alarms that are on, and the pending dead letters by hour and reason.

  STATE      running, paused, held (by the guard, because the SIEM is down), or a transition (starting, stopping)
  QUEUED     messages that wait in the queue; a message can hold several events
  IN FLIGHT  messages that are being delivered or wait for the next attempt
  OLDEST     age of the oldest message in the queue
  DELIVERED  events delivered in the last hour
  FILTERED   events excluded by SIEM_MIN_SEVERITY or SIEM_CLASSES in the last hour
  DEAD       pending dead letters
  LAST       time since the last delivery, within the last 24 hours`,
		Example: "  siemctl status\n  siemctl status --watch\n  siemctl status --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.read < 0 {
				return usage("--read: expected a number that is not negative, found %d", o.read)
			}
			if o.interval < time.Second {
				return usage("--interval: expected at least 1s, found %s", o.interval)
			}
			if o.watch && !cmd.Flags().Changed("read") {
				o.read = 0
			}
			return a.runStatus(cmd.Context(), o)
		},
	}
	c.Flags().IntVar(&o.read, "read", 20_000, "read at most this many `dead letters` for their reasons; with --watch "+
		"none unless set")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "show the status again and again, until Ctrl-C")
	c.Flags().DurationVar(&o.interval, "interval", 5*time.Second, "`time` between two requests with --watch")
	return c
}

func (a *app) runStatus(ctx context.Context, o statusOptions) error {
	s, here, err := a.connect(ctx, nil)
	if err != nil {
		return err
	}
	for {
		st, err := a.status(ctx, s, here, o.read)
		if err != nil {
			return err
		}
		if o.watch && a.out.Terminal && !a.out.JSON {
			fmt.Fprint(a.out.Out, "\x1b[H\x1b[2J") // home, clear
		}
		if err := a.showStatus(st); err != nil || !o.watch {
			return err
		}
		if err := a.beforeNext(ctx, o.interval); err != nil {
			return err
		}
		if !a.out.Terminal && !a.out.JSON {
			a.out.Line("")
		}
	}
}

func (a *app) status(ctx context.Context, s *deployed.Stack, here []connector, read int) (*status, error) {
	st := &status{Stack: s.Name, Groups: []deadLetterGroup{}}
	var err error
	state := func(c connector) (connectorStatus, error) { return connectorState(ctx, s, c) }
	if st.Connectors, err = each(here, state); err != nil {
		return nil, err
	}
	for _, c := range st.Connectors {
		if c.note != "" && !slices.Contains(st.Notes, c.note) {
			st.Notes = append(st.Notes, c.note)
		}
	}
	depth, err := s.Depth(ctx, s.DeadLetterQueue())
	if err != nil {
		return nil, err
	}
	st.DeadLetterQueue = depth.Waiting + depth.InFlight
	list := make([]connectors.Connector, len(here))
	for i, c := range here {
		list[i] = c.Connector.Connector
	}
	for _, part := range []func() error{
		func() error { return a.addActivity(ctx, s, list, st) },
		func() error { return addAlarms(ctx, s, list, st) },
		func() error { return addPending(ctx, s, st) },
		func() error { return addGroups(ctx, s, st, read) },
	} {
		// Each part needs a permission of its own. Without it, the other parts are shown.
		if err := part(); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			st.Notes = append(st.Notes, err.Error())
		}
	}
	return st, nil
}

func connectorState(ctx context.Context, s *deployed.Stack, c connector) (connectorStatus, error) {
	m, err := s.Mapping(ctx, c.Name)
	if err != nil {
		return connectorStatus{}, err
	}
	depth, err := s.Depth(ctx, s.Queue(c.Name))
	if err != nil {
		return connectorStatus{}, err
	}
	st := connectorStatus{Connector: c.Name, State: stateWord(m.State), Queued: depth.Waiting,
		InFlight: depth.InFlight}
	hold, err := s.Hold(ctx, &m)
	if err != nil && ctx.Err() == nil {
		st.note = err.Error() // it needs a permission of its own
		err = nil
	}
	if hold != nil && m.State == "Disabled" && (hold.State == guard.Holding || hold.State == guard.Held) {
		st.State, st.HeldSince, st.NextTry = "held", &hold.Since, &hold.Next
	}
	return st, err
}

// stateWord is the state of an event source mapping as siemctl prints it.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetEventSourceMapping.html
func stateWord(state string) string {
	switch state {
	case "Enabled":
		return "running"
	case "Disabled":
		return "paused"
	case "Enabling":
		return "starting"
	case "Disabling":
		return "stopping"
	}
	return strings.ToLower(state)
}

func styledState(word string) term.Cell {
	if word == "running" {
		return term.Styled(term.Good, word)
	}
	return term.Styled(term.Warn, word)
}

func (a *app) addActivity(ctx context.Context, s *deployed.Stack, list []connectors.Connector, st *status) error {
	activity, err := s.Activity(ctx, list, a.now())
	if err != nil {
		return err
	}
	for i := range st.Connectors {
		c := &st.Connectors[i]
		did := activity[c.Connector]
		c.Delivered, c.Filtered = did.Delivered, did.Filtered
		if !did.LastSuccess.IsZero() {
			c.LastSuccess = &did.LastSuccess
		}
		if did.Oldest >= 0 {
			seconds := int64(did.Oldest / time.Second)
			c.Oldest = &seconds
		}
		if did.Backpressure > 0 {
			st.Notes = append(st.Notes, fmt.Sprintf("%s: the SIEM's queues were nearly full in the last hour (%s); lower "+
				"MaximumConcurrency if this continues", c.Connector, term.Count(did.Backpressure, "request")))
		}
	}
	return nil
}

func addAlarms(ctx context.Context, s *deployed.Stack, list []connectors.Connector, st *status) error {
	alarms, err := s.Alarms(ctx, list)
	if err == nil && alarms == nil {
		alarms = []deployed.Alarm{}
	}
	st.Alarms = alarms
	return err
}

// addPending asks the replay function, which knows what was replayed.
func addPending(ctx context.Context, s *deployed.Stack, st *status) error {
	counts, err := pendingCounts(ctx, s)
	if err != nil {
		return err
	}
	for i := range st.Connectors {
		st.Connectors[i].DeadLetters = counts.Pending[st.Connectors[i].Connector]
	}
	if n := counts.Pending[connectors.Unknown]; n > 0 {
		st.Notes = append(st.Notes, fmt.Sprintf("%s of an unknown connector cannot be replayed; export or discard them",
			term.Count(n, "dead letter")))
	}
	st.OldestPending = counts.Oldest
	return nil
}

func addGroups(ctx context.Context, s *deployed.Stack, st *status, most int) error {
	if most == 0 {
		return nil
	}
	reader, err := openReader(ctx, s)
	if err != nil {
		return err
	}
	groups := deadLetterGroups{}
	broken, err := reader.Each(ctx, deadletter.Filter{}, func(l *deadletter.Letter) error {
		groups.add(l)
		if st.Read++; st.Read >= most {
			return deadletter.SkipAll
		}
		return nil
	})
	st.Groups = groups.list()
	if broken > 0 {
		st.Notes = append(st.Notes, fmt.Sprintf("%s could not be read as a dead letter", term.Count(broken, "line")))
	}
	if st.Read >= most {
		st.Notes = append(st.Notes, fmt.Sprintf("the reasons are those of the first %s; --read reads more",
			term.Count(most, "dead letter")))
	}
	return err
}

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
	a.out.Table([]string{"CONNECTOR", "STATE", "QUEUED", "IN FLIGHT", "OLDEST", "DELIVERED", "FILTERED", "DEAD",
		"LAST"}, rows)
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
