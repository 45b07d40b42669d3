package sqsbatch_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// hangingQueue is an SQS that does not respond.
type hangingQueue struct{}

func (hangingQueue) ChangeMessageVisibilityBatch(ctx context.Context, _ *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hangingQueue) SendMessageBatch(ctx context.Context, _ *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestResponseWithHangingQueue: the function responds although SQS does not. Without a response, SQS would deliver the
// accepted events again.
func TestResponseWithHangingQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 30 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		in := &sqsbatch.Handler{
			Connector: "splunk", Queue: hangingQueue{}, QueueURL: "q", DeadLetterQueue: "d", Now: time.Now, Out: io.Discard,
			Backoff: sqsbatch.Backoff{Attempts: 5, Initial: time.Second,
				Max: 300 * time.Second}, Log: slog.New(slog.DiscardHandler),
		}
		begun := time.Now()
		response, err := in.Handle(ctx, nil, []sqsevent.Message{{ID: []byte("m"), Receipt: []byte("r"),
			Body: []byte("no event"), Receives: 1}})
		if err != nil || string(response) != `{"batchItemFailures":[{"itemIdentifier":"m"}]}` {
			t.Errorf("response %s, error %v", response, err)
		}
		if took := time.Since(begun); took > limit-100*time.Millisecond || took < limit/2 {
			t.Errorf("responded after %s of %s", took, limit)
		}
	})
}
