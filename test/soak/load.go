package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stuck is how long nothing may move before a run is given up: far longer than any wait there is in it.
const stuck = 3 * time.Minute

// load is what the load with faults took.
type load struct {
	took    time.Duration // from the first event's being sent to the last one's being where it stays
	cpu     map[*lane]time.Duration
	unmoved int // events that did not come to rest
}

// load feeds all lanes at once and waits until every event is in its SIEM or a dead letter.
func (s *soak) load(ctx context.Context) (*load, error) {
	began, before := time.Now(), s.cpu()
	if err := s.each(ctx, s.feed); err != nil {
		return nil, err
	}
	out := &load{}
	var err error
	if out.unmoved, err = s.settle(ctx, nil); err != nil {
		return nil, err
	}
	out.took, out.cpu = time.Since(began), s.cpu()
	for l := range out.cpu {
		out.cpu[l] -= before[l]
	}
	if out.unmoved > 0 {
		return out, nil // they stay on their queues: there is nothing to wait for
	}
	return out, s.drain(ctx)
}

// each does something for every lane at once; the first error ends the others.
func (s *soak) each(ctx context.Context, what func(context.Context, *lane) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, l := range s.lanes {
		all.Go(func() {
			if err := what(ctx, l); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// settle waits until every event of a lane, of all when it is nil, is where it stays. It returns how many are not when
// nothing moves any more.
func (s *soak) settle(ctx context.Context, l *lane) (unmoved int, err error) {
	limit := time.NewTimer(stuck)
	defer limit.Stop()
	for {
		n, changed := s.books.open(l)
		if n == 0 {
			return 0, nil
		}
		limit.Reset(stuck)
		select {
		case <-changed:
		case <-limit.C:
			return n, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// drain waits until the dead-letter queue and all others are empty: what comes twice may come late.
func (s *soak) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stuck, fmt.Errorf("the queues were not empty after %s", stuck))
	defer cancel()
	queues := []string{"DeadLetterQueue"}
	for _, l := range s.lanes {
		queues = append(queues, l.Queue())
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := 0
		for _, id := range queues {
			n, err := s.aws.depth(ctx, s.cloud.Queue(id))
			if err != nil {
				return err
			}
			left += n
		}
		if left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cpu is the CPU time that each connector's processes have taken so far.
func (s *soak) cpu() map[*lane]time.Duration {
	stats := s.cloud.Stats()
	out := map[*lane]time.Duration{}
	for _, l := range s.lanes {
		out[l] = stats[l.Function()].CPU
	}
	return out
}

// progress is how far the load is: the share of its events that are where they stay. It is more than 1 in the burst.
func (s *soak) progress() progress {
	sent, settled, delivered := s.books.standing()
	return progress{sent: sent, settled: settled, delivered: delivered, of: s.options.events}
}
