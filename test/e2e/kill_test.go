package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The tests of this file kill a function's process at each of its network requests: before the other side receives it,
// while it receives it, and after it responded. A first run without a kill records the requests.

// point is a moment at which a process is killed.
type point struct {
	step
	when moment
}

func (p point) String() string { return fmt.Sprintf("%s %s %d", p.when, p.name, p.n+1) }

// points returns the moments of the first invocation of a run with a new process of the function with that id. A
// response of the process before it may end after the run began.
func (w *world) points(id, function, siemDoor string, run func()) []point {
	w.cloud.Kill(id)
	began := time.Now()
	run()
	count := map[step]int{}
	var all []point
	for _, e := range w.gate.since(began, "") {
		if e.began.Before(began) || e.door != function && e.door != siemDoor || e.name == "next" && e.ended.IsZero() {
			continue // a process without an invocation
		}
		s := step{door: e.door, name: e.name}
		s.n = count[s]
		count[step{door: e.door, name: e.name}]++
		if e.name != "next" {
			all = append(all, point{s, before})
		}
		if e.door == siemDoor {
			all = append(all, point{s, during})
		}
		all = append(all, point{s, after})
		if e.name == "response" {
			break
		}
	}
	return all
}

// names returns the names of the steps, each once.
func names(points []point) []string {
	var out []string
	for _, p := range points {
		if !slices.Contains(out, p.name) {
			out = append(out, p.name)
		}
	}
	return out
}

// wantSteps checks that a run made the steps that the test is about.
func wantSteps(t *testing.T, points []point, want ...string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(names(points), name) {
			t.Fatalf("the run made the steps %q, and not %q", names(points), name)
		}
	}
}

// killAt kills a function's processes at p, and ends the visibility timeouts of the messages that it was processing. It
// calls repair in between. If p is nil, it counts the steps.
func (w *world) killAt(id, function, queue string, p *point, repair func()) (killed func() bool) {
	if p == nil {
		w.gate.watch(step{}, "", nil)
		return func() bool { return true }
	}
	return w.gate.watch(p.step, p.when, func() {
		w.cloud.Kill(id)
		repair()
		if p.name != "response" || p.when == before {
			w.bringBack(function, queue)
		}
	})
}

// bringBack ends the visibility timeouts of the messages that a function received last.
func (w *world) bringBack(function, queue string) {
	var last []byte
	for _, e := range named(w.gate.since(time.Time{}, function), "next") {
		if len(e.answer) > 0 {
			last = e.answer
		}
	}
	var p struct {
		Records []struct{ ReceiptHandle string }
	}
	if json.Unmarshal(last, &p) != nil || len(p.Records) == 0 {
		return
	}
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &queue}
	for i, r := range p.Records {
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(r.ReceiptHandle), VisibilityTimeout: 0,
		})
	}
	// One that is in the queue again already is refused; it needs nothing.
	_, _ = w.sqs.ChangeMessageVisibilityBatch(context.Background(), in)
}

// TestKilledConnector checks that every event is in the SIEM or in a dead letter, and at most twice.
func TestKilledConnector(t *testing.T) {
	for _, name := range []string{"splunk", "sentinel"} {
		a := w.siems[name]
		w.feed(t, a)
		w.emptyBucket(t)
		all := w.points(a.Function(), a.Name, "siem:"+a.Name, func() { killRun(t, a, nil) })
		wantSteps(t, all, "next", "GetSecretValue", "POST", "SendMessageBatch", "ChangeMessageVisibilityBatch", "response")
		for _, p := range all {
			if a.Name == "sentinel" && (p.name != "POST" || p.n > 1) {
				continue // only the token, and the first delivery after it, differ from other connectors
			}
			t.Run(a.Name+" "+p.String(), func(t *testing.T) { killRun(t, a, &p) })
		}
	}
}

// killRun delivers six events with a new process. One is refused for its content, and a later request gets a 503, so
// that events are delivered, rejected and retried. With a point, the process is killed there.
func killRun(t *testing.T, a *actor, p *point) {
	t.Helper()
	w.cloud.Kill(a.Function())
	sent := events(6)
	refused := refusedAt(a)
	a.poisoned(t, idOf(sent[refused]))
	requests, last := 0, (*http.Request)(nil) // the simulator may call it more than once for a request
	a.Inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Times: 1, Name: "once",
		On: func(r *http.Request) bool {
			if r.Method != http.MethodPost || strings.HasSuffix(r.URL.Path, "/token") {
				return false
			}
			if r != last {
				requests, last = requests+1, r
			}
			return requests == downAt(a)
		}})
	repair := func() { a.Inject(siem.Fault{Kind: siem.Heal, Name: "once"}) }
	defer repair()
	killed := w.killAt(a.Function(), a.Name, w.cloud.Queue(a.Queue()), p, repair)
	ids := w.enqueue(t, w.cloud.Queue(a.Queue()), sent...)
	w.settle(t, a)
	eventually(t, "the process to be killed: the run came by no such point", killed)
	w.settle(t, a)
	accountFor(t, a, sent, ids, refused, p)
}

