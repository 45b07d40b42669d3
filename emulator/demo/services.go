package demo

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// The limits of SendMessageBatch, with room for the metadata that counts besides the bodies.
const (
	maxSend      = 10
	maxSendBytes = 1_000_000
)

// services are the clients that the platform and an operator use.
type services struct {
	sqs *sqs.Client
	s3  *s3.Client
}

func newServices(config aws.Config) *services {
	return &services{
		sqs: sqs.NewFromConfig(config),
		s3:  s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }),
	}
}

// send enqueues as many of the first messages as one request can hold, and returns their number.
func (s *services) send(ctx context.Context, queue string, messages []message) (int, error) {
	var entries []types.SendMessageBatchRequestEntry
	size := 0
	for i, m := range messages {
		if i == maxSend || i > 0 && size+len(m.body) > maxSendBytes {
			break
		}
		size += len(m.body)
		entries = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)),
			MessageBody: aws.String(m.body)})
	}
	answer, err := s.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(queue), Entries: entries})
	if err != nil {
		return 0, fmt.Errorf("enqueueing: %w", err)
	}
	if len(answer.Failed) > 0 {
		return 0, fmt.Errorf("enqueueing: sqs refused %d messages, the first for %q", len(answer.Failed),
			aws.ToString(answer.Failed[0].Message))
	}
	return len(entries), nil
}

// depth returns the number of visible messages of a queue, and of those in flight.
func (s *services) depth(ctx context.Context, queue string) (waiting, inFlight int, err error) {
	const visible, hidden = types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible
	const delayed = types.QueueAttributeNameApproximateNumberOfMessagesDelayed
	answer, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: aws.String(queue), AttributeNames: []types.QueueAttributeName{visible, hidden, delayed},
	})
	if err != nil {
		return 0, 0, fmt.Errorf("asking for a queue's depth: %w", err)
	}
	number := func(name types.QueueAttributeName) int {
		n, convErr := strconv.Atoi(answer.Attributes[string(name)])
		if convErr != nil {
			err = fmt.Errorf("asking for a queue's depth: %s is %q", name, answer.Attributes[string(name)])
		}
		return n
	}
	waiting, inFlight = number(visible)+number(delayed), number(hidden)
	return waiting, inFlight, err
}
