package cloud

import (
	"context"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
)

// sources gives the messages that SQS itself moved to a dead-letter queue their DeadLetterQueueSourceArn, which moto
// does not: a message keeps its id when it is moved, so one that was received from a source queue before came from
// there. What a function sent to the dead-letter queue has an id of its own, and gets none, as in AWS.
type sources struct {
	mu  sync.Mutex
	arn map[string]string // by message id, the queue it was received from
}

// watch notes what is received from a queue with a redrive policy.
func (s *sources) watch(q eventsource.Queue, arn string) eventsource.Queue { return watched{q, s, arn} }

// attributes are the system attributes to add to a message of a dead-letter queue.
func (s *sources) attributes(m eventsource.Message) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	arn, ok := s.arn[m.ID]
	if !ok {
		return nil
	}
	return map[string]string{"DeadLetterQueueSourceArn": arn}
}

type watched struct {
	eventsource.Queue
	seen *sources
	arn  string
}

func (w watched) Receive(ctx context.Context, limit int, wait time.Duration) ([]eventsource.Message, error) {
	messages, err := w.Queue.Receive(ctx, limit, wait)
	w.seen.mu.Lock()
	defer w.seen.mu.Unlock()
	for _, m := range messages {
		w.seen.arn[m.ID] = w.arn
	}
	return messages, err
}
