package replay

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

func TestReplayPutsBack(t *testing.T) {
	w := newWorld(t)
	w.drain(append(dlq.Letters("splunk", "a", 25, day0), dlq.Letters("elastic", "b", 3, day0)...)...)
	if c := w.waiting(); c.Pending["splunk"] != 25 || c.Pending["elastic"] != 3 || c.Oldest == nil ||
		*c.Oldest != "2026-03-13T10:00:00.000Z" {
		t.Errorf("pending %+v", c)
	}
	status, _, body := w.ask("POST", Path, "", nil)
	if want := `{"replayed":28,"skipped":0,"by_connector":{"elastic":3,"splunk":25},"remaining":0,"dry_run":false,` +
		`"errors":[]}`; status != 200 || body != want {
		t.Errorf("answer %d %s, want %s", status, body, want)
	}
	for _, m := range w.messages() {
		queue := w.env["SPLUNK_QUEUE_URL"]
		if strings.Contains(m.Body, `"b-`) {
			queue = w.env["ELASTIC_QUEUE_URL"]
		}
		if m.queue != queue || m.Value("replays") != "1" {
			t.Fatalf("message %+v", m)
		}
	}
	w.wantKeys("pending/", 0)
	w.wantKeys("replayed/", 2)
	w.wantKeys("replay.lock", 0)
	w.want("{}", "0 replayed, 0 skipped, 0 remaining")
	if c := w.waiting(); c.Pending["splunk"] != 0 || c.Oldest != nil {
		t.Errorf("pending %+v", c)
	}
	if m := w.out.String(); !strings.Contains(m, `"Connector":"splunk","Replayed":25}`) {
		t.Errorf("metrics %s", m)
	}
	if strings.Contains(w.out.String(), `"uid"`) {
		t.Error("the log holds an event")
	}
}

func TestReplayGoesOnWhereTheLimitWas(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 30, day0)...)
	w.drain(dlq.Letters("splunk", "b", 30, day0.Add(time.Hour))...)
	for _, want := range []struct{ replayed, remaining int }{{25, 35}, {25, 10}, {10, 0}, {0, 0}} {
		w.want(`{"limit":25}`, fmt.Sprintf("%d replayed, 0 skipped, %d remaining", want.replayed, want.remaining))
		w.wantPending(map[string]int{"splunk": want.remaining, "elastic": 0})
	}
	w.wantSent(60, 60)
	w.wantKeys("pending/", 0)
	if n := strings.Count(w.below("replayed/"), "\n"); n != 60 {
		t.Errorf("%d lines in replayed/, want 60", n)
	}
}

func TestReplayDryRunChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 30, day0)...)
	before := w.s3.Keys("")
	a := w.want(`{"dry_run":true,"limit":20}`, "20 replayed, 0 skipped, 10 remaining")
	if !a.DryRun || a.ByConnector["splunk"] != 20 {
		t.Errorf("answer %+v", a)
	}
	if w.count() != 0 || !slices.Equal(before, w.s3.Keys("")) {
		t.Error("something has changed")
	}
}

func TestReplayChoosesByConnectorAndTime(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 10, time.Date(2026, 3, 13, 23, 59, 55, 0, time.UTC))...) // five of the next day
	w.drain(dlq.Letters("elastic", "b", 10, day0)...)
	w.want(`{"connector":"splunk","from":"2026-03-14T00:00:00Z","to":"2026-03-14T00:00:03Z"}`,
		"3 replayed, 0 skipped, 0 remaining")
	for body := range w.bodies() {
		if !strings.Contains(body, "a-005") && !strings.Contains(body, "a-006") && !strings.Contains(body, "a-007") {
			t.Errorf("replayed %s", body)
		}
	}
	w.want(`{"to":"2026-03-13T00:00:00Z"}`, "0 replayed, 0 skipped, 0 remaining")
	w.wantPending(map[string]int{"elastic": 10, "splunk": 7})
	w.want(`{"message_ids":["a-001","b-004","a-005","none"]}`, "2 replayed, 0 skipped, 0 remaining")
	w.want(`{"reason":"never"}`, "0 replayed, 0 skipped, 0 remaining")
	// The rest: an object is moved also when its lines were replayed by several calls, with other filters.
	w.want(`{"from":"2026-03-13T00:00:00Z","reason":"503"}`, "15 replayed, 0 skipped, 0 remaining")
	w.wantKeys("pending/", 0)
}