// refusedAt and downAt are the number of the refused event, and of the request after it that gets the 503, so that some
// events are accepted before it and some remain. Splunk accepts the events before the refused one; for other SIEMs the
// batch is bisected: 6, 3, 3, and of the first half 1 and 2.
func refusedAt(a *actor) int {
	if a.Name == "splunk" {
		return 2
	}
	return 0
}

func downAt(a *actor) int {
	if a.Name == "splunk" {
		return 2
	}
	return 5
}

// accountFor checks where a run's events are.
func accountFor(t *testing.T, a *actor, sent, messageIDs []string, refused int, p *point) {
	t.Helper()
	most := 2 // a killed process may have delivered before
	if p == nil {
		most = 1
	}
	have := taken(a)
	letters := map[string][]letter{}
	for _, l := range w.pending(t) {
		letters[l.MessageID] = append(letters[l.MessageID], l)
	}
	for i, event := range sent {
		inSIEM, dead := have[idOf(event)], letters[messageIDs[i]]
		if i == refused {
			if len(inSIEM) != 0 || len(dead) < 1 || len(dead) > most {
				t.Errorf("the refused event is %d times in %s and has %d dead letters", len(inSIEM), a.Name, len(dead))
			}
			for _, l := range dead {
				if string(l.Body) != compact(t, event) || !strings.HasPrefix(l.Error, "status 400") {
					t.Errorf("the dead letter is %s", l.Line)
				}
			}
			continue
		}
		if len(inSIEM) < 1 || len(inSIEM) > most || len(dead) > 0 {
			t.Errorf("event %d is %d times in %s and has %d dead letters", i, len(inSIEM), a.Name, len(dead))
		}
		for _, one := range inSIEM {
			if string(one.Event) != compact(t, event) {
				t.Errorf("event %d arrived as %s", i, one.Event)
			}
		}
	}
}

// TestKilledDrain checks that every dead letter is in S3, in the one object of its batch.
func TestKilledDrain(t *testing.T) {
	all := w.points("DeadLetterFunction", "deadletter", "", func() { killDrain(t, nil) })
	wantSteps(t, all, "next", "PutObject pending", "response")
	for _, p := range all {
		t.Run(p.String(), func(t *testing.T) { killDrain(t, &p) })
	}
}

// killDrain drains dead letters of two connectors with a new process.
func killDrain(t *testing.T, p *point) {
	t.Helper()
	w.emptyBucket(t)
	w.cloud.Kill("DeadLetterFunction")
	sent := events(6)
	var entries []types.SendMessageBatchRequestEntry
	for i, event := range sent {
		connector := []string{"splunk", "elastic"}[i%2]
		entries = append(entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), MessageBody: &event, MessageAttributes: attributes(map[string]string{
				"connector": connector, "error": "status 400", "attempts": "1", "message_id": "original-" + strconv.Itoa(i),
				"failed_at": "2026-03-13T00:00:00.000Z",
			}),
		})
	}
	killed := w.killAt("DeadLetterFunction", "deadletter", w.deadLetterQueue(), p, func() {})
	must(w.sqs.SendMessageBatch(t.Context(), &sqs.SendMessageBatchInput{QueueUrl: aws.String(w.deadLetterQueue()),
		Entries: entries}))(t)
	w.settle(t)
	eventually(t, "the process to be killed: the run came by no such point", killed)
	w.settle(t)
	var got []string
	for _, l := range w.pending(t) {
		got = append(got, l.MessageID+" "+l.Connector+" "+string(l.Body))
	}
	var want []string
	for i, event := range sent {
		want = append(want, fmt.Sprintf("original-%d %s %s", i, []string{"splunk", "elastic"}[i%2], compact(t, event)))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("in the bucket are %d dead letters, want each of the %d once\n%.2000q", len(got), len(want), got)
	}
}

