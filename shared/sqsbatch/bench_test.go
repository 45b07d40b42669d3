package sqsbatch_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// open is a SIEM that accepts everything.
type open struct{}

func (open) Format() deliver.Format { return deliver.Format{} }
func (open) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return e.AppendCompact(dst), false, nil
}
func (open) Send(context.Context, *deliver.Batch) error { return nil }

// payload returns the payload of an SQS trigger with events of 1,500 bytes.
func payload(messages, perMessage int) []byte {
	one := `{"activity_id":1,"category_uid":6,"class_uid":6003,"severity_id":1,"time":1741824000123,"type_uid":600301,` +
		`"metadata":{"uid":"0190b7a2-7f3c-7c2e-9a52-0c8fb1d6a001","version":"1.1.0","product":{"name":"Arbitex",` +
		`"vendor_name":"Arbitex"}},` +
		`"actor":{"user":{"uid":"user_abc","email_addr":"alice@example.com","groups":[{"uid":"g1"},{"uid":"g2"}]}},` +
		`"api":{"operation":"chat_completion","request":{"uid":"req_xyz"}},"src_endpoint":{"ip":"192.0.2.7"},` +
		`"unmapped":{"model_id":"m","policy_action":"allow","dlp_labels":["pii"],"tokens_input":12,"tokens_output":34,` +
		`"text":"%s"}}`
	one = fmt.Sprintf(one, strings.Repeat("x", 1502-len(one)))
	body := one
	if perMessage > 1 {
		body = "[" + strings.TrimSuffix(strings.Repeat(one+",", perMessage), ",") + "]"
	}
	record := `{"messageId":"059f36b4-87a3-44ab-83d2-661975830a7d","receiptHandle":"` + strings.Repeat("AQEBw", 60) +
		`","body":` + string(jsonscan.AppendQuoted(nil, body)) +
		`,"attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183","SenderId":"AIDAIENQZJOLO23YVJ4VO",` +
		`"ApproximateFirstReceiveTimestamp":"1545082649185"},` +
		`"messageAttributes":{},"md5OfBody":"e4e68fb7bd0e697a0ae8f1bb342846b3","eventSource":"aws:sqs",` +
		`"eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","awsRegion":"us-east-2"}`
	return bytes.Clone([]byte(`{"Records":[` + strings.TrimSuffix(strings.Repeat(record+",", messages), ",") + `]}`))
}

// BenchmarkHandle takes 100 events from the payload to the response, with a SIEM that costs nothing: as 100 messages
// with one event, as 10 with 10, and as one with 100.
func BenchmarkHandle(b *testing.B) {
	for _, perMessage := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d_per_message", perMessage), func(b *testing.B) {
			h := &sqsbatch.Handler{
				Connector: "splunk", Queue: &queue{}, Backoff: sqsbatch.Backoff{Attempts: 5},
				Log: slog.New(slog.DiscardHandler), Out: io.Discard, Now: time.Now,
			}
			original := payload(100/perMessage, perMessage)
			scratch := make([]byte, len(original))
			var p sqsevent.Payload
			b.ReportAllocs()
			for b.Loop() {
				copy(scratch, original)
				if err := p.Read(scratch); err != nil {
					b.Fatal(err)
				}
				if _, err := h.Handle(b.Context(), fixedSource{open{}}, p.Messages); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
