package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// function is a replay function with pending dead letters. trouble are the statuses of its first responses.
type function struct {
	pending int
	trouble []int
	answer  string // of every call
	stuck   bool   // it makes no progress
	passes  int    // calls that have time only to pass dead letters that do not match
	calls   []replayRequest
	after   func(calls int) // is called after each call that is not a dry run
}

func (f *function) Replay(ctx context.Context, _ string, body []byte) (int, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if f.answer != "" {
		return 200, []byte(f.answer), nil
	}
	if len(f.trouble) > 0 {
		status := f.trouble[0]
		f.trouble = f.trouble[1:]
		return status, []byte(`{"error":"injected"}`), nil
	}
	var r replayRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return 0, nil, err
	}
	n := min(r.Limit, f.pending)
	passed := 0
	if !r.DryRun && (f.stuck || f.passes > 0) {
		n = 0
		if f.passes > 0 {
			f.passes, passed = f.passes-1, 100
		}
	}
	what := "replayed"
	if r.Discard {
		what = "discarded"
	}
	answer := fmt.Sprintf(`{"%s":%d,"skipped":0,"by_connector":{"splunk":%d},"remaining":%d,"passed":%d,"dry_run":%v,`+
		`"errors":[]}`, what, n, n, f.pending-n, passed, r.DryRun)
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
func replayWith(ctx context.Context, f *function, o replayOptions) (out, notes string, waited time.Duration,
	err error) {
	var stdout, stderr bytes.Buffer
	a := &app{now: time.Now, in: term.NewInput(strings.NewReader("")), out: &term.Output{Out: &stdout, Err: &stderr},
		pause: func(ctx context.Context, d time.Duration) error { waited += d; return ctx.Err() }}
	request, _, err := o.request(a.now())
	if err != nil {
		return "", "", 0, err
	}
	err = (&replay{app: a, function: f, o: o, request: request}).run(ctx)
	return stdout.String(), stderr.String(), waited, err
}

// TestReplay: how many calls the command makes, what it prints, and what stays pending.
func TestReplay(t *testing.T) {
	const named = `pending/connector=splunk/date=2026-03-13/a.jsonl, line 3: \"attempts\": expected an integer`
	const skipped = `{"replayed":2,"skipped":1,"by_connector":{"splunk":2},"remaining":0,"errors":["` + named + `"]}`
	const ignored = `{"replayed":0,"skipped":0,"by_connector":{},"remaining":0,"errors":["` + named + `"]}`
	const required, problems = "--yes: required", "problems were found"
	stays := []string{"1 dead letter skipped", "a.jsonl, line 3"}
	yes, dry := replayOptions{limit: 10, perCall: 10, yes: true}, replayOptions{limit: 30, perCall: 20, dryRun: true}
	for name, x := range map[string]struct {
		f     function
		o     replayOptions
		out   string   // begins the output
		notes []string // that it prints
		left  int      // pending
		calls int
		err   string
	}{
		"until nothing remains": {function{pending: 12_345}, replayOptions{limit: maxReplayLimit, perCall: 5000,
			yes: true}, "12,345 dead letters replayed: splunk 12,345\n",
			[]string{"replayed: 0 of 12,345", "replayed: 5,000 of 12,345", "replayed: 12,345 of 12,345"}, 0, 3, ""},
		// A call that only passes dead letters that do not match is progress.
		"passes others": {function{pending: 5, passes: 2 * maxIdle}, yes, "5 dead letters replayed: splunk 5\n", nil, 0,
			2*maxIdle + 1, ""},
		"discard": {function{pending: 7}, replayOptions{limit: maxReplayLimit, perCall: 4, yes: true, discard: true,
			filterFlags: filterFlags{reason: "no object", ids: []string{"a", "b"}}},
			"7 dead letters discarded: splunk 7\n", nil, 0, 2, ""},
		"discard without a yes": {function{pending: 7}, replayOptions{limit: 10, perCall: 4, discard: true}, "",
			[]string{"to be discarded: splunk 7"}, 7, 0, required},
		"limit": {function{pending: 100}, replayOptions{limit: 30, perCall: 20, yes: true}, "30 dead letters replayed",
			[]string{"70 dead letters beyond --limit"}, 70, 2, ""},
		"dry run":          {function{pending: 100}, dry, "30 dead letters would be replayed", nil, 100, 0, ""},
		"without a yes":    {function{pending: 100}, replayOptions{limit: 30, perCall: 20}, "", nil, 100, 0, required},
		"skipped":          {function{answer: skipped}, yes, "2", stays, 0, 0, problems},
		"skipped, dry run": {function{answer: skipped}, dry, "2", stays, 0, 0, problems},
		// Objects that the function ignores count as no dead letter.
		"ignored": {function{answer: ignored}, yes, "0 dead letters", []string{"a.jsonl, line 3"}, 0, 0, problems},
	} {
		out, notes, _, err := replayWith(t.Context(), &x.f, x.o)
		if (err == nil) != (x.err == "") || err != nil && !strings.Contains(err.Error(), x.err) {
			t.Errorf("%s: %v, want %s", name, err, x.err)
		}
		if !strings.HasPrefix(out, x.out) || x.f.pending != x.left || len(x.f.calls) != x.calls {
			t.Errorf("%s: %q, %d pending, %d calls", name, out, x.f.pending, len(x.f.calls))
		}
		for _, want := range x.notes {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: %q is not in %q", name, want, notes)
			}
		}
		for _, r := range x.f.calls {
			if r.Discard != x.o.discard || r.Reason != x.o.reason || len(r.MessageIDs) != len(x.o.ids) {
				t.Errorf("%s: request %+v", name, r)
			}
		}
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
	if !errors.Is(err, context.Canceled) || f.pending != 70 ||
		!strings.Contains(notes, "30 dead letters replayed; run the same command again to continue") {
		t.Errorf("%v, %d pending, %q", err, f.pending, notes)
	}
	f.after = nil
	if out, _, _, err := replayWith(t.Context(), f, o); err != nil ||
		!strings.HasPrefix(out, "70 dead letters replayed") ||
		f.pending != 0 {
		t.Errorf("%v, %q, %d pending", err, out, f.pending)
	}
}

