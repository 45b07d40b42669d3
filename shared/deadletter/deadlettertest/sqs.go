package deadlettertest

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// Message is one that has been sent.
type Message struct {
	ID         string // as SQS gives them
	Queue      string // URL
	Body       string
	Attributes map[string]string
}

// SQS takes messages. Its zero value has every queue, and all are empty.
type SQS struct {
	Hook Hook

	// Refuse, when not nil, returns why an entry fails: its code, "" when it does not, and whether the sender is to blame.
	Refuse func(m Message) (code string, sender bool)

	// Discard counts messages and keeps none.
	Discard bool

	mu       sync.Mutex
	messages []Message
	count    int
}

// The limits of a batch request.
const (
	maxEntries    = 10
	maxBatchBytes = 1 << 20
)

// Messages returns what has been sent, in no particular order.
func (s *SQS) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Count is how many messages have been sent.
func (s *SQS) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// SendMessageBatch implements the request of that name.
func (s *SQS) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	url := aws.ToString(in.QueueUrl)
	if s.Hook != nil {
		if err := s.Hook("SendMessageBatch", url, false); err != nil {
			return nil, err
		}
	}
	out, err := s.send(url, in.Entries)
	if err == nil && s.Hook != nil {
		err = s.Hook("SendMessageBatch", url, true)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *SQS) send(url string, entries []types.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	if err := valid(entries); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range entries {
		m := Message{Queue: url, Body: *e.MessageBody, Attributes: make(map[string]string)}
		for name, v := range e.MessageAttributes {
			m.Attributes[name] = aws.ToString(v.StringValue)
		}
		if s.Refuse != nil {
			if code, sender := s.Refuse(m); code != "" {
				out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String(code), SenderFault: sender, Message: aws.String("made up")})
				continue
			}
		}
		s.count++
		m.ID = "message-" + strconv.Itoa(s.count)
		if !s.Discard {
			s.messages = append(s.messages, m)
		}
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: aws.String(m.ID)})
	}
	return out, nil
}

// valid checks what SQS refuses a whole request for.
func valid(entries []types.SendMessageBatchRequestEntry) error {
	if len(entries) == 0 {
		return Error("AWS.SimpleQueueService.EmptyBatchRequest")
	}
	if len(entries) > maxEntries {
		return Error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
	}
	bytes, ids := 0, make(map[string]bool)
	for _, e := range entries {
		if ids[*e.Id] {
			return Error("AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
		}
		ids[*e.Id] = true
		bytes += len(*e.MessageBody)
		for name, v := range e.MessageAttributes {
			bytes += len(name) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue))
		}
	}
	if bytes > maxBatchBytes {
		return Error("AWS.SimpleQueueService.BatchRequestTooLong")
	}
	return nil
}
