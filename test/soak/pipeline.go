package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

// room is the maximum number of events of a pipeline in flight: enough for the concurrent batches of a connector, and
// no more, because moto iterates over a queue for every message that it receives.
const room = 600

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
}

func newPipeline(one *system.SIEM, b *tracker, seed uint64, share int) *pipeline {
	g := ocsfgen.New(seed)
	g.Now = time.Now
	return &pipeline{SIEM: one, tracker: b, events: g, seed: seed, share: share, inFlight: make(chan struct{}, room)}
}

// key returns what must arrive of an event: itself, or the fields that the SIEM's format contains.
func (l *pipeline) key(event []byte) []byte {
	if l.Key == nil {
		return event
	}
	return []byte(l.Key(event))
}

// next makes n events and records them as sent now.
func (l *pipeline) next(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		event := l.events.Next()
		bodies[i] = string(event)
		l.tracker.enqueue(siem.EventID(event), l, l.key(event))
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

// arrived returns what arrived of an event.
func (l *pipeline) arrived(a siem.Accepted) []byte {
	if l.Took == nil {
		return a.Event
	}
	return []byte(l.Took(a))
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
		n := min(system.MaxSend, l.share-sent)
		if err := l.take(ctx, n); err != nil {
			return err
		}
		if _, err := s.system.Enqueue(ctx, queue, l.next(n)...); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		sent += n
	}
	return nil
}
