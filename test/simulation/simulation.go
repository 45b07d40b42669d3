// Package simulation runs the whole system in one process against a simulated world: the real core, connectors, drain and
// replay, over an SQS, an S3 and a Secrets Manager in memory, seven SIEMs, and a network between them that are made to fail
// in every way we can think of. Time is testing/synctest's, so hours pass in milliseconds.
//
// One seed makes one plan: which connectors, which events, which faults when and how often, which credentials are rotated,
// which replays are asked for. Every decision in a run is drawn from the seed and from what it is about (this request of
// that invocation, this message's third receive), never from a running sequence, and everything outside of a function takes
// a time of its own to the nanosecond. So a run does not depend on how goroutines happen to be scheduled, and a fault that is
// taken out of a plan leaves the others as they were: a failing plan can be shrunk to the few faults it takes.
//
// During a run and at its end the promise is checked (see check.go): every event that was enqueued is in its SIEM, or a dead
// letter that says why, or still queued; nothing else arrives; and when the faults end, everything is delivered.
//
// What it cannot show: whatever a SIEM does behind an honest answer. A SIEM that says 200 and loses the event is simulated,
// counted as unknowable, and taken out of the account.
package simulation

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

// Result is what a run has shown.
type Result struct {
	Violations []string       // broken promises, the first first; none is the aim
	Counts     map[string]int // what happened, by name: faults that struck, events, requests, duplicates by cause
	Story      []string       // one line for each thing that happened, when the plan asks for it
	Lasted     time.Duration  // of the simulated time
	Events     []Fate
}

// Fate is what has become of an event.
type Fate struct {
	Connector, ID string
	Burst         bool          // it is one of the plan's burst
	Enqueued      time.Duration // when
	Accepted      time.Duration // when first; 0 is never
	Dead          bool          // it was a dead letter, perhaps for a time
}

// Run runs a plan. t is only there because synctest wants one: a violation does not fail it.
func Run(t *testing.T, plan Plan) Result {
	t.Helper()
	var result Result
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(plan)
		defer w.close(cancel)
		w.run(ctx)
		result = Result{Violations: w.violations, Counts: w.counts, Story: w.story, Lasted: w.since(), Events: w.fates()}
	})
	return result
}

// world is one run.
type world struct {
	plan      Plan
	rng       rng
	start     time.Time
	sqs       *fakeaws.SQS
	s3        *fakeaws.S3
	pipelines []*pipeline

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
	numbers    map[string]int // how many there are of a kind, for names
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
	if plan.Burst.Connector != "" {
		dead.FirstID = firstDead
	}
	w.sqs.Create(dead)
	w.sqs.Order = func(m fakeaws.Message) uint64 { return w.order(m) }
	w.sqs.Twice = w.twice
	w.sqs.Retire = w.retired
	for i, name := range plan.Connectors {
		w.pipelines = append(w.pipelines, newPipeline(w, i, name))
	}
	return w
}

// order is the order in which standard queues give messages: none.
func (w *world) order(m fakeaws.Message) uint64 { return w.rng.roll("order", m.ID, m.Receives) }

// twice tells whether a message that has just been received can be received by somebody else, too.
func (w *world) twice(m fakeaws.Message) bool {
	if !w.injects(duplicateDelivery, "", "twice", m.ID, m.Receives) {
		return false
	}
	w.excuse("SQS delivered it twice", m.Body)
	return true
}

// run lets the world go until everything has happened and has come to rest, and then looks at what is left.
func (w *world) run(ctx context.Context) {
	for _, l := range w.pipelines {
		w.spawn(func() { l.enqueue(ctx) })
		w.spawn(func() { l.burst(ctx) })
		w.spawn(func() { l.rotate(ctx) })
		for slot := range w.plan.Slots {
			p := &poller{world: w, pipeline: l, slot: slot, url: l.queueURL, arn: l.queueARN}
			w.spawn(func() { p.poll(ctx) })
		}
	}
	drain := &poller{world: w, slot: w.plan.Slots, url: deadLetterQueue, arn: "arn:aws:sqs:eu-west-1:1:dead"}
	w.spawn(func() { drain.poll(ctx) })
	for i, r := range w.plan.Replays {
		w.spawn(func() { w.operate(ctx, i, r) })
	}
	w.settle(ctx)
	w.checkEnd()
}

// fates are those of all events, in the order in which they were made.
func (w *world) fates() []Fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Fate
	for _, l := range w.pipelines {
		for _, e := range l.events {
			all = append(all, Fate{
				Connector: l.name, ID: e.uid, Burst: e.burst, Enqueued: e.enqueuedAt, Accepted: e.acceptedAt, Dead: len(e.letters) > 0,
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

// spawn starts a part of the world.
func (w *world) spawn(part func()) { w.wg.Go(part) }

// close ends everything, so that no goroutine is left in the bubble.
func (w *world) close(cancel func()) {
	cancel()
	w.mu.Lock()
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.kill("the end of the world")
	}
	for _, l := range w.pipelines {
		l.siem.close()
	}
	w.wg.Wait()
}

// since is the time that has passed.
func (w *world) since() time.Duration { return time.Since(w.start) }

// wait lets time pass. It is false when the world ends meanwhile.
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

// count counts something that happened.
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

// broken notes a broken promise: the rule that it breaks, and how.
func (w *world) broken(rule, format string, args ...any) {
	text := rule + ": " + fmt.Sprintf(format, args...)
	w.tell("VIOLATION  %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, text)
}

// number makes names: the next number of a kind, from 1.
func (w *world) number(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers[kind]++
	return w.numbers[kind]
}

// injects reports whether a fault of the plan applies here and now, and counts it. key identifies what it applies to.
func (w *world) injects(kind Kind, connector string, key ...any) bool {
	_, ok := w.fault(kind, connector, key...)
	return ok
}

// fault returns the fault that applies here and now.
func (w *world) fault(kind Kind, connector string, key ...any) (Fault, bool) {
	at := w.since()
	for _, f := range w.plan.Faults {
		if f.Kind != kind || f.Connector != "" && connector != "" && f.Connector != connector || at < f.From || at >= f.To {
			continue
		}
		if w.rng.chance(f.P, append([]any{"fault", f.ID}, key...)...) {
			w.count("fault: "+string(kind), 1)
			return f, true
		}
	}
	return Fault{}, false
}
