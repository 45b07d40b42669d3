package guard

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

const own = "m-1" // the message that is the hold

// input returns an input: the message own is due, its hold has the state s since now, and the mapping has its own
// settings.
func input(s State, mapping string, change ...func(*Input)) *Input {
	in := &Input{
		Now: now, Message: Message{ID: own, Sent: now.UnixMilli()}, Due: true, Retention: 14 * 24 * time.Hour,
		Mapping: Mapping{State: mapping, Concurrency: 10, BatchSize: 100},
	}
	if s != None {
		in.Hold = &Hold{
			State: s, Since: now.Add(-time.Hour), At: now, Next: now.Add(time.Minute), Wait: FirstWait, Interval: FirstWait,
			Concurrency: 10, BatchSize: 100, Sent: now.UnixMilli(), Message: own,
		}
	}
	for _, c := range change {
		c(in)
	}
	return in
}

func notDue(in *Input)                   { in.Due = false }
func alarm(in *Input)                    { in.Message = Message{ID: "m-2", Sent: now.UnixMilli() + 1} }
func older(in *Input)                    { in.Message = Message{ID: "m-0", Sent: now.UnixMilli() - 1} }
func checked(r Result) func(*Input)      { return func(in *Input) { in.Check = r } }
func replayResult(r Result) func(*Input) { return func(in *Input) { in.Replay = r } }
func gradual(in *Input)                  { in.Mapping.Concurrency = Gradual }
func small(in *Input)                    { in.Mapping.BatchSize = Gradual }
func reduced(in *Input)                  { in.Hold.Reduced = true }
func enabled(in *Input)                  { in.Enabled = true }
func trials(n int) func(*Input)          { return func(in *Input) { in.Hold.Trials = n } }
func later(d time.Duration) func(*Input) {
	return func(in *Input) { in.Now = now.Add(d) }
}
func hold(f func(*Hold)) func(*Input) { return func(in *Input) { f(in.Hold) } }

// text returns an action in words.
func text(a Action) string {
	switch a.Kind {
	case Wait:
		return fmt.Sprintf("wait %s", a.Wait)
	case Drop:
		return "drop"
	case Write:
		return fmt.Sprintf("%s next %s wait %s", a.Hold.State, a.Hold.Next.Sub(now), a.Hold.Wait)
	case Check:
		return "check"
	case Replay:
		return "replay"
	case SetMapping:
	}
	s := "set"
	if a.Change.Enabled != nil {
		s += fmt.Sprintf(" enabled=%t", *a.Change.Enabled)
	}
	if a.Change.Concurrency != nil {
		s += fmt.Sprintf(" concurrency=%d", *a.Change.Concurrency)
	}
	if a.Change.BatchSize != nil {
		s += fmt.Sprintf(" batch=%d", *a.Change.BatchSize)
	}
	return s
}

