package sqsbatch

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"
)

// Queue is the part of SQS that this package needs. *sqs.Client implements it.
type Queue interface {
	ChangeMessageVisibilityBatch(
		context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options),
	) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	SendMessageBatch(
		context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options),
	) (*sqs.SendMessageBatchOutput, error)
}

// The limits of SQS.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const (
	maxEntries    = 10                         // of a batch request
	maxBatchBytes = 1 << 20                    // of a batch request, and of a message
	maxVisibility = 43_200                     // seconds: 12 hours from the receipt of a message
	maxDelay      = 900                        // seconds
	maxConcurrent = 10                         // our own: batch requests at a time
	timeLayout    = "2006-01-02T15:04:05.000Z" // RFC 3339 with milliseconds, UTC
)

// responseMargin is reserved before the Lambda deadline for the response. A function with a short time limit reserves a
// tenth. SQS delivers a batch without a response again as a whole, including the events that the SIEM accepted.
const responseMargin = 500 * time.Millisecond

// apply sends dead letters and remainders, and sets visibility timeouts. The visibility timeouts of messages that need
// nothing else do not wait for the other requests; each of the other steps has its own share of the time.
func (b *batch) apply(ctx context.Context) {
	var waiting, others []int
	for i := range b.messages {
		m := &b.messages[i]
		unsafe, pending := b.left(m)
		m.retained = unsafe > 0
		switch {
		case unsafe == 0:
		case unsafe == m.end-m.first && pending == 0:
			waiting = append(waiting, i)
		default:
			others = append(others, i)
		}
	}
	if len(waiting)+len(others) == 0 {
		return
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-min(responseMargin, max(0, time.Until(deadline)/10))))
		defer cancel()
	}
	var steps errgroup.Group
	steps.Go(func() error {
		b.hide(ctx, waiting)
		return nil
	})
	steps.Go(func() error {
		b.sendDeadLetters(ctx)
		b.hide(ctx, b.resend(ctx, others))
		return nil
	})
	_ = steps.Wait() // the steps report their errors themselves
}

// half returns a context for a step that others follow: it ends when the step has used half of the time that is left.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, max(0, time.Until(deadline)/2))
}

// queueError records an error of SQS for the log.
func (b *batch) queueError(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.queueErrors = append(b.report.queueErrors, err)
}

// hide sets the visibility timeouts of messages to their back-off. If that fails, the queue's own visibility timeout
// applies, and nothing is lost.
func (b *batch) hide(ctx context.Context, messages []int) {
	var requests errgroup.Group
	requests.SetLimit(maxConcurrent)
	for len(messages) > 0 {
		n := min(maxEntries, len(messages))
		some := messages[:n]
		messages = messages[n:]
		requests.Go(func() error {
			if failed, err := b.hideSome(ctx, some); err != nil {
				b.queueError(fmt.Errorf("setting the visibility timeout of %d messages: %w", failed, err))
			}
			return nil
		})
	}
	_ = requests.Wait() // the requests report their errors themselves
}

func (b *batch) hideSome(ctx context.Context, messages []int) (failed int, err error) {
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &b.QueueURL}
	for _, i := range messages {
		m := &b.messages[i]
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id:                aws.String(strconv.Itoa(i)),
			ReceiptHandle:     aws.String(string(m.Receipt)),
			VisibilityTimeout: seconds(b.wait(m), maxVisibility),
		})
	}
	out, err := b.Queue.ChangeMessageVisibilityBatch(ctx, in)
	if err != nil {
		return len(messages), err
	}
	return len(out.Failed), entryErrors(out.Failed)
}

// seconds returns d in whole seconds, rounded up, at most limit.
func seconds(d time.Duration, limit int32) int32 {
	return int32(min((d+time.Second-1)/time.Second, time.Duration(limit))) //nolint:gosec // at most limit
}

func entryErrors(failed []types.BatchResultErrorEntry) error {
	if len(failed) == 0 {
		return nil
	}
	return errors.New(aws.ToString(failed[0].Code) + " " + strconv.Quote(aws.ToString(failed[0].Message)))
}

// sender packs messages into batch requests within the limits of SQS, and sends them concurrently.
type sender struct {
	batch     *batch
	ctx       context.Context //nolint:containedctx // a sender is one step
	queue     string          // URL
	what      string          // the kind of message, for errors
	confirmed func(i int)     // SQS confirmed message number i; called concurrently for different messages

	requests errgroup.Group
	entries  []types.SendMessageBatchRequestEntry
	bytes    int
}

func (b *batch) newSender(ctx context.Context, queue, what string, confirmed func(i int)) *sender {
	s := &sender{batch: b, ctx: ctx, queue: queue, what: what, confirmed: confirmed}
	s.requests.SetLimit(maxConcurrent)
	return s
}

// add sends message number i, now or together with those that follow.
func (s *sender) add(i int, body []byte, delay int32, attributes map[string]types.MessageAttributeValue) {
	size := len(body) + attributesBytes(attributes)
	if size > maxBatchBytes {
		s.batch.queueError(fmt.Errorf("not sending one of the %s: it takes %d bytes with its attributes, and SQS accepts %d",
			s.what, size, maxBatchBytes))
		return
	}
	if len(s.entries) == maxEntries || s.bytes+size > maxBatchBytes {
		s.flush()
	}
	s.entries = append(s.entries, types.SendMessageBatchRequestEntry{
		Id:                aws.String(strconv.Itoa(i)),
		MessageBody:       aws.String(sendable(body)),
		DelaySeconds:      delay,
		MessageAttributes: attributes,
	})
	s.bytes += size
}

func (s *sender) flush() {
	entries := s.entries
	s.entries, s.bytes = nil, 0
	if len(entries) == 0 {
		return
	}
	s.requests.Go(func() error {
		if sent, err := s.send(entries); err != nil {
			s.batch.queueError(fmt.Errorf("sending %d of %d %s: %w", len(entries)-sent, len(entries), s.what, err))
		}
		return nil
	})
}

// wait sends the rest, and returns when every request has ended.
func (s *sender) wait() {
	s.flush()
	_ = s.requests.Wait() // the requests report their errors themselves
}

// send makes one request, and returns the number of messages that SQS confirmed by their ids.
func (s *sender) send(entries []types.SendMessageBatchRequestEntry) (sent int, err error) {
	out, err := s.batch.Queue.SendMessageBatch(s.ctx, &sqs.SendMessageBatchInput{QueueUrl: &s.queue, Entries: entries})
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		for _, ok := range out.Successful {
			if aws.ToString(ok.Id) == *e.Id {
				i, _ := strconv.Atoi(*e.Id)
				s.confirmed(i)
				sent++
				break
			}
		}
	}
	if err := entryErrors(out.Failed); err != nil || sent == len(entries) {
		return sent, err
	}
	return sent, errors.New("SQS confirmed only some of them")
}

// sendable returns a body that SQS can carry. Bytes that are not UTF-8 never come from SQS, but from a direct
// invocation. The SDK would replace them, find another checksum than it expects, and fail the whole request.
func sendable(body []byte) string { return strings.ToValidUTF8(string(body), "\uFFFD") }

func attributesBytes(attributes map[string]types.MessageAttributeValue) (n int) {
	for name, v := range attributes {
		n += len(name) + len(*v.DataType) + len(*v.StringValue)
	}
	return n
}

// text returns a message attribute of type String.
func text(v string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
}

// number returns a message attribute of type Number.
func number(n int) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: aws.String(strconv.Itoa(n))}
}
