// Package mapping is Lambda's event source mapping for an SQS queue: it gathers messages into batches, has a function
// handle each, and deletes what the function's answer says is done. It follows AWS's rules, of which these matter most:
//
//   - A batch is handed over when it has BatchSize messages, when the window is over (counted from the batch's first
//     message), or when the next message would make the payload larger than 6 MB.
//   - With ReportBatchItemFailures the answer decides message by message; an answer that is not understood, and any
//     function error, is the failure of the whole batch (see judge).
//   - What failed is left alone: it comes back when its visibility timeout ends, which only the function changes.
//
// Where AWS runs several pollers of a queue, each with its own batch, this runs one; the function is still invoked up to
// MaximumConcurrency times at once, and messages are received only when an invocation is free to take them.
//
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
package eventsource

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// receiveAtOnce and deleteAtOnce are SQS's limits of a request's entries.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
	receiveAtOnce = 10
	deleteAtOnce  = 10
	// longPoll is how long one request waits for messages. AWS waits up to 20 s; a shorter time stops sooner.
	longPoll = 2 * time.Second
	// defaultConcurrency is where AWS begins when no maximum is set.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
	defaultConcurrency = 5
	defaultPause       = time.Second
)

// Queue is what a mapping needs of SQS.
type Queue interface {
	// Receive waits up to wait for messages, and returns at most limit of them with all their attributes.
	Receive(ctx context.Context, limit int, wait time.Duration) ([]Message, error)
	// Delete deletes up to 10 messages, and says which of them it could not delete.
	Delete(ctx context.Context, messages []Message) (failed []Message, err error)
}

// Config describes a mapping.
type Config struct {
	QueueARN                string
	Region                  string
	BatchSize               int
	Window                  time.Duration
	MaximumConcurrency      int // 0: 5
	ReportBatchItemFailures bool
	Enabled                 bool

	Queue Queue
	// Invoke has the function handle a payload and returns its answer. An error is the failure of the whole batch.
	Invoke func(ctx context.Context, payload []byte) ([]byte, error)
	// Attributes returns system attributes to add to a message that the queue does not know; nil: none.
	Attributes func(Message) map[string]string
	// Problem is told of what AWS would keep to itself: a request to SQS that failed, an answer not understood.
	Problem func(error)
	Now     func() time.Time // nil: time.Now
}

// Poller is a mapping at work.
type Poller struct {
	cfg   Config
	pause time.Duration // after a request that failed
	slots chan struct{}
	done  chan struct{}
	// held are messages received, but too much for the batch they came with.
	held []Message

	mu      sync.Mutex
	enabled bool
	changed chan struct{} // closed, and replaced, at every change of enabled or polling
	polling bool
}

// Start starts polling, until ctx ends.
func Start(ctx context.Context, cfg Config) *Poller {
	p := newPoller(cfg)
	go p.run(ctx)
	return p
}

func newPoller(cfg Config) *Poller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Problem == nil {
		cfg.Problem = func(error) {}
	}
	if cfg.MaximumConcurrency == 0 {
		cfg.MaximumConcurrency = defaultConcurrency
	}
	return &Poller{
		cfg: cfg, pause: defaultPause, slots: make(chan struct{}, cfg.MaximumConcurrency), done: make(chan struct{}),
		enabled: cfg.Enabled, changed: make(chan struct{}),
	}
}

// SetEnabled starts or stops the polling. When it has stopped it, nothing more is received once it returns; batches that
// the function has, or that were being gathered, are seen to their end.
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

// Enabled tells whether it polls, or is to.
func (p *Poller) Enabled() bool {
	on, _ := p.isEnabled()
	return on
}

// Done is closed when polling has ended with its context and every batch is seen to its end.
func (p *Poller) Done() <-chan struct{} { return p.done }

// set changes the state and wakes who waits for it.
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

// awaitEnabled waits until there is polling to do; false means that ctx has ended. Messages held over are to be handed
// on even when the mapping is disabled.
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

// gather receives one batch. It is empty when nothing came for the time of a long poll.
func (p *Poller) gather(ctx context.Context) []Message {
	p.set(func() { p.polling = true })
	defer p.set(func() { p.polling = false })
	b := newBatch(p.cfg)
	p.held = b.add(p.held)
	end := p.cfg.Now().Add(p.cfg.Window)
	for ctx.Err() == nil && len(p.held) == 0 && len(b.messages) < p.cfg.BatchSize {
		if on, _ := p.isEnabled(); !on {
			break
		}
		wait := longPoll
		if len(b.messages) > 0 {
			if wait = min(longPoll, end.Sub(p.cfg.Now())); wait <= 0 {
				break
			}
		}
		received, err := p.cfg.Queue.Receive(ctx, min(receiveAtOnce, p.cfg.BatchSize-len(b.messages)), wait)
		if err != nil {
			p.problem(ctx, fmt.Errorf("receiving from %s: %w", p.cfg.QueueARN, err))
			p.rest(ctx)
		}
		if len(b.messages) == 0 {
			if len(received) == 0 {
				break // so that a free slot is not kept for nothing
			}
			end = p.cfg.Now().Add(p.cfg.Window)
		}
		p.held = b.add(received)
	}
	return b.messages
}

// rest waits before the next request after one that failed.
func (p *Poller) rest(ctx context.Context) {
	t := time.NewTimer(p.pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// handle has the function handle a batch, and deletes what is done.
func (p *Poller) handle(ctx context.Context, batch []Message) {
	payload, err := encode(p.cfg, batch)
	if err != nil {
		p.problem(ctx, fmt.Errorf("encoding a batch from %s: %w", p.cfg.QueueARN, err))
		return
	}
	answer, err := p.cfg.Invoke(ctx, payload)
	if err != nil {
		p.problem(ctx, fmt.Errorf("handling %d messages from %s: %w", len(batch), p.cfg.QueueARN, err))
		return
	}
	finished := batch
	if p.cfg.ReportBatchItemFailures {
		if finished, err = judge(answer, batch); err != nil {
			p.problem(ctx, fmt.Errorf("reading the answer to %d messages from %s: %w", len(batch), p.cfg.QueueARN, err))
			return
		}
	}
	p.delete(ctx, finished)
}

// delete deletes messages, each once more when that fails. What is still there then will come again, as in AWS.
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
			p.problem(ctx, fmt.Errorf("deleting from %s, handled messages will come again: %w", p.cfg.QueueARN, err))
		case len(left) > 0:
			p.problem(ctx, fmt.Errorf("deleting from %s: %d handled messages were refused and will come again", p.cfg.QueueARN, len(left)))
		}
	}
}

// problem reports what went wrong, unless everything is being ended.
func (p *Poller) problem(ctx context.Context, err error) {
	if ctx.Err() == nil {
		p.cfg.Problem(err)
	}
}
