package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

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
	date := l.Time.Format("2006-01-02")
	want := fmt.Sprintf(`{"timestamp":"%sT%sZ","connector":"splunk","error":%s,"event":%s,"attempts":%d,"message_id":%s,`+
		`"replays":0}`, date, l.Time.Format("15:04:05.000"), encode(l.Error), compact(t, event), attempts,
		encode(messageID))
	if string(l.Line) != want {
		t.Errorf("the line is %q, want %q", l.Line, want)
	}
	if !reason.MatchString(l.Error) {
		t.Errorf("error %q, want %s", l.Error, reason)
	}
	folder := "dead-letters/pending/connector=splunk/date=" + date + "/"
	if !strings.HasPrefix(l.Key, folder) || !strings.HasSuffix(l.Key, ".jsonl") {
		t.Errorf("the key is %q, want one in %s", l.Key, folder)
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
		t.Errorf("%d dead letters, the first is %s", len(letters), letters[0].Line)
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

// TestReplayOfEveryName checks that an object is replayed and moved, whatever characters its name contains.
func TestReplayOfEveryName(t *testing.T) {
	w.emptyBucket(t)
	splunk := w.siems["splunk"]
	names := []string{"mended+1", "a b", "a%2Bb", "ü", "a&b=c"}
	sent := events(len(names))
	folder := "dead-letters/pending/connector=splunk/date=2026-03-13/"
	for i, name := range names {
		line := `{"timestamp":"2026-03-13T00:00:00Z","connector":"splunk","error":null,"attempts":5.0,"message_id":` +
			encode(name) + `,"event":` + compact(t, sent[i]) + `}`
		key := folder + name + ".jsonl"
		must(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(w.bucket()), Key: &key,
			Body: strings.NewReader(line)}))(t)
	}
	if a := w.replay(t, ""); a.Replayed != len(names) || a.Skipped != 0 || a.Remaining != 0 || len(a.Errors) != 0 {
		t.Errorf("the replay responds %+v", a)
	}
	times := map[string]int{}
	for _, m := range w.receive(t, w.cloud.Queue(splunk.Queue())) {
		times[*m.Body]++
	}
	for _, event := range sent {
		if times[compact(t, event)] != 1 {
			t.Errorf("%s was replayed %d times", event, times[compact(t, event)])
		}
	}
	if left := w.objects(t, "/pending/"); len(left) > 0 {
		t.Errorf("still pending: %q", left)
	}
	moved := strings.Join(w.objects(t, "/replayed/"), "\n")
	for _, name := range names {
		if !strings.Contains(moved, "/"+name+".jsonl") && !strings.Contains(moved, "/"+url.PathEscape(name)+".jsonl") {
			t.Errorf("%q was not moved: %s", name, moved)
		}
	}
	w.emptyBucket(t)
}
