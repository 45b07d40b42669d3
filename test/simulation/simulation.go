// Package simulation runs the whole system in one process: the real core, connectors, drain, replay and guard, with
// SQS, S3, Secrets Manager, event source mappings, alarms, seven SIEMs, a proxy and the network in memory. All of them
// fail in many ways. The clock is testing/synctest's, so hours pass in milliseconds.
//
// A seed determines a plan: the connectors, the events and the messages that hold them, the faults with their times and
// probabilities, the rotations of credentials, the replays. Every decision in a run is drawn from the seed and from its
// subject (this request of that invocation, the third receive of this message), never from a sequence. Everything
// outside a function takes a time that differs by nanoseconds. Therefore a run does not depend on the scheduling of
// goroutines, and removing a fault from a plan does not change the others: a failing plan can be shrunk to a few
// faults.
//
// The guarantees are checked during a run and at its end (see check.go): every event that was enqueued is in its SIEM,
// or a dead letter with the reason, or queued; nothing else arrives; when the faults end, everything is delivered.
//
// The simulation cannot show what a SIEM does after a correct response. A SIEM that accepts an event and loses it is
// simulated, counted as unknowable, and excluded from the account.
package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

// Result is the result of a run.
type Result struct {
	Violations []string       // broken guarantees, in the order of time
	Counts     map[string]int // by name: faults, events, requests, duplicates by cause
	Story      []string       // one line for each step, if the plan requests it
	Lasted     time.Duration  // simulated time
	Events     []EventResult
}

// EventResult is the result of one event.
type EventResult struct {
	Connector, ID string
	Burst         bool // part of the plan's burst
	Enqueued      time.Duration
	Accepted      time.Duration // first; 0: never
	Dead          bool          // was a dead letter at some time
}

// Run runs a plan. synctest needs t; a violation does not fail it.
func Run(t *testing.T, plan Plan) Result {
	t.Helper()
	var result Result
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(plan)
		defer w.close(cancel)
		w.run(ctx)
		result = Result{Violations: w.violations, Counts: w.counts, Story: w.story, Lasted: w.since(), Events: w.results()}
	})
	return result
}

// world is the state of one run.
type world struct {
	plan      Plan
	rng       rng
	start     time.Time
	sqs       *fakeaws.SQS
	s3        *fakeaws.S3
	pipelines []*pipeline
	alarms    *downalarm.Alarms // with the guard
	operating atomic.Int32      // actions of operators that have not ended

	mu         sync.Mutex
	violations []string
	counts     map[string]int
	story      []string
	byBody     map[string]*event
	byUID      map[string]*event
	secrets    map[string]string
	senders    map[string]string   // SenderId, by message id
	pending    map[string][]*event // objects in S3 below pending/, by key
	processes  []*process
	numbers    map[string]int // by kind, for names
	wg         sync.WaitGroup
}

const (
	deadLetterQueue = "https://sqs.sim/1/dead"
	deadLetterPath  = "s3://letters/dead"
	keyPrefix       = "dead/"
)

func newWorld(plan Plan) *world {
	w := &world{
		plan: plan, rng: rng(plan.Seed), start: time.Now(), sqs: &fakeaws.SQS{}, s3: &fakeaws.S3{},
		counts: map[string]int{}, byBody: map[string]*event{}, byUID: map[string]*event{},
		secrets: map[string]string{}, senders: map[string]string{}, pending: map[string][]*event{}, numbers: map[string]int{},
	}
	dead := fakeaws.Queue{URL: deadLetterQueue, ARN: "arn:aws:sqs:eu-west-1:1:dead", Visibility: visibility}
	if plan.Burst.Connector != "" || plan.Guard.On {
		dead.FirstID = firstDead
	}
	w.sqs.Create(dead)
	w.sqs.Order = func(m fakeaws.Message) uint64 { return w.order(m) }
	w.sqs.Twice = w.twice
	w.sqs.Retire = w.retired
	for i, name := range plan.Connectors {
		w.pipelines = append(w.pipelines, newPipeline(w, i, name))
	}
	if plan.Guard.On {
		w.newGuard()
	}
	return w
}

// order returns the position of a message in its queue, which is random in a standard queue.
func (w *world) order(m fakeaws.Message) uint64 { return w.rng.roll("order", m.ID, m.Receives) }

// twice reports whether a message that was just received can be received again.
func (w *world) twice(m fakeaws.Message) bool {
	if !w.injects(duplicateDelivery, "", "twice", m.ID, m.Receives) {
		return false
	}
	w.excuse("SQS delivered it twice", m.Body)
	return true
}

// run runs the plan until all queues are empty, and checks the result.
func (w *world) run(ctx context.Context) {
	for _, l := range w.pipelines {
		w.spawn(func() { l.enqueue(ctx) })
		w.spawn(func() { l.burst(ctx) })
		w.spawn(func() { l.rotate(ctx) })
		for slot := range w.plan.Slots {
			p := &poller{world: w, pipeline: l, role: l.name, slot: slot, url: l.queueURL, arn: l.queueARN,
				batchSize: w.plan.BatchSize, window: window, visibility: visibility}
			l.pollers = append(l.pollers, p)
			p.start(ctx)
		}
	}
	drain := &poller{world: w, role: "deadletter", slot: w.plan.Slots, url: deadLetterQueue,
		arn: "arn:aws:sqs:eu-west-1:1:dead", batchSize: w.plan.BatchSize, window: window, visibility: visibility}
	drain.start(ctx)
	if w.plan.Guard.On {
		w.startGuard(ctx)
	}
	for i, r := range w.plan.Replays {
		w.spawn(func() { w.operate(ctx, i, r) })
	}
	w.settle(ctx)
	w.checkEnd()
}