func TestNext(t *testing.T) {
	const on, off = "Enabled", "Disabled"
	for name, c := range map[string]struct {
		in   *Input
		want string
	}{
		"no mapping":             {input(None, ""), "drop"},
		"a mapping is deleted":   {input(Held, "Deleting"), "drop"},
		"a mapping is updated":   {input(Held, "Updating"), "wait 15s"},
		"alarm":                  {input(None, on), "holding next 1m0s wait 1m0s"},
		"alarm, operator's":      {input(None, off), "drop"},
		"alarm, Disabling":       {input(None, "Disabling"), "drop"},
		"disable":                {input(Holding, on), "set enabled=false"},
		"disable, Enabling":      {input(Holding, "Enabling"), "wait 15s"},
		"disable, reduced":       {input(Holding, on, gradual, small), "set enabled=false"},
		"held, reduced":          {input(Held, off, gradual, small, reduced), "set concurrency=10 batch=100"},
		"held, still reduced":    {input(Held, "Disabling", gradual, small, reduced), "wait 15s"},
		"held, not due, reduced": {input(Held, off, gradual, small, reduced, notDue), "wait 1m0s"},
		"held, restored":         {input(Held, off, reduced), "held next 0s wait 1m0s"},
		"enabled while reduced":  {input(Held, on, gradual, reduced), "resumed next 1m0s wait 1m0s"},
		"disabled":               {input(Holding, "Disabling"), "held next 1m0s wait 1m0s"},
		"held, not due":          {input(Held, off, notDue), "wait 1m0s"},
		"held, overdue":          {input(Held, off, notDue, later(time.Hour)), "check"},
		"held, the clock is off": {input(Held, off, later(-24*time.Hour)), "check"},
		"held, due":              {input(Held, off), "check"},
		"check failed":           {input(Held, off, checked(Failed)), "held next 2m0s wait 1m0s"},
		"check failed again": {input(Held, off, checked(Failed), hold(func(h *Hold) { h.Interval = 4 * time.Minute })),
			"held next 5m0s wait 1m0s"},
		"check succeeded":      {input(Held, off, checked(Succeeded)), "set enabled=true concurrency=2"},
		"succeeded, Disabling": {input(Held, "Disabling", checked(Succeeded)), "wait 15s"},
		"succeeded after a flap": {input(Held, off, checked(Succeeded), hold(func(h *Hold) { h.Wait = 2 * time.Minute })),
			"set enabled=true concurrency=2 batch=2"},
		"provisioned": {input(Held, off, checked(Succeeded), func(in *Input) { in.Mapping.Provisioned = true }),
			"set enabled=true"},
		"fails for an hour": {input(Held, off, checked(Failed), hold(func(h *Hold) { h.Failures = 14 })),
			"set enabled=true concurrency=2 batch=2"},
		"fails again for an hour": {input(Held, off, checked(Failed), trials(1), hold(func(h *Hold) { h.Failures = 14 })),
			"held next 2m0s wait 1m0s"},
		"fails again for two hours": {input(Held, off, checked(Failed), trials(1), hold(func(h *Hold) { h.Failures = 29 })),
			"set enabled=true concurrency=2 batch=2"},
		"fails for a day": {input(Held, off, checked(Failed), trials(99), hold(func(h *Hold) { h.Failures = 239 })),
			"set enabled=true concurrency=2 batch=2"},
		"a deployment changed it": {input(Held, off, func(in *Input) { in.Mapping.Concurrency = 5 }),
			"held next 0s wait 1m0s"},
		"resumed": {input(Held, "Enabling", enabled, checked(Succeeded), gradual),
			"resumed next 1m0s wait 1m0s"},
		"resumed, then crashed": {input(Held, "Enabled", gradual), "resumed next 1m0s wait 1m0s"},
		"trial": {input(Held, "Enabling", enabled, checked(Failed), gradual, small),
			"trial next 6m0s wait 1m0s"},
		"trial, then crashed": {input(Held, on, gradual, small,
			hold(func(h *Hold) { h.Failures = 14 })), "trial next 6m0s wait 1m0s"},
		"operator enabled it":                             {input(Held, on), "running next 6m0s wait 1m0s"},
		"operator disabled it after the guard enabled it": {input(Held, off, gradual), "resumed next 0s wait 1m0s"},
		"first minute":                                    {input(Resumed, on, notDue, gradual), "wait 1m0s"},
		"after the first minute":                          {input(Resumed, on, gradual, small), "check"},
		"after the first minute, checked": {input(Resumed, on, gradual, small, checked(Succeeded)),
			"set concurrency=10"},
		"the check fails, no alarm": {input(Resumed, on, gradual, checked(Failed)), "set concurrency=10"},
		"nearly full":               {input(Resumed, on, gradual, checked(Busy)), "resumed next 1m0s wait 1m0s"},
		"nearly full for 12 days": {input(Resumed, on, gradual, checked(Busy), later(12*24*time.Hour)),
			"set concurrency=10"},
		"nearly full, but restored": {input(Resumed, on, checked(Busy)), "running next 5m0s wait 1m0s"},
		"nearly full, held":         {input(Held, off, checked(Busy)), "set enabled=true concurrency=2"},
		"restored":                  {input(Resumed, on, small), "running next 5m0s wait 1m0s"},
		"a deployment set it": {input(Resumed, on,
			func(in *Input) { in.Mapping.Concurrency = 5 }), "running next 5m0s wait 1m0s"},
		"probation, batch":          {input(Running, on, small), "set batch=100"},
		"probation":                 {input(Running, on), "replaying next 0s wait 1m0s"},
		"trial succeeded":           {input(Trial, on, gradual, small), "set concurrency=10 batch=100"},
		"trial succeeded, restored": {input(Trial, on), "replaying next 0s wait 1m0s"},
		"second trial, no alarm":    {input(Trial, on, trials(2)), "check"},
		"second trial, check fails": {input(Trial, on, trials(2), checked(Failed)), "running next 5m0s wait 1m0s"},
		"first trial, replayed": {input(Replaying, on, trials(1), replayResult(Succeeded)),
			"running next 5m0s wait 1m0s"},
		"after a trial":           {input(Running, on, trials(1)), "check"},
		"after a trial, fails":    {input(Running, on, trials(1), checked(Failed)), "running next 5m0s wait 1m0s"},
		"after a trial, succeeds": {input(Running, on, trials(1), checked(Succeeded)), "replaying next 0s wait 1m0s"},
		"after a trial, 12 days": {input(Running, on, trials(1), later(12*24*time.Hour)),
			"ended next 288h0m0s wait 1m0s"},
		"operator disables, resumed":  {input(Resumed, off, gradual, small), "set concurrency=10 batch=100"},
		"operator disables, changing": {input(Resumed, "Disabling", gradual), "wait 15s"},
		"operator disables, restored": {input(Resumed, off), "done next 0s wait 1m0s"},
		"operator disables, running":  {input(Running, off), "done next 0s wait 1m0s"},
		"operator disables, trial":    {input(Trial, "Disabling"), "done next 0s wait 1m0s"},
		"operator disables, replay":   {input(Replaying, off), "done next 0s wait 1m0s"},
		"replay":                      {input(Replaying, on), "replay"},
		"replay failed":               {input(Replaying, on, replayResult(Failed)), "replaying next 2m0s wait 1m0s"},
		"replay continues":            {input(Replaying, on, replayResult(Partial)), "wait 1s"},
		"replay succeeded":            {input(Replaying, on, replayResult(Succeeded)), "done next 0s wait 1m0s"},
		"replay fails for days":       {input(Replaying, on, later(12*24*time.Hour)), "ended next 288h0m0s wait 1m0s"},
		"paused by siemctl":           {input(Operator, off), "done next 0s wait 1m0s"},
		"paused by siemctl, reduced":  {input(Operator, off, gradual), "set concurrency=10"},
		"resumed by siemctl":          {input(Operator, on), "running next 6m0s wait 1m0s"},
		"over":                        {input(Done, on), "drop"},
		"ended":                       {input(Ended, on), "drop"},
		"second alarm, holding":       {input(Holding, on, alarm), "drop"},
		"second alarm, held":          {input(Held, off, alarm), "drop"},
		"second alarm, crash":         {input(Holding, on, alarm, later(time.Minute)), "holding next 1m0s wait 1m0s"},
		"second alarm, lost message":  {input(Held, off, alarm, later(31*time.Minute)), "held next 1m0s wait 1m0s"},
		"flap, resumed":               {input(Resumed, on, alarm, gradual), "holding next 2m0s wait 2m0s"},
		"flap, running":               {input(Running, on, alarm), "holding next 2m0s wait 2m0s"},
		"flap, an hour": {input(Running, on, alarm, hold(func(h *Hold) { h.Wait = 40 * time.Minute })),
			"holding next 1h0m0s wait 1h0m0s"},
		"flap, operator enabled it": {input(Held, on, alarm), "holding next 2m0s wait 2m0s"},
		"trial failed":              {input(Trial, on, alarm, gradual, small), "holding next 1m0s wait 1m0s"},
		"alarm while replaying": {input(Replaying, on, alarm, hold(func(h *Hold) { h.Wait = time.Hour })),
			"holding next 1m0s wait 1m0s"},
		"alarm, operator disabled it": {input(Running, off, alarm), "drop"},
		"alarm after a hold":          {input(Done, on, alarm), "holding next 1m0s wait 1m0s"},
		"alarm, operator's hold":      {input(Operator, off, alarm), "drop"},
		"alarm after siemctl resume":  {input(Operator, on, alarm), "holding next 1m0s wait 1m0s"},
		"alarm after the end":         {input(Ended, on, alarm), "drop"},
		"alarm, two days later":       {input(Ended, on, alarm, later(49*time.Hour)), "holding next 49h1m0s wait 1m0s"},
		"the same time, again": {input(Running, on, alarm,
			func(in *Input) { in.Message.Sent--; in.Message.Receives = 2 }), "drop"},
		"the same time": {input(Running, on, alarm, func(in *Input) { in.Message.Sent--; in.Message.Receives = 1 }),
			"holding next 2m0s wait 2m0s"},
		"an older message": {input(Running, on, older), "drop"},
		"12 days":          {input(Held, off, later(12*24*time.Hour)), "set enabled=true"},
		"12 days, enabled": {input(Held, "Enabling", enabled, later(12*24*time.Hour)), "ended next 288h0m0s wait 1m0s"},
		"a day of retention": {input(Held, off, later(20*time.Hour), func(in *Input) { in.Retention = 24 * time.Hour }),
			"set enabled=true"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := text(Next(c.in)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestBeginKeeps: a hold after a failed resume remembers the mapping's own settings, and when the outage began.
func TestBeginKeeps(t *testing.T) {
	a := Next(input(Resumed, "Enabled", alarm, gradual, small))
	if h := a.Hold; h.Concurrency != 10 || h.BatchSize != 100 || !h.Since.Equal(now.Add(-time.Hour)) ||
		h.Message != "m-2" || !h.Reduced {
		t.Errorf("%+v", h)
	}
	for _, s := range []State{Trial, Running, Replaying} {
		if h := Next(input(s, "Enabled", alarm, trials(3))).Hold; h.Trials != 3 {
			t.Errorf("a hold after a trial: %+v", h)
		}
	}
	for name, in := range map[string]*Input{
		"another outage":             input(Done, "Enabled", alarm, trials(3)),
		"the check succeeded":        input(Held, "Enabling", enabled, checked(Succeeded), gradual, trials(3)),
		"it succeeded after a trial": input(Running, "Enabled", trials(3), checked(Succeeded)),
		"an operator resumed":        input(Operator, "Enabled", trials(3)),
		"an operator enabled it":     input(Held, "Enabled", trials(3)),
	} {
		if h := Next(in).Hold; h.State == None || h.Trials != 0 {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if h := Next(input(Held, "Enabling", enabled, checked(Failed), gradual, small, trials(1))).Hold; h.Trials != 2 {
		t.Errorf("a second trial: %+v", h)
	}
	in := input(Held, "Disabled", func(in *Input) { in.Mapping.Concurrency, in.Mapping.BatchSize = 0, 50 })
	if h := Next(in).Hold; h.Concurrency != 0 || h.BatchSize != 50 {
		t.Errorf("a deployment: %+v", h)
	}
	a = Next(input(Done, "Enabled", alarm, gradual, hold(func(h *Hold) { h.Concurrency = 5 })))
	if h := a.Hold; h.Concurrency != Gradual || h.Since.Before(now.Add(-time.Second)) || h.Failures != 0 {
		t.Errorf("a new outage: %+v", h)
	}
}

// TestBeginSince: an outage begins when its alarm fired, however late the guard acts.
func TestBeginSince(t *testing.T) {
	for _, c := range []struct{ late, want time.Duration }{
		{0, 0}, {time.Hour, -time.Hour}, {-time.Hour, 0}, {25 * time.Hour, 0},
	} {
		in := input(None, "Enabled", func(in *Input) { in.Message.Sent = now.Add(-c.late).UnixMilli() })
		if got := Next(in).Hold.Since.Sub(now); got != c.want {
			t.Errorf("%s late: since %s, want %s", c.late, got, c.want)
		}
	}
}

func fullHold() Hold {
	at := time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)
	return Hold{
		State: Replaying, Since: at, At: at.Add(time.Hour), Next: at.Add(2 * time.Hour), Wait: MaxWait,
		Interval: MaxInterval, Failures: 239, Trials: 99, Concurrency: 1000, BatchSize: 10000, Reduced: true,
		Sent: 1773396000000, Message: strings.Repeat("x", 48),
	}
}

func TestHoldFitsIntoATag(t *testing.T) {
	h := fullHold()
	tag := h.String()
	if len(tag) > 256 || !regexp.MustCompile(`^[a-zA-Z0-9 +=._:/@-]+$`).MatchString(tag) {
		t.Errorf("%d characters: %s", len(tag), tag)
	}
	again, err := ParseHold(tag)
	if err != nil || !reflect.DeepEqual(*again, h) {
		t.Errorf("%+v %v, want %+v", again, err, h)
	}
}

func TestParseHold(t *testing.T) {
	h, err := ParseHold("held  later=x wait=0 interval=999999999 since=2026-03-13T10:00:00Z")
	if err != nil || h.Wait != FirstWait || h.Interval != MaxWait || h.Since.Hour() != 10 {
		t.Errorf("%+v %v", h, err)
	}
	for _, tag := range []string{"", "   ", "sleeping since=2026-03-13T10:00:00Z", "held since=today", "held wait=long",
		"held failures=", "since=2026-03-13T10:00:00Z"} {
		if h, err := ParseHold(tag); err == nil {
			t.Errorf("%q: %+v", tag, h)
		}
	}
}

func TestMessageID(t *testing.T) {
	if id := "5fea7756-0ea4-451a-a703-a558b933e274"; MessageID(id) != id {
		t.Error(MessageID(id))
	}
	for _, id := range []string{"", "a b", strings.Repeat("x", 49), "a=b"} {
		if got := MessageID(id); got == id || !taggable.MatchString(got) || got == MessageID(id+"!") {
			t.Errorf("%q: %q", id, got)
		}
	}
}

func FuzzParseHold(f *testing.F) {
	h := fullHold()
	f.Add(h.String())
	f.Add("held since=2026-03-13T10:00:00Z wait=-1 wait=99999999999999999999")
	f.Fuzz(func(t *testing.T, tag string) {
		h, err := ParseHold(tag)
		if err != nil {
			return
		}
		if h.Wait < 0 || h.Wait > MaxWait || h.Interval < 0 || h.Interval > MaxWait {
			t.Errorf("%+v", h)
		}
	})
}
