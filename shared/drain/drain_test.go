package drain

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestDrainGroupsByConnector(t *testing.T) {
	w := newWorld(t)
	batch := append(dlq.Letters("splunk", "a", 3, day0.Add(-time.Hour)), dlq.Letters("elastic", "b", 2, day0)...)
	batch = append(batch, dlq.Sent("../../etc", "c", day0))
	if failed := w.drain(batch...); failed != nil {
		t.Fatalf("gave back %v", failed)
	}
	keys := w.wantKeys("", 3)
	form := regexp.MustCompile(`^dead/pending/connector=(splunk|elastic|unknown)/date=2026-03-13/[0-9a-f]{32}-n[0-9]-b[0-9]+-t[0-9]+-[0-9]+\.jsonl$`)
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
		if !strings.Contains(w.out.String(), want) {
			t.Errorf("metrics lack %s: %s", want, w.out.String())
		}
	}
	if log := w.out.String(); strings.Count(log, "\n") != 4 || strings.Contains(log, "a-000") {
		t.Errorf("log is %s", log)
	}
}

func TestDrainRepeatedBatchWritesNothingNew(t *testing.T) {
	w := newWorld(t)
	batch := dlq.Letters("splunk", "a", 5, day0)
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

// TestDrainGivesBackWhatS3DidNotConfirm: a failed write makes a metric, by connector.
func TestDrainGivesBackWhatS3DidNotConfirm(t *testing.T) {
	for _, after := range []bool{false, true} {
		w := newWorld(t)
		w.s3.Hook = func(_, key string, now bool) error {
			if now == after && strings.Contains(key, "elastic") {
				return fakeaws.Error("SlowDown")
			}
			return nil
		}
		failed := w.drain(append(dlq.Letters("splunk", "a", 2, day0), dlq.Letters("elastic", "b", 2, day0)...)...)
		if want := []string{"dlq-b-000", "dlq-b-001"}; !slices.Equal(failed, want) {
			t.Errorf("gave back %v, want %v", failed, want)
		}
		log := w.out.String()
		if !strings.Contains(log, `"Connector":"elastic","DrainFailed":2}`) ||
			!strings.Contains(log, `"Connector":"splunk","Drained":2}`) ||
			strings.Contains(log, `"Connector":"elastic","Drained"`) {
			t.Errorf("metrics are %s", log)
		}
	}
	w := newWorld(t)
	w.s3.Hook = func(string, string, bool) error { panic("injected") }
	if failed := w.drain(dlq.Letters("sumo", "c", 2, day0)...); len(failed) != 2 {
		t.Errorf("after a panic gave back %v", failed)
	}
}

func TestDrainRefusesWhatIsNoEvent(t *testing.T) {
	w := newWorld(t)
	for _, payload := range []string{`x`, `{}`, `{"Records":[{"body":"{}"}]}`} {
		if out, err := w.drainer().Handle(t.Context(), []byte(payload)); err == nil {
			t.Errorf("%s: answered %s", payload, out)
		}
	}
	if out, err := w.drainer().Handle(t.Context(), []byte(`{"Records":[]}`)); err != nil ||
		string(out) != `{"batchItemFailures":[]}` {
		t.Errorf("no records: %s, %v", out, err)
	}
}

// TestDrainNamesOnlyItsOwnKeys: nothing a message says chooses where in the bucket it is written.
func TestDrainNamesOnlyItsOwnKeys(t *testing.T) {
	w := newWorld(t)
	hostile := []string{"../../other", "splunk/../../x", "SPLUNK", "splunk\x00", "splunk/date=1999-01-01/x.jsonl", "..",
		"/", "connector=splunk", strings.Repeat("a", 5000)}
	var all []dlq.Letter
	for i, name := range hostile {
		l := dlq.Sent(name, fmt.Sprint("../../", i), day0)
		l.ID = "../../../" + l.ID + "\n"
		l.Attributes["failed_at"] = "2026-03-13T00:00:00Z/../.."
		all = append(all, l)
	}
	if failed := w.drain(all...); len(failed) > 0 {
		t.Fatalf("given back: %q", failed)
	}
	for _, key := range w.s3.Keys("") {
		if !strings.HasPrefix(key, testPrefix+"pending/connector=unknown/date=") || strings.Contains(key, "..") {
			t.Errorf("written to %q", key)
		}
	}
	if got := strings.Count(string(w.s3.Body(w.wantKeys("pending/", 1)[0])), "\n"); got != len(hostile) {
		t.Errorf("%d lines, want %d", got, len(hostile))
	}
}

const (
	splunkARN  = "arn:aws:sqs:eu-west-1:123456789012:splunk-queue"
	elasticARN = "arn:aws:sqs:eu-west-1:123456789012:elastic-queue"
)

// TestMovedBySQS: the queue names the connector, and the attributes of the sender do not count.
func TestMovedBySQS(t *testing.T) {
	w := newWorld(t)
	w.env["SIEM_MAX_ATTEMPTS"] = "7"
	w.env["ELASTIC_ROLE_ID"], w.env["SIEM_REPLAY_ROLE_ID"] = "AROAELASTIC", "AROAREPLAY"
	forged := map[string]string{"connector": "splunk", "error": "forged", "attempts": "1", "message_id": "conversation-7",
		"replays": "3", "failed_at": "1999-01-01T00:00:00Z"}
	w.drain(dlq.Letter{ID: "first", Body: `{"time":1}`, Sent: day0, MovedFrom: elasticARN, Attributes: forged},
		dlq.Letter{ID: "second", Body: `{"time":2}`, Sent: day0, MovedFrom: elasticARN, Attributes: forged},
		dlq.Letter{ID: "third", Body: `{"time":3}`, Sent: day0, MovedFrom: "arn:aws:sqs:eu-west-1:123456789012:another"})
	for i, r := range w.records() {
		id, connector := []string{"first", "second", "third"}[i], []string{"elastic", "elastic", "unknown"}[i]
		if r.Connector != connector || r.Attempts != 7 || r.MessageID != id || !r.Time.Equal(day0) || r.Replays != 0 ||
			!strings.HasPrefix(r.Error, "SQS stopped retrying the message after 7 receives") {
			t.Errorf("record is %+v", r)
		}
	}
	if n := len(w.records()); n != 3 {
		t.Errorf("%d records", n)
	}
}

// TestMovedArrays: each event of an array is a dead letter; another body is one.
func TestMovedArrays(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letter{ID: "a", Body: "[{\"time\":1},\n {\"time\" : 2}, 3]", Sent: day0, MovedFrom: splunkARN})
	records := w.records()
	for i, want := range []string{`{"time":1}`, `{"time":2}`, `3`} {
		if len(records) != 3 || string(records[i].Body) != want || records[i].MessageID != fmt.Sprintf("a/%d", i) ||
			records[i].Object != (want != "3") {
			t.Fatalf("records are %+v", records)
		}
	}
	for _, body := range []string{"[]", "[{},", "[{}]x", "[\xff]", "[1] [2]", "[" + strings.Repeat("1,", maxEvents) +
		"1]"} {
		w := newWorld(t)
		payload := bytes.Replace(dlq.Payload(t, dlq.Letter{ID: "a", Body: "BODY", Sent: day0, MovedFrom: splunkARN}),
			[]byte("BODY"), []byte(body), 1)
		if failed := w.drainPayload(payload); failed != nil {
			t.Fatal(failed)
		}
		if r := w.records(); len(r) != 1 || string(r[0].Body) != body || r[0].MessageID != "a" {
			t.Errorf("%.20q: %d records", body, len(r))
		}
	}
	w = newWorld(t) // a connector's dead letter holds one event
	l := dlq.Sent("splunk", "a", day0)
	l.Body = `[{"time":1}]`
	w.drain(l)
	if r := w.records(); len(r) != 1 || string(r[0].Body) != l.Body {
		t.Errorf("records are %+v", r)
	}
}

