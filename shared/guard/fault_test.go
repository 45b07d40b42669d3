package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
)

// faultWorld returns a world with one connector of 10 events a second, whose SIEM follows the script.
func faultWorld(script ...condition) *simWorld {
	w := newWorld(rand.New(rand.NewPCG(3, 3)), 0)
	w.add("splunk", 50, 5, 100, script)
	return w
}

// finish runs the world to its end and checks that nothing is left.
func finish(t *testing.T, w *simWorld, minutes float64, name string) {
	t.Helper()
	o := w.run("fault", minutes, &operator{w: w})
	p := w.plants[0]
	h, _ := ParseHold(p.tag)
	if len(o.broken) > 0 || p.delivered != p.enqueued || p.pending() > 0 || len(w.messages) > 0 || h == nil ||
		h.State != Done {
		t.Errorf("%s: %v; %d of %d delivered, %d dead letters, %d messages, tag %q", name, o.broken, p.delivered, p.enqueued,
			p.pending(), len(w.messages), p.tag)
	}
}

// TestCrashes ends the process before and after the effect of every call of a hold, once each. The hold must end as
// it does without a crash.
func TestCrashes(t *testing.T) {
	for name, script := range map[string][]condition{
		"the check knows": {{failing: 1, checkFails: true, fromMinute: 2, untilMinute: 14}},
		"deliveries fail": {{failing: 1, fromMinute: 2, untilMinute: 16}},
		"the check is wrong": {{failing: 1, checkFails: true, fromMinute: 2, untilMinute: 9},
			{checkFails: true, fromMinute: 9, untilMinute: 100}},
		"credentials, a flap": {{failing: 1, held: true, checkFails: true, fromMinute: 2, untilMinute: 8},
			{failing: 1, fromMinute: 8, untilMinute: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			clean := faultWorld(script...)
			finish(t, clean, 60, "without a crash")
			if clean.transitions["holding --> held"] == 0 || clean.transitions["replaying --> done"] == 0 {
				t.Fatalf("no hold: %v", clean.transitions)
			}
			for call := 1; call <= clean.calls; call++ {
				before, after := faultWorld(script...), faultWorld(script...)
				before.killBefore, after.killAfter = call, call
				finish(t, before, 60, fmt.Sprintf("before call %d", call))
				finish(t, after, 60, fmt.Sprintf("after call %d", call))
				if before.crashes != 1 || after.crashes != 1 {
					t.Errorf("call %d: %d and %d crashes", call, before.crashes, after.crashes)
				}
			}
		})
	}
}

// largest is a source of the largest random numbers: a mapping is Enabling for as long as possible.
type largest struct{}

func (largest) Uint64() uint64 { return math.MaxUint64 }

// TestNoReplayDuringOutage: at whatever time an outage begins, and if Lambda takes a minute to enable the mapping, the
// alarm fires before the guard replays.
func TestNoReplayDuringOutage(t *testing.T) {
	for _, slow := range []bool{false, true} {
		for phase := time.Duration(0); phase < downalarm.ResetEvery*downalarm.Period; phase += tick {
			w := faultWorld(condition{failing: 1, slow: slow, untilMinute: 30})
			w.start = w.start.Add(phase)
			w.rng, w.now = rand.New(largest{}), w.start
			g, p := w.guard(), w.plants[0]
			for ; p.minute() < 30; w.now = w.now.Add(tick) {
				p.step(true)
				w.alarms()
				w.deliverMessages(g)
				w.tick++
			}
			if again, replays := w.transitions["running --> holding"], w.transitions["running --> replaying"]; again == 0 ||
				replays > 0 {
				t.Errorf("slow %t, %s after a period that never breaches: held again %d times, %d replays", slow, phase, again,
					replays)
			}
		}
	}
}

