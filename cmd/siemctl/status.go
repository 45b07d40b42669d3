package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/letters"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// connectorStatus is what is where of one connector.
type connectorStatus struct {
	Connector string `json:"connector"`
	State     string `json:"state"` // of what feeds it: Enabled, Disabled, or on the way
	deployed.Depth
	Delivered    int64      `json:"delivered_last_hour"`
	DeadLettered int64      `json:"dead_lettered_last_hour"`
	Pending      int        `json:"dead_letters_pending"`
	LastSuccess  *time.Time `json:"last_success"`
}

type status struct {
	Stack           string            `json:"stack"`
	Connectors      []connectorStatus `json:"connectors"`
	DeadLetterQueue deployed.Depth    `json:"dead_letter_queue"`
	OldestPending   *time.Time        `json:"oldest_dead_letter"`
	Groups          []letters.Group   `json:"dead_letter_groups"`
	Read            int               `json:"dead_letters_read"` // for the groups; there may be more pending
	Notes           []string          `json:"notes,omitempty"`
}

func (a *app) statusCommand() *cobra.Command {
	var most int
	c := &cobra.Command{
		Use: "status", Short: "Show what is where: queues, dead letters, last success", Args: cobra.NoArgs,
		Long: `Show for each connector whether it is running, how many events wait in its queue (visible), are being delivered or wait
for another attempt (in flight), what it did in the last hour, and how many of its dead letters are pending; then the dead
letters by hour, connector and reason. LAST SUCCESS is looked for in the last 24 hours.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if most < 0 {
				return usage("--read: expected a number that is not negative, found %d", most)
			}
			st, err := a.status(cmd.Context(), most)
			if err != nil {
				return err
			}
			return a.showStatus(st)
		},
	}
	c.Flags().IntVar(&most, "read", 20_000, "most `dead letters` to read for their reasons")
	return c
}

func (a *app) status(ctx context.Context, most int) (*status, error) {
	s, here, err := a.connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	st := &status{Stack: s.Name}
	if st.Connectors, err = each(here, func(c connector) (connectorStatus, error) { return connectorState(ctx, s, c) }); err != nil {
		return nil, err
	}
	if st.DeadLetterQueue, err = s.Depth(ctx, s.DeadLetterQueue()); err != nil {
		return nil, err
	}
	for _, part := range []func() error{
		func() error { return a.addActivity(ctx, s, st) },
		func() error { return addPending(ctx, s, st) },
		func() error { return addGroups(ctx, s, st, most) },
	} {
		// Each of them needs a right that the others do not: the rest is shown without it.
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
	m, err := s.Mapping(ctx, c.ID)
	if err != nil {
		return connectorStatus{}, err
	}
	depth, err := s.Depth(ctx, s.Queue(c.ID))
	return connectorStatus{Connector: c.Name, State: m.State, Depth: depth}, err
}

func (a *app) addActivity(ctx context.Context, s *deployed.Stack, st *status) error {
	var list []string
	for _, c := range st.Connectors {
		list = append(list, c.Connector)
	}
	activity, err := s.Activity(ctx, list, a.now())
	if err != nil {
		return err
	}
	for i := range st.Connectors {
		c := &st.Connectors[i]
		did := activity[c.Connector]
		c.Delivered, c.DeadLettered = did.Delivered, did.DeadLettered
		if !did.LastSuccess.IsZero() {
			c.LastSuccess = &did.LastSuccess
		}
	}
	return nil
}

// addPending asks the replay function, which alone knows what has been put back.
func addPending(ctx context.Context, s *deployed.Stack, st *status) error {
	counts, err := pendingCounts(ctx, s)
	if err != nil {
		return err
	}
	for i := range st.Connectors {
		st.Connectors[i].Pending = counts.Pending[st.Connectors[i].Connector]
	}
	if n := counts.Pending["unknown"]; n > 0 {
		st.Notes = append(st.Notes, fmt.Sprintf("%s of no known connector: no replay puts them back", term.Count(int64(n), "dead letter")))
	}
	st.OldestPending = counts.Oldest
	return nil
}

func addGroups(ctx context.Context, s *deployed.Stack, st *status, most int) error {
	if most == 0 {
		return nil
	}
	box, err := openBox(ctx, s)
	if err != nil {
		return err
	}
	var groups letters.Groups
	broken, err := box.Each(ctx, letters.Filter{}, func(l *letters.Letter) error {
		groups.Add(l)
		if groups.Total() >= most {
			return letters.ErrEnough
		}
		return nil
	})
	st.Groups, st.Read = groups.List(), groups.Total()
	if broken > 0 {
		st.Notes = append(st.Notes, fmt.Sprintf("%s could not be understood", term.Count(int64(broken), "line")))
	}
	if st.Read >= most {
		st.Notes = append(st.Notes, fmt.Sprintf("the reasons are those of the first %s; --read reads more", term.Count(int64(most), "dead letter")))
	}
	return err
}

func openBox(ctx context.Context, s *deployed.Stack) (*letters.Box, error) {
	client, path, err := s.DeadLetters(ctx)
	if err != nil {
		return nil, err
	}
	return letters.Open(client, path)
}

func (a *app) showStatus(st *status) error {
	if a.out.JSON {
		return a.out.Object(st)
	}
	a.showConnectors(st)
	q := st.DeadLetterQueue
	if n := q.Visible + q.InFlight + q.Delayed; n > 0 {
		a.out.Line("\n%s on the way to the bucket", term.Count(n, "dead letter"))
	}
	if len(st.Groups) > 0 {
		a.out.Line("\n%s", a.out.Paint(term.Bold, "Dead letters"))
		rows := make([][]term.Cell, 0, len(st.Groups))
		for _, g := range st.Groups {
			rows = append(rows, []term.Cell{
				term.Text(g.Hour.Format("2006-01-02 15:00Z")), term.Text(g.Connector), term.Number(int64(g.Count)), term.Text(term.Shorten(g.Reason, maxReason)),
			})
		}
		a.out.Table([]string{"HOUR", "CONNECTOR", "COUNT", "REASON"}, rows)
	}
	for _, n := range st.Notes {
		a.out.Note("note: %s", term.Clean(n))
	}
	return nil
}

// maxReason is how much of a reason a table shows.
const maxReason = 100

func (a *app) showConnectors(st *status) {
	rows := make([][]term.Cell, 0, len(st.Connectors))
	for _, c := range st.Connectors {
		state := term.Styled(term.Good, "running")
		switch c.State {
		case "Enabled":
		case "Disabled":
			state = term.Styled(term.Warn, "paused")
		default:
			state = term.Styled(term.Warn, strings.ToLower(c.State))
		}
		pending := term.Number(int64(c.Pending))
		if c.Pending > 0 {
			pending.Style = term.Bad
		}
		rows = append(rows, []term.Cell{
			term.Text(c.Connector), state, term.Number(c.Visible), term.Number(c.InFlight), term.Number(c.Delayed),
			term.Number(c.Delivered), term.Number(c.DeadLettered), pending, term.Text(a.ago(c.LastSuccess)),
		})
	}
	a.out.Table([]string{"CONNECTOR", "STATE", "VISIBLE", "IN FLIGHT", "DELAYED", "DELIVERED 1H", "DEAD 1H", "DEAD PENDING", "LAST SUCCESS"}, rows)
}

// ago says how long ago something was, "-" when it is not known to have been.
func (a *app) ago(at *time.Time) string {
	if at == nil {
		return "-"
	}
	passed := a.now().Sub(*at)
	switch {
	case passed < 2*time.Minute:
		return "just now"
	case passed < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(passed.Minutes()))
	}
	return fmt.Sprintf("%d h ago", int(passed.Hours()))
}