// TestSenders: attributes count only from the role that writes them, where its id is known.
func TestSenders(t *testing.T) {
	for _, c := range []struct {
		name, sender, connector, id string
	}{
		{"its role", "AROASPLUNK:function", "splunk", "original"},
		{"another connector's role", "AROAELASTIC:function", "unknown", "dlq"},
		{"nobody", "", "unknown", "dlq"},
	} {
		w := newWorld(t)
		w.env["SPLUNK_ROLE_ID"], w.env["ELASTIC_ROLE_ID"] = "AROASPLUNK", "AROAELASTIC"
		l := dlq.Sent("splunk", "original", day0)
		l.ID, l.Sender, l.Attributes["replays"] = "dlq", c.sender, "3"
		w.drain(l)
		r := w.records()[0]
		if trusted := c.connector == "splunk"; r.Connector != c.connector || r.MessageID != c.id ||
			(r.Replays == 3) != trusted || (r.Attempts == 5) != trusted {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	for _, c := range []struct {
		sender, attempts string
		replays          int
	}{
		{"AROAREPLAY:function", "", 2}, {"AROAPLATFORM:x", "4", 0},
		{"AROASPLUNK:function", "4", 2}, {"AROASPLUNK:function", "", 0}, {"AROAELASTIC:function", "4", 0},
	} {
		for _, known := range []bool{true, false} {
			w := newWorld(t)
			if known {
				w.env["SPLUNK_ROLE_ID"], w.env["SIEM_REPLAY_ROLE_ID"] = "AROASPLUNK", "AROAREPLAY"
			}
			l := dlq.Letter{ID: "a", Body: `{"time":1}`, Sent: day0, MovedFrom: splunkARN, Sender: c.sender,
				Attributes: map[string]string{"replays": "2"}}
			if c.attempts != "" {
				l.Attributes["attempts"] = c.attempts
			}
			w.drain(l)
			if r := w.records()[0]; known && r.Replays != c.replays || !known && r.Replays != 2 {
				t.Errorf("%+v, roles known: %v: %+v", c, known, r)
			}
		}
	}
	w := newWorld(t) // without the role's id, its sender is not checked
	l := dlq.Sent("splunk", "original", day0)
	l.Sender = "AROAANY:x"
	if w.drain(l); w.records()[0].Connector != "splunk" {
		t.Errorf("%+v", w.records())
	}
}

// TestMisconfigured: the error names every wrong setting.
func TestMisconfigured(t *testing.T) {
	w := newWorld(t)
	w.env = map[string]string{"SPLUNK_QUEUE_URL": "splunk-queue", "SIEM_MAX_ATTEMPTS": "many"}
	_, err := w.open()
	for _, name := range []string{"SIEM_DEAD_LETTER_PATH", "SPLUNK_QUEUE_URL", "SIEM_MAX_ATTEMPTS"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// world is the environment of the drain under test.
type world struct {
	t   *testing.T
	s3  *fakeaws.S3
	env map[string]string
	out dlq.Output // log and metrics
}

const testPrefix = "dead/"

func newWorld(t *testing.T) *world {
	return &world{t: t, s3: &fakeaws.S3{}, env: map[string]string{
		"SIEM_DEAD_LETTER_PATH": "s3://letters/dead",
		"SPLUNK_QUEUE_URL":      "https://sqs.test/123456789012/splunk-queue",
		"ELASTIC_QUEUE_URL":     "https://sqs.test/123456789012/elastic-queue",
	}}
}

// open makes the drain.
func (w *world) open() (*Drain, error) {
	lookup := func(name string) string { return w.env[name] }
	d, err := New(settings.New(lookup, nil), lambdahost.Deps{Env: lookup, Out: &w.out, Now: time.Now}, w.s3)
	if err == nil {
		d.bucket.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	return d, err
}

func (w *world) drainer() *Drain {
	w.t.Helper()
	d, err := w.open()
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// drain passes letters to the drain and returns the ids of batchItemFailures.
func (w *world) drain(letters ...dlq.Letter) []string {
	w.t.Helper()
	return w.drainPayload(dlq.Payload(w.t, letters...))
}

func (w *world) drainPayload(payload []byte) []string {
	w.t.Helper()
	return dlq.Invoke(w.t, w.drainer(), payload)
}

var day0 = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

func (w *world) wantKeys(prefix string, n int) []string {
	w.t.Helper()
	return dlq.WantKeys(w.t, w.s3, testPrefix+prefix, n)
}

// records are all records in pending objects.
func (w *world) records() (all []deadletter.Record) {
	w.t.Helper()
	for _, key := range w.s3.Keys(testPrefix + "pending/") {
		for line := range deadletter.Lines(w.s3.Body(key)) {
			var r deadletter.Record
			if err := deadletter.ParseLine(line, &r); err != nil {
				w.t.Fatalf("%s: %v", key, err)
			}
			all = append(all, r)
		}
	}
	return all
}
