package fakeaws

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// The limits of requests.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const (
	maxEntries    = 10
	maxBatchBytes = 1 << 20
	maxVisibility = 43_200 // seconds
	maxDelay      = 900    // seconds
)

func refusal(id *string, code string, message string) types.BatchResultErrorEntry {
	return types.BatchResultErrorEntry{Id: id, Code: aws.String(code), Message: aws.String(message), SenderFault: true}
}

// batchQueue returns the queue of a batch request, or the error for the ids of its entries. s.mu is locked.
func batchQueue[E any](s *SQS, url *string, entries []E, id func(E) *string) (*queue, error) {
	q, err := s.find(url)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool)
	for _, e := range entries {
		ids[aws.ToString(id(e))] = true
	}
	switch {
	case len(entries) == 0:
		return nil, Error("AWS.SimpleQueueService.EmptyBatchRequest")
	case len(entries) > maxEntries:
		return nil, Error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
	case len(ids) < len(entries):
		return nil, Error("AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
	}
	return q, nil
}

// SendMessageBatch implements the request of that name.
func (s *SQS) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	const op = "SendMessageBatch"
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.Hook.call(op, aws.ToString(in.QueueUrl), false); err != nil {
		return nil, err
	}
	out, err := s.sendBatch(in)
	if err != nil {
		return nil, err
	}
	if err := s.Hook.call(op, aws.ToString(in.QueueUrl), true); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *SQS) sendBatch(in *sqs.SendMessageBatchInput) (*sqs.SendMessageBatchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := batchQueue(s, in.QueueUrl, in.Entries,
		func(e types.SendMessageBatchRequestEntry) *string { return e.Id })
	if err != nil {
		return nil, err
	}
	bytes := 0
	for _, e := range in.Entries {
		bytes += size(e)
	}
	if bytes > maxBatchBytes {
		return nil, Error("AWS.SimpleQueueService.BatchRequestTooLong")
	}
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		if aws.ToString(e.MessageBody) == "" || e.DelaySeconds < 0 || e.DelaySeconds > maxDelay {
			out.Failed = append(out.Failed, refusal(e.Id, "InvalidParameterValue", "an empty body, or a delay out of range"))
			continue
		}
		if s.Refuse != nil {
			if code, sender := s.Refuse(q.URL, *e.MessageBody); code != "" {
				failed := refusal(e.Id, code, "injected")
				failed.SenderFault = sender
				out.Failed = append(out.Failed, failed)
				continue
			}
		}
		id := s.put(q, *e.MessageBody, e.MessageAttributes, time.Duration(e.DelaySeconds)*time.Second)
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id, MessageId: aws.String(id)})
	}
	return out, nil
}

func size(e types.SendMessageBatchRequestEntry) int {
	n := len(aws.ToString(e.MessageBody))
	for name, v := range e.MessageAttributes {
		n += len(name) + len(aws.ToString(v.DataType)) + len(aws.ToString(v.StringValue)) + len(v.BinaryValue)
	}
	return n
}

// ReceiveMessage implements the request of that name, with WaitTimeSeconds. System and message attributes are always
// given.
func (s *SQS) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput,
	_ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	most := int(in.MaxNumberOfMessages)
	if most == 0 {
		most = 1
	}
	if most < 1 || most > maxEntries {
		return nil, Error("InvalidParameterValue")
	}
	until := time.Now().Add(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		s.mu.Lock()
		q, err := s.find(in.QueueUrl)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		visibility := q.Visibility
		if in.VisibilityTimeout > 0 {
			visibility = time.Duration(in.VisibilityTimeout) * time.Second
		}
		out := &sqs.ReceiveMessageOutput{Messages: s.receive(q, most, visibility)}
		changed, next := q.changed, q.next()
		s.mu.Unlock()
		if len(out.Messages) > 0 || !time.Now().Before(until) {
			return out, nil
		}
		if next.IsZero() || next.After(until) {
			next = until
		}
		if err := pass(ctx, changed, next); err != nil {
			return nil, err
		}
	}
}

