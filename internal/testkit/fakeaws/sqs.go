// Package fakeaws simulates SQS and S3 in memory for tests. The methods use the SDK's types and follow the rules that
// the code under test depends on.
//
// SQS has visibility timeouts, receipts, receive counts, delays, redrive to a dead-letter queue, the limits of batch
// requests and long polling. Its clock is the time package's, which may be simulated. A conformance suite runs against
// it and against a server of SQS's protocol. S3 has conditional requests, ETags, ranges, pages of a thousand keys, and
// decodes copy sources as S3 does.
//
// A Hook at every request lets a test fail it, before or after its effect.
package fakeaws

import (
	"cmp"
	heaps "container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// Error makes an error of AWS.
func Error(code string) error { return &smithy.GenericAPIError{Code: code, Message: "injected"} }

// Hook is called at every request, before and after its effect, with the operation and the key or the queue's URL. An
// error before means that the request has no effect; an error after means that the response is lost.
type Hook func(op, name string, after bool) error

// call calls the hook, if there is one.
func (h Hook) call(op, name string, after bool) error {
	if h == nil {
		return nil
	}
	return h(op, name, after)
}

// Queue is the configuration of a queue.
type Queue struct {
	URL, ARN    string
	Visibility  time.Duration // how long a received message is hidden; 0 means 30 s
	MaxReceives int           // before a message is moved to DeadLetter; 0 means never
	DeadLetter  string        // URL
	// FirstID, when not 0, is the number of the first message sent to it. Its messages are then numbered apart, and do not
	// move the numbers of others.
	FirstID int
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
	Hook Hook // of SendMessageBatch
	// Refuse, when not nil, returns the error code of an entry of SendMessageBatch that fails, and whether the sender is
	// at fault; "" when it does not fail.
	Refuse func(queue, body string) (code string, sender bool)
	// Order, when not nil, returns the place of a message among those that can be received: the lowest come first. It is
	// asked once for each time that a message becomes visible.
	Order func(m Message) uint64
	// Twice, when not nil, reports whether a message that has just been received stays visible.
	Twice func(m Message) bool
	// Retire, when not nil, is called for each message that leaves a queue for good, before the removal is visible.
	Retire func(queue string, m Message)

	mu     sync.Mutex
	queues map[string]*queue
	count  int
}

type queue struct {
	Queue
	messages map[string]*message // by id
	ready    *heap               // those that can be received, by place
	waiting  *heap               // the others, by the time at which they become visible
	arrivals uint64
	sent     int // messages that were numbered apart
	changed  chan struct{}
}

type message struct {
	Message
	receipt string // of the last receive
	arrival uint64 // its number among the messages of the queue
	place   uint64 // among those that can be received
	in      *heap
	at      int // its index there
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
	s.queues[q.URL] = &queue{
		Queue: q, messages: make(map[string]*message), ready: &heap{before: byPlace}, waiting: &heap{before: byTime},
		changed: make(chan struct{}),
	}
}

// Value returns the value of a message attribute, "" when there is none.
func (m *Message) Value(attribute string) string {
	return aws.ToString(m.Attributes[attribute].StringValue)
}

// Messages returns what is in a queue, hidden or not, in the order of sending.
func (s *SQS) Messages(url string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	if q := s.queues[url]; q != nil {
		for _, m := range slices.SortedFunc(maps.Values(q.messages), byArrival) {
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
		if isDue(next) { // a timer of no time would do, but the race detector does not bear many in simulated time
			return ctx.Err()
		}
		if err := pass(ctx, changed, next); err != nil || isDue(next) {
			return err
		}
	}
}

// isDue reports whether a time has come. The zero time never does.
func isDue(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

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

// next is a time at which a message can be received, the first of those to come; zero when there is none.
func (q *queue) next() time.Time {
	for _, h := range [...]*heap{q.ready, q.waiting} {
		if m := h.first(); m != nil {
			return m.Visible
		}
	}
	return time.Time{}
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

func (s *SQS) put(q *queue, body string, attributes map[string]types.MessageAttributeValue,
	delay time.Duration) string {
	now := time.Now()
	m := &message{Message: Message{ID: s.nextID(q), Body: body, Attributes: attributes, Sent: now,
		Visible: now.Add(delay)}}
	q.add(m)
	return m.ID
}

func (s *SQS) nextID(q *queue) string {
	number := q.FirstID + q.sent
	if q.FirstID > 0 {
		q.sent++
	} else {
		s.count++
		number = s.count
	}
	return fmt.Sprintf("%08d-0000-4000-8000-000000000000", number)
}

// add puts a message at the end of the queue. It waits until a receive finds it visible.
func (q *queue) add(m *message) {
	q.arrivals++
	m.arrival = q.arrivals
	q.messages[m.ID] = m
	q.waiting.add(m)
	q.change()
}

// hide sets the time from when on a message that is in flight can be received again.
func (q *queue) hide(m *message, until time.Time) {
	q.waiting.remove(m)
	m.Visible = until
	q.waiting.add(m)
	q.change()
}

func (q *queue) remove(m *message) {
	delete(q.messages, m.ID)
	m.in.remove(m)
	q.change()
}

// receiptOf makes the handle of one receive. A later receive makes it stale.
func receiptOf(m *message) string { return m.ID + "/" + strconv.Itoa(m.Receives) }

// byReceipt finds a message by a handle. stale tells that it is not the last one.
func (q *queue) byReceipt(receipt string) (m *message, stale bool) {
	id, _, ok := strings.Cut(receipt, "/")
	if !ok {
		return nil, false
	}
	m = q.messages[id]
	return m, m == nil || m.receipt != receipt
}

// heap holds messages with fast access to the first, so that a queue of 100,000 messages stays fast.
type heap struct {
	before   func(a, b *message) int
	messages []*message
}

func byPlace(a, b *message) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.ID, b.ID))
}

func byTime(a, b *message) int {
	return cmp.Or(a.Visible.Compare(b.Visible), cmp.Compare(a.arrival, b.arrival))
}

func byArrival(a, b *message) int { return cmp.Compare(a.arrival, b.arrival) }

// first is nil when there is none.
func (h *heap) first() *message {
	if len(h.messages) == 0 {
		return nil
	}
	return h.messages[0]
}

func (h *heap) add(m *message) { heaps.Push(h, m) }

func (h *heap) remove(m *message) { heaps.Remove(h, m.at) }

// Len and the other methods below implement heap.Interface of container/heap.
func (h *heap) Len() int { return len(h.messages) }

func (h *heap) Less(i, j int) bool { return h.before(h.messages[i], h.messages[j]) < 0 }

func (h *heap) Swap(i, j int) {
	h.messages[i], h.messages[j] = h.messages[j], h.messages[i]
	h.messages[i].at, h.messages[j].at = i, j
}

func (h *heap) Push(m any) {
	last := m.(*message)
	last.in, last.at = h, len(h.messages)
	h.messages = append(h.messages, last)
}

func (h *heap) Pop() any {
	n := len(h.messages) - 1
	last := h.messages[n]
	h.messages[n] = nil
	h.messages = h.messages[:n]
	return last
}
