package e2e

import (
	"testing"
	"time"
)

// TestRotation revokes every SIEM's credential between two batches. The next attempt is refused, reads the new
// credential from Secrets Manager, and delivers. No message is received twice, and none becomes a dead letter.
func TestRotation(t *testing.T) {
	w.emptyBucket(t)
	w.feed(t, w.order...)
	t.Run("each", func(t *testing.T) {
		for _, a := range w.order {
			t.Run(a.Name, func(t *testing.T) {
				t.Parallel() // most of the time is waiting
				rotate(t, a)
			})
		}
	})
	w.settle(t, w.order...)
	if letters := w.pending(t); len(letters) > 0 {
		t.Errorf("%d dead letters, the first is %s", len(letters), letters[0].line)
	}
	for _, a := range w.order {
		if v := a.Stats().Violations; len(v) > 0 {
			t.Errorf("%s: violations %q", a.Name, v)
		}
	}
}

func rotate(t *testing.T, a *actor) {
	queue := w.cloud.Queue(a.Queue())
	sent := events(5)
	w.enqueue(t, queue, sent...)
	waitFor(t, a, sent)
	refused := a.Stats().AuthFailures
	a.Rotate()
	if err := w.publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	mark := time.Now()
	sent = events(15)
	ids := w.enqueue(t, queue, sent...)
	waitFor(t, a, sent)
	if a.Stats().AuthFailures == refused {
		t.Error("the old credential was not refused: the rotation was not tested")
	}
	attempts := attemptsSince(mark, a)
	for _, id := range ids {
		if len(attempts[id]) != 1 || attempts[id][0].receives != "1" {
			t.Errorf("a message after the rotation came %d times, with the receive counts %v", len(attempts[id]),
				receives(attempts[id]))
		}
	}
}

// waitFor waits until all events are in the SIEM and the queue is empty.
func waitFor(t *testing.T, a *actor, events []string) {
	t.Helper()
	eventually(t, "the queue to empty", func() bool { return w.depth(t, w.cloud.Queue(a.Queue())) == 0 })
	arrived(t, a, events)
}

func receives(attempts []attempt) []string {
	var out []string
	for _, a := range attempts {
		out = append(out, a.receives)
	}
	return out
}
