package deadletter

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deadletter/deadlettertest"
)

func TestDrainGroupsByConnector(t *testing.T) {
	w := newWorld(t)
	batch := append(letters("splunk", "a", 3, day0.Add(-time.Hour)), letters("elastic", "b", 2, day0)...)
	batch = append(batch, sentLetter("../../etc", "c", day0))
	if failed := w.drain(batch...); failed != nil {
		t.Fatalf("gave back %v", failed)
	}
	keys := w.wantKeys("", 3)
	form := regexp.MustCompile(`^dead/pending/connector=(splunk|elastic|unknown)/date=2026-03-13/[0-9a-f]{32}-n[0-9]-t[0-9]+\.jsonl$`)
	for _, key := range keys {
		if !form.MatchString(key) {
			t.Errorf("key %s", key)
		}
	}
	splunk := string(w.s3.Body(keys[1]))
	want := `{"timestamp":"2026-03-13T09:00:00.000Z","connector":"splunk","error":"status 503: busy","event":{"time":1773392400000,"metadata":{"uid":"a-000"}},"attempts":5,"message_id":"a-000","replays":0}` + "\n"
	if !strings.HasPrefix(splunk, want) || strings.Count(splunk, "\n") != 3 {
		t.Errorf("object is\n%swant it to begin\n%s", splunk, want)
	}
	for _, want := range []string{`"Drained":3`, `"Connector":"splunk"`, `"Drained":2`, `"Connector":"unknown"`} {
		if !strings.Contains(w.metrics.String(), want) {
			t.Errorf("metrics lack %s: %s", want, w.metrics.String())
		}
	}
	if log := w.out.String(); strings.Count(log, "\n") != 1 || strings.Contains(log, "a-000") {
		t.Errorf("log is %s", log)
	}
}

func TestDrainRepeatedBatchWritesNothingNew(t *testing.T) {
	w := newWorld(t)
	batch := letters("splunk", "a", 5, day0)
	w.drain(batch...)
	before := w.wantKeys("", 1)[0]
	content := w.s3.Body(before)
	slices.Reverse(batch)
	batch = append(batch, batch[0]) // twice in one event
	if failed := w.drain(batch...); failed != nil {
		t.Fatalf("gave back %v", failed)
	}
	if after := w.wantKeys("", 1)[0]; after != before || !bytes.Equal(w.s3.Body(after), content) {
		t.Errorf("object %s became %s", before, after)
	}
	w.s3.Put(before, []byte("an operator's"))
	if failed := w.drain(batch...); failed != nil || string(w.s3.Body(before)) != "an operator's" {
		t.Errorf("an object was written over, gave back %v", failed)
	}
}

func TestDrainNativelyMoved(t *testing.T) {
	w := newWorld(t)
	w.env["SIEM_MAX_ATTEMPTS"] = "7"
	moved := letter{id: "native", body: `{"time":1}`, sent: day0, movedFrom: "arn:aws:sqs:eu-west-1:123456789012:elastic-queue", attributes: map[string]string{"replays": "2"}}
	foreign := letter{id: "other", body: `{"time":1}`, sent: day0, movedFrom: "arn:aws:sqs:eu-west-1:123456789012:another"}
	w.drain(moved, foreign)
	keys := w.wantKeys("", 2)
	var r Record
	if err := ParseLine(w.s3.Body(keys[0]), &r); err != nil {
		t.Fatal(err)
	}
	if r.Connector != "elastic" || r.Attempts != 7 || r.MessageID != "native" || !r.Time.Equal(day0) || r.Replays != 2 || !strings.Contains(r.Error, "after 7 receives") {
		t.Errorf("record is %+v", r)
	}
	if !strings.Contains(keys[1], "connector=unknown/") {
		t.Errorf("key is %s", keys[1])
	}
}

func TestDrainKeepsEveryBody(t *testing.T) {
	w := newWorld(t)
	l := sentLetter("splunk", "a", day0)
	l.body = "BODY"
	payload := bytes.Replace(payloadOf(t, l), []byte("BODY"), []byte("\xff\xfe not utf-8"), 1)
	if failed := w.drainPayload(payload); failed != nil {
		t.Fatal(failed)
	}
	var r Record
	if err := ParseLine(w.s3.Body(w.wantKeys("", 1)[0]), &r); err != nil || string(r.Body) != "\xff\xfe not utf-8" {
		t.Errorf("body is %q, %v", r.Body, err)
	}
}

func TestDrainGivesBackWhatS3DidNotConfirm(t *testing.T) {
	w := newWorld(t)
	for _, after := range []bool{false, true} {
		w.s3.Hook = func(_, key string, now bool) error {
			if now == after && strings.Contains(key, "elastic") {
				return deadlettertest.Error("SlowDown")
			}
			return nil
		}
		failed := w.drain(append(letters("splunk", "a", 2, day0), letters("elastic", "b", 2, day0)...)...)
		if want := []string{"dlq-b-000", "dlq-b-001"}; !slices.Equal(failed, want) {
			t.Errorf("gave back %v, want %v", failed, want)
		}
	}
	w.s3.Hook = func(string, string, bool) error { panic("made up") }
	if failed := w.drain(letters("sumo", "c", 2, day0)...); len(failed) != 2 {
		t.Errorf("after a panic gave back %v", failed)
	}
}

