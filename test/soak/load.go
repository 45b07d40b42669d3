package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// stuck is the time without progress after which a run ends: much longer than any wait.
const stuck = 3 * time.Minute

// load is the result of the load with faults.
type load struct {
	took    time.Duration // from the first event's being sent to the last one's being where it stays
	cpu     map[*pipeline]time.Duration
	unmoved int // events that did not come to rest
}

// load feeds all pipelines concurrently, and waits until every event is in its SIEM or a dead letter.
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

// each calls a function for every pipeline concurrently. The first error ends the others.
func (s *soak) each(ctx context.Context, what func(context.Context, *pipeline) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, l := range s.pipelines {
		all.Go(func() {
			if err := what(ctx, l); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// settle waits until every event of a pipeline (nil means all) has its final place. It returns the number of events
// that have none when there is no more progress.
func (s *soak) settle(ctx context.Context, l *pipeline) (unmoved int, err error) {
	limit := time.NewTimer(stuck)
	defer limit.Stop()
	for {
		n, changed := s.tracker.open(l)
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

// drain waits until all queues are empty, because an event may be delivered a second time late.
func (s *soak) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stuck, fmt.Errorf("the queues were not empty after %s", stuck))
	defer cancel()
	queues := []string{"DeadLetterQueue"}
	for _, l := range s.pipelines {
		queues = append(queues, l.Queue())
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := 0
		for _, id := range queues {
			waiting, inFlight, err := s.system.Depth(ctx, s.system.Queue(id))
			if err != nil {
				return err
			}
			left += waiting + inFlight
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

// cpu returns the CPU time of each connector's processes so far.
func (s *soak) cpu() map[*pipeline]time.Duration {
	stats := s.system.Stats()
	out := map[*pipeline]time.Duration{}
	for _, l := range s.pipelines {
		out[l] = stats[l.Function()].CPU
	}
	return out
}

// progress returns the share of the load that is settled. It is more than 1 during the burst.
func (s *soak) progress() progress {
	sent, settled, delivered := s.tracker.standing()
	return progress{sent: sent, settled: settled, delivered: delivered, of: s.options.events}
}
