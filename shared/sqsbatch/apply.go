package sqsbatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	MaxBytes      = 1 << 20                    // of a batch request, and of a message, with its attributes
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
	ctx, cancel := Reserve(ctx, responseMargin, 10)
	defer cancel()
	var steps sync.WaitGroup
	steps.Go(func() { b.hide(ctx, waiting) })
	steps.Go(func() {
		b.sendDeadLetters(ctx)
		b.hide(ctx, b.resend(ctx, others))
	})
	steps.Wait()
}

// Reserve returns a context that ends before the deadline of ctx: by most, or by the given fraction of the time that is
// left if that is less. The clock is that of the deadline.
func Reserve(ctx context.Context, most time.Duration, fraction int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := max(0, time.Until(deadline))
	return context.WithDeadline(ctx, deadline.Add(-min(most, left/time.Duration(fraction))))
}

// half returns a context for a step that others follow: it ends when the step has used half of the time that is left.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	return Reserve(ctx, math.MaxInt64, 2)
}

// note records errors of SQS for the log.
func (b *batch) note(errs ...error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.queueErrors = append(b.report.queueErrors, errs...)
}

// hide sets the visibility timeouts of messages to their back-off. If that fails, the queue's own visibility timeout
// applies, and nothing is lost.
func (b *batch) hide(ctx context.Context, messages []int) {
	var requests errgroup.Group
	requests.SetLimit(maxConcurrent)
	for some := range slices.Chunk(messages, maxEntries) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &b.QueueURL}
		for _, i := range some {
			m := &b.messages[i]
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id:                aws.String(strconv.Itoa(i)),
				ReceiptHandle:     aws.String(string(m.Receipt)),
				VisibilityTimeout: seconds(b.wait(m), maxVisibility),
			})
		}
		requests.Go(func() error {
			out, err := b.Queue.ChangeMessageVisibilityBatch(ctx, in)
			failed := len(in.Entries)
			if err == nil {
				failed, err = len(out.Failed), entryError(out.Failed)
			}
			if err != nil {
				b.note(fmt.Errorf("setting the visibility timeout of %d messages: %w", failed, err))
			}
			return nil
		})
	}
	_ = requests.Wait() // the requests report their errors themselves
}

// seconds returns d in whole seconds, rounded up, at most limit.
func seconds(d time.Duration, limit int32) int32 {
	return int32(min((d+time.Second-1)/time.Second, time.Duration(limit))) //nolint:gosec // at most limit
}

// Sender packs messages into batch requests within the limits of SQS, and sends them concurrently.
type Sender struct {
	// Refused is called for a message that SQS will never accept. If it is nil, that is an error like any other.
	Refused func(i int)

	ctx       context.Context
	queue     Queue
	url       string
	what      string
	confirmed func(i int)
	requests  errgroup.Group
	entries   []types.SendMessageBatchRequestEntry
	bytes     int

	mu   sync.Mutex
	errs []error
}

// NewSender makes a Sender to the queue with that URL. It calls confirmed when SQS has confirmed message i by its id;
// calls for different messages are concurrent. what names the messages in errors.
func NewSender(ctx context.Context, q Queue, url, what string, confirmed func(i int)) *Sender {
	s := &Sender{ctx: ctx, queue: q, url: url, what: what, confirmed: confirmed}
	s.requests.SetLimit(maxConcurrent)
	return s
}

// Attributes are the attributes of a message.
type Attributes map[string]types.MessageAttributeValue

// Text returns an attribute of type String.
func Text(v string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
}

// Number returns an attribute of type Number.
func Number(n int) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: aws.String(strconv.Itoa(n))}
}

// Size returns the bytes that count toward MaxBytes of a message with that body.
func (a Attributes) Size(body []byte) int {
	n := len(body)
	for name, v := range a {
		n += len(name) + len(*v.DataType) + len(*v.StringValue)
	}
	return n
}

// Add sends message i after delay seconds, now or together with those that follow.
func (s *Sender) Add(i int, body []byte, delay int32, attributes Attributes) {
	size := attributes.Size(body)
	if size > MaxBytes {
		s.fail(fmt.Errorf("not sending one of the %s: it takes %d bytes with its attributes, and SQS accepts %d",
			s.what, size, MaxBytes))
		return
	}
	if len(s.entries) == maxEntries || s.bytes+size > MaxBytes {
		s.flush()
	}
	s.entries = append(s.entries, types.SendMessageBatchRequestEntry{
		Id: aws.String(strconv.Itoa(i)), MessageBody: aws.String(sendable(body)),
		DelaySeconds: delay, MessageAttributes: attributes,
	})
	s.bytes += size
}

// sendable returns a body that SQS can carry. Bytes that are not UTF-8 never come from SQS, but from a direct
// invocation. The SDK would replace them, find another checksum than it expects, and fail the whole request.
func sendable(body []byte) string { return strings.ToValidUTF8(string(body), "\uFFFD") }

// Wait sends the rest, and returns the errors when every request has ended.
func (s *Sender) Wait() []error {
	s.flush()
	_ = s.requests.Wait() // the requests note their errors themselves
	return s.errs
}

func (s *Sender) flush() {
	entries := s.entries
	s.entries, s.bytes = nil, 0
	if len(entries) == 0 {
		return
	}
	s.requests.Go(func() error {
		if sent, err := s.send(entries); err != nil {
			s.fail(fmt.Errorf("sending %d of %d %s: %w", len(entries)-sent, len(entries), s.what, err))
		}
		return nil
	})
}

func (s *Sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// temporary are the codes of an entry that a later request may send, although AWS calls them the sender's fault.
var temporary = []string{"KmsThrottled", "OverLimit", "RequestThrottled", "Throttling", "ThrottlingException"}

// send makes one request, and returns the number of messages that SQS confirmed or refused. An error is about the
// others.
func (s *Sender) send(entries []types.SendMessageBatchRequestEntry) (settled int, err error) {
	out, err := s.queue.SendMessageBatch(s.ctx, &sqs.SendMessageBatchInput{QueueUrl: &s.url, Entries: entries})
	if err != nil {
		return 0, err
	}
	err = entryError(out.Failed)
	for _, e := range entries {
		i, _ := strconv.Atoi(*e.Id)
		confirms := func(ok types.SendMessageBatchResultEntry) bool { return aws.ToString(ok.Id) == *e.Id }
		refuses := func(f types.BatchResultErrorEntry) bool {
			return f.SenderFault && !slices.Contains(temporary, aws.ToString(f.Code)) && aws.ToString(f.Id) == *e.Id
		}
		switch {
		case slices.ContainsFunc(out.Successful, confirms):
			s.confirmed(i)
			settled++
		case s.Refused != nil && slices.ContainsFunc(out.Failed, refuses):
			s.Refused(i)
			settled++
		}
	}
	if settled == len(entries) {
		return settled, nil
	}
	return settled, cmp.Or(err, errors.New("SQS confirmed only some of them"))
}

// entryError returns the first error of the entries of a batch request, nil if there is none.
func entryError(failed []types.BatchResultErrorEntry) error {
	if len(failed) == 0 {
		return nil
	}
	return errors.New(aws.ToString(failed[0].Code) + " " + strconv.Quote(aws.ToString(failed[0].Message)))
}
