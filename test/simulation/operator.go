package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/guard"
)

func upper(name string) string { return strings.ToUpper(name) }

// operate calls the replay at the time of the plan.
func (w *world) operate(ctx context.Context, n int, r Replay) {
	if wait(ctx, r.At-w.since()+time.Duration(n)*time.Microsecond) {
		w.replay(ctx, n, r.Body)
	}
}

// replayed is the response of the replay.
type replayed struct {
	status    int
	Replayed  int `json:"replayed"`
	Remaining int `json:"remaining"`
	Skipped   int `json:"skipped"`
	Passed    int `json:"passed"`
}

// replay calls the replay function once. It returns false if there is no successful response.
func (w *world) replay(ctx context.Context, n int, body string) (answer replayed, ok bool) {
	inv, r := w.invokeReplay(n, urlEvent("POST", body)) //nolint:contextcheck // an invocation has a context of its own
	if ctx.Err() != nil {
		return answer, false
	}
	return w.replayResponse(inv, r, body)
}

// invokeReplay invokes the replay function.
func (w *world) invokeReplay(n int, payload []byte) (*invocation, result) {
	p := w.newProcess("replay", nil)
	inv := p.begin(n, nil)
	w.tell("%s: replay %s", inv, payload)
	r := p.invoke(inv, payload)
	w.excuseReplay(inv, r)
	return inv, r
}

// replayResponse checks the response of the replay function.
func (w *world) replayResponse(inv *invocation, r result, body string) (answer replayed, ok bool) {
	if r.died || r.err != nil {
		w.tell("%s has not responded: %v", inv, r.err)
		if r.err != nil {
			w.broken("every request gets a response", "%s ends with %v", inv, r.err)
		}
		return answer, false
	}
	var response struct {
		Status int    `json:"statusCode"`
		Body   string `json:"body"`
	}
	if err := json.Unmarshal(r.response, &response); err != nil {
		w.broken("every request gets a response", "%s responds %q", inv, r.response)
		return answer, false
	}
	w.tell("%s responds %d %s", inv, response.Status, response.Body)
	w.count(fmt.Sprintf("replays with status %d", response.Status), 1)
	answer.status = response.Status
	if json.Unmarshal([]byte(response.Body), &answer) != nil {
		w.broken("every request gets a response", "%s responds %q", inv, r.response)
	}
	w.checkReplay(inv, answer, body)
	return answer, response.Status == 200
}

// excuseReplay allows one more delivery of replayed events if a fault has kept the replay from recording its progress.
func (w *world) excuseReplay(inv *invocation, r result) {
	if !r.died && !inv.unsure() && !bytes.Contains(r.response, []byte("the next call may replay")) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range inv.putBack {
		e.excuse("a replay could not record its progress")
	}
}

func urlEvent(method, body string) []byte {
	out, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": replayPath, "body": body,
		"headers":        map[string]string{"content-type": "application/json"},
		"requestContext": map[string]any{"http": map[string]any{"method": method, "path": replayPath}},
	})
	if err != nil {
		panic(err) // strings always marshal
	}
	return out
}

// patience is the longest time for all queues to become empty after the faults: five attempts with the longest
// Retry-After and the visibility timeout, and the same for replayed dead letters.
const patience = 4 * time.Hour

// guardPatience is the same with the guard: holds that follow one another with growing waits, and with faults of the
// guard's own calls.
const guardPatience = 24 * time.Hour

// leaseWait is the wait for the lease of a replay that died, whose clock may have been an hour ahead.
const leaseWait = 20 * time.Minute

// settle waits until the faults are over and all queues are empty, replays the dead letters, and waits again.
func (w *world) settle(ctx context.Context) {
	wait(ctx, w.plan.end()-w.since()+time.Second)
	if !w.rest(ctx) {
		return
	}
	if w.plan.Guard.On {
		w.checkGuard()
	}
	for _, l := range w.pipelines {
		l.siem.heal()
		l.mu.Lock()
		for _, e := range l.events {
			if e.sort == poisonous || e.sort == blocked {
				e.sort = good
			}
		}
		l.mu.Unlock()
	}
	w.tell("the faults are over, and the SIEM accepts what it has refused for its content")
	if w.plan.Old > 0 {
		w.replayAll(ctx, 1000, fromStart)
		w.checkReplayed()
	}
	w.replayAll(ctx, 2000, `{"force":true}`)
}

// fromStart asks for the dead letters of the run, without the old ones. A function's clock may be an hour slow.
const fromStart = `{"from":"1999-12-31T00:00:00Z","force":true}`

