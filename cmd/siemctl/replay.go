package main

import (
	"cmp"
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
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

type replayOptions struct {
	filterFlags
	limit, perCall     int
	dryRun, yes, force bool
	discard            bool // moves dead letters to discarded/ instead of replaying them
}

// done is the word for what happens to a dead letter.
func (o *replayOptions) done() string {
	if o.discard {
		return "discarded"
	}
	return "replayed"
}

// maxReplayLimit is the largest limit that the replay function accepts.
const maxReplayLimit = 1_000_000

func (a *app) replayCommand() *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use: "replay", Short: "Send dead letters to their connectors' queues again", Args: cobra.NoArgs,
		Long: `Send pending dead letters to the queues that they came from, to be delivered again. The command
first counts the dead letters, shows how many of them the SIEM would date or drop by their age, and
asks for confirmation. It then calls the replay function until no dead letter remains.

You can interrupt the command at any time: the bucket records what was replayed, and the next replay continues from
there. A dead letter that was already replayed three times is skipped unless --force is given.`,
		Example: "  siemctl replay --dry-run\n  siemctl replay --connector splunk --from 2026-03-13T00:00:00Z --to " +
			"2026-03-14T00:00:00Z --yes\n" +
			"  siemctl dead-letters replay --reason 'status 503'",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runReplay(cmd.Context(), o) },
	}
	o.addFlags(c)
	c.Flags().BoolVar(&o.force, "force", false, "also replay dead letters that were already replayed three times")
	return c
}

func (a *app) discardCommand() *cobra.Command {
	o := replayOptions{discard: true}
	var all bool
	c := &cobra.Command{
		Use: "discard", Short: "Move dead letters that nobody will replay out of the way", Args: cobra.NoArgs,
		Long: `Move pending dead letters from pending/ to discarded/ in the bucket. Nothing is deleted, and only
trace reads discarded/. Select the dead letters with at least one flag, or name all of them with
--all. The command counts the dead letters first and asks for confirmation.`,
		Example: "  siemctl dead-letters discard --connector sumo --reason 'expected a JSON object' --dry-run\n" +
			"  siemctl dead-letters discard --id 9f6f4f57-0d5c-4b1c-8c61-3f1c3a9d2b11",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all == o.isSet() {
				return usage("expected one of --connector, --from, --to, --reason and --id, or --all alone")
			}
			return a.runReplay(cmd.Context(), o)
		},
	}
	o.addFlags(c)
	c.Flags().BoolVar(&all, "all", false, "discard all pending dead letters")
	return c
}

func (o *replayOptions) addFlags(c *cobra.Command) {
	o.add(c)
	f := c.Flags()
	f.IntVar(&o.limit, "limit", maxReplayLimit, "handle at most this many `dead letters`")
	f.IntVar(&o.perCall, "per-call", 5000, "at most this many `dead letters` in one call of the replay function")
	f.BoolVar(&o.dryRun, "dry-run", false, "only count; change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
}

func (a *app) runReplay(ctx context.Context, o replayOptions) error {
	request, filter, err := o.request(a.now())
	if err != nil {
		return err
	}
	s, _, err := a.connect(ctx, nil)
	if err != nil {
		return err
	}
	r := &replay{app: a, function: s, o: o, request: request}
	if !o.discard {
		r.ages = func(ctx context.Context, total int) ([]ageCount, error) { return a.countAges(ctx, s, filter, total) }
	}
	return r.run(ctx)
}

// request makes the request and the equivalent filter from the flags.
func (o *replayOptions) request(now time.Time) (replayRequest, deadletter.Filter, error) {
	filter, err := o.read(now)
	if err != nil {
		return replayRequest{}, filter, err
	}
	for _, n := range []struct {
		flag  string
		value int
	}{{"--limit", o.limit}, {"--per-call", o.perCall}} {
		if n.value < 1 || n.value > maxReplayLimit {
			return replayRequest{}, filter, usage("%s: expected 1 to %d, found %d", n.flag, maxReplayLimit, n.value)
		}
	}
	if o.connector == connectors.Unknown && !o.discard {
		return replayRequest{}, filter, usage("--connector: dead letters of an unknown connector have no queue to replay " +
			"to; export them, or discard them")
	}
	return replayRequest{Connector: o.connector, From: filter.From.Truncate(time.Second),
		To: filter.To.Truncate(time.Second), Reason: o.reason, MessageIDs: o.ids, Force: o.force,
		Discard: o.discard}, filter, nil
}

// replay is one run of replay or discard.
type replay struct {
	app      *app
	function replayer
	o        replayOptions
	request  replayRequest
	ages     func(ctx context.Context, total int) ([]ageCount, error) // nil for discard
	said     map[string]bool                                          // errors of the function that were printed
}

func (r *replay) run(ctx context.Context) error {
	plan, err := r.call(ctx, r.o.limit, true)
	if err != nil {
		return err
	}
	if plan.count() > 0 && r.ages != nil && (r.o.dryRun || !r.o.yes) {
		if plan.Age, err = r.ages(ctx, plan.count()); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.app.out.Note("note: the age of the events is not known: %s", err)
		}
	}
	if r.o.dryRun || plan.count() == 0 {
		return r.show(plan)
	}
	if !r.o.yes {
		r.app.out.Note("to be %s: %s", r.o.done(), plan.perConnector())
		r.notes(plan)
		r.app.noteAges(plan.Age)
		sure, err := r.app.in.Confirm(ctx, r.app.out, r.question())
		if errors.Is(err, term.ErrNoTerminal) {
			return usage("--yes: required because standard input is not a terminal; --dry-run shows what would happen")
		}
		if err != nil {
			return err
		}
		if !sure {
			r.app.out.Note("nothing was changed")
			return nil
		}
	}
	total, err := r.all(ctx, plan.count())
	if err != nil {
		r.app.out.Note("%s %s; run the same command again to continue", term.Count(total.count(), "dead letter"),
			r.o.done())
		return err
	}
	return r.show(total)
}

