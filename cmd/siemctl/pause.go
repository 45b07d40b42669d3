package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.switchCommand(false, &cobra.Command{
		Use: "pause <connector...>", Short: "Stop delivery to a SIEM; its queue keeps what comes, for 4 days",
		Long: `Stop delivery to a SIEM. Its queue keeps what comes, for 4 days; what is being delivered is seen to its end. An event that
waits in the queue uses up none of its attempts.

The next update of the stack sets what the parameter Pause<Connector> says: set that too for a longer pause.`,
	})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.switchCommand(true, &cobra.Command{Use: "resume <connector...>", Short: "Go on delivering to a SIEM"})
}

func (a *app) switchCommand(on bool, c *cobra.Command) *cobra.Command {
	var all bool
	c.Flags().BoolVar(&all, "all", false, "all connectors that are deployed")
	c.ValidArgsFunction = completeConnectors
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usage("connector: expected the name of one, or --all")
		}
		return a.switchTo(cmd.Context(), args, on)
	}
	return c
}

// switched is the result of pause and resume.
type switched struct {
	Connector string `json:"connector"`
	State     string `json:"state"`
	Waiting   int64  `json:"waiting"` // events in the queue
}

func (a *app) switchTo(ctx context.Context, args []string, on bool) error {
	s, here, err := a.connect(ctx, args)
	if err != nil {
		return err
	}
	for _, c := range here {
		if err := s.SetMapping(ctx, c.ID, on); err != nil {
			return err
		}
	}
	results, err := each(here, func(c connector) (switched, error) { return a.awaitSwitch(ctx, s, c, on) })
	if err != nil {
		return err
	}
	if a.out.JSON {
		return a.out.Object(results)
	}
	rows := make([][]term.Cell, 0, len(results))
	for _, r := range results {
		state := term.Styled(term.Good, "running")
		if r.State != "Enabled" {
			state = term.Styled(term.Warn, "paused")
		}
		rows = append(rows, []term.Cell{term.Text(r.Connector), state, term.Number(r.Waiting)})
	}
	a.out.Table([]string{"CONNECTOR", "STATE", "WAITING"}, rows)
	return nil
}

const (
	switchPause = 2 * time.Second
	switchMost  = 60 // pauses
)

// awaitSwitch waits until the mapping is what it was told to be, which takes AWS up to a minute.
func (a *app) awaitSwitch(ctx context.Context, s *deployed.Stack, c connector, on bool) (switched, error) {
	want := "Disabled"
	if on {
		want = "Enabled"
	}
	for range switchMost {
		m, err := s.Mapping(ctx, c.ID)
		if err != nil {
			return switched{}, err
		}
		if m.State == want {
			depth, err := s.Depth(ctx, s.Queue(c.ID))
			return switched{c.Name, m.State, depth.Visible + depth.InFlight + depth.Delayed}, err
		}
		if err := pause(ctx, switchPause); err != nil {
			return switched{}, err
		}
	}
	return switched{}, &deployed.Error{Doing: "waiting for the event source mapping of " + c.Name, Err: fmt.Errorf("it is not %s after %s", want, switchPause*switchMost)}
}
