package replay

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// gets counts the GETs of pending objects.
func (w *world) gets() *atomic.Int32 {
	n := new(atomic.Int32)
	w.s3.Hook = func(op, key string, after bool) error {
		if !after && op == "GetObject" && strings.Contains(key, "/pending/") {
			n.Add(1)
		}
		return nil
	}
	return n
}

// TestEachCallMakesProgress: objects that do not match precede one that does, and a call has time to open about 300.
// Names do not tell the times of their records. The fourth call at the latest replays, also if the time of a
// call ends among the last objects.
func TestEachCallMakesProgress(t *testing.T) {
	const reason = `{"reason":"needle"}`
	for _, test := range []struct {
		request string
		old     int
	}{
		{`{"from":"2026-03-14T00:00:00Z"}`, 900}, {`{"message_ids":["wanted-000"]}`, 900},
		{reason, 900}, {reason, 390}, {reason, 370}, {reason, 350}, {reason, 330}, {reason, 310}, {reason, 290},
	} {
		request := test.request
		w := newWorld(t)
		for i := range test.old {
			name := fmt.Sprintf("old-%04d", i)
			body := lines("splunk", name, 1, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
			w.s3.Put(pendingKey("2026-03-01", name+".jsonl"), body)
		}
		wanted := strings.ReplaceAll(string(lines("splunk", "wanted", 1, time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC))),
			"busy", "needle")
		w.s3.Put(pendingKey("2026-03-14", "wanted.jsonl"), []byte(wanted))
		w.s3.Hook = func(op, key string, after bool) error {
			if after && op == "GetObject" && strings.Contains(key, "/pending/") {
				w.pass(20 * time.Millisecond)
			}
			return nil
		}
		w.limit = 9 * time.Second
		replayed, last := 0, 0
		for call := range 5 {
			a := w.replay(request)
			replayed += a.Replayed
			if len(a.Errors) > 0 || replayed == 0 && a.Remaining == 0 || (a.Passed > 0) != (a.Remaining > 0) {
				t.Fatalf("%s: call %d: %+v", request, call, a)
			}
			if last = a.Remaining; last == 0 {
				break
			}
		}
		if replayed != 1 || last != 0 || w.count() != 1 {
			t.Errorf("%s: %d replayed, %d remaining", request, replayed, last)
		}
		// A new request starts from the beginning.
		w.s3.Hook, w.limit = nil, 0
		if a := w.replay(""); a.Replayed != test.old {
			t.Errorf("%s: then everything: %+v", request, a)
		}
		w.wantKeys(deadletter.LockName, 0)
	}
}

// TestCursorHidesNoNewObjects: an object that was written while a call ran, right after the call listed the objects or
// later, is older than what the call examined. S3 cuts its time to the second.
func TestCursorHidesNoNewObjects(t *testing.T) {
	for _, during := range []string{"ListObjectsV2 dead/pending/", "GetObject dead/pending/connector=splunk/" +
		"date=2026-03-02/050.jsonl"} {
		w := newWorld(t)
		w.clock = time.Now().Truncate(time.Second).Add(500 * time.Millisecond)
		w.s3.Now = func() time.Time { return w.now().Truncate(time.Second) }
		for i := range 400 {
			w.s3.Put(pendingKey("2026-03-02", fmt.Sprintf("%03d.jsonl", i)), lines("splunk", fmt.Sprint(i), 1, day0))
		}
		var written sync.Once
		w.s3.Hook = func(op, key string, after bool) error {
			if after && op == "GetObject" && strings.Contains(key, "/pending/") {
				w.pass(200 * time.Millisecond)
			}
			if after && op+" "+key == during {
				written.Do(func() {
					w.s3.Put(pendingKey("2026-03-01", "late.jsonl"), lines("splunk", "needle", 1, day0))
				})
			}
			return nil
		}
		w.limit = 25 * time.Second
		for range 4 {
			if w.replay(`{"message_ids":["needle-000"]}`).Remaining == 0 {
				break
			}
		}
		if w.count() != 1 {
			t.Errorf("written after %s: %d messages, want 1", during, w.count())
		}
	}
}