func TestReplayTrouble(t *testing.T) {
	o := replayOptions{limit: maxReplayLimit, perCall: 10, yes: true}
	f := &function{pending: 10, trouble: []int{409, 409, 502, 429}}
	out, notes, waited, err := replayWith(t.Context(), f, o)
	if err != nil || !strings.HasPrefix(out, "10 dead letters") || waited != 2*busyPause+2*failurePause ||
		strings.Count(notes, "another replay is running") != 1 {
		t.Errorf("%v, %q, %q, waited %s", err, out, notes, waited)
	}
	for name, c := range map[string]struct {
		f    *function
		want string
	}{
		"it refuses":             {&function{pending: 1, trouble: []int{400}}, "status 400: injected"},
		"it fails again":         {&function{pending: 1, trouble: slices.Repeat([]int{500}, 5)}, "status 500"},
		"it makes no progress":   {&function{pending: 5, stuck: true}, "5 remain, and the replay function makes no progress"},
		"another never finishes": {&function{pending: 1, trouble: slices.Repeat([]int{409}, 1000)}, "status 409"},
	} {
		_, _, _, err := replayWith(t.Context(), c.f, o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if cloud := new(*deployed.Error); name != "it makes no progress" && !errors.As(err, cloud) {
			t.Errorf("%s: %v is not an error of AWS", name, err)
		}
	}
}

func noSetting(string) string { return "" }

// TestAgeRules: every connector has a rule, and the limits are those of the SIEM.
func TestAgeRules(t *testing.T) {
	for _, c := range allConnectors() {
		if rule, ok := ageRuleOf(c.Name, noSetting); !ok || rule.text == "" {
			t.Errorf("cmd/siemctl/age.go: %s has no rule", c.Name)
		}
	}
	eventTime := func(name string) string { return map[string]string{"DATADOG_EVENT_TIME": "true"}[name] }
	for _, c := range []struct {
		name    string
		setting func(string) string
		age     time.Duration
		want    ageCount
	}{
		{"splunk", noSetting, 2000 * day, ageCount{Own: 1}},
		{"splunk", noSetting, 2185 * day, ageCount{Dropped: 1}},
		{"sentinel", noSetting, 47 * time.Hour, ageCount{Own: 1}},
		{"sentinel", noSetting, 49 * time.Hour, ageCount{Arrival: 1}},
		{"elastic", noSetting, 5000 * day, ageCount{Own: 1}},
		{"datadog", noSetting, time.Minute, ageCount{Arrival: 1}},
		{"datadog", eventTime, 16 * time.Hour, ageCount{Own: 1}},
		{"datadog", eventTime, 18 * time.Hour, ageCount{Arrival: 1}},
		{"sumo", noSetting, 23 * time.Hour, ageCount{Own: 1}},
		{"sumo", noSetting, 25 * time.Hour, ageCount{Arrival: 1}},
		{"qradar", noSetting, 5000 * day, ageCount{Own: 1}},
	} {
		rule, _ := ageRuleOf(c.name, c.setting)
		got := ageCount{rule: rule}
		now := time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC)
		got.add(now.Add(-c.age), now)
		got.rule = ageRule{}
		if got != c.want {
			t.Errorf("%s, %s old: %+v, want %+v", c.name, c.age, got, c.want)
		}
	}
}