// interleave runs the guard on two messages at once, with a schedule of their calls: bit i of it decides which one
// makes the i-th call. It returns the number of calls.
func interleave(w *simWorld, g *Guard, schedule uint64, messages [2]*simMessage) (calls int) {
	type party struct{ ready, run chan struct{} }
	var parties [2]party
	var active *party
	stays := [2]bool{}
	w.turn = func() {
		p := active
		p.ready <- struct{}{}
		<-p.run
	}
	for i, m := range messages {
		parties[i] = party{make(chan struct{}), make(chan struct{})}
		active = &parties[i]
		p := active
		go func() {
			defer close(p.ready)
			stays[i], _ = w.invoke(g, m)
		}()
		<-p.ready
	}
	live := [2]bool{true, true}
	for live[0] || live[1] {
		current := int(schedule>>calls) & 1
		if !live[current] {
			current = 1 - current
		}
		calls++
		active, w.current = &parties[current], messages[current]
		active.run <- struct{}{}
		_, live[current] = <-active.ready
	}
	w.turn = nil
	for i, m := range messages {
		if !stays[i] {
			w.remove(m)
		}
	}
	return calls
}

// TestRaces interleaves two invocations for one connector in every order of their calls.
func TestRaces(t *testing.T) {
	for name, s := range map[string]State{
		"two alarms": None, "alarm as the check succeeds": Held, "alarm as the first minute ends": Resumed,
		"alarm as the probation ends": Running,
	} {
		t.Run(name, func(t *testing.T) {
			holds := map[int]int{}
			for schedule := range uint64(1 << 11) {
				w := faultWorld(condition{})
				g, m := w.guard(), w.message()
				w.until(g, s)
				if interleave(w, g, schedule, [2]*simMessage{m, w.message()}) < 4 {
					t.Fatal("the invocations made no calls")
				}
				finish(t, w, 8, fmt.Sprintf("schedule %011b", schedule))
				holds[w.transitions["holding --> held"]]++
				if t.Failed() {
					return
				}
			}
			t.Logf("number of holds: %v", holds)
		})
	}
}

// message puts a new alarm on the queue.
func (w *simWorld) message() *simMessage {
	w.ids++
	m := &simMessage{id: fmt.Sprintf("m-%d", w.ids), sent: w.now, visible: w.now, alarm: "prod-splunk-down"}
	w.messages = append(w.messages, m)
	w.now = w.now.Add(tick)
	return m
}

// until runs the world until the connector has the state and the guard's timer has ended. None returns at once.
func (w *simWorld) until(g *Guard, s State) {
	p := w.plants[0]
	for h := new(Hold); h == nil || h.State != s || w.messages[0].visible.After(w.now); h, _ = ParseHold(p.tag) {
		p.step(true)
		w.deliverMessages(g)
		w.now = w.now.Add(tick)
		if w.tick++; w.tick > int(24*time.Hour/tick) {
			panic("the connector is never " + string(s))
		}
	}
}

// TestPause pauses the connector with siemctl before every call of the invocation whose check succeeds.
func TestPause(t *testing.T) {
	for call := 1; ; call++ {
		w := faultWorld(condition{})
		g, p := w.guard(), w.plants[0]
		w.message()
		w.until(g, Held)
		n := w.calls + call
		w.turn = func() {
			if w.calls != n {
				return
			}
			h, _ := ParseHold(p.tag)
			h.State, p.paused = Operator, true
			w.write(p, h.String())
			p.change(Change{Enabled: new(false)})
		}
		w.deliverMessages(g)
		if w.calls < n {
			return
		}
		for range 20 {
			p.step(true)
			w.deliverMessages(g)
			w.now = w.now.Add(tick)
		}
		if len(w.broken) > 0 || p.paused && !p.mapping.off() {
			t.Errorf("paused before call %d: %v, %+v, tag %q", call, w.broken, p.mapping, p.tag)
		}
	}
}

// TestHoldIsRecorded: another invocation writes the tag at the moment at which the mapping is disabled. The disabled
// mapping has a hold nevertheless.
func TestHoldIsRecorded(t *testing.T) {
	w := faultWorld(condition{})
	g, p, m := w.guard(), w.plants[0], w.message()
	w.turn = func() {
		if h, _ := ParseHold(p.tag); p.mapping.off() && h.State == Holding {
			h.State, h.Message = Replaying, "another"
			w.write(p, h.String())
		}
	}
	w.deliverMessages(g)
	if h, _ := ParseHold(p.tag); !p.mapping.off() || h.State != Held || h.Message != m.id {
		t.Errorf("%+v, tag %q", p.mapping, p.tag)
	}
}

