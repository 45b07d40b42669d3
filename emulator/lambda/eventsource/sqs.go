package eventsource

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Client is the part of the SQS API that an event source mapping uses.
type Client interface {
	ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, o ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput,
		error)
	DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput,
		o ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
}

// SQS is a Queue of Amazon SQS.
type SQS struct {
	Client Client
	URL    string
}

var _ Queue = SQS{}

var errIncomplete = errors.New("a message without an id, a body or a receipt handle")

// Receive implements Queue. The wait is rounded up to whole seconds, the unit of SQS.
func (q SQS) Receive(ctx context.Context, limit int, wait time.Duration) ([]Message, error) {
	out, err := q.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:                    aws.String(q.URL),
		MaxNumberOfMessages:         int32(limit), //nolint:gosec // at most 10
		WaitTimeSeconds:             int32((wait + time.Second - 1) / time.Second),
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return nil, err
	}
	messages := make([]Message, len(out.Messages))
	for i, m := range out.Messages {
		if m.MessageId == nil || m.ReceiptHandle == nil || m.Body == nil {
			return nil, errIncomplete
		}
		messages[i] = Message{
			ID: *m.MessageId, ReceiptHandle: *m.ReceiptHandle, Body: *m.Body, MD5OfBody: aws.ToString(m.MD5OfBody),
			MD5OfAttributes: aws.ToString(m.MD5OfMessageAttributes), Attributes: m.Attributes,
			MessageAttributes: make(map[string]Attribute, len(m.MessageAttributes)),
		}
		for name, a := range m.MessageAttributes {
			messages[i].MessageAttributes[name] = Attribute{aws.ToString(a.DataType), a.StringValue, a.BinaryValue}
		}
	}
	return messages, nil
}

// Delete implements Queue.
func (q SQS) Delete(ctx context.Context, messages []Message) ([]Message, error) {
	entries := make([]types.DeleteMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)),
			ReceiptHandle: aws.String(m.ReceiptHandle)}
	}
	out, err := q.Client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(q.URL),
		Entries: entries})
	if err != nil {
		return nil, err
	}
	var failed []Message
	for _, f := range out.Failed {
		i, err := strconv.Atoi(aws.ToString(f.Id))
		if err != nil || i < 0 || i >= len(messages) {
			return nil, fmt.Errorf("deleting: the response names the entry %q, which was not sent", aws.ToString(f.Id))
		}
		failed = append(failed, messages[i])
	}
	return failed, nil
}
