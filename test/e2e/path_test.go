package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// TestWholePath sends events to Splunk and, where Splunk does not accept them, to a dead letter in S3, and replays
// them.
func TestWholePath(t *testing.T) {
	splunk := w.siems["splunk"]
	w.feed(t, splunk)
	w.emptyBucket(t)
	queue := w.cloud.Queue(splunk.Queue())

	t.Run("arrives", func(t *testing.T) {
		sent := events(35)
		w.enqueue(t, queue, sent...)
		w.settle(t, splunk)
		arrivedOnce(t, splunk, sent)
	})
	exhausted := events(3)
	var exhaustedIDs []string
	t.Run("exhausted", func(t *testing.T) { exhaustedIDs = backsOff(t, splunk, exhausted) })
	t.Run("Retry-After", func(t *testing.T) { waitsAsAsked(t, splunk) })
	poisoned := events(1)
	t.Run("rejects", func(t *testing.T) {
		healthy := events(6)
		splunk.poisoned(t, idOf(poisoned[0]))
		ids := w.enqueue(t, queue, append(healthy[:3:3], append(poisoned, healthy[3:]...)...)...)
		w.settle(t, splunk)
		arrivedOnce(t, splunk, healthy)
		hasLetter(t, w.pending(t), ids[3], poisoned[0], 1, regexp.MustCompile(`^status 400, code 6: .*Invalid data format`))
		for i, id := range exhaustedIDs {
			hasLetter(t, w.pending(t), id, exhausted[i], maxAttempts,
				regexp.MustCompile(`^given up after 4 attempts, .*status 503`))
		}
	})
	t.Run("replays", func(t *testing.T) { replays(t, splunk, append(exhausted, poisoned...)) })
	if violations := splunk.Stats().Violations; len(violations) > 0 {
		t.Errorf("violations: %q", violations)
	}
}

// taken returns the events that a SIEM accepted, by id.
func taken(a *actor) map[string][]siem.Accepted {
	out := map[string][]siem.Accepted{}
	for _, one := range a.Accepted() {
		out[one.ID] = append(out[one.ID], one)
	}
	return out
}

// arrivedOnce checks that each event is in the SIEM once, byte for byte.
func arrivedOnce(t *testing.T, a *actor, events []string) {
	t.Helper()
	have := taken(a)
	for _, event := range events {
		got := have[idOf(event)]
		if len(got) != 1 {
			t.Errorf("event %s is %d times in %s", idOf(event), len(got), a.Name)
			continue
		}
		if string(got[0].Event) != compact(t, event) {
			t.Errorf("event %s is %q in %s, want %q", idOf(event), got[0].Event, a.Name, event)
		}
	}
}

// backsOff makes Splunk unavailable for all attempts, and checks their times. It returns the message ids.
func backsOff(t *testing.T, splunk *actor, sent []string) []string {
	mark := time.Now()
	splunk.Inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: "down"})
	defer splunk.Inject(siem.Fault{Kind: siem.Heal, Name: "down"})
	ids := w.enqueue(t, w.cloud.Queue(splunk.Queue()), sent...)
	w.settle(t, splunk)

	attempts := attemptsSince(mark, splunk)
	waits := waitsSince(t, mark, splunk)
	for _, id := range ids {
		var begun []time.Time
		for _, a := range attempts[id] {
			begun = append(begun, a.began)
		}
		if len(begun) != maxAttempts {
			t.Errorf("%d attempts, want %d", len(begun), maxAttempts)
			continue
		}
		if got, want := waits[id], []int{1, 2, 4}; !slices.Equal(got, want) {
			t.Errorf("visibility timeouts of %v s, want %v", got, want)
		}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			// SQS counts in whole seconds from when it was told, which is after the attempt began.
			if got := begun[i+1].Sub(begun[i]); got < want-100*time.Millisecond {
				t.Errorf("attempt %d came after %v, want at least %v", i+2, got, want)
			}
		}
	}
	if len(taken(splunk)[idOf(sent[0])]) > 0 {
		t.Error("a SIEM that was down accepted an event")
	}
	return ids
}

// waitsAsAsked makes Splunk request a longer wait than the back-off.
func waitsAsAsked(t *testing.T, splunk *actor) {
	mark := time.Now()
	splunk.Inject(siem.RetryAfter(http.StatusTooManyRequests, "3", 1))
	sent := events(2)
	ids := w.enqueue(t, w.cloud.Queue(splunk.Queue()), sent...)
	w.settle(t, splunk)
	arrivedOnce(t, splunk, sent)
	waits := waitsSince(t, mark, splunk)
	for _, id := range ids {
		if got, want := waits[id], []int{3}; !slices.Equal(got, want) {
			t.Errorf("visibility timeouts of %v s, want %v", got, want)
		}
	}
}

