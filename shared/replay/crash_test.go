package replay

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

var errDead = errors.New("the process is dead")

// death kills the function at the n-th step: before the effect of a request, or after it, when its response is lost.
// Later requests have no effect.
type death struct {
	mu   sync.Mutex
	at   int // counted from 1
	step int
	dead bool
}

func (d *death) hook(string, string, bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.step++; d.step == d.at {
		d.dead = true
	}
	if d.dead {
		return errDead
	}
	return nil
}

// crashWorld returns a bucket with all cases of a replay: several objects, records written twice, one that stays
// pending, two queues.
func crashWorld(t *testing.T) *world {
	w := newWorld(t)
	w.chunk = crashChunk
	all := dlq.Letters("splunk", "a", 30, day0)
	w.drain(all[:20]...)
	w.drain(all[15:]...)
	w.drain(dlq.Letters("elastic", "b", 12, day0.Add(time.Minute))...)
	mixed := dlq.Letters("splunk", "c", 5, day0.Add(2*time.Minute))
	mixed[2].Attributes["replays"] = "3"
	w.drain(mixed...)
	return w
}

const (
	crashTotal = 30 + 12 + 4 // messages to replay, each once
	crashChunk = 8
)

// finish replays until nothing remains, and requires that every event is replayed, and at most repeated events twice.
func (w *world) finish(repeated int, what string) {
	w.t.Helper()
	w.pass(leaseTime + leaseSkew + time.Second) // the dead replay's lease
	var a result
	for range 10 {
		if a = w.replay(`{"limit":7}`); a.Remaining == 0 {
			break
		}
	}
	if a.Remaining != 0 || a.Skipped != 1 {
		w.t.Errorf("%s: the last answer is %+v", what, a)
	}
	more := 0
	bodies := w.bodies()
	for body, n := range bodies {
		if more += n - 1; n > 2 {
			w.t.Errorf("%s: %s was replayed %d times", what, body, n)
		}
	}
	if len(bodies) != crashTotal || more > repeated {
		w.t.Errorf("%s: %d events replayed, want %d; %d of them twice, want at most %d", what, len(bodies), crashTotal, more,
			repeated)
	}
	if c := w.waiting(); c.Pending["splunk"] != 1 || c.Pending["elastic"] != 0 {
		w.t.Errorf("%s: pending %+v", what, c)
	}
	w.wantKeys("pending/", 1)
	w.wantKeys(deadletter.LockName, 0)
	for body := range bodies {
		if !strings.Contains(w.below("replayed/"), body) {
			w.t.Errorf("%s: %s is not in replayed/", what, body)
		}
	}
}

// TestReplayDiesAtEveryStep: a replay that dies before or after any of its requests loses nothing, and repeats at most
// the chunk that it was sending.
func TestReplayDiesAtEveryStep(t *testing.T) {
	for _, body := range []string{"", `{"limit":7}`} {
		for at, more := 1, true; more; at++ {
			w := crashWorld(t)
			d := &death{at: at}
			w.s3.Hook, w.sqs.Hook = d.hook, d.hook
			w.ask(t.Context(), "POST", Path, body, nil)
			w.s3.Hook, w.sqs.Hook = nil, nil
			if more = d.dead; more {
				w.finish(crashChunk, fmt.Sprintf("%q, dead at step %d", body, at))
			} else if at < 15 {
				t.Errorf("%q: only %d steps", body, at)
			}
		}
	}
}

// TestReplayFailsAtEveryStep: one request fails, with or without effect, and the replay lives on.
func TestReplayFailsAtEveryStep(t *testing.T) {
	for at, more := 1, true; more; at++ {
		w := crashWorld(t)
		var mu sync.Mutex
		step, what := 0, ""
		hook := func(op, name string, after bool) error {
			mu.Lock()
			defer mu.Unlock()
			if step++; step == at {
				what = fmt.Sprintf("%s of %s fails, after %v", op, name, after)
				return fakeaws.Error("InternalError")
			}
			return nil
		}
		w.s3.Hook, w.sqs.Hook = hook, hook
		w.ask(t.Context(), "POST", Path, "", nil)
		w.s3.Hook, w.sqs.Hook = nil, nil
		repeated := 0
		if strings.HasPrefix(what, "SendMessageBatch") && strings.HasSuffix(what, "true") {
			repeated = crashChunk // nobody can know whether it took effect
		} else if strings.HasPrefix(what, "PutObject of dead/progress") {
			repeated = crashChunk
		}
		if more = what != ""; more {
			w.finish(repeated, what)
		}
	}
}

// TestDrainDiesAtEveryStep: SQS delivers the batch again, perhaps with others. After a replay, every event exists once.
func TestDrainDiesAtEveryStep(t *testing.T) {
	for at, more := 1, true; more; at++ {
		w := newWorld(t)
		all := append(dlq.Letters("splunk", "a", 5, day0), dlq.Letters("elastic", "b", 5, day0)...)
		d := &death{at: at}
		w.s3.Hook = d.hook
		failed := w.drain(all[:8]...)
		w.s3.Hook = nil
		if more = d.dead; !more {
			break
		}
		if len(failed) == 0 {
			t.Errorf("step %d: nothing was given back", at)
		}
		if failed := w.drain(all[2:]...); failed != nil {
			t.Errorf("gave back %v", failed)
		}
		if failed := w.drain(all[:4]...); failed != nil {
			t.Errorf("gave back %v", failed)
		}
		if w.replay(""); len(w.bodies()) != 10 || w.count() != 10 {
			t.Errorf("step %d: %d messages, %d events", at, w.count(), len(w.bodies()))
		}
	}
}

// TestLargeObjectFailsAtEveryMove: an object that is read in two pieces loses no line, and none is replayed twice, if
// one request that writes or deletes an object fails, with or without effect.
func TestLargeObjectFailsAtEveryMove(t *testing.T) {
	const events, selected = 18, 9 // of a mebibyte each
	var body []byte
	for i := range events {
		r := deadletter.Record{Time: day0, Connector: "splunk", Error: "even", Attempts: 5, MessageID: fmt.Sprint("m", i),
			Body: fmt.Appendf(nil, `{"time":1,"n":%d,"x":%q}`, i, strings.Repeat("x", 1<<20-100))}
		if i%2 == 1 {
			r.Error = "odd"
		}
		body = r.AppendLine(body)
	}
	if len(body) <= deadletter.PieceBytes {
		t.Fatal(len(body))
	}
	for at, more := 1, true; more; at++ {
		w := newWorld(t)
		w.s3.Put(pendingKey("2026-03-13", "large.jsonl"), body)
		step := 0
		w.s3.Hook = func(op, key string, _ bool) error {
			if op == "GetObject" || !strings.Contains(key, "large") {
				return nil
			}
			if step++; step == at {
				return fakeaws.Error("InternalError")
			}
			return nil
		}
		w.ask(t.Context(), "POST", Path, `{"reason":"even"}`, nil)
		w.s3.Hook = nil
		more = step >= at
		w.pass(leaseTime + leaseSkew + time.Second)
		w.replay(`{"reason":"even"}`)
		if n := w.bodies(); len(n) != selected || w.count() != selected {
			t.Fatalf("failed at step %d: %d messages, %d events, want %d", at, w.count(), len(n), selected)
		}
		left := w.below("pending/")
		for i := range events {
			if strings.Contains(left, fmt.Sprintf(`"n":%d,`, i)) != (i%2 == 1) {
				t.Errorf("failed at step %d: event %d is in the wrong folder", at, i)
			}
		}
	}
}