func TestDrainTriesAgainOnConflict(t *testing.T) {
	w := newWorld(t)
	var n atomic.Int32
	w.s3.Hook = func(_, _ string, after bool) error {
		if !after && n.Add(1) < 3 {
			return deadlettertest.Error("ConditionalRequestConflict")
		}
		return nil
	}
	if failed := w.drain(letters("splunk", "a", 2, day0)...); failed != nil {
		t.Errorf("gave back %v", failed)
	}
	w.s3.Hook = func(string, string, bool) error { return deadlettertest.Error("ConditionalRequestConflict") }
	if failed := w.drain(letters("splunk", "b", 2, day0)...); len(failed) != 2 {
		t.Errorf("gave back %v", failed)
	}
}

func TestDrainRefusesWhatIsNoEvent(t *testing.T) {
	w := newWorld(t)
	for _, payload := range []string{`x`, `{}`, `{"Records":[{"body":"{}"}]}`} {
		if out, err := w.drainer().Handle(t.Context(), []byte(payload)); err == nil {
			t.Errorf("%s: answered %s", payload, out)
		}
	}
	if out, err := w.drainer().Handle(t.Context(), []byte(`{"Records":[]}`)); err != nil || string(out) != `{"batchItemFailures":[]}` {
		t.Errorf("no records: %s, %v", out, err)
	}
}

func TestSettingsNameEverythingWrong(t *testing.T) {
	w := newWorld(t)
	w.env = map[string]string{"SPLUNK_QUEUE_URL": "splunk-queue", "SIEM_MAX_ATTEMPTS": "many"}
	_, err := NewDrain(w.settings(), w.s3, w.options())
	for _, name := range []string{"SIEM_DEAD_LETTER_PATH", "SPLUNK_QUEUE_URL", "SIEM_MAX_ATTEMPTS"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	for path, want := range map[string]string{"s3://bucket": "", "s3://bucket/": "", "s3://bucket/a/b/": "a/b/", "s3://b.c-d/x": "x/"} {
		w.env = map[string]string{"SIEM_DEAD_LETTER_PATH": path}
		if d, err := NewDrain(w.settings(), w.s3, w.options()); err != nil || d.place.prefix != want {
			t.Errorf("%s: %v, want the prefix %q", path, err, want)
		}
	}
	for _, path := range []string{"bucket/x", "s3://", "s3://B/x", "s3:///x", "s3://bucket/a//b", "s3://bucket/../b", "https://bucket/x", "s3://bucket/" + strings.Repeat("x", 600)} {
		w.env = map[string]string{"SIEM_DEAD_LETTER_PATH": path}
		if _, err := NewReplay(w.settings(), w.s3, w.sqs, w.options()); err == nil {
			t.Errorf("%s: was taken", path)
		}
	}
}

func TestTailsAreReadBackAsWritten(t *testing.T) {
	tail := batchTail("splunk", []string{"b", "a"}, day0)
	if tail != batchTail("splunk", []string{"a", "b"}, day0) {
		t.Error("the order of the ids changes the name")
	}
	if o, ok := parseTail(tail); !ok || o.lines != 2 || o.oldest != day0.UnixMilli() || !dayStart(o.day).Equal(day0.Truncate(24*time.Hour)) {
		t.Errorf("%s is read as %+v", tail, o)
	}
	name := tail[strings.LastIndexByte(tail, '/')+1:]
	for tail, lines := range map[string]int{
		"connector=splunk/date=2026-03-13/mine.jsonl":                                -1,
		"connector=splunk/date=2026-03-14/" + name:                                   -1, // another day than its name says
		"connector=splunk/date=2026-03-13/" + strings.Replace(name, "-n2", "-n0", 1): -1,
		"connector=splunk/date=2026-03-13/x" + name:                                  -1,
		"connector=unknown/date=2026-03-13/" + name:                                  2,
	} {
		if o, ok := parseTail(tail); !ok || o.lines != lines {
			t.Errorf("%s is read as %+v, %v", tail, o, ok)
		}
	}
	for _, tail := range []string{"", "connector=foo/date=2026-03-13/a.jsonl", "connector=splunk/date=2026-13-13/a.jsonl", "connector=splunk/date=2026-03-13/a/b.jsonl", "connector=splunk/date=2026-03-13/a.txt", name} {
		if o, ok := parseTail(tail); ok {
			t.Errorf("%s is read as %+v", tail, o)
		}
	}
	if _, _, ok := parsePartial("nothing"); ok {
		t.Error("a note without a number was read")
	}
	if got, done, ok := parsePartial(partialTail(tail, 7)); got != tail || done != 7 || !ok {
		t.Error(fmt.Sprint(got, done, ok))
	}
}
