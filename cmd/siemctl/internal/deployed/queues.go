package deployed

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SendMessageBatch's limits.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
const (
	maxBatchMessages = 10
	maxBatchBytes    = 1 << 20
)

// Depth is the number of messages in a queue.
type Depth struct {
	Waiting  int64 // visible or delayed
	InFlight int64 // being delivered, or waiting for the next attempt
}

// Depth counts the messages of a queue.
func (s *Stack) Depth(ctx context.Context, queueURL string) (Depth, error) {
	names := []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed,
	}
	out, err := s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &queueURL, AttributeNames: names})
	if err != nil {
		return Depth{}, failed("counting the messages of "+queueURL, err)
	}
	count := func(i int) int64 {
		n, _ := strconv.ParseInt(out.Attributes[string(names[i])], 10, 64) // AWS writes numbers
		return n
	}
	return Depth{Waiting: count(0) + count(2), InFlight: count(1)}, nil
}

// SendBatch sends up to maxBatchMessages messages of at most maxBatchBytes in all. It reports for each message whether
// SQS refused it, and returns the last reason.
func (s *Stack) SendBatch(ctx context.Context, queueURL string, messages []Message) (refused []bool, reason string,
	err error) {
	entries := make([]types.SendMessageBatchRequestEntry, len(messages))
	for i := range messages {
		entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &messages[i].Body}
	}
	out, err := s.sqs.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &queueURL, Entries: entries})
	if err != nil {
		return nil, "", failed("sending to "+queueURL, err)
	}
	refused = make([]bool, len(messages))
	for _, f := range out.Failed {
		if i, err := strconv.Atoi(aws.ToString(f.Id)); err == nil && i >= 0 && i < len(refused) {
			refused[i] = true
		}
		reason = aws.ToString(f.Code) + ": " + aws.ToString(f.Message)
	}
	return refused, reason, nil
}

// MaxMessageBytes is the size up to which Pack fills a message. It leaves room in a request of SQS for more than one.
const MaxMessageBytes = 256 << 10

// Message is the body of a message and the number of events in it.
type Message struct {
	Body   string
	Events int
}

// Pack puts events into messages of up to perMessage events and MaxMessageBytes. A message of several events is a JSON
// array; a message of one event is the event itself. An event that is larger than MaxMessageBytes gets its own message.
func Pack(events []string, perMessage int) []Message {
	var messages []Message
	const brackets = 2
	size := func(e string) int { return len(e) + 1 }
	for _, group := range groups(events, perMessage, MaxMessageBytes-brackets, size) {
		body := group[0]
		if len(group) > 1 {
			body = "[" + strings.Join(group, ",") + "]"
		}
		messages = append(messages, Message{body, len(group)})
	}
	return messages
}

// Requests groups messages by the limits of SendBatch.
func Requests(messages []Message) [][]Message {
	return groups(messages, maxBatchMessages, maxBatchBytes, func(m Message) int { return len(m.Body) })
}

// groups splits a list into groups of at most so many items and so many bytes. A larger item is alone.
func groups[T any](list []T, items, bytes int, size func(T) int) [][]T {
	var all [][]T
	start, total := 0, 0
	for i, item := range list {
		n := size(item)
		if i > start && (i-start == items || total+n > bytes) {
			all = append(all, list[start:i])
			start, total = i, 0
		}
		total += n
	}
	if start < len(list) {
		all = append(all, list[start:])
	}
	return all
}