// attempt is a message in an invocation.
type attempt struct {
	receives string
	receipt  string
	began    time.Time // when it was handed to the function
}

// attemptsSince returns the messages with which a connector was invoked, by message id.
func attemptsSince(mark time.Time, a *actor) map[string][]attempt {
	out := map[string][]attempt{}
	for _, e := range named(w.gate.since(mark, a.Name), "next") {
		var p struct {
			Records []struct {
				MessageID     string `json:"messageId"`
				ReceiptHandle string `json:"receiptHandle"`
				Attributes    struct{ ApproximateReceiveCount string }
			}
		}
		if json.Unmarshal(e.answer, &p) != nil {
			continue // not an SQS event
		}
		for _, r := range p.Records {
			out[r.MessageID] = append(out[r.MessageID], attempt{r.Attributes.ApproximateReceiveCount, r.ReceiptHandle, e.ended})
		}
	}
	return out
}

// waitsSince returns the visibility timeouts that a connector set, by message id, in order.
func waitsSince(t *testing.T, mark time.Time, a *actor) map[string][]int {
	t.Helper()
	byReceipt := map[string]int{}
	for _, e := range named(w.gate.since(mark, a.Name), "ChangeMessageVisibilityBatch") {
		var in struct {
			Entries []struct {
				ReceiptHandle     string
				VisibilityTimeout int
			}
		}
		if err := json.Unmarshal(e.request, &in); err != nil {
			t.Fatal(err)
		}
		for _, entry := range in.Entries {
			byReceipt[entry.ReceiptHandle] = entry.VisibilityTimeout
		}
	}
	out := map[string][]int{}
	for id, attempts := range attemptsSince(mark, a) {
		for _, one := range attempts {
			if wait, ok := byReceipt[one.receipt]; ok {
				out[id] = append(out[id], wait)
			}
		}
	}
	return out
}

var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

// hasLetter checks that a message has one dead letter, in the documented format.
func hasLetter(t *testing.T, letters []letter, messageID, event string, attempts int, reason *regexp.Regexp) {
	t.Helper()
	var found []letter
	for _, l := range letters {
		if l.MessageID == messageID {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		t.Errorf("message %s has %d dead letters, want 1", messageID, len(found))
		return
	}
	l := found[0]
	want := fmt.Sprintf(`{"timestamp":%s,"connector":"splunk","error":%s,"event":%s,"attempts":%d,"message_id":%s,`+
		`"replays":0}`,
		encode(l.Timestamp), encode(l.Error), compact(t, event), attempts, encode(messageID))
	if l.line != want {
		t.Errorf("the line is %q, want %q", l.line, want)
	}
	if !timestamp.MatchString(l.Timestamp) || !reason.MatchString(l.Error) {
		t.Errorf("timestamp %q, error %q, want %s", l.Timestamp, l.Error, reason)
	}
	folder := "dead-letters/pending/connector=splunk/date=" + l.Timestamp[:10] + "/"
	if !strings.HasPrefix(l.key, folder) || !strings.HasSuffix(l.key, ".jsonl") {
		t.Errorf("the key is %q, want one in %s", l.key, folder)
	}
}

// replays replays the dead letters once.
func replays(t *testing.T, splunk *actor, events []string) {
	pending := map[string]int{"splunk": len(events)}
	if got := w.counts(t); got["splunk"] != len(events) {
		t.Errorf("pending %v, want %v", got, pending)
	}
	if got := w.replay(t, `{"dry_run":true}`); got.Replayed != len(events) || !got.DryRun {
		t.Errorf("a dry run answers %+v", got)
	}
	if got := w.depth(t, w.cloud.Queue(splunk.Queue())); got != 0 || len(w.pending(t)) != len(events) {
		t.Error("a dry run has changed something")
	}
	got := w.replay(t, `{"connector":"splunk"}`)
	if got.Replayed != len(events) || got.Skipped != 0 || got.Remaining != 0 || len(got.Errors) != 0 ||
		!maps.Equal(got.ByConnector, pending) {
		t.Errorf("the replay answers %+v", got)
	}
	w.settle(t, splunk)
	arrivedOnce(t, splunk, events)
	if got := w.counts(t); got["splunk"] != 0 {
		t.Errorf("pending after the replay: %v", got)
	}
	if got := w.replay(t, ""); got.Replayed != 0 || got.Remaining != 0 || len(got.Errors) != 0 {
		t.Errorf("a second replay answers %+v", got)
	}
	w.settle(t, splunk)
	arrivedOnce(t, splunk, events)
	if moved := w.objects(t, "/replayed/connector=splunk/"); len(moved) == 0 || len(w.objects(t, "/pending/")) > 0 {
		t.Errorf("%d objects moved, %v pending", len(moved), w.objects(t, "/pending/"))
	}
	w.emptyBucket(t)
}