func TestReplaySkips(t *testing.T) {
	w := newWorld(t)
	bad := dlq.Letters("splunk", "bad", 2, day0)
	bad[0].Body, bad[1].Body = "not json", "[1]"
	often := dlq.Letters("splunk", "often", 1, day0)
	often[0].Attributes["replays"] = "3"
	good := dlq.Letters("splunk", "good", 2, day0)
	w.drain(append(append(bad, often...), good...)...)
	w.drain(dlq.Sent("nobody", "x", day0))
	w.drain(dlq.Letters("sumo", "s", 4, day0)...)
	w.drain(dlq.Letters("qradar", "q", 1, day0)...)
	w.s3.Put(testPrefix+"pending/connector=splunk/date=2026-03-13/by-hand.jsonl", []byte("nonsense\n\n"+
		`{"timestamp":"2026-03-13T00:00:00Z","connector":"elastic","event":{},"message_id":"wrong folder"}`))
	skips := []string{
		"2 skipped (splunk): their body is not a JSON object; the first is pending/connector=splunk/date=2026-03-13/",
		"1 skipped (unknown): their connector is unknown",
		"5 skipped (qradar, sumo): their connector is not deployed",
		"2 skipped (splunk): their line is not a dead letter of its folder's connector; the first is " +
			"pending/connector=splunk/date=2026-03-13/by-hand.jsonl line 1: line: expected one JSON object",
	}
	w.want("", "2 replayed, 11 skipped, 0 remaining", append(skips,
		"1 skipped (splunk): they have been replayed three times")...)
	w.wantPending(map[string]int{"splunk": 5, "sumo": 4, "qradar": 1, "unknown": 1, "elastic": 0})
	w.want(`{"force":true}`, "1 replayed, 10 skipped, 0 remaining", skips...)
	if m := w.messages(); m[len(m)-1].Value("replays") != "4" {
		t.Errorf("forced message %+v", m[len(m)-1])
	}
	w.env["SUMO_QUEUE_URL"] = sumoQueue
	w.want(`{"connector":"sumo"}`, "4 replayed, 0 skipped, 0 remaining")
}

func TestReplayTakesARecordOnce(t *testing.T) {
	w := newWorld(t)
	all := dlq.Letters("splunk", "a", 6, day0)
	w.drain(all[:4]...)
	w.drain(all[2:]...) // two of them again, in another object
	native := dlq.Letter{ID: "a-000", Body: all[0].Body, Sent: day0.Add(-26 * time.Hour),
		MovedFrom: "arn:aws:sqs:x:1:splunk-queue"}
	w.drain(native) // the same message once more, as SQS moved it, of another day
	w.want("", "6 replayed, 0 skipped, 0 remaining")
	w.wantKeys("pending/", 0)
	// In later calls, too: the drain writes an object again that was moved, and the pair of another one.
	w.drain(all[:4]...)
	w.drain(all[3:5]...)
	w.drain(native)
	w.want("", "0 replayed, 0 skipped, 0 remaining", "in replayed/ already")
	w.wantKeys("pending/", 0)
	w.wantSent(6, 6)
}

func TestReplayTakesMoreThanAThousandObjects(t *testing.T) {
	w := newWorld(t)
	for i := range 1203 {
		name := fmt.Sprintf("m%04d", i)
		w.s3.Put(pendingKey("2026-03-13", name+".jsonl"), lines("splunk", name, 1, day0))
	}
	w.wantPending(map[string]int{"splunk": 1203, "elastic": 0})
	n := w.gets()
	w.want(`{"limit":1}`, "1 replayed, 0 skipped, 1202 remaining")
	if n.Load() > 2*minGroup {
		t.Errorf("a small limit opens %d objects", n.Load())
	}
	w.want("", "1202 replayed, 0 skipped, 0 remaining")
	w.wantKeys("pending/", 0)
	w.wantKeys("replayed/", 1203)
}

func TestReplayStopsBeforeTheDeadline(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 40, day0)...)
	w.drain(dlq.Letters("splunk", "b", 40, day0.Add(time.Hour))...)
	w.drain(dlq.Letters("elastic", "c", 40, day0.Add(2*time.Hour))...)
	w.limit = 100 * time.Second
	w.s3.Hook = func(op, key string, after bool) error {
		if op == "GetObject" && strings.Contains(key, "pending") && after {
			w.pass(46 * time.Second) // the second object comes after the stop at 90 s
		}
		return nil
	}
	w.want("", "0 replayed, 0 skipped, 120 remaining")
	w.wantKeys("replay.lock", 0)
	w.s3.Hook, w.limit = nil, 0
	w.want("", "120 replayed, 0 skipped, 0 remaining")
}

