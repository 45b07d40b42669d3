package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/guard"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.switchCommand(false, &cobra.Command{
		Use: "pause <connector...>", Short: "Stop the delivery to a SIEM; its queue keeps the events",
		Long: `Stop the delivery to a SIEM. The queue keeps the events for its retention period (QueueRetentionDays); a batch
that is being delivered is finished. An event that waits in the queue uses no attempts.

If the guard holds the connector, the hold becomes yours: neither the guard nor a deployment resumes it.`,
		Example: "  siemctl pause splunk\n  siemctl pause --all",
	})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.switchCommand(true, &cobra.Command{
		Use: "resume <connector...>", Short: "Start the delivery to a SIEM again", Example: "  siemctl resume splunk",
	})
}

func (a *app) switchCommand(on bool, c *cobra.Command) *cobra.Command {
	var all bool
	c.Flags().BoolVar(&all, "all", false, "all deployed connectors")
	c.ValidArgsFunction = completeConnectors
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usage("connector: expected at least one name, or --all")
		}
		return a.switchTo(cmd.Context(), args, on)
	}
	return c
}

// switched is the result of pause and resume.
type switched struct {
	Connector string `json:"connector"`
	State     string `json:"state"`
	Queued    int64  `json:"queued"`
	InFlight  int64  `json:"in_flight"`
}

func (a *app) switchTo(ctx context.Context, args []string, on bool) error {
	s, here, err := a.connect(ctx, args)
	if err != nil {
		return err
	}
	for _, c := range here {
		if err := a.setMapping(ctx, s, c, on); err != nil {
			return err
		}
	}
	a.out.Note("waiting until AWS has changed the event source mapping, up to a minute")
	results, err := each(here, func(c connector) (switched, error) { return a.awaitSwitch(ctx, s, c, on) })
	if err != nil {
		return err
	}
	return a.result(results, false, func() {
		var rows [][]term.Cell
		for _, r := range results {
			rows = append(rows, term.Row(r.Connector, styledState(r.State), r.Queued, r.InFlight))
		}
		a.out.Table([]string{"CONNECTOR", "STATE", "QUEUED", "IN FLIGHT"}, rows)
	})
}

// setMapping enables or disables a connector. A paused connector's hold becomes the operator's, so that the guard
// leaves it paused. A resumed connector gets back the settings that the guard changed; the guard sees that its hold has
// ended.
func (a *app) setMapping(ctx context.Context, s *deployed.Stack, c connector, on bool) error {
	m, err := s.Mapping(ctx, c.Name)
	if err != nil {
		return err
	}
	hold, err := s.Hold(ctx, &m)
	if err != nil {
		return err
	}
	if hold == nil || slices.Contains([]guard.State{guard.None, guard.Done, guard.Ended}, hold.State) {
		return s.SetMapping(ctx, c.Name, on, nil) // the guard does not act
	}
	if on {
		return s.SetMapping(ctx, c.Name, true, m.Kept(hold))
	}
	hold.State = guard.Operator
	if err := s.SetHold(ctx, &m, hold); err != nil {
		return err
	}
	a.out.Note("%s: the guard will not resume it", c.Name)
	return s.SetMapping(ctx, c.Name, false, nil)
}

const (
	switchPause = 2 * time.Second
	maxPauses   = 60
)

// awaitSwitch waits until the mapping has the new state, which takes AWS up to a minute.
func (a *app) awaitSwitch(ctx context.Context, s *deployed.Stack, c connector, on bool) (switched, error) {
	want := "Disabled"
	if on {
		want = "Enabled"
	}
	for range maxPauses {
		m, err := s.Mapping(ctx, c.Name)
		if err != nil {
			return switched{}, err
		}
		if m.State == want {
			depth, err := s.Depth(ctx, s.Queue(c.Name))
			return switched{c.Name, stateWord(m.State), depth.Waiting, depth.InFlight}, err
		}
		if err := a.pause(ctx, switchPause); err != nil {
			return switched{}, err
		}
	}
	return switched{}, &deployed.Error{Doing: "waiting for the event source mapping of " + c.Name,
		Err: fmt.Errorf("its state is not %s after %s", want, switchPause*maxPauses)}
}