// receive hides up to most visible messages and returns them. Those that have been received too often are moved
// instead.
func (s *SQS) receive(q *queue, most int, visibility time.Duration) []types.Message {
	now := time.Now()
	s.uncover(q, now)
	var received []*message
	for len(received) < most && q.ready.first() != nil {
		m := q.ready.first()
		m.in.remove(m)
		received = append(received, m)
	}
	var out []types.Message
	for _, m := range received {
		m.Receives++
		m.receipt = receiptOf(m)
		m.Visible = now.Add(visibility)
		if s.Twice != nil && s.Twice(m.Message) {
			m.Visible = now
		}
		q.waiting.add(m)
		out = append(out, m.sdk())
	}
	return out
}

// uncover takes the messages that have become visible to where they are received from, or to the dead-letter queue.
func (s *SQS) uncover(q *queue, now time.Time) {
	var tooOften []*message
	for m := q.waiting.first(); m != nil && !m.Visible.After(now); m = q.waiting.first() {
		q.waiting.remove(m)
		if q.MaxReceives > 0 && m.Receives >= q.MaxReceives && s.queues[q.DeadLetter] != nil {
			tooOften = append(tooOften, m)
			continue
		}
		m.place = m.arrival
		if s.Order != nil {
			m.place = s.Order(m.Message)
		}
		q.ready.add(m)
	}
	slices.SortFunc(tooOften, byArrival)
	for _, m := range tooOften {
		s.move(q, m)
	}
}

// move takes a message to the dead-letter queue. It keeps its id, its body, its attributes and when it was sent.
func (s *SQS) move(q *queue, m *message) {
	delete(q.messages, m.ID)
	q.change()
	m.Source, m.Visible = q.ARN, time.Now()
	s.queues[q.DeadLetter].add(m)
}

func (m *message) sdk() types.Message {
	system := map[string]string{
		"ApproximateReceiveCount": strconv.Itoa(m.Receives),
		"SentTimestamp":           strconv.FormatInt(m.Sent.UnixMilli(), 10),
	}
	if m.Source != "" {
		system["DeadLetterQueueSourceArn"] = m.Source
	}
	return types.Message{MessageId: aws.String(m.ID), ReceiptHandle: aws.String(m.receipt), Body: aws.String(m.Body),
		Attributes: system, MessageAttributes: m.Attributes}
}

// ChangeMessageVisibilityBatch implements the request of that name. A stale receipt, and a message that is not in
// flight, fail alone.
func (s *SQS) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput,
	_ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := batchQueue(s, in.QueueUrl, in.Entries,
		func(e types.ChangeMessageVisibilityBatchRequestEntry) *string { return e.Id })
	if err != nil {
		return nil, err
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	now := time.Now()
	for _, e := range in.Entries {
		m, stale := q.byReceipt(aws.ToString(e.ReceiptHandle))
		switch {
		case m == nil && !stale:
			out.Failed = append(out.Failed, refusal(e.Id, "ReceiptHandleIsInvalid", "no receipt handle"))
		case m == nil || stale || !m.Visible.After(now):
			out.Failed = append(out.Failed, refusal(e.Id, "MessageNotInflight", "not in flight"))
		case e.VisibilityTimeout < 0 || e.VisibilityTimeout > maxVisibility:
			out.Failed = append(out.Failed, refusal(e.Id, "InvalidParameterValue", "out of range"))
		default:
			q.hide(m, now.Add(time.Duration(e.VisibilityTimeout)*time.Second))
			out.Successful = append(out.Successful, types.ChangeMessageVisibilityBatchResultEntry{Id: e.Id})
		}
	}
	return out, nil
}

// DeleteMessageBatch implements the request of that name. A stale receipt deletes nothing, and the request succeeds.
func (s *SQS) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput,
	_ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := batchQueue(s, in.QueueUrl, in.Entries,
		func(e types.DeleteMessageBatchRequestEntry) *string { return e.Id })
	if err != nil {
		return nil, err
	}
	out := &sqs.DeleteMessageBatchOutput{}
	for _, e := range in.Entries {
		m, stale := q.byReceipt(aws.ToString(e.ReceiptHandle))
		if m == nil && !stale {
			out.Failed = append(out.Failed, refusal(e.Id, "ReceiptHandleIsInvalid", "no receipt handle"))
			continue
		}
		if m != nil && !stale {
			if s.Retire != nil {
				s.Retire(q.URL, m.Message)
			}
			q.remove(m)
		}
		out.Successful = append(out.Successful, types.DeleteMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}