// replayAll calls the replay until there is nothing to replay.
func (w *world) replayAll(ctx context.Context, first int, body string) {
	const rounds = 20
	failed, calls, opened, begun := 0, 0, w.opened(), time.Now()
	for n := range rounds {
		a, ok := w.replay(ctx, first+n, body)
		calls++
		switch {
		case !ok && a.status != 409: // 409: a replay that died has the lease
			w.broken("liveness", "a replay after the faults does not work: status %d", a.status)
			return
		case !ok && failed == 6:
			return
		case !ok:
			failed++
			wait(ctx, leaseWait)
			continue
		case a.Replayed == 0 && a.Passed == 0 && a.Remaining > 0:
			w.broken("each call makes progress", "a replay of %s replays nothing of %d", body, a.Remaining)
			return
		case a.Remaining == 0:
			again := (calls - 1) * replayGroup // a group whose events the time did not suffice to send
			if n := w.opened() - opened; n > w.plan.Old+again && time.Since(begun) < cursorLife && !w.plan.Guard.On {
				w.broken("each call makes progress", "%d calls open %d of %d old dead letters", calls, n, w.plan.Old)
			}
			opened, begun, calls = w.opened(), time.Now(), 0
		}
		if !w.rest(ctx) || a.Replayed == 0 && a.Remaining == 0 {
			return
		}
		wait(ctx, time.Minute)
	}
}

// A replay continues where an earlier one ended within cursorLife, and reads at most replayGroup objects together.
const (
	cursorLife  = 15 * time.Minute
	replayGroup = 100
)

// opened returns how often an old dead letter was read.
func (w *world) opened() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts["old dead letters opened"]
}

// checkReplayed checks that only old dead letters are pending.
func (w *world) checkReplayed() {
	w.mu.Lock()
	var left []*event
	for _, events := range w.pending {
		for _, e := range events {
			if !e.old && e.sort != malformed && e.putBack == 0 {
				left = append(left, e)
			}
		}
	}
	w.mu.Unlock()
	for _, e := range left {
		w.broken("each call makes progress", "%s is not replayed", e)
	}
}

// rest waits until every queue is empty.
func (w *world) rest(ctx context.Context) bool {
	const look = 7 * time.Second
	most := patience
	if w.plan.Guard.On {
		most = guardPatience
	}
	for end := time.Now().Add(most); time.Now().Before(end); {
		if w.queued() == 0 && w.operating.Load() == 0 {
			return true
		}
		if !wait(ctx, look) {
			return false
		}
	}
	w.broken("liveness", "%d messages are still queued %s after the faults", w.queued(), most)
	return false
}

func (w *world) queued() int {
	n := w.sqs.Len(deadLetterQueue) + w.sqs.Len(guardQueue)
	for _, l := range w.pipelines {
		n += w.sqs.Len(l.queueURL)
	}
	return n
}

// operation performs an action of an operator, and resumes a connector that the operator stopped.
func (l *pipeline) operation(o Operation) {
	defer l.operating.Add(-1)
	time.Sleep(o.After + 17*time.Nanosecond)
	l.count("operator: "+o.What, 1)
	switch o.What {
	case "pause":
		l.pause(true)
	case "disable":
		l.pause(false)
	case "resume":
		l.resume()
	case "deploy":
		concurrency := 3 + l.rng.below(9, "deploy", l.name)
		l.mu.Lock()
		l.mapping.own.Concurrency = concurrency
		l.mu.Unlock()
		l.retry(guard.Change{Concurrency: &concurrency})
	}
	if o.What == "pause" || o.What == "disable" {
		time.Sleep(o.For)
		l.resume()
	}
}

// retry changes the mapping, and waits while Lambda is changing it, before and after.
func (l *pipeline) retry(c guard.Change) {
	for l.change("an operator", c) != nil {
		time.Sleep(10 * time.Second)
	}
	time.Sleep(time.Minute)
}

// hold returns the hold of the guard, nil if there is none.
func (l *pipeline) hold() *guard.Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := guard.ParseHold(l.mapping.tag)
	if err != nil || h.State == guard.Done || h.State == guard.Ended {
		return nil
	}
	return h
}

// pause stops the connector: with siemctl, which makes the hold the operator's, or in the console.
func (l *pipeline) pause(siemctl bool) {
	h := l.hold()
	if h != nil && siemctl {
		h.State = guard.Operator
		l.setTag(h.String())
	}
	l.mu.Lock()
	// Until the guard has seen the end of its hold, it cannot tell the console's change from its own.
	held := h != nil && (h.State == guard.Holding || h.State == guard.Held)
	if siemctl || l.mapping.State == "Enabled" && !held {
		l.mapping.pausedAt = time.Now()
	}
	l.mu.Unlock()
	off := false
	l.retry(guard.Change{Enabled: &off})
}

// resume is siemctl resume.
func (l *pipeline) resume() {
	on := true
	c := guard.Change{Enabled: &on}
	if h := l.hold(); h != nil {
		l.mu.Lock()
		if l.mapping.Concurrency == guard.Gradual {
			c.Concurrency = &h.Concurrency
		}
		if l.mapping.BatchSize == guard.Gradual {
			c.BatchSize = &h.BatchSize
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.mapping.pausedAt = time.Time{}
	l.mu.Unlock()
	l.retry(c)
}
