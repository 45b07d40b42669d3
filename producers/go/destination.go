package producer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQSClient is the part of an SQS client that [SQS] needs.
type SQSClient interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput,
		error)
}

// SQS sends to a queue.
func SQS(client SQSClient, queueURL string) Destination { return &queue{client, queueURL} }

type queue struct {
	client SQSClient
	url    string
}

func (*queue) maxRequestBytes() int { return maxSQSRequestBytes }

// Send implements Destination.
func (q *queue) Send(ctx context.Context, bodies []string) ([]error, error) {
	in := &sqs.SendMessageBatchInput{QueueUrl: &q.url}
	for i := range bodies {
		in.Entries = append(in.Entries, sqstypes.SendMessageBatchRequestEntry{Id: id(i), MessageBody: &bodies[i]})
	}
	out, err := q.client.SendMessageBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	results := unconfirmed(len(bodies))
	for _, ok := range out.Successful {
		set(results, ok.Id, nil)
	}
	for _, f := range out.Failed {
		set(results, f.Id, entryError(f.Code, f.Message, f.SenderFault))
	}
	return results, nil
}

// SNSClient is the part of an SNS client that [SNS] needs.
type SNSClient interface {
	PublishBatch(context.Context, *sns.PublishBatchInput, ...func(*sns.Options)) (*sns.PublishBatchOutput, error)
}

// SNS publishes to a topic. Its subscriptions need raw message delivery.
func SNS(client SNSClient, topicARN string) Destination { return &topic{client, topicARN} }

type topic struct {
	client SNSClient
	arn    string
}

func (*topic) maxRequestBytes() int { return maxSNSRequestBytes }

// Send implements Destination.
func (t *topic) Send(ctx context.Context, bodies []string) ([]error, error) {
	in := &sns.PublishBatchInput{TopicArn: &t.arn}
	for i := range bodies {
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries,
			snstypes.PublishBatchRequestEntry{Id: id(i), Message: &bodies[i]})
	}
	out, err := t.client.PublishBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	results := unconfirmed(len(bodies))
	for _, ok := range out.Successful {
		set(results, ok.Id, nil)
	}
	for _, f := range out.Failed {
		set(results, f.Id, entryError(f.Code, f.Message, f.SenderFault))
	}
	return results, nil
}

func id(i int) *string { return aws.String(strconv.Itoa(i)) }

// unconfirmed returns one error per message: a message counts as sent only if the response confirms it.
func unconfirmed(n int) []error { return slices.Repeat([]error{errors.New("not confirmed")}, n) }

func set(results []error, id *string, err error) {
	if i, bad := strconv.Atoi(aws.ToString(id)); bad == nil && 0 <= i && i < len(results) {
		results[i] = err
	}
}

// temporary are codes that AWS reports as the sender's fault although a later attempt may succeed.
func temporary(code string) bool {
	return slices.Contains([]string{"ThrottlingException", "Throttling", "RequestThrottled", "KmsThrottled",
		"OverLimit"}, code)
}

func entryError(code, text *string, senderFault bool) error {
	if senderFault && !temporary(aws.ToString(code)) {
		return fmt.Errorf("%w: %s: %s", ErrRefused, aws.ToString(code), aws.ToString(text))
	}
	return fmt.Errorf("%s: %s", aws.ToString(code), aws.ToString(text))
}