func attributes(values map[string]string) map[string]types.MessageAttributeValue {
	out := map[string]types.MessageAttributeValue{}
	for name, value := range values {
		out[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
	}
	return out
}

// TestKilledReplay checks that the next call completes the replay, and that no event is replayed more than twice.
func TestKilledReplay(t *testing.T) {
	all := w.points("ReplayFunction", "replay", "", func() { killReplay(t, nil) })
	wantSteps(t, all, "next", "PutObject replay.lock", "ListObjects pending", "GetObject pending", "SendMessageBatch",
		"PutObject progress", "PutObject replayed", "DeleteObject pending", "PutObject pending",
		"DeleteObject replay.lock", "response")
	for _, p := range all {
		t.Run(p.String(), func(t *testing.T) { killReplay(t, &p) })
	}
}

// killReplay replays three objects with a new process. One line of one object cannot be replayed.
func killReplay(t *testing.T, p *point) {
	t.Helper()
	w.emptyBucket(t)
	w.cloud.Kill("ReplayFunction")
	splunk, elastic := w.siems["splunk"], w.siems["elastic"]
	sent := events(6)
	drained(t, splunk, sent[0], sent[1])
	drained(t, elastic, sent[2], sent[3])
	drained(t, splunk, sent[4], "not JSON", sent[5])

	killed := w.killAt("ReplayFunction", "replay", "", p, func() {}) // its invocation has no messages
	var first replayed
	status := w.ask(t, http.MethodPost, "", &first)
	eventually(t, "the process to be killed: the run came by no such point", killed)
	if p == nil && (status != http.StatusOK || first.Replayed != 6 || first.Skipped != 1 || len(first.Errors) != 1) {
		t.Errorf("left in peace, the replay answers %d %+v", status, first)
	}
	w.expireLease(t)
	second, third := w.replay(t, ""), w.replay(t, "")
	if second.Remaining != 0 || second.Skipped != 1 || third.Replayed != 0 || third.Skipped != 1 {
		t.Errorf("the next calls answer %+v and %+v", second, third)
	}
	times := map[string]int{}
	for _, a := range []*actor{splunk, elastic} {
		for _, m := range w.receive(t, w.cloud.Queue(a.Queue())) {
			times[*m.Body]++
			if got := aws.ToString(m.MessageAttributes["replays"].StringValue); got != "1" {
				t.Errorf("replays is %q, want 1", got)
			}
		}
	}
	most := 2
	if p == nil {
		most = 1
	}
	for i, event := range sent {
		if n := times[compact(t, event)]; n < 1 || n > most {
			t.Errorf("event %d was replayed %d times", i, n)
		}
	}
	if left := w.objects(t, "/pending/"); len(left) != 1 || len(w.objects(t, "/replayed/")) < 3 ||
		len(w.objects(t, "replay.lock")) > 0 {
		t.Errorf("pending are %v, in all there are %v", left, w.objects(t, ""))
	}
	if counts := w.counts(t); counts["splunk"] != 1 || counts["elastic"] != 0 {
		t.Errorf("counted as pending: %v", counts)
	}
}

var drains int

// drained writes dead letters to S3 in one object, as the drain does.
func drained(t *testing.T, a *actor, bodies ...string) {
	t.Helper()
	drains++
	messages := make([]message, len(bodies))
	for i, body := range bodies {
		id := fmt.Sprintf("original-%d-%d", drains, i)
		messages[i] = message{body: body, id: "dead-" + id, attributes: map[string]string{
			"connector": a.Name, "error": "status 400", "attempts": "1", "message_id": id,
			"failed_at": "2026-03-13T00:00:00.000Z",
		}}
	}
	if left := failures(t, w.deployed(t, "DeadLetterFunction"), payload(a, messages...)); len(left) > 0 {
		t.Fatalf("the drain left %v", left)
	}
}

// expireLease makes the lease of a killed replay expire.
func (w *world) expireLease(t *testing.T) {
	t.Helper()
	for _, key := range w.objects(t, "/replay.lock") {
		var note map[string]any
		if err := json.Unmarshal([]byte(w.object(t, key)), &note); err != nil || note["expires"] == nil {
			t.Fatalf("the lease is %q: %v", w.object(t, key), err)
		}
		var refused replayed
		if status := w.ask(t, http.MethodPost, "", &refused); status != http.StatusConflict {
			t.Errorf("under the lease of the killed replay, another one is answered %d, want 409", status)
		}
		note["expires"] = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
		must(w.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(w.bucket()), Key: &key,
			Body: strings.NewReader(encode(note))}))(t)
	}
}