func TestReplayRefusedEntries(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 12, day0)...)
	w.drain(dlq.Letters("elastic", "b", 3, day0)...)
	throttled := 0
	w.sqs.Refuse = func(_, body string) (string, bool) {
		switch {
		case strings.Contains(body, "a-003"):
			return "InvalidMessageContents", true
		case strings.Contains(body, "a-005") && throttled < 2:
			throttled++
			return "RequestThrottled", true
		case strings.Contains(body, "a-007"):
			return "ServiceUnavailable", false
		}
		return "", false
	}
	w.want("", "13 replayed, 1 skipped, 1 remaining", "SQS refuses", "ServiceUnavailable")
	w.wantPending(map[string]int{"splunk": 2, "elastic": 0})
	w.sqs.Refuse = nil
	w.want("", "2 replayed, 0 skipped, 0 remaining")
	w.wantSent(15, 15)
	w.wantKeys("pending/", 0)
}

func TestReplayOfOneQueueDoesNotHoldUpAnother(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 12, day0)...)
	w.drain(dlq.Letters("splunk", "c", 12, day0.Add(2*time.Hour))...)
	w.drain(dlq.Letters("elastic", "b", 3, day0.Add(time.Hour))...)
	w.sqs.Hook = func(_, queue string, _ bool) error {
		if strings.Contains(queue, "splunk") {
			return fakeaws.Error("AWS.SimpleQueueService.NonExistentQueue")
		}
		return nil
	}
	w.want("", "3 replayed, 0 skipped, 24 remaining", "NonExistentQueue")
}

// TestReplayOfLargeEvents: the largest event is replayed without an attribute. One that an operator wrote and that no
// queue takes does not stop the others.
func TestReplayOfLargeEvents(t *testing.T) {
	w := newWorld(t)
	body := lines("splunk", "a", 2, day0)
	for _, extra := range []int{0, 1} {
		r := deadletter.Record{Time: day0, Connector: "splunk", MessageID: fmt.Sprint(extra),
			Body: []byte(`{"time":1,"x":"` + strings.Repeat("x", sqsbatch.MaxBytes-17+extra) + `"}`)}
		body = r.AppendLine(body)
	}
	w.s3.Put(pendingKey("2026-03-13", "large.jsonl"), body)
	w.want("", "3 replayed, 1 skipped, 0 remaining",
		"SQS refuses them; the first is pending/connector=splunk/date=2026-03-13/large.jsonl line 4")
	if !slices.ContainsFunc(w.messages(), func(m message) bool {
		return len(m.Body) == sqsbatch.MaxBytes && m.Value("replays") == ""
	}) {
		t.Error("the largest event is not replayed")
	}
}

func TestReplayAtOnceIsRefused(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 12, day0)...)
	var status int
	var body string
	var headers map[string]string
	var asked atomic.Bool
	w.sqs.Hook = func(string, string, bool) error {
		if !asked.Swap(true) {
			status, headers, body = w.ask("POST", Path, "", nil)
			w.want(`{"dry_run":true}`, "12 replayed, 0 skipped, 0 remaining")
		}
		return nil
	}
	w.env["ELASTIC_QUEUE_URL"] = ""
	w.replay("")
	if status != 409 || !strings.Contains(body, "another replay is running") || headers["retry-after"] != "30" {
		t.Errorf("answer %d %s %v", status, body, headers)
	}
	w.wantSent(12, 12)
}

// TestLocks: a lock counts for 30 s, and one that is dated further ahead does not count. A lock that cannot be read
// counts from the time it was written.
func TestLocks(t *testing.T) {
	w := newWorld(t)
	dated := func(ahead time.Duration) string {
		return fmt.Sprintf(`{"owner":"other","expires":%q}`, w.now().Add(ahead).UTC().Format(time.RFC3339))
	}
	for _, c := range []struct {
		lock   string
		passed time.Duration
		want   int
	}{
		{dated(-6 * time.Second), 0, 200}, {dated(20 * time.Second), 0, 409}, {dated(29 * time.Second), 0, 409},
		{dated(32 * time.Second), 0, 200}, {dated(24 * 365 * time.Hour), 0, 200}, {"nonsense", 0, 409},
		{"nonsense", leaseMost + time.Second, 200}, {dated(20 * time.Second), leaseMost, 200},
	} {
		w.s3.Put(testPrefix+deadletter.LockName, []byte(c.lock))
		w.pass(c.passed)
		if status, _, body := w.ask("POST", Path, "", nil); status != c.want {
			t.Errorf("%v after %s: %d %s, want %d", c.passed, c.lock, status, body, c.want)
		}
	}
}