func (r *replay) question() string {
	if r.o.discard {
		return "Discard them? They are moved to discarded/; nothing is deleted, and nothing replays them."
	}
	return "Replay them?"
}

// maxIdle is how many calls in a row may change nothing.
const maxIdle = 3

// all calls the function until nothing remains or the limit is reached.
func (r *replay) all(ctx context.Context, planned int) (replayAnswer, error) {
	progress := r.app.out.StartProgress(r.o.done(), int64(planned))
	defer progress.Done()
	total := replayAnswer{ByConnector: map[string]int{}}
	progress.Set(0)
	for idle := 0; ; {
		got, err := r.call(ctx, min(r.o.perCall, r.o.limit-total.count()), false)
		if err != nil {
			return total, err
		}
		total.add(got)
		done := total.count()
		progress.Grow(int64(done + min(got.Remaining, r.o.limit-done)))
		progress.Set(int64(done))
		r.printErrors(got.Errors) // at once: a later call may succeed where this one failed
		if got.Remaining == 0 || done >= r.o.limit {
			return total, nil
		}
		if idle++; got.count() > 0 || got.Passed > 0 {
			idle = 0
		}
		if idle == maxIdle {
			return total, fmt.Errorf("%s remain, and the replay function makes no progress: %s",
				term.Thousands(got.Remaining),
				cmp.Or(strings.Join(got.Errors, "; "), "see siemctl logs replay"))
		}
	}
}

// show prints the result. Skipped dead letters and errors are problems.
func (r *replay) show(a replayAnswer) error {
	a.DryRun = r.o.dryRun
	err := r.app.result(a, a.Skipped > 0 || len(a.Errors) > 0, func() {
		what := r.o.done()
		if a.DryRun {
			what = "would be " + what
		}
		details := ""
		if a.count() > 0 && len(a.ByConnector) > 0 {
			details = ": " + a.perConnector()
		}
		r.app.out.Line("%s %s%s", term.Count(a.count(), "dead letter"), what, details)
		if a.DryRun {
			r.app.showAges(a.Age)
		}
	})
	r.notes(a)
	return err
}

// notes prints what stays pending, and why.
func (r *replay) notes(a replayAnswer) {
	if a.Skipped > 0 {
		r.app.out.Note("%s skipped, still pending", term.Count(a.Skipped, "dead letter"))
	}
	r.printErrors(a.Errors)
	if a.Remaining > 0 {
		r.app.out.Note("%s beyond --limit", term.Count(a.Remaining, "dead letter"))
	}
}

