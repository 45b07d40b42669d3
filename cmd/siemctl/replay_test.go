package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// function is a replay function with so many dead letters. trouble are statuses it answers with first, one a call.
type function struct {
	pending int
	trouble []int
	stuck   bool // it puts nothing back
	calls   []replayRequest
	after   func(calls int) // is called after each call that is no dry run
}

func (f *function) Replay(ctx context.Context, _ string, body []byte) (int, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if len(f.trouble) > 0 {
		status := f.trouble[0]
		f.trouble = f.trouble[1:]
		return status, []byte(`{"error":"made up"}`), nil
	}
	var r replayRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return 0, nil, err
	}
	n := min(r.Limit, f.pending)
	if f.stuck && !r.DryRun {
		n = 0
	}
	answer := fmt.Sprintf(`{"replayed":%d,"skipped":0,"by_connector":{"splunk":%d},"remaining":%d,"dry_run":%v,"errors":[]}`, n, n, f.pending-n, r.DryRun)
	if !r.DryRun {
		f.pending -= n
		f.calls = append(f.calls, r)
		if f.after != nil {
			f.after(len(f.calls))
		}
	}
	return 200, []byte(answer), nil
}

// replayWith runs the command against a function, without waiting, and returns what it prints.
func replayWith(ctx context.Context, f *function, o replayOptions) (out, errOut string, waited time.Duration, err error) {
	var stdout, stderr bytes.Buffer
	a := &app{now: time.Now, in: term.NewInput(strings.NewReader("")), out: &term.Output{Out: &stdout, Err: &stderr}}
	r := &replay{app: a, function: f, o: o, pause: func(ctx context.Context, d time.Duration) error { waited += d; return ctx.Err() }}
	err = r.run(ctx)
	return stdout.String(), stderr.String(), waited, err
}

func TestReplayUntilNothingRemains(t *testing.T) {
	f := &function{pending: 12_345}
	out, progress, _, err := replayWith(t.Context(), f, replayOptions{limit: maxReplayLimit, perCall: 5000, yes: true})
	if err != nil || f.pending != 0 || len(f.calls) != 3 || out != "12,345 events put back: splunk 12,345\n" {
		t.Errorf("%v, %d pending, %d calls, %q", err, f.pending, len(f.calls), out)
	}
	for _, want := range []string{"put back: 0 of 12,345", "put back: 5,000 of 12,345", "put back: 12,345 of 12,345"} {
		if !strings.Contains(progress, want) {
			t.Errorf("%q is not in %q", want, progress)
		}
	}
}

func TestReplayLimit(t *testing.T) {
	f := &function{pending: 100}
	out, notes, _, err := replayWith(t.Context(), f, replayOptions{limit: 30, perCall: 20, yes: true})
	if err != nil || f.pending != 70 || !strings.HasPrefix(out, "30 events put back") || !strings.Contains(notes, "70 dead letters beyond --limit") {
		t.Errorf("%v, %d pending, %q, %q", err, f.pending, out, notes)
	}
	out, _, _, err = replayWith(t.Context(), f, replayOptions{limit: 30, perCall: 20, dryRun: true})
	if err != nil || f.pending != 70 || !strings.HasPrefix(out, "30 events would be put back") {
		t.Errorf("%v, %d pending, %q", err, f.pending, out)
	}
	if _, _, _, err = replayWith(t.Context(), f, replayOptions{limit: 30, perCall: 20}); !errors.As(err, new(usageError)) || f.pending != 70 {
		t.Errorf("put back without a yes: %v, %d pending", err, f.pending)
	}
}

// TestReplayInterrupted: the command stops between two calls, says how far it came, and goes on from there.
func TestReplayInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &function{pending: 100, after: func(calls int) {
		if calls == 3 {
			cancel()
		}
	}}
	o := replayOptions{limit: maxReplayLimit, perCall: 10, yes: true}
	_, notes, _, err := replayWith(ctx, f, o)
	if !errors.Is(err, context.Canceled) || f.pending != 70 || !strings.Contains(notes, "30 events put back so far; the same command goes on from there") {
		t.Errorf("%v, %d pending, %q", err, f.pending, notes)
	}
	f.after = nil
	if out, _, _, err := replayWith(t.Context(), f, o); err != nil || !strings.HasPrefix(out, "70 events put back") || f.pending != 0 {
		t.Errorf("%v, %q, %d pending", err, out, f.pending)
	}
}

func TestReplayTrouble(t *testing.T) {
	o := replayOptions{limit: maxReplayLimit, perCall: 10, yes: true}
	f := &function{pending: 10, trouble: []int{409, 409, 502, 429}}
	out, notes, waited, err := replayWith(t.Context(), f, o)
	if err != nil || !strings.HasPrefix(out, "10 events") || waited != 2*busyPause+2*troubleWait || strings.Count(notes, "another replay is running") != 1 {
		t.Errorf("%v, %q, %q, waited %s", err, out, notes, waited)
	}
	for name, c := range map[string]struct {
		f    *function
		want string
	}{
		"it refuses":             {&function{pending: 1, trouble: []int{400}}, "answered 400: made up"},
		"it fails again":         {&function{pending: 1, trouble: []int{500, 500, 500, 500, 500}}, "answered 500: made up"},
		"it puts nothing back":   {&function{pending: 5, stuck: true}, "5 remain, and the replay function puts back none of them"},
		"another never finishes": {&function{pending: 1, trouble: repeat(409, 1000)}, "answered 409"},
	} {
		_, _, _, err := replayWith(t.Context(), c.f, o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if cloud := new(*deployed.Error); name != "it puts nothing back" && !errors.As(err, cloud) {
			t.Errorf("%s: %v is no error of AWS", name, err)
		}
	}
}

func repeat(status, n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = status
	}
	return list
}
