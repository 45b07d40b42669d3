package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

var errDead = errors.New("the process is dead")

// fault makes a step fail. Each request is two steps: before its effect, and after it, when its response is lost.
type fault struct {
	at   int  // the step, counted from 1
	dead bool // the process dies: all later steps fail, too
	mu   sync.Mutex
	step int
	what string // the step that has failed, "" if there was none
}

func (f *fault) hook(op, name string, after bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.step++; f.step == f.at {
		f.what = fmt.Sprintf("%s of %s after its effect: %v", op, name, after)
	}
	switch {
	case f.dead && f.step >= f.at:
		return errDead
	case f.step == f.at:
		return fakeaws.Error("InternalError")
	}
	return nil
}

// unsure reports whether nobody can know which events have been replayed.
func (f *fault) unsure() bool {
	return f.dead || strings.HasPrefix(f.what, "SendMessageBatch") && strings.HasSuffix(f.what, "true") ||
		strings.HasPrefix(f.what, "PutObject of dead/progress")
}

// atEveryStep calls scene with a fault at the first step, at the second, and so on, until scene has no such step.
func atEveryStep(t *testing.T, dead bool, scene func(f *fault)) {
	t.Helper()
	for at := 1; ; at++ {
		f := &fault{at: at, dead: dead}
		if scene(f); f.what == "" {
			if at < 4 {
				t.Errorf("only %d steps", at)
			}
			return
		}
	}
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

// repeatedPut is an S3 whose response to the n-th PUT is lost, so that the SDK makes the request a second time.
type repeatedPut struct {
	deadletter.Store
	n    *atomic.Int32
	what string // the key, "" while there was none
}

func (r *repeatedPut) PutObject(ctx context.Context, in *s3.PutObjectInput,
	o ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if r.n.Add(-1) != 0 {
		return r.Store.PutObject(ctx, in, o...)
	}
	r.what = *in.Key
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	in.Body = bytes.NewReader(body)
	if out, err := r.Store.PutObject(ctx, in, o...); err != nil {
		return out, err
	}
	in.Body = bytes.NewReader(body)
	return r.Store.PutObject(ctx, in, o...)
}

// TestLostResponseToAWrite: a write that the SDK repeats because its response was lost has succeeded.
func TestLostResponseToAWrite(t *testing.T) {
	for n := int32(1); ; n++ {
		w := crashWorld(t)
		r := w.replayer()
		store := &repeatedPut{Store: w.s3, n: new(atomic.Int32)}
		store.n.Store(n)
		r.bucket.Store = store
		out, err := r.Handle(t.Context(), []byte(`{"rawPath":"`+Path+`","requestContext":{"http":{"method":"POST"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if store.what == "" {
			if n < 10 {
				t.Errorf("only %d writes", n)
			}
			return
		}
		if !strings.Contains(string(out), fmt.Sprintf(`\"replayed\":%d,\"skipped\":1`, crashTotal)) ||
			strings.Count(string(out), ".jsonl") != 1 || strings.Contains(string(out), "could not") {
			t.Errorf("%s: %s", store.what, out)
		}
		w.finish(0, store.what)
	}
}

// TestReplayFailsAtEveryStep: a replay that dies, or one request of which fails, loses nothing, and repeats at most the
// chunk that it was sending.
func TestReplayFailsAtEveryStep(t *testing.T) {
	for _, request := range []string{"", `{"limit":7}`} {
		for _, dead := range []bool{true, false} {
			atEveryStep(t, dead, func(f *fault) {
				w := crashWorld(t)
				w.s3.Hook, w.sqs.Hook = f.hook, f.hook
				w.ask("POST", Path, request, nil)
				w.s3.Hook, w.sqs.Hook = nil, nil
				repeated := 0
				if f.unsure() {
					repeated = crashChunk
				}
				w.finish(repeated, fmt.Sprintf("%q, %s, dead: %v", request, f.what, dead))
			})
		}
	}
}

// TestDrainDiesAtEveryStep: SQS delivers the batch again, perhaps with others. After a replay, every event exists once.
func TestDrainDiesAtEveryStep(t *testing.T) {
	atEveryStep(t, true, func(f *fault) {
		w := newWorld(t)
		all := append(dlq.Letters("splunk", "a", 5, day0), dlq.Letters("elastic", "b", 5, day0)...)
		w.s3.Hook = f.hook
		failed := w.drain(all[:8]...)
		w.s3.Hook = nil
		if (len(failed) == 0) != (f.what == "") {
			t.Errorf("%s: gave back %v", f.what, failed)
		}
		for _, again := range [][]dlq.Letter{all[2:], all[:4]} {
			if failed := w.drain(again...); failed != nil {
				t.Errorf("gave back %v", failed)
			}
		}
		if w.replay(""); len(w.bodies()) != 10 || w.count() != 10 {
			t.Errorf("%s: %d messages, %d events", f.what, w.count(), len(w.bodies()))
		}
	})
}

// TestLargeObjectFailsAtEveryStep: an object that is read in two pieces loses no line, and no other line is replayed.
func TestLargeObjectFailsAtEveryStep(t *testing.T) {
	busy, late := lines("splunk", "busy", 9, day0), lines("splunk", "late", 9, day0)
	late = bytes.ReplaceAll(late, []byte("status 503: busy"), nil)
	body := slices.Concat(busy[:len(busy)/3], late, busy[len(busy)/3:])
	for _, dead := range []bool{true, false} {
		atEveryStep(t, dead, func(f *fault) {
			w := newWorld(t)
			w.piece = int64(len(body)) - 10
			w.s3.Put(pendingKey("2026-03-13", "large.jsonl"), body)
			w.s3.Hook, w.sqs.Hook = f.hook, f.hook
			w.ask("POST", Path, `{"reason":"busy"}`, nil)
			w.s3.Hook, w.sqs.Hook = nil, nil
			w.pass(leaseMost + time.Second)
			w.replay(`{"reason":"busy"}`)
			for body, n := range w.bodies() {
				if n > 2 || n == 2 && !f.unsure() || strings.Contains(body, "late") {
					t.Errorf("%s: %s was replayed %d times", f.what, body, n)
				}
			}
			left := w.below("pending/")
			if n := len(w.bodies()); n != 9 || strings.Contains(left, "busy") || strings.Count(left, "\n") != 9 {
				t.Errorf("%s: %d events replayed; these are left: %s", f.what, n, left)
			}
		})
	}
}

// TestDiscardDiesAtEveryStep: a repeated call discards the rest; no line is lost.
func TestDiscardDiesAtEveryStep(t *testing.T) {
	atEveryStep(t, true, func(f *fault) {
		w := newWorld(t)
		w.drain(dlq.Letters("splunk", "a", 4, day0)...)
		w.drain(dlq.Letters("splunk", "b", 2, day0.Add(time.Hour))...)
		w.s3.Hook = f.hook
		const request = `{"discard":true,"message_ids":["a-000","a-003","b-000","b-001"]}`
		w.ask("POST", Path, request, nil)
		w.s3.Hook = nil
		w.pass(time.Minute)
		w.replay(request)
		gone, left := w.below("discarded/"), w.below("pending/")
		for _, id := range []string{"a-000", "a-001", "a-002", "a-003", "b-000", "b-001"} {
			wanted := strings.Contains(request, id)
			discarded, pending := strings.Contains(gone, id), strings.Contains(left, id)
			if discarded != wanted || pending == wanted {
				t.Errorf("%s: %s: discarded %v, pending %v", f.what, id, discarded, pending)
			}
		}
	})
}