// results returns the results of all events, in the order in which they were made.
func (w *world) results() []EventResult {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []EventResult
	for _, l := range w.pipelines {
		for _, e := range l.events {
			all = append(all, EventResult{
				Connector: l.name, ID: e.uid, Burst: e.burst, Enqueued: e.enqueuedAt, Accepted: e.acceptedAt,
				Dead: len(e.letters) > 0,
			})
		}
	}
	return all
}

// sentBy records who has sent a message.
func (w *world) sentBy(sender, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.senders[id] = sender
}

// spawn starts a goroutine of the world.
func (w *world) spawn(part func()) { w.wg.Go(part) }

// close ends all goroutines of the bubble.
func (w *world) close(cancel func()) {
	cancel()
	w.mu.Lock()
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.kill("the end of the run")
	}
	for _, l := range w.pipelines {
		l.siem.close()
	}
	w.wg.Wait()
}

// since returns the simulated time since the beginning.
func (w *world) since() time.Duration { return time.Since(w.start) }

// wait waits. It returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// count adds to a count.
func (w *world) count(name string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[name] += n
}

// tell adds a line to the story.
func (w *world) tell(format string, args ...any) {
	if !w.plan.Story {
		return
	}
	line := fmt.Sprintf("%12s  ", w.since().Round(time.Microsecond)) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, line)
}

// broken records the violation of a rule.
func (w *world) broken(rule, format string, args ...any) {
	text := rule + ": " + fmt.Sprintf(format, args...)
	w.tell("VIOLATION  %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, text)
}

// number returns the next number of a kind, from 1.
func (w *world) number(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers[kind]++
	return w.numbers[kind]
}

// injects reports whether a fault of the plan applies here and now, and counts it. key identifies what it applies to.
func (w *world) injects(kind Kind, lane string, key ...any) bool {
	_, ok := w.fault(kind, lane, key...)
	return ok
}

// fault returns the fault that applies here and now. lane is a function's role, of a check with that part; "": any.
func (w *world) fault(kind Kind, lane string, key ...any) (Fault, bool) {
	at := w.since()
	for _, f := range w.plan.Faults {
		if f.Kind != kind || !f.concerns(lane) || at < f.From || at >= f.To {
			continue
		}
		if w.rng.chance(f.P, append([]any{"fault", f.ID}, key...)...) {
			w.count("fault: "+string(kind), 1)
			return f, true
		}
	}
	return Fault{}, false
}

// Shrink removes parts of a plan as long as it violates the same rule. It returns the smallest plan, with its story,
// and the result of running it.
func Shrink(t *testing.T, plan Plan, first Result) (Plan, Result) {
	t.Helper()
	if len(first.Violations) == 0 {
		return plan, first
	}
	s := &shrinker{t: t, rule: rule(first.Violations[0]), left: 150}
	for smaller := true; smaller; {
		smaller = false
		for _, candidate := range candidates(plan) {
			if s.breaks(candidate) {
				plan, smaller = candidate, true
				break
			}
		}
	}
	plan.Story = true
	return plan, Run(t, plan)
}

// rule returns the rule of a violation.
func rule(violation string) string {
	name, _, _ := strings.Cut(violation, ":")
	return name
}

type shrinker struct {
	t    *testing.T
	rule string
	left int // runs
}

func (s *shrinker) breaks(p Plan) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	return slices.ContainsFunc(Run(s.t, p).Violations, func(v string) bool { return rule(v) == s.rule })
}

// candidates returns smaller plans, the smallest first.
func candidates(p Plan) []Plan {
	var all []Plan
	add := func(change func(*Plan)) {
		smaller := p
		smaller.Connectors, smaller.Faults = slices.Clone(p.Connectors), slices.Clone(p.Faults)
		change(&smaller)
		all = append(all, smaller)
	}
	if n := len(p.Connectors); n > 1 {
		for i := range n {
			add(func(s *Plan) { s.Connectors = s.Connectors[i : i+1] })
		}
	}
	if n := len(p.Faults); n > 1 {
		add(func(s *Plan) { s.Faults = s.Faults[:n/2] })
		add(func(s *Plan) { s.Faults = s.Faults[n/2:] })
	}
	for i := range p.Faults {
		add(func(s *Plan) { s.Faults = slices.Delete(s.Faults, i, i+1) })
	}
	for i, one := range p.parts() {
		if one.present {
			add(func(s *Plan) { s.parts()[i].remove() })
		}
	}
	if p.Slots > 1 {
		add(func(s *Plan) { s.Slots = 1 })
	}
	if p.Burst.Events > 0 {
		add(func(s *Plan) { s.Burst = Burst{} })
		add(func(s *Plan) { s.Burst.Events /= 2 })
	}
	if p.Events > 1 {
		add(func(s *Plan) { s.Events = 1 })
		add(func(s *Plan) { s.Events = p.Events / 2 })
		add(func(s *Plan) { s.Events = p.Events * 7 / 8 })
	}
	return all
}