func TestLeaseWhoseAnswerWasLost(t *testing.T) {
	w := newWorld(t)
	b := &w.replayer().bucket
	l := newLease(b, w.now)
	lost := true
	w.s3.Hook = func(op, _ string, after bool) error {
		if op == "PutObject" && after && lost { // as if the SDK had tried again: the first try took effect
			return fakeaws.Error("PreconditionFailed")
		}
		return nil
	}
	if err := l.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pass(15 * time.Second)
	if err := l.renew(t.Context()); err != nil || l.left() != leaseTime-leaseSkew {
		t.Fatal(err, l.left())
	}
	lost = false
	other := newLease(b, w.now)
	if err := other.acquire(t.Context()); err == nil {
		t.Fatal("two leases at once")
	}
	w.pass(time.Hour)
	if err := other.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.renew(t.Context()); err != errLeaseLost { //nolint:errorlint // returned as it is
		t.Fatal(err)
	}
	if err := l.release(t.Context()); err != errLeaseLost || //nolint:errorlint // returned as it is
		len(w.s3.Keys(testPrefix+deadletter.LockName)) != 1 {
		t.Fatal("released another's lease", err)
	}
}

// TestReplayStopsWhenAnotherTakesOver: a replay that loses the lease sends nothing more.
func TestReplayStopsWhenAnotherTakesOver(t *testing.T) {
	// After a minute its own lease is over; after 15 s it would still hold, had nobody taken it.
	for _, passed := range []time.Duration{time.Minute, 15 * time.Second} {
		w := newWorld(t)
		w.drain(dlq.Letters("splunk", "a", 600, day0)...)
		var once sync.Once
		w.sqs.Hook = func(_, _ string, after bool) error {
			if after {
				once.Do(func() {
					w.s3.Put(testPrefix+deadletter.LockName, fmt.Appendf(nil, `{"owner":"other","expires":%q}`,
						w.now().Add(passed+leaseTime).Format(time.RFC3339)))
					w.pass(passed)
				})
			}
			return nil
		}
		a := w.replay("")
		if a.Remaining+a.Replayed != 600 || a.Replayed > maxChunk || len(a.Errors) == 0 {
			t.Errorf("taken over after %v: answer %+v", passed, a)
		}
		if len(w.s3.Keys(testPrefix+deadletter.LockName)) != 1 {
			t.Errorf("taken over after %v: the other's lease was released", passed)
		}
	}
}

// TestReplayRemovesOnlyWhatItHasRead: an object that is overwritten while it is being moved or split stays.
func TestReplayRemovesOnlyWhatItHasRead(t *testing.T) {
	for request, counts := range map[string]string{
		"":            "3 replayed, 0 skipped, 0 remaining",
		`{"limit":2}`: "2 replayed, 0 skipped, 1 remaining",
	} {
		w := newWorld(t)
		w.drain(dlq.Letters("splunk", "a", 3, day0)...)
		key := w.wantKeys("pending/", 1)[0]
		w.s3.Hook = func(op, name string, after bool) error {
			if op != "GetObject" && name == key && !after {
				w.s3.Put(key, []byte("another version\n"))
			}
			return nil
		}
		w.want(request, counts, "could not be moved")
		if got := string(w.s3.Body(key)); got != "another version\n" {
			t.Errorf("%s: the object is now %q", request, got)
		}
	}
}

func TestReplayOfChangedAndUnreadableObjects(t *testing.T) {
	w := newWorld(t)
	w.piece = 2000
	for _, name := range []string{"changed", "denied", "good", "long"} {
		w.s3.Put(pendingKey("2026-03-13", name+".jsonl"), lines("splunk", name, 3, day0))
	}
	w.s3.Put(pendingKey("2026-03-13", "long.jsonl"), make([]byte, 3000))
	w.s3.Hook = func(op, key string, after bool) error {
		switch {
		case op != "GetObject" || after:
		case strings.Contains(key, "changed"):
			w.s3.Put(key, []byte("changed"))
		case strings.Contains(key, "denied"):
			return fakeaws.Error("AccessDenied")
		}
		return nil
	}
	w.want("", "3 replayed, 1 skipped, 8 remaining", "changed while they were read", "AccessDenied",
		"long.jsonl line 1: line: expected at most 16 MiB")
	if kept := w.wantKeys("replayed/", 1); !strings.Contains(kept[0], "good") {
		t.Errorf("%s was moved", kept)
	}
	w.wantKeys("pending/", 3)
}