// printErrors prints the errors of the function, each once.
func (r *replay) printErrors(list []string) {
	if r.said == nil {
		r.said = map[string]bool{}
	}
	for _, text := range list {
		if !r.said[text] {
			r.said[text] = true
			r.app.out.Note("  %s", text)
		}
	}
}

func (a *replayAnswer) perConnector() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a.ByConnector)) {
		parts = append(parts, fmt.Sprintf("%s %s", name, term.Thousands(a.ByConnector[name])))
	}
	if parts == nil {
		return term.Thousands(a.count())
	}
	return strings.Join(parts, ", ")
}

// replayer is the deployed replay function.
type replayer interface {
	Replay(ctx context.Context, method string, body []byte) (status int, answer []byte, err error)
}

var _ replayer = (*deployed.Stack)(nil)

// replayRequest is the body of a call.
type replayRequest struct {
	Connector  string    `json:"connector,omitempty"`
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
	Reason     string    `json:"reason,omitempty"`
	MessageIDs []string  `json:"message_ids,omitempty"`
	Limit      int       `json:"limit"`
	DryRun     bool      `json:"dry_run,omitempty"`
	Force      bool      `json:"force,omitempty"`
	Discard    bool      `json:"discard,omitempty"`
}

// replayAnswer is the response to a call, and with Age the result of the command.
type replayAnswer struct {
	Replayed    int            `json:"replayed"`
	Discarded   int            `json:"discarded"`
	Skipped     int            `json:"skipped"`
	ByConnector map[string]int `json:"by_connector"`
	Remaining   int            `json:"remaining"`
	Passed      int            `json:"passed,omitempty"` // objects without matching dead letters that the next call skips
	DryRun      bool           `json:"dry_run"`
	Errors      []string       `json:"errors"`
	Age         []ageCount     `json:"age,omitempty"`
}

// count is how many dead letters were replayed or discarded.
func (a *replayAnswer) count() int { return a.Replayed + a.Discarded }

// add adds the response to a further call. Skipped, Remaining and Errors are those of the last call, which counts what
// is still pending.
func (a *replayAnswer) add(got replayAnswer) {
	a.Replayed += got.Replayed
	a.Discarded += got.Discarded
	for name, n := range got.ByConnector {
		a.ByConnector[name] += n
	}
	a.Skipped, a.Errors, a.Remaining = got.Skipped, got.Errors, got.Remaining
}

const (
	maxFailures  = 4 // failed calls in a row
	failurePause = 3 * time.Second
	busyPause    = 2 * time.Second  // while another replay runs
	maxBusy      = 16 * time.Minute // a function runs for at most 15 minutes
)

// call makes one call. It waits while another replay runs, and retries failures that may be temporary.
func (r *replay) call(ctx context.Context, limit int, dryRun bool) (replayAnswer, error) {
	request := r.request
	request.Limit, request.DryRun = limit, dryRun
	body, err := json.Marshal(request)
	if err != nil {
		return replayAnswer{}, fmt.Errorf("writing the request: %w", err)
	}
	waited, failures := time.Duration(0), 0
	for {
		status, answer, err := r.function.Replay(ctx, http.MethodPost, body)
		switch {
		case err != nil:
			return replayAnswer{}, err
		case status == http.StatusOK:
			var a replayAnswer
			if err := json.Unmarshal(answer, &a); err != nil {
				return a, fmt.Errorf("the replay function's response: expected JSON, found %.200q", answer)
			}
			return a, nil
		case status == http.StatusConflict && waited < maxBusy:
			if waited == 0 {
				r.app.out.Note("another replay is running; waiting until it ends")
			}
			waited += busyPause
			err = r.app.pause(ctx, busyPause)
		case failures < maxFailures && (status >= 500 || status == http.StatusTooManyRequests):
			failures++
			err = r.app.pause(ctx, failurePause)
		default:
			return replayAnswer{}, refusal(status, answer)
		}
		if err != nil {
			return replayAnswer{}, err
		}
	}
}

// refusal is the error for a response of the function other than 200.
func refusal(status int, answer []byte) error {
	var e struct{ Error, Message string }
	_ = json.Unmarshal(answer, &e) // without JSON, the status is all there is
	return &deployed.Error{Doing: "calling the replay function",
		Err: fmt.Errorf("status %d: %s", status, cmp.Or(e.Error, e.Message, "no reason given"))}
}

// pending is the response to a GET.
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
