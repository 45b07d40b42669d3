package cloud

import (
	"context"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
)

// sources adds DeadLetterQueueSourceArn, which moto does not have, to messages that SQS has moved to a dead-letter
// queue. A moved message keeps its id, so its source is the queue from which it was received before. A message that a
// function has sent to the dead-letter queue has a new id, and gets no source, as in AWS.
type sources struct {
	mu  sync.Mutex
	arn map[string]string // by message id, the queue it was received from
}

// watch records the messages that are received from a queue with a redrive policy.
func (s *sources) watch(q eventsource.Queue, arn string) eventsource.Queue { return watched{q, s, arn} }

// attributes returns the additional system attributes of a message on a dead-letter queue.
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
