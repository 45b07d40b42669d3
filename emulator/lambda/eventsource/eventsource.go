// Package eventsource implements Lambda's event source mapping for an SQS queue: it collects messages into batches,
// invokes a function with each batch, and deletes the messages that the function's response does not list as failed. It
// follows these rules of AWS:
//
//   - The function is invoked when the batch has BatchSize messages, when the window (counted from the first message of
//     the batch) ends, or when the next message would make the payload larger than 6 MB.
//   - With ReportBatchItemFailures, the response decides for each message. An invalid response or a function error
//     fails the whole batch (see [Finished]).
//   - A failed message stays on the queue. It becomes visible again when its visibility timeout ends; only the function
//     changes that timeout.
//
// AWS runs several pollers for one queue, each with its own batch. A [Poller] is one of them. It receives only while
// fewer than MaximumConcurrency invocations run.
//
// The emulator polls a real queue API. The simulation injects its clock (testing/synctest), its randomness (Rand) and a
// queue in memory.
//
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
package eventsource

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// receiveAtOnce and deleteAtOnce are SQS's limits on the entries of a request.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	receiveAtOnce = 10
	deleteAtOnce  = 10
	// defaultLongPoll is shorter than SQS's maximum of 20 s, so that a disabled mapping stops sooner.
	defaultLongPoll = 2 * time.Second
	// defaultConcurrency is AWS's initial concurrency when no maximum is set.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	defaultConcurrency = 5
	defaultPause       = time.Second
)

// Queue is the queue of a mapping.
type Queue interface {
	// Receive waits up to wait for messages, and returns at most limit of them with all their attributes.
	Receive(ctx context.Context, limit int, wait time.Duration) ([]Message, error)
	// Delete deletes up to 10 messages, and returns those that could not be deleted.
	Delete(ctx context.Context, messages []Message) (failed []Message, err error)
}

// Config describes a mapping.
type Config struct {
	QueueARN                string
	Region                  string
	BatchSize               int
	Window                  time.Duration
	MaximumConcurrency      int           // 0: 5
	LongPoll                time.Duration // longest wait of one receive; 0: 2 s
	ReportBatchItemFailures bool
	Enabled                 bool

	Queue Queue
	// Invoke invokes the function with a payload, and returns its response. An error fails the whole
	// batch.
	Invoke func(ctx context.Context, payload []byte) ([]byte, error)
	// Attributes returns system attributes to add to a message that the queue does not provide; nil: none.
	Attributes func(Message) map[string]string
	// Problem receives the errors that AWS does not show: a failed request to SQS, an invalid response. nil: discarded.
	Problem func(error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand returns the fraction of Window, from 0 to 1, after which a batch is passed on; it is called once for each
	// batch, because AWS's pollers do not keep the window exactly. nil: always 1.
	Rand func() float64
}

// Poller polls one queue for one function.
type Poller struct {
	cfg   Config
	pause time.Duration // after a failed request
	slots chan struct{}
	done  chan struct{}
	// held are received messages that exceeded the payload of their batch.
	held []Message

	mu        sync.Mutex
	batchSize int
	enabled   bool
	changed   chan struct{} // closed, and replaced, at every change of enabled or polling
	polling   bool
}

// Start starts a poller, which runs until ctx ends.
func Start(ctx context.Context, cfg Config) *Poller {
	p := newPoller(cfg)
	go p.run(ctx)
	return p
}

func newPoller(cfg Config) *Poller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = func() float64 { return 1 }
	}
	if cfg.LongPoll == 0 {
		cfg.LongPoll = defaultLongPoll
	}
	if cfg.Problem == nil {
		cfg.Problem = func(error) {}
	}
	if cfg.MaximumConcurrency == 0 {
		cfg.MaximumConcurrency = defaultConcurrency
	}
	return &Poller{
		cfg: cfg, pause: defaultPause, slots: make(chan struct{}, cfg.MaximumConcurrency), done: make(chan struct{}),
		batchSize: cfg.BatchSize, enabled: cfg.Enabled, changed: make(chan struct{}),
	}
}

// SetEnabled enables or disables the polling. After SetEnabled(false) has returned, the poller receives no more
// messages; it still completes the batches that it has received.
func (p *Poller) SetEnabled(on bool) {
	p.set(func() { p.enabled = on })
	for !on {
		p.mu.Lock()
		polling, changed := p.polling, p.changed
		p.mu.Unlock()
		if !polling {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			return
		}
	}
}

// SetBatchSize changes BatchSize, from the next batch on.
func (p *Poller) SetBatchSize(n int) {
	p.set(func() { p.batchSize = n })
}

