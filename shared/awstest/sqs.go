// Package awstest has an SQS in memory whose clock may be a simulated one: visibility, receipts, receive counts, redrive
// to a dead-letter queue, the limits of batch requests, long polling. It is held to what a server of SQS's protocol does
// by one conformance suite that runs against both. What standard queues do to their readers (another order, a message
// twice) is done on demand.
//
// It answers in the SDK's types, so that the code under test cannot tell. It knows no faults: a wrapper has them.
package awstest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// Error makes an error of AWS.
func Error(code string) error { return &smithy.GenericAPIError{Code: code, Message: "made up"} }

// Queue is what a queue is made of.
type Queue struct {
	URL, ARN    string
	Visibility  time.Duration // how long a received message is hidden; 0 means 30 s
	MaxReceives int           // before a message is moved to DeadLetter; 0 means never
	DeadLetter  string        // URL
}

// Message is a message as it is now.
type Message struct {
	ID         string
	Body       string
	Attributes map[string]types.MessageAttributeValue
	Sent       time.Time
	Receives   int
	Source     string    // ARN of the queue that SQS moved it from
	Visible    time.Time // from when on it can be received
}

// SQS is a set of queues. The zero value has none.
type SQS struct {
	// Order, when not nil, returns the place of a message among those that can be received: the lowest come first.
	Order func(m Message) uint64
	// Twice, when not nil, tells whether a message that has just been received is to be left visible.
	Twice func(m Message) bool
	// Retire, when not nil, is told of each message that leaves a queue for good, before anybody can see that it has left.
	Retire func(queue string, m Message)

	mu     sync.Mutex
	queues map[string]*queue
	count  int
}

type queue struct {
	Queue
	messages []*message
	changed  chan struct{}
}

type message struct {
	Message
	receipt string // of the last receive
	place   uint64
}

// defaultVisibility is SQS's.
const defaultVisibility = 30 * time.Second

// Create makes a queue.
func (s *SQS) Create(q Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Visibility == 0 {
		q.Visibility = defaultVisibility
	}
	if s.queues == nil {
		s.queues = make(map[string]*queue)
	}
	s.queues[q.URL] = &queue{Queue: q, changed: make(chan struct{})}
}

// Messages returns what is in a queue, hidden or not, in the order of sending.
func (s *SQS) Messages(url string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	if q := s.queues[url]; q != nil {
		for _, m := range q.messages {
			all = append(all, m.Message)
		}
	}
	return all
}

// Len is how many messages are in a queue, hidden or not.
func (s *SQS) Len(url string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[url]; q != nil {
		return len(q.messages)
	}
	return 0
}

// Wait returns when a message of the queue can be received, or ctx ends.
func (s *SQS) Wait(ctx context.Context, url string) error {
	for {
		s.mu.Lock()
		q := s.queues[url]
		if q == nil {
			s.mu.Unlock()
			return Error("AWS.SimpleQueueService.NonExistentQueue")
		}
		changed, next := q.changed, q.next()
		s.mu.Unlock()
		if err := pass(ctx, changed, next); err != nil || !next.IsZero() && !time.Now().Before(next) {
			return err
		}
	}
}

// pass waits for a change, or for a time, which may be zero.
func pass(ctx context.Context, changed <-chan struct{}, until time.Time) error {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-changed:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// next is when the first message becomes visible, zero when there is none.
func (q *queue) next() time.Time {
	var next time.Time
	for _, m := range q.messages {
		if next.IsZero() || m.Visible.Before(next) {
			next = m.Visible
		}
	}
	return next
}

func (q *queue) change() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (s *SQS) find(url *string) (*queue, error) {
	if q := s.queues[aws.ToString(url)]; q != nil {
		return q, nil
	}
	return nil, Error("AWS.SimpleQueueService.NonExistentQueue")
}

// Put sends a message without the trouble of a request, and returns its id.
func (s *SQS) Put(url, body string, attributes map[string]types.MessageAttributeValue) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[url]
	if q == nil {
		return ""
	}
	return s.put(q, body, attributes, 0)
}

func (s *SQS) put(q *queue, body string, attributes map[string]types.MessageAttributeValue, delay time.Duration) string {
	s.count++
	now := time.Now()
	m := &message{Message: Message{ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", s.count), Body: body, Attributes: attributes, Sent: now, Visible: now.Add(delay)}}
	q.messages = append(q.messages, m)
	q.change()
	return m.ID
}

// receiptOf makes the handle of one receive. A later receive makes it stale.
func receiptOf(m *message) string { return m.ID + "/" + strconv.Itoa(m.Receives) }

// byReceipt finds a message by a handle. stale tells that it is not the last one.
func (q *queue) byReceipt(receipt string) (m *message, stale bool) {
	id, _, ok := strings.Cut(receipt, "/")
	if !ok {
		return nil, false
	}
	for _, m := range q.messages {
		if m.ID == id {
			return m, m.receipt != receipt
		}
	}
	return nil, true
}
