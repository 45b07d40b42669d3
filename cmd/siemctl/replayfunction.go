package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
)

// replayer is the deployed replay function.
type replayer interface {
	Replay(ctx context.Context, method string, body []byte) (status int, answer []byte, err error)
}

var _ replayer = (*deployed.Stack)(nil)

// replayRequest is the body of a call.
type replayRequest struct {
	Connector  string   `json:"connector,omitempty"`
	From       string   `json:"from,omitempty"`
	To         string   `json:"to,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	MessageIDs []string `json:"message_ids,omitempty"`
	Limit      int      `json:"limit"`
	DryRun     bool     `json:"dry_run,omitempty"`
	Force      bool     `json:"force,omitempty"`
	Discard    bool     `json:"discard,omitempty"`
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
			err = r.pause(ctx, busyPause)
		case (status >= http.StatusInternalServerError || status == http.StatusTooManyRequests) && failures < maxFailures:
			failures++
			err = r.pause(ctx, failurePause)
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