func TestReplayWhenS3IsNotThere(t *testing.T) {
	w := newWorld(t)
	w.s3.Hook = func(string, string, bool) error { return fakeaws.Error("AccessDenied") }
	for _, method := range []string{"GET", "POST"} {
		status, _, body := w.ask(method, Path, "", nil)
		if status != 500 || !strings.Contains(body, "AccessDenied") {
			t.Errorf("%s is answered %d %s", method, status, body)
		}
	}
}

// TestReplaysAtOnce: many calls at the same time put every event back once.
func TestReplaysAtOnce(t *testing.T) {
	w := newWorld(t)
	w.chunk = 7
	w.drain(dlq.Letters("splunk", "a", 100, day0)...)
	w.drain(dlq.Letters("splunk", "b", 100, day0.Add(time.Hour))...)
	var wg sync.WaitGroup
	var done atomic.Int32
	for range 8 {
		wg.Go(func() {
			switch status, _, body := w.ask("POST", Path, `{"limit":60}`, nil); status {
			case 200:
				done.Add(1)
			case 409:
			default:
				t.Errorf("answer %d %s", status, body)
			}
		})
	}
	wg.Wait()
	if done.Load() == 0 {
		t.Error("nobody was let in")
	}
	for range 4 {
		w.replay("")
	}
	w.wantSent(200, 200)
}

func TestReplayThatCannotNoteMovesNothing(t *testing.T) {
	w := newWorld(t)
	w.chunk = 2
	w.drain(dlq.Letters("splunk", "a", 2, day0)...)
	w.drain(dlq.Letters("splunk", "b", 4, day0.Add(time.Hour))...)
	w.s3.Hook = func(op, key string, _ bool) error {
		if op == "PutObject" && strings.Contains(key, deadletter.ProgressFolder) {
			return fakeaws.Error("AccessDenied")
		}
		return nil
	}
	w.want("", "2 replayed, 0 skipped, 4 remaining", "up to 2 events of splunk again: AccessDenied")
	w.wantKeys("pending/", 2)
}

// counting is an SQS that accepts everything and keeps nothing.
type counting struct {
	lambdahost.SQS
	mu            sync.Mutex
	sent, highest uint64
}

func (c *counting) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: aws.String("m")})
	}
	if c.sent += uint64(len(in.Entries)); c.sent%1000 == 0 {
		c.highest = max(c.highest, live())
	}
	return out, nil
}

// TestReplayOfALargeObjectInBoundedMemory: an object of 10,000 lines and 7 MB is replayed with less live memory than
// three pieces, the pieces in the fake S3 not counted.
func TestReplayOfALargeObjectInBoundedMemory(t *testing.T) {
	const lines = 10_000
	w := newWorld(t)
	w.piece = 2 << 20
	body := make([]byte, 0, 8<<20)
	padding := strings.Repeat("x", 600)
	for i := range lines {
		r := deadletter.Record{Time: day0, Connector: "splunk", Error: "busy",
			Body: fmt.Appendf(nil, `{"time":1,"n":%d,"x":%q}`, i, padding), Attempts: 5, MessageID: fmt.Sprint("m", i)}
		body = r.AppendLine(body)
	}
	w.s3.Put(pendingKey(day0.Format(time.DateOnly), "large.jsonl"), body)
	size := len(body)
	w.want(`{"dry_run":true}`, "10000 replayed, 0 skipped, 0 remaining")
	w.wantKeys("pending/", 1)
	base := live()
	c := &counting{}
	w.queue = c
	w.want("", "10000 replayed, 0 skipped, 0 remaining")
	if c.sent != lines {
		t.Errorf("%d sent", c.sent)
	}
	w.wantKeys("pending/", 0)
	if got := len(w.below("replayed/")); got != size {
		t.Errorf("%d bytes in replayed/, want %d", got, size)
	}
	runtime.KeepAlive(body)
	grown := int64(c.highest) - int64(base) - int64(size) // the fake S3 has the pieces, too
	t.Logf("an object of %d MB took %d MB at most", size>>20, grown>>20)
	if most := 3 * w.piece; grown > most {
		t.Errorf("live memory grew by %d bytes, want at most %d", grown, most)
	}
}

// live is the memory that is in use after a collection.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
