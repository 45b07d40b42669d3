// Package producer sends OCSF events to ArbitexSIEM connectors through SQS or SNS.
//
//	p := producer.New(producer.SQS(sqs.NewFromConfig(cfg), queueURL), producer.Options{})
//	err := p.Add(ctx, event) // JSON of one event
//	err = p.Close(ctx)
//
// A message holds up to 100 events or 256 KB, or what arrived within a second of its first event. SQS and Lambda bill
// by message. A request holds up to ten messages. Entries that AWS refuses temporarily are sent again with back-off. An
// event can arrive twice, but none is dropped silently: see [SendError].
package producer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// The limits of SQS and SNS.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
// https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
const (
	MaxMessageBytes    = 1 << 20
	maxSQSRequestBytes = 1 << 20
	maxSNSRequestBytes = 256 << 10
	maxEntries         = 10
)

// Options are the producer's limits. The zero value has the defaults.
type Options struct {
	MaxBytes  int           // of a message; default 256 KiB, at most MaxMessageBytes
	MaxEvents int           // in a message; default 100
	MaxDelay  time.Duration // that an event waits for others; default 1 s, negative sends only on Flush
	Attempts  int           // requests for one message before its events fail; default 5

	// OnError receives the failures of requests that MaxDelay started. Without it, the next call returns them.
	OnError func(*SendError)

	// Wait waits between attempts; default a timer that obeys ctx.
	Wait func(ctx context.Context, d time.Duration) error
}

// SendError reports events that were not sent.
type SendError struct {
	Events [][]byte
	Err    error
}

// Error implements error.
func (e *SendError) Error() string {
	return fmt.Sprintf("%d events were not sent: %v", len(e.Events), e.Err)
}

// Unwrap returns the last error of AWS.
func (e *SendError) Unwrap() error { return e.Err }

// Destination sends one request of messages. It returns one error per message, nil for an accepted one; an error that
// wraps [ErrRefused] is final. Its second result is an error of the whole request.
type Destination interface {
	Send(ctx context.Context, bodies []string) ([]error, error)
	maxRequestBytes() int
}

// ErrRefused marks an entry that AWS refuses for its content.
var ErrRefused = errors.New("refused")

// Producer collects events and sends them. It is safe for concurrent use.
type Producer struct {
	to Destination
	o  Options

	mu     sync.Mutex
	events [][]byte // of the message being filled
	size   int
	ready  []message
	timer  *time.Timer
	late   error // of a request that MaxDelay started
}

type message struct {
	body   string
	events [][]byte
}

// New makes a producer for a destination.
func New(to Destination, o Options) *Producer {
	if o.MaxBytes <= 0 || o.MaxBytes > MaxMessageBytes {
		o.MaxBytes = 256 << 10
	}
	if o.MaxEvents <= 0 {
		o.MaxEvents = 100
	}
	if o.MaxDelay == 0 {
		o.MaxDelay = time.Second
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	return &Producer{to: to, o: o}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Add adds one event, a JSON object. It sends a request when ten messages are full. The producer keeps event.
func (p *Producer) Add(ctx context.Context, event []byte) error {
	if len(event) > MaxMessageBytes-len("[]") {
		return fmt.Errorf("event: expected at most %d bytes, found %d", MaxMessageBytes-len("[]"), len(event))
	}
	p.mu.Lock()
	if err := p.takeLate(); err != nil {
		p.mu.Unlock()
		return err
	}
	if len(p.events) > 0 && (p.size+len(event)+len("[,]") > p.o.MaxBytes || len(p.events) >= p.o.MaxEvents) {
		p.closeMessage()
	}
	p.events, p.size = append(p.events, event), p.size+len(event)+len(",")
	if len(p.events) >= p.o.MaxEvents {
		p.closeMessage()
	}
	var full []message
	if len(p.ready) >= maxEntries {
		full = p.take()
	}
	if p.o.MaxDelay > 0 && p.timer == nil && len(p.events)+len(p.ready) > 0 {
		p.timer = time.AfterFunc(p.o.MaxDelay, p.expire)
	}
	p.mu.Unlock()
	return p.send(ctx, full)
}

// Flush sends everything that was added, and returns when AWS has confirmed it.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	late := p.takeLate()
	p.closeMessage()
	all := p.take()
	p.mu.Unlock()
	return errors.Join(late, p.send(ctx, all))
}

// Close flushes and stops the timer.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	return p.Flush(ctx)
}

func (p *Producer) takeLate() error {
	err := p.late
	p.late = nil
	return err
}

func (p *Producer) closeMessage() {
	switch len(p.events) {
	case 0:
		return
	case 1:
		p.ready = append(p.ready, message{string(p.events[0]), p.events})
	default:
		p.ready = append(p.ready, message{"[" + string(bytes.Join(p.events, []byte(","))) + "]", p.events})
	}
	p.events, p.size = nil, 0
}

func (p *Producer) take() []message {
	all := p.ready
	p.ready = nil
	return all
}

// expire sends what has waited for MaxDelay.
func (p *Producer) expire() {
	p.mu.Lock()
	p.timer = nil
	p.closeMessage()
	all := p.take()
	p.mu.Unlock()
	err := p.send(context.Background(), all)
	if failed, ok := errors.AsType[*SendError](err); ok && p.o.OnError != nil {
		p.o.OnError(failed)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = errors.Join(p.late, err)
}

// send sends messages in as few requests as the limits allow.
func (p *Producer) send(ctx context.Context, messages []message) error {
	var failed *SendError
	limit := max(p.to.maxRequestBytes(), p.o.MaxBytes)
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && n < maxEntries && (n == 0 || size+len(messages[n].body) <= limit) {
			size += len(messages[n].body)
			n++
		}
		if unsent, err := p.request(ctx, messages[:n]); len(unsent) > 0 {
			if failed == nil {
				failed = &SendError{}
			}
			failed.Err = err
			for _, m := range unsent {
				failed.Events = append(failed.Events, m.events...)
			}
		}
		messages = messages[n:]
	}
	if failed == nil {
		return nil
	}
	return failed
}

// request sends one request until AWS has accepted or refused every message of it. It returns the messages that were
// not accepted, and the last error.
func (p *Producer) request(ctx context.Context, messages []message) (unsent []message, last error) {
	for attempt := range p.o.Attempts {
		if attempt > 0 {
			pause := min(200*time.Millisecond<<attempt, 10*time.Second)
			if err := p.o.Wait(ctx, pause/2+rand.N(pause/2)); err != nil {
				return append(unsent, messages...), errors.Join(err, last)
			}
		}
		bodies := make([]string, len(messages))
		for i, m := range messages {
			bodies[i] = m.body
		}
		results, err := p.to.Send(ctx, bodies)
		if err != nil {
			last = err
			continue
		}
		var again []message
		for i, m := range messages {
			switch err := result(results, i); {
			case err == nil:
			case errors.Is(err, ErrRefused):
				unsent, last = append(unsent, m), err
			default:
				again, last = append(again, m), err
			}
		}
		if messages = again; len(messages) == 0 {
			return unsent, last
		}
	}
	return append(unsent, messages...), last
}

func result(results []error, i int) error {
	if i >= len(results) {
		return errors.New("no result for message " + strconv.Itoa(i))
	}
	return results[i]
}

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