// Enabled reports whether the poller is enabled.
func (p *Poller) Enabled() bool {
	on, _ := p.isEnabled()
	return on
}

// Done is closed when the context has ended and every batch is completed.
func (p *Poller) Done() <-chan struct{} { return p.done }

// set changes the state and wakes the goroutines that wait for a change.
func (p *Poller) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Poller) isEnabled() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enabled, p.changed
}

func (p *Poller) run(ctx context.Context) {
	var batches sync.WaitGroup
	defer close(p.done)
	defer batches.Wait()
	for p.awaitEnabled(ctx) {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		batch := p.gather(ctx)
		if len(batch) == 0 {
			<-p.slots
			continue
		}
		batches.Go(func() {
			defer func() { <-p.slots }()
			p.handle(ctx, batch)
		})
	}
}

// awaitEnabled waits until the poller is enabled or holds messages, which are passed on even when it is disabled. It
// returns false when ctx has ended.
func (p *Poller) awaitEnabled(ctx context.Context) bool {
	for ctx.Err() == nil {
		on, changed := p.isEnabled()
		if on || len(p.held) > 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// gather receives one batch. The batch is empty if no message arrived during a long poll.
func (p *Poller) gather(ctx context.Context) []Message {
	cfg := p.cfg
	p.set(func() { p.polling, cfg.BatchSize = true, p.batchSize })
	defer p.set(func() { p.polling = false })
	b := newBatch(cfg)
	p.held = b.add(p.held)
	window := time.Duration(float64(p.cfg.Window) * p.cfg.Rand())
	end := p.cfg.Now().Add(window)
	for ctx.Err() == nil && len(p.held) == 0 && len(b.messages) < cfg.BatchSize {
		if on, _ := p.isEnabled(); !on {
			break
		}
		wait := p.cfg.LongPoll
		if len(b.messages) > 0 {
			if wait = min(p.cfg.LongPoll, end.Sub(p.cfg.Now())); wait <= 0 {
				break
			}
		}
		received, err := p.cfg.Queue.Receive(ctx, min(receiveAtOnce, cfg.BatchSize-len(b.messages)), wait)
		if err != nil {
			p.problem(ctx, fmt.Errorf("receiving from %s: %w", p.cfg.QueueARN, err))
			p.rest(ctx)
		}
		if len(b.messages) == 0 {
			if len(received) == 0 {
				break // free the slot
			}
			end = p.cfg.Now().Add(window)
		}
		p.held = b.add(received)
	}
	return b.messages
}

// rest waits after a failed request.
func (p *Poller) rest(ctx context.Context) {
	t := time.NewTimer(p.pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// handle invokes the function with a batch, and deletes the finished messages.
func (p *Poller) handle(ctx context.Context, batch []Message) {
	payload, err := encode(p.cfg, batch)
	if err != nil {
		p.problem(ctx, fmt.Errorf("encoding a batch from %s: %w", p.cfg.QueueARN, err))
		return
	}
	response, err := p.cfg.Invoke(ctx, payload)
	if err != nil {
		p.problem(ctx, fmt.Errorf("handling %d messages from %s: %w", len(batch), p.cfg.QueueARN, err))
		return
	}
	finished := batch
	if p.cfg.ReportBatchItemFailures {
		if finished, err = Finished(response, batch); err != nil {
			p.problem(ctx, fmt.Errorf("reading the response to %d messages from %s: %w", len(batch), p.cfg.QueueARN, err))
			return
		}
	}
	p.delete(ctx, finished)
}

// delete deletes messages, and retries a failed deletion once. A message that is still not deleted is delivered again,
// as in AWS.
func (p *Poller) delete(ctx context.Context, messages []Message) {
	for start := 0; start < len(messages); start += deleteAtOnce {
		left, err := p.cfg.Queue.Delete(ctx, messages[start:min(start+deleteAtOnce, len(messages))])
		if err != nil {
			left = messages[start:min(start+deleteAtOnce, len(messages))]
		}
		if len(left) > 0 {
			left, err = p.cfg.Queue.Delete(ctx, left)
		}
		switch {
		case err != nil:
			p.problem(ctx, fmt.Errorf("deleting from %s, handled messages will be delivered again: %w", p.cfg.QueueARN, err))
		case len(left) > 0:
			p.problem(ctx, fmt.Errorf("deleting from %s: %d handled messages could not be deleted and will be delivered again",
				p.cfg.QueueARN, len(left)))
		}
	}
}

// problem reports an error, unless the poller is being stopped.
func (p *Poller) problem(ctx context.Context, err error) {
	if ctx.Err() == nil {
		p.cfg.Problem(err)
	}
}

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
