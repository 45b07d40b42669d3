package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
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
	all, ctx := errgroup.WithContext(ctx)
	for _, l := range s.pipelines {
		all.Go(func() error { return what(ctx, l) })
	}
	return all.Wait()
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

// room is the maximum number of events of a pipeline in flight: enough for the concurrent batches of a connector, and
// no more, because moto iterates over a queue for every message that it receives.
const room = 1_200

// maxArray is the maximum number of events in a message.
const maxArray = 40

// pipeline is the path of the events to one SIEM.
type pipeline struct {
	*system.SIEM

	tracker  *tracker
	events   *ocsfgen.Generator
	seed     uint64
	share    int           // how many events it gets under load
	inFlight chan struct{} // one for each event that is

	mu    sync.Mutex
	taken int // how many of the events that the simulator took are in the tracker

	random *rand.Rand // for the sizes of arrays
	apart  int        // events sent in messages of their own, less those sent in arrays
}

func newPipeline(one *system.SIEM, b *tracker, seed uint64, share int) *pipeline {
	g := ocsfgen.New(seed)
	g.Now = time.Now
	return &pipeline{SIEM: one, tracker: b, events: g, seed: seed, share: share, inFlight: make(chan struct{}, room),
		random: rand.New(rand.NewPCG(seed, 0xa44a7))}
}

// next makes n events and records them as sent now, in an array or each in its own message.
func (l *pipeline) next(n int, array bool) []string {
	bodies := make([]string, n)
	for i := range bodies {
		event := l.events.Next()
		bodies[i] = string(event)
		l.tracker.enqueue(siem.EventID(event), l, l.KeyOf(bodies[i]), array)
	}
	return bodies
}

// sizes returns the number of events of each message of the next request, which has at most n events. Half of the
// events are alone in their messages; the others are in arrays.
func (l *pipeline) sizes(n int) (sizes []int, events int) {
	arrays := l.apart > 0
	for len(sizes) < system.MaxSend && events < n {
		size := 1
		if arrays {
			size = min(2+l.random.IntN(maxArray-1), n-events)
		}
		sizes = append(sizes, size)
		events += size
	}
	if arrays {
		l.apart -= events
	} else {
		l.apart += events
	}
	return sizes, events
}

// messages makes messages with so many events each, and records the events as sent now.
func (l *pipeline) messages(sizes []int) []string {
	bodies := make([]string, len(sizes))
	for i, n := range sizes {
		if events := l.next(n, n > 1); n > 1 {
			bodies[i] = "[" + strings.Join(events, ",") + "]"
		} else {
			bodies[i] = events[0]
		}
	}
	return bodies
}

// take waits until n more events may be in flight.
func (l *pipeline) take(ctx context.Context, n int) error {
	for range n {
		select {
		case l.inFlight <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// release records that an event is no longer in flight. Events of the burst do not count.
func (l *pipeline) release() {
	select {
	case <-l.inFlight:
	default:
	}
}

// catchUp records what the SIEM accepted since the last call.
func (l *pipeline) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	accepted := l.Simulator.Accepted()
	now := time.Now()
	for _, a := range accepted[l.taken:] {
		l.tracker.accept(l, a, now)
	}
	l.taken = len(accepted)
}

// feed enqueues the pipeline's share as fast as it is delivered, and starts the incidents.
func (s *soak) feed(ctx context.Context, l *pipeline) error {
	queue := s.system.Queue(l.Queue())
	incidents := plan(l, l.share)
	var playing sync.WaitGroup
	defer playing.Wait()
	for sent := 0; sent < l.share; {
		for len(incidents) > 0 && incidents[0].at <= sent {
			t := incidents[0]
			incidents = incidents[1:]
			playing.Go(func() { t.do(ctx, s, l) })
		}
		sizes, n := l.sizes(l.share - sent)
		if err := l.take(ctx, n); err != nil {
			return err
		}
		if _, err := s.system.Enqueue(ctx, queue, l.messages(sizes)...); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		sent += n
	}
	return nil
}
