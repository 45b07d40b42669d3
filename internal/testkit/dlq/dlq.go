// Package dlq makes messages of the dead-letter queue, and invokes the drain with them.
package dlq

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
)

// Letter is a message on the dead-letter queue.
type Letter struct {
	ID         string
	Body       string
	Attributes map[string]string
	Sent       time.Time
	MovedFrom  string // ARN
	Sender     string
}

// Sent is the letter that a connector has sent.
func Sent(connector, id string, failed time.Time) Letter {
	return Letter{ID: "dlq-" + id, Body: fmt.Sprintf(`{"time":%d,"metadata":{"uid":%q}}`, failed.UnixMilli(), id),
		Attributes: map[string]string{
			"connector": connector, "error": "status 503: busy", "attempts": "5", "message_id": id,
			"failed_at": failed.UTC().Format(deadletter.TimeLayout),
		}}
}

// Letters makes n letters of a connector, a second apart.
func Letters(connector, name string, n int, from time.Time) []Letter {
	all := make([]Letter, 0, n)
	for i := range n {
		all = append(all, Sent(connector, fmt.Sprintf("%s-%03d", name, i), from.Add(time.Duration(i)*time.Second)))
	}
	return all
}

// Payload is the event of an invocation with letters.
func Payload(t *testing.T, letters ...Letter) []byte {
	t.Helper()
	var records []any
	for _, l := range letters {
		attributes := map[string]any{"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(l.Sent.UnixMilli())}
		if l.MovedFrom != "" {
			attributes["DeadLetterQueueSourceArn"] = l.MovedFrom
		}
		if l.Sender != "" {
			attributes["SenderId"] = l.Sender
		}
		own := make(map[string]any)
		for name, value := range l.Attributes {
			own[name] = map[string]any{"stringValue": value, "dataType": "String"}
		}
		records = append(records, map[string]any{"messageId": l.ID, "receiptHandle": "r", "body": l.Body,
			"attributes": attributes, "messageAttributes": own, "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:dead"})
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// Handler is a Lambda function.
type Handler interface {
	Handle(ctx context.Context, payload []byte) ([]byte, error)
}

// Invoke invokes the drain and returns the ids of batchItemFailures.
func Invoke(t *testing.T, drain Handler, payload []byte) []string {
	t.Helper()
	out, err := drain.Handle(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(out, &response); err != nil || response.BatchItemFailures == nil {
		t.Fatalf("response %s: %v", out, err)
	}
	var failed []string
	for _, f := range response.BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}

// WantKeys returns the keys of the n objects below a prefix. Another number fails the test.
func WantKeys(t *testing.T, s3 *fakeaws.S3, prefix string, n int) []string {
	t.Helper()
	keys := s3.Keys(prefix)
	if len(keys) != n {
		t.Fatalf("%d objects below %s, want %d: %s", len(keys), prefix, n, strings.Join(keys, "\n"))
	}
	return keys
}

// Output holds what concurrent functions print.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
