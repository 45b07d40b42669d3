package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// replayer is the replay function, as it is called.
type replayer interface {
	Replay(ctx context.Context, method string, body []byte) (status int, answer []byte, err error)
}

// replayRequest is the body of a call.
type replayRequest struct {
	Connector string `json:"connector,omitempty"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Limit     int    `json:"limit"`
	DryRun    bool   `json:"dry_run,omitempty"`
	Force     bool   `json:"force,omitempty"`
}

// replayAnswer is what the function says of a call.
type replayAnswer struct {
	Replayed    int            `json:"replayed"`
	Skipped     int            `json:"skipped"`
	ByConnector map[string]int `json:"by_connector"`
	Remaining   int            `json:"remaining"`
	DryRun      bool           `json:"dry_run"`
	Errors      []string       `json:"errors"`
}

type replayOptions struct {
	filterFlags
	limit, perCall int
	dryRun, yes    bool
	force          bool
}

// maxReplayLimit is what the function takes as a limit.
const maxReplayLimit = 1_000_000

func (a *app) replayCommand() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use: "replay", Short: "Put dead letters back on the queues they came from", Args: cobra.NoArgs,
		Long: `Put pending dead letters back on the queues they came from, to be delivered again. First what would happen is counted
and shown, and has to be confirmed; then the replay function is called until nothing remains.

It may be interrupted at any time: what was put back is noted in the bucket, and the next replay goes on from there. A dead
letter that was put back three times already is skipped unless --force is given: it would come back a fourth time.`,
		Example: "  siemctl replay --dry-run\n  siemctl replay --connector splunk --from 2026-03-13T00:00:00Z --to 2026-03-14T00:00:00Z --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			first, err := o.request(a.now())
			if err != nil {
				return err
			}
			s, _, err := a.connect(cmd.Context(), nil)
			if err != nil {
				return err
			}
			return (&replay{app: a, function: s, o: o, request: first, pause: pause}).run(cmd.Context())
		},
	}
	o.add(c, false)
	f := c.Flags()
	f.IntVar(&o.limit, "limit", maxReplayLimit, "most `events` to put back")
	f.IntVar(&o.perCall, "per-call", 5000, "most `events` of one call of the function: a step of the progress")
	f.BoolVar(&o.dryRun, "dry-run", false, "count, and change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.force, "force", false, "put back also what was put back three times already")
	return c
}

// request makes the request of the flags.
func (o *replayOptions) request(now time.Time) (replayRequest, error) {
	filter, err := o.read(now)
	if err != nil {
		return replayRequest{}, err
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"--limit", o.limit}, {"--per-call", o.perCall}} {
		if n.value < 1 || n.value > maxReplayLimit {
			return replayRequest{}, usage("%s: expected 1 to %d, found %d", n.flag, maxReplayLimit, n.value)
		}
	}
	if o.connector == "unknown" {
		return replayRequest{}, usage("--connector: dead letters of an unknown connector have no queue to go back to")
	}
	r := replayRequest{Connector: o.connector, Force: o.force}
	if !filter.From.IsZero() {
		r.From = filter.From.Format(time.RFC3339)
	}
	if !filter.To.IsZero() {
		r.To = filter.To.Format(time.RFC3339)
	}
	return r, nil
}

// replay is one run of the command.
type replay struct {
	app      *app
	function replayer
	o        replayOptions
	request  replayRequest
	pause    func(context.Context, time.Duration) error
	said     map[string]bool // the function's words that have been shown
}

func (r *replay) run(ctx context.Context) error {
	plan, err := r.call(ctx, r.o.limit, true)
	if err != nil {
		return err
	}
	if r.o.dryRun || plan.Replayed == 0 {
		return r.show(plan)
	}
	if !r.o.yes {
		r.app.out.Note("to put back: %s", perConnector(plan))
		r.notes(plan)
		sure, err := r.app.in.Confirm(r.app.out, "Put them back?")
		if errors.Is(err, term.ErrNoTerminal) {
			return usage("--yes: is needed where nobody can be asked; --dry-run shows what would happen")
		}
		if err != nil || !sure {
			return err
		}
	}
	total, err := r.all(ctx, plan.Replayed)
	if err != nil {
		r.app.out.Note("%s put back so far; the same command goes on from there", term.Count(int64(total.Replayed), "event"))
		return err
	}
	return r.show(total)
}

// all calls the function until nothing remains, or as many as were asked for are put back.
func (r *replay) all(ctx context.Context, planned int) (replayAnswer, error) {
	progress := r.app.out.StartProgress("put back", int64(planned))
	defer progress.Done()
	total := replayAnswer{ByConnector: map[string]int{}}
	progress.Set(0)
	for idle := 0; ; {
		got, err := r.call(ctx, min(r.o.perCall, r.o.limit-total.Replayed), false)
		if err != nil {
			return total, err
		}
		total.Replayed += got.Replayed
		for name, n := range got.ByConnector {
			total.ByConnector[name] += n
		}
		total.Skipped, total.Errors, total.Remaining = got.Skipped, got.Errors, got.Remaining
		progress.Grow(int64(total.Replayed + min(got.Remaining, r.o.limit-total.Replayed)))
		progress.Set(int64(total.Replayed))
		r.words(got.Errors) // now: a failure that the next call makes good would not be known at the end
		if got.Remaining == 0 || total.Replayed >= r.o.limit {
			return total, nil
		}
		if idle++; got.Replayed > 0 {
			idle = 0
		}
		if idle == maxIdle {
			return total, fmt.Errorf("%s remain, and the replay function puts back none of them: %s", term.Thousands(int64(got.Remaining)),
				orElse(strings.Join(got.Errors, "; "), "its log may say why"))
		}
	}
}

const (
	maxIdle     = 3                // calls in a row that put nothing back
	maxTrouble  = 4                // failed calls in a row
	busyPause   = 2 * time.Second  // while another replay runs
	busyMost    = 16 * time.Minute // no replay runs longer than its function may
	troubleWait = 3 * time.Second
)

// call makes one call. While another replay is running it waits; a failure that may pass is tried again.
func (r *replay) call(ctx context.Context, limit int, dryRun bool) (replayAnswer, error) {
	request := r.request
	request.Limit, request.DryRun = limit, dryRun
	body, err := json.Marshal(request)
	if err != nil {
		return replayAnswer{}, fmt.Errorf("writing the request: %w", err)
	}
	waited, trouble := time.Duration(0), 0
	for {
		status, answer, err := r.function.Replay(ctx, http.MethodPost, body)
		switch {
		case err != nil:
			return replayAnswer{}, err
		case status == http.StatusOK:
			var a replayAnswer
			if err := json.Unmarshal(answer, &a); err != nil {
				return a, fmt.Errorf("the replay function's answer: expected JSON, found %.200q", answer)
			}
			return a, nil
		case status == http.StatusConflict && waited < busyMost:
			if waited == 0 {
				r.app.out.Note("another replay is running; waiting for its end")
			}
			waited += busyPause
			err = r.pause(ctx, busyPause)
		case (status >= http.StatusInternalServerError || status == http.StatusTooManyRequests) && trouble < maxTrouble:
			trouble++
			err = r.pause(ctx, troubleWait)
		default:
			return replayAnswer{}, refusal(status, answer)
		}
		if err != nil {
			return replayAnswer{}, err
		}
	}
}

// refusal is what the function says when it does not answer with 200.
func refusal(status int, answer []byte) error {
	var e struct{ Error, Message string }
	_ = json.Unmarshal(answer, &e) // then there is the status at least
	return &deployed.Error{Doing: "replaying", Err: fmt.Errorf("the replay function answered %d: %s", status, orElse(orElse(e.Error, e.Message), "no reason given"))}
}

// show prints the result, and makes an error of what was left undone.
func (r *replay) show(a replayAnswer) error {
	a.DryRun = r.o.dryRun
	if r.app.out.JSON {
		if err := r.app.out.Object(a); err != nil {
			return err
		}
	} else {
		what := "put back"
		if a.DryRun {
			what = "would be put back"
		}
		r.app.out.Line("%s %s%s", term.Count(int64(a.Replayed), "event"), what, details(a))
	}
	r.notes(a)
	if a.Skipped > 0 {
		return errFound
	}
	return nil
}

// notes says what stays, and why.
func (r *replay) notes(a replayAnswer) {
	if a.Skipped > 0 {
		r.app.out.Note("%s skipped", term.Count(int64(a.Skipped), "dead letter"))
	}
	r.words(a.Errors)
	if a.Remaining > 0 {
		r.app.out.Note("%s beyond --limit", term.Count(int64(a.Remaining), "dead letter"))
	}
}

// words shows what the function has said, each thing once.
func (r *replay) words(list []string) {
	if r.said == nil {
		r.said = map[string]bool{}
	}
	for _, text := range list {
		if !r.said[text] {
			r.said[text] = true
			r.app.out.Note("  %s", term.Clean(text))
		}
	}
}

func details(a replayAnswer) string {
	if a.Replayed == 0 {
		return ""
	}
	return ": " + perConnector(a)
}

func perConnector(a replayAnswer) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a.ByConnector)) {
		parts = append(parts, fmt.Sprintf("%s %s", term.Clean(name), term.Thousands(int64(a.ByConnector[name]))))
	}
	return strings.Join(parts, ", ")
}

// pause waits, and returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// pending is the answer to a GET.
type pending struct {
	Pending map[string]int `json:"pending"`
	Oldest  *time.Time     `json:"oldest"`
}

func pendingCounts(ctx context.Context, s replayer) (pending, error) {
	var p pending
	status, answer, err := s.Replay(ctx, http.MethodGet, nil)
	if err != nil {
		return p, err
	}
	if status != http.StatusOK {
		return p, refusal(status, answer)
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		return p, fmt.Errorf("the replay function's counts: expected JSON, found %.200q", answer)
	}
	return p, nil
}

var _ replayer = (*deployed.Stack)(nil)