// TestUnreadableObjects: objects that S3 refuses hold up no others, however many precede them. If S3 itself fails, the
// call uses what it has read, and reads no more.
func TestUnreadableObjects(t *testing.T) {
	for _, test := range []struct {
		code            string
		unreadable      int
		want            string
		gets, afterward int32
	}{
		{"InvalidObjectState", 40, "3 replayed, 0 skipped, 40 remaining", 43, 40},
		{"AccessDenied", 40, "3 replayed, 0 skipped, 40 remaining", 43, 40},
		{"SlowDown", maxReadFailures - 1, "3 replayed, 0 skipped, 4 remaining", 7, 4},
		{"SlowDown", maxReadFailures, "3 replayed, 0 skipped, 5 remaining", 8, 5},
		{"SlowDown", 40, "0 replayed, 0 skipped, 43 remaining", minGroup, minGroup},
	} {
		w := newWorld(t)
		for i := range test.unreadable + 3 {
			day, name := "2026-03-01", "unreadable"
			if i >= test.unreadable {
				day, name = "2026-03-02", "good"
			}
			name = fmt.Sprintf("%s%02d", name, i)
			w.s3.Put(pendingKey(day, name+".jsonl"), lines("splunk", name, 1, day0))
		}
		var gets atomic.Int32
		w.s3.Hook = func(op, key string, after bool) error {
			if after || op != "GetObject" || !strings.Contains(key, "/pending/") {
				return nil
			}
			gets.Add(1)
			if strings.Contains(key, "unreadable") {
				return fakeaws.Error(test.code)
			}
			return nil
		}
		for _, call := range []struct {
			want string
			gets int32
		}{
			{test.want, test.gets},
			{strings.Replace(test.want, "3 replayed", "0 replayed", 1), test.afterward},
		} {
			gets.Store(0)
			// A limit below minGroup keeps the groups small.
			w.want(`{"limit":5}`, call.want, "objects could not be read")
			if gets.Load() != call.gets {
				t.Errorf("%d objects with %s: %d GETs, want %d", test.unreadable, test.code, gets.Load(), call.gets)
			}
		}
		w.s3.Hook = nil
		w.replay("")
		w.wantSent(test.unreadable+3, test.unreadable+3)
	}
}

// TestCursorsInTheLock: the lock of a call whose time ran out excludes no other call, and goes when its cursor is old.
func TestCursorsInTheLock(t *testing.T) {
	w := newWorld(t)
	b := &w.replayer().bucket
	l := newLease(b, w.now)
	if err := l.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Cursors["request"] = cursor{At: w.now(), RelKey: "a"}
	if err := l.release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{1, 0} {
		if left == 0 {
			w.pass(cursorLife)
		}
		next := newLease(b, w.now)
		if err := next.acquire(t.Context()); err != nil || len(next.Cursors) != left {
			t.Fatalf("%v, cursors %v", err, next.Cursors)
		}
		if err := next.release(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wantKeys(deadletter.LockName, left)
	}
}

// TestNamesOfTheDrainAreNotOpened: the names of the drain's objects tell the times of their records.
func TestNamesOfTheDrainAreNotOpened(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.drain(dlq.Sent("splunk", fmt.Sprint("old", i), day0.Add(time.Duration(i)*time.Minute)))
	}
	w.drain(dlq.Sent("splunk", "new", day0.Add(48*time.Hour)))
	n := w.gets()
	w.want(`{"from":"2026-03-15T00:00:00Z"}`, "1 replayed, 0 skipped, 0 remaining")
	if n.Load() != 1 {
		t.Errorf("%d GETs, want 1", n.Load())
	}
	w.want(`{"to":"2026-03-13T10:00:00.0005Z"}`, "1 replayed, 0 skipped, 0 remaining") // part of a millisecond
	if n.Load() != 2 {
		t.Errorf("%d GETs, want 2", n.Load())
	}
}

// TestNamesWithEveryCharacter: an object is replayed and moved whatever its name is.
func TestNamesWithEveryCharacter(t *testing.T) {
	w := newWorld(t)
	w.env["SIEM_DEAD_LETTER_PATH"] = "s3://letters/de+ad %2B"
	names := []string{"mended+1", "a b", "a%2Bb", "ü", "a&b=c", "q?x#y", "(1)'!*~$,;:@", "line\nbreak", "bell\a",
		"<>\"\\^`{}|[]"}
	for i, name := range names {
		key := "de+ad %2B/pending/connector=splunk/date=2026-03-13/" + name + ".jsonl"
		w.s3.Put(key, lines("splunk", fmt.Sprint(i), 1, day0))
	}
	w.want("", "10 replayed, 0 skipped, 0 remaining")
	for _, name := range names {
		if w.s3.Body("de+ad %2B/replayed/connector=splunk/date=2026-03-13/"+name+".jsonl") == nil {
			t.Errorf("%q was not moved", name)
		}
	}
	if left := w.s3.Keys("de+ad %2B/pending/"); len(left) > 0 {
		t.Errorf("still pending: %q", left)
	}
}