// TestOtherMessages: what is not an alarm of a deployed connector is deleted, and nothing is called.
func TestOtherMessages(t *testing.T) {
	w := faultWorld()
	g := w.guard()
	for _, body := range []string{
		``, `null`, `"x"`, `{}`, `{"source":"aws.ec2","detail":{"alarmName":"prod-splunk-down","state":{"value":"ALARM"}}}`,
		`{"source":"aws.cloudwatch","detail":{"alarmName":"prod-splunk-down","state":{"value":"OK"}}}`,
		`{"source":"aws.cloudwatch","detail":{"alarmName":"prod-splunk-backlog","state":{"value":"ALARM"}}}`,
		`{"source":"aws.cloudwatch","detail":{"alarmName":"test-splunk-down","state":{"value":"ALARM"}}}`,
		`{"source":"aws.cloudwatch","detail":{"alarmName":"splunk-down","state":{"value":"ALARM"}}}`,
		`{"source":"aws.cloudwatch","detail":{"alarmName":"prod-sumo-down","state":{"value":"ALARM"}}}`,
	} {
		payload := fmt.Sprintf(`{"Records":[{"messageId":"m","receiptHandle":"r","body":%q}]}`, body)
		out, err := g.Handle(t.Context(), []byte(payload))
		if err != nil || string(out) != `{"batchItemFailures":[]}` || w.calls > 0 {
			t.Errorf("%s: %s %v, %d calls", body, out, err, w.calls)
		}
	}
	if out, err := g.Handle(t.Context(), []byte(`{"x":1}`)); err == nil {
		t.Errorf("no event of SQS: %s", out)
	}
}

// TestStrangeTag: the guard neither enables a mapping whose tag it cannot read, nor fails on one that is enabled.
func TestStrangeTag(t *testing.T) {
	for state, stays := range map[string]bool{"Disabled": false, "Enabled": true} {
		w := faultWorld()
		p := w.plants[0]
		p.tag, p.mapping.State, p.paused = "strange", state, state == "Disabled"
		if got, _ := w.invoke(w.guard(), w.message()); got != stays || stays != strings.HasPrefix(p.tag, "held ") ||
			len(w.broken) > 0 {
			t.Errorf("%s: stays %t, tag %q, %v", state, got, p.tag, w.broken)
		}
	}
}

// TestClockJumps: the guard's clock is wrong by hours for a part of the hold. The connector still runs in the end.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, -time.Hour, time.Hour, 24 * time.Hour} {
		for minute := 3; minute < 30; minute++ {
			w := faultWorld(condition{failing: 1, checkFails: true, fromMinute: 2, untilMinute: 14})
			o := &operator{w: w, jump: float64(minute), by: jump}
			w.run("clock", 60, o)
			p := w.plants[0]
			if p.mapping.State != "Enabled" || p.mapping.Concurrency != 5 || p.delivered+p.pending() != p.enqueued ||
				len(w.messages) > 0 {
				t.Errorf("%s at minute %d: %+v %q", jump, minute, p.mapping, p.tag)
			}
		}
	}
}

// TestStuck: the function fails, which pages an operator, only if the guard cannot act.
func TestStuck(t *testing.T) {
	for name, c := range map[string]struct {
		fails string // calls, replay or ""
		state State
		after time.Duration
		stuck int
	}{
		"calls fail":                   {"calls", None, 0, 0},
		"calls fail for ten minutes":   {"calls", None, 11 * time.Minute, 1},
		"a check succeeds after hours": {"", Held, 3 * time.Hour, 0},
		"the replay fails":             {"replay", Replaying, 0, 0},
		"the replay fails for an hour": {"replay", Replaying, time.Hour, 1},
		"the outage is too long":       {"", Held, 13 * 24 * time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := faultWorld(condition{})
			g, m := w.guard(), w.message()
			switch c.fails {
			case "calls":
				w.errors = 1
			case "replay":
				w.replayFault, w.replayUntil = "locked", w.start.Add(24*time.Hour)
			}
			w.until(g, c.state)
			w.now = w.now.Add(c.after)
			if stays, _ := w.invoke(g, m); !stays || w.stuck != c.stuck {
				t.Errorf("stays %t, stuck %d, want %d; tag %q", stays, w.stuck, c.stuck, w.plants[0].tag)
			}
		})
	}
}
