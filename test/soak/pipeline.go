package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

// room is how many events of a lane may be under way: enough for the batches that a connector works on at once, and no
// more, since moto looks through a queue for every message that it is sent.
const room = 600

// lane is the way of the events for one SIEM.
type lane struct {
	catalog.SIEM
	simulator siem.Simulator
	books     *books
	events    *ocsfgen.Generator
	seed      uint64
	share     int           // how many events it gets under load
	underWay  chan struct{} // one for each event that is

	mu    sync.Mutex
	taken int // how many of the events that the simulator took are in the books
}

func newLane(entry catalog.SIEM, simulator siem.Simulator, b *books, seed uint64, share int) *lane {
	g := ocsfgen.New(seed)
	g.Now = time.Now
	return &lane{SIEM: entry, simulator: simulator, books: b, events: g, seed: seed, share: share,
		underWay: make(chan struct{}, room)}
}

// key is what an event must arrive as: itself, or what the SIEM's format keeps of it.
func (l *lane) key(event []byte) []byte {
	if l.Key == nil {
		return event
	}
	return []byte(l.Key(event))
}

// next makes n events and enters them into the books as sent now.
func (l *lane) next(n int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		event := l.events.Next()
		bodies[i] = string(event)
		l.books.enqueue(siem.EventID(event), l, l.key(event))
	}
	return bodies
}

// take waits until n more events may be under way.
func (l *lane) take(ctx context.Context, n int) error {
	for range n {
		select {
		case l.underWay <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// release says that an event is not under way any more. Events of the burst never took room.
func (l *lane) release() {
	select {
	case <-l.underWay:
	default:
	}
}

// catchUp enters into the books what the SIEM took since the last time.
func (l *lane) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	accepted := l.simulator.Accepted()
	now := time.Now()
	for _, a := range accepted[l.taken:] {
		l.books.accept(l, a, now)
	}
	l.taken = len(accepted)
}

// arrived is what an event came as.
func (l *lane) arrived(a siem.Accepted) []byte {
	if l.Took == nil {
		return a.Event
	}
	return []byte(l.Took(a))
}

// feed enqueues the lane's share, as fast as it is worked off, and lets the SIEM fail on the way.
func (s *soak) feed(ctx context.Context, l *lane) error {
	queue := s.cloud.Queue(l.Queue())
	troubles := plan(l, l.share)
	var playing sync.WaitGroup
	defer playing.Wait()
	for sent := 0; sent < l.share; {
		for len(troubles) > 0 && troubles[0].at <= sent {
			t := troubles[0]
			troubles = troubles[1:]
			playing.Go(func() { t.do(ctx, s, l) })
		}
		n := min(maxSend, l.share-sent)
		if err := l.take(ctx, n); err != nil {
			return err
		}
		if err := s.aws.send(ctx, queue, l.next(n)); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		sent += n
	}
	return nil
}