// TestMovedBackObjectsAreReplayed: an operator moves objects from replayed/ to pending/, twice, whole and in parts.
func TestMovedBackObjectsAreReplayed(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 3, day0)...)
	w.drain(dlq.Letters("splunk", "b", 3, day0.Add(time.Hour))...)
	w.replay(`{"limit":2}`) // splits the first object
	w.replay("")
	w.wantKeys("pending/", 0)
	for round := range 2 {
		w.pass(time.Hour)
		for _, key := range w.s3.Keys(testPrefix + "replayed/") {
			body := w.s3.Body(key)
			w.s3.Delete(key)
			w.s3.Put(strings.Replace(key, "/replayed/", "/pending/", 1), body)
		}
		if round == 1 {
			w.chunk = 1
			w.want(`{"limit":1}`, "1 replayed, 0 skipped, 5 remaining")
		}
		a := w.replay("")
		if a.Replayed != 6-round || len(a.Errors) != 0 || w.count() != 6*(round+2) {
			t.Errorf("moved back, round %d: %+v, %d messages", round, a, w.count())
		}
		w.wantKeys("pending/", 0)
	}
}

// TestDiscard: matching dead letters are moved, also those that cannot be replayed; nothing is sent.
func TestDiscard(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 4, day0)...)
	bad := dlq.Letters("splunk", "bad", 2, day0.Add(time.Minute))
	bad[0].Body, bad[1].Attributes["connector"] = "not json", "nobody"
	w.drain(bad...)
	before := w.below("pending/")
	_, _, body := w.ask("POST", Path,
		`{"discard":true,"message_ids":["a-001","bad-000","bad-001"],"dry_run":true}`, nil)
	if want := `{"replayed":0,"discarded":3,"skipped":0,"by_connector":{"splunk":2,"unknown":1},"remaining":0,` +
		`"dry_run":true,"errors":[]}`; body != want {
		t.Errorf("dry run: %s, want %s", body, want)
	}
	if w.below("pending/") != before {
		t.Error("a dry run has changed something")
	}
	a := w.want(`{"discard":true,"message_ids":["a-001","bad-000","bad-001"],"limit":2}`,
		"0 replayed, 0 skipped, 1 remaining")
	if a.Discarded == nil || *a.Discarded != 2 {
		t.Errorf("%+v", a)
	}
	a = w.want(`{"discard":true,"message_ids":["a-001","bad-000","bad-001"]}`, "0 replayed, 0 skipped, 0 remaining")
	if *a.Discarded != 1 {
		t.Errorf("%+v", a)
	}
	w.wantSent(0, 0)
	w.wantPending(map[string]int{"splunk": 3, "elastic": 0})
	if got := w.below("discarded/"); strings.Count(got, "\n") != 3 || !strings.Contains(got, `"a-001"`) ||
		!strings.Contains(got, "not json") {
		t.Errorf("discarded/ has %s", got)
	}
	if strings.Contains(w.below("pending/"), "a-001") {
		t.Error("a discarded dead letter is pending")
	}
	if a := w.want("", "3 replayed, 0 skipped, 0 remaining"); a.Discarded != nil {
		t.Errorf("then %+v", a)
	}
	if !strings.Contains(w.out.String(), `"Connector":"unknown","Discarded":1}`) {
		t.Errorf("no metric of discarded events: %s", w.out.String())
	}
}

// TestCorrectionsWithTheSameMessageID: records of one message with different events are different dead letters.
func TestCorrectionsWithTheSameMessageID(t *testing.T) {
	w := newWorld(t)
	first := dlq.Letters("splunk", "a", 1, day0)
	w.drain(first...)
	key := w.wantKeys("pending/", 1)[0]
	line := w.s3.Body(key)
	spaced := strings.Replace(string(line), `{"time"`, `{ "time"`, 1)
	corrected := strings.Replace(string(line), `{"time"`, `{"corrected":true,"time"`, 1)
	w.s3.Put(key, []byte(string(line)+spaced+"\uFEFF"+corrected))
	w.want("", "2 replayed, 0 skipped, 0 remaining")
	w.wantSent(2, 2)
	w.wantKeys("pending/", 0)
}

// hanging is an S3 that does not respond to one operation.
type hanging struct {
	deadletter.Store
	list bool
}

func (h hanging) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input,
	o ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	if h.list {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Store.ListObjectsV2(ctx, in, o...)
}

func (h hanging) GetObject(ctx context.Context, _ *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput,
	error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestRespondsWhenS3Hangs: the response comes before the deadline, also if the wall clock is ahead.
func TestRespondsWhenS3Hangs(t *testing.T) {
	for _, list := range []bool{true, false} {
		for _, ahead := range []time.Duration{0, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.drain(dlq.Letters("splunk", "a", 2, day0)...)
				r := w.replayer()
				r.bucket.Store = hanging{w.s3, list}
				r.world.Now = func() time.Time { return time.Now().Add(ahead) }
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				out, err := r.Handle(ctx, []byte(`{"rawPath":"`+Path+`","requestContext":{"http":{"method":"POST"}}}`))
				if ctx.Err() != nil || err != nil || !strings.Contains(string(out), `"statusCode":`) || w.count() != 0 {
					t.Errorf("%s, %v, after the deadline: %v", out, err, ctx.Err())
				}
			})
		}
	}
}
