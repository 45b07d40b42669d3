package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxSend is the maximum number of messages of SendMessageBatch.
const maxSend = 10

// services are the AWS clients.
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

// send enqueues at most maxSend messages in one request.
func (s *services) send(ctx context.Context, queue string, bodies []string) error {
	entries := make([]types.SendMessageBatchRequestEntry, len(bodies))
	for i := range bodies {
		entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &bodies[i]}
	}
	answer, err := s.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: aws.String(queue), Entries: entries})
	if err != nil {
		return fmt.Errorf("enqueueing: %w", err)
	}
	if len(answer.Failed) > 0 {
		return fmt.Errorf("enqueueing: sqs refused %d messages, the first for %q", len(answer.Failed),
			aws.ToString(answer.Failed[0].Message))
	}
	return nil
}

// depth returns the number of messages in a queue, including those in flight.
func (s *services) depth(ctx context.Context, queue string) (int, error) {
	names := []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}
	answer, err := s.sqs.GetQueueAttributes(ctx,
		&sqs.GetQueueAttributesInput{QueueUrl: aws.String(queue), AttributeNames: names})
	if err != nil {
		return 0, fmt.Errorf("asking for a queue's depth: %w", err)
	}
	sum := 0
	for _, name := range names {
		n, err := strconv.Atoi(answer.Attributes[string(name)])
		if err != nil {
			return 0, fmt.Errorf("asking for a queue's depth: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// deadLetter is a line of a dead-letter object.
type deadLetter struct {
	Connector string          `json:"connector"`
	Error     string          `json:"error"`
	Event     json.RawMessage `json:"event"`
}

func (d deadLetter) id() string { return siem.EventID(d.Event) }

// letters reads every dead letter in the bucket.
func (s *services) letters(ctx context.Context, bucket string) (out []deadLetter, err error) {
	pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("listing the dead letters: %w", err)
		}
		for _, object := range page.Contents {
			key := aws.ToString(object.Key)
			if !strings.HasSuffix(key, ".jsonl") {
				continue
			}
			some, err := s.lines(ctx, bucket, key)
			if err != nil {
				return nil, fmt.Errorf("reading the dead letters %q: %w", key, err)
			}
			out = append(out, some...)
		}
	}
	return out, nil
}

func (s *services) lines(ctx context.Context, bucket, key string) (out []deadLetter, err error) {
	object, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return nil, err
	}
	defer object.Body.Close()
	text, err := io.ReadAll(object.Body)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var letter deadLetter
		if err := json.Unmarshal(line, &letter); err != nil {
			return nil, err
		}
		out = append(out, letter)
	}
	return out, nil
}
