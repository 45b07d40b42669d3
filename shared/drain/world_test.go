package drain

import (
	"context"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
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
