package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// world is the environment of the drain under test.
type world struct {
	t   *testing.T
	s3  *fakeaws.S3
	env map[string]string
	out safeBuffer // log and metrics
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
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
		d.bucket.Pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
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

// letter is a message on the dead-letter queue.
type letter struct {
	id         string
	body       string
	attributes map[string]string
	sent       time.Time
	movedFrom  string // ARN
	sender     string
}

// sent is the letter a connector has sent.
func sentLetter(connector, id string, failed time.Time) letter {
	return letter{id: "dlq-" + id, body: fmt.Sprintf(`{"time":%d,"metadata":{"uid":%q}}`, failed.UnixMilli(), id),
		attributes: map[string]string{
			"connector": connector, "error": "status 503: busy", "attempts": "5", "message_id": id,
			"failed_at": failed.UTC().Format(deadletter.TimeLayout),
		}}
}

func payloadOf(t *testing.T, letters ...letter) []byte {
	t.Helper()
	var records []any
	for _, l := range letters {
		attributes := map[string]any{"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(l.sent.UnixMilli())}
		if l.movedFrom != "" {
			attributes["DeadLetterQueueSourceArn"] = l.movedFrom
		}
		if l.sender != "" {
			attributes["SenderId"] = l.sender
		}
		own := make(map[string]any)
		for name, value := range l.attributes {
			own[name] = map[string]any{"stringValue": value, "dataType": "String"}
		}
		records = append(records, map[string]any{"messageId": l.id, "receiptHandle": "r", "body": l.body,
			"attributes": attributes, "messageAttributes": own, "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:dead"})
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// drain passes letters to the drain and returns the ids of batchItemFailures.
func (w *world) drain(letters ...letter) []string {
	w.t.Helper()
	return w.drainPayload(payloadOf(w.t, letters...))
}

func (w *world) drainPayload(payload []byte) []string {
	w.t.Helper()
	out, err := w.drainer().Handle(w.t.Context(), payload)
	if err != nil {
		w.t.Fatal(err)
	}
	var response struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(out, &response); err != nil || response.BatchItemFailures == nil {
		w.t.Fatalf("response %s: %v", out, err)
	}
	var failed []string
	for _, f := range response.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}

var day0 = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

// letters makes n letters of a connector, a second apart.
func letters(connector, name string, n int, from time.Time) []letter {
	all := make([]letter, 0, n)
	for i := range n {
		all = append(all, sentLetter(connector, fmt.Sprintf("%s-%03d", name, i), from.Add(time.Duration(i)*time.Second)))
	}
	return all
}

func (w *world) wantKeys(prefix string, n int) []string {
	w.t.Helper()
	keys := w.s3.Keys(testPrefix + prefix)
	if len(keys) != n {
		w.t.Fatalf("%d objects below %s, want %d: %s", len(keys), prefix, n, strings.Join(keys, "\n"))
	}
	return keys
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
