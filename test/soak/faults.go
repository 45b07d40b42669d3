package main

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/system"
)

// Sumo Logic responds 408 to a request that it accepted in part; QRadar sends no responses.
const (
	sumo   = "sumo"
	qradar = "qradar"
)

const (
	round      = 15_000 // events of a pipeline in which every incident comes once
	kills      = 2      // of a pipeline's function, all before memory is looked at
	poisonRate = 2_000  // one event in so many is refused for its content
	outage     = 10 * time.Second
	brownout   = 15 * time.Second
	hanging    = 5 * time.Second
	slowness   = 500 * time.Millisecond
)

// incident is a failure that begins after a number of events of a pipeline.
type incident struct {
	at   int
	name string
	do   func(context.Context, *soak, *pipeline)
}

// plan returns the incidents of a pipeline in order. It depends only on the seed and the share.
func plan(l *pipeline, share int) []incident {
	random := rand.New(rand.NewPCG(l.seed, 0x50a7))
	out := []incident{{name: "poison", do: inject(siem.Fault{Kind: siem.Poison, Match: poisoned(l.seed)})}}
	for range kills {
		out = append(out, incident{at: share * (2 + random.IntN(5)) / 100, name: "kill", do: kill})
	}
	rounds := max(1, share/round)
	for n := range rounds {
		kinds := incidents(l, random)
		random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		length := share / rounds
		for i, t := range kinds {
			slot := length * 9 / 10 / len(kinds) // the last tenth is quiet, so that memory is seen at rest too
			t.at = n*length + i*slot + random.IntN(max(1, slot))
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b incident) int { return cmp.Compare(a.at, b.at) })
	return out
}

// incidents returns the kinds of a round.
func incidents(l *pipeline, random *rand.Rand) []incident {
	common := []incident{
		{name: "slow answers", do: inject(siem.Fault{Kind: siem.Slow, Delay: slowness, Times: 20})},
		{name: "rotation", do: rotate},
	}
	if l.Name == qradar {
		return append(
			common,
			incident{name: "outage", do: inject(siem.Fault{Kind: siem.CloseBefore, For: outage})},
			incident{name: "hangs up", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
			incident{name: "stops reading", do: stopReading},
		)
	}
	busy := func(status int) siem.Fault {
		return siem.Fault{
			Kind: siem.Status, Status: status, Header: map[string]string{"Retry-After": "2"}, For: brownout,
			On: some(rand.New(rand.NewPCG(random.Uint64(), 0))),
		}
	}
	return append(append(
		common,
		incident{name: "outage", do: inject(siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable,
			For: outage})},
		incident{name: "brownout 503", do: inject(busy(http.StatusServiceUnavailable))},
		incident{name: "brownout 429", do: inject(busy(http.StatusTooManyRequests))},
		incident{name: "reset before the body", do: inject(siem.Fault{Kind: siem.CloseBefore, Times: 5})},
		incident{name: "reset within the body", do: inject(siem.Fault{Kind: siem.CloseDuring, Times: 5})},
		incident{name: "reset behind the body", do: inject(siem.Fault{Kind: siem.CloseAfter, Times: 5})},
	), unanswered(l)...)
}

// unanswered are requests that the SIEM accepts, at least in part, without a response. Sumo Logic has only one kind, so
// that the causes can be told apart.
func unanswered(l *pipeline) []incident {
	if l.Name == sumo {
		return []incident{{name: "partial 408", do: inject(siem.Fault{Kind: siem.Product, Code: "408", Times: 3})}}
	}
	return []incident{
		{name: "reset after it was taken", do: inject(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{name: "no answer after it was taken", do: inject(siem.Fault{Kind: siem.AcceptHang, Times: 1})},
	}
}

func inject(f siem.Fault) func(context.Context, *soak, *pipeline) {
	return func(_ context.Context, _ *soak, l *pipeline) { l.Simulator.Inject(f) }
}

// some applies to one request in four.
func some(random *rand.Rand) func(*http.Request) bool {
	return func(*http.Request) bool { return random.IntN(4) == 0 }
}

// poisoned returns whether an event is refused for its content, by its id.
func poisoned(seed uint64) func(id string) bool {
	return func(id string) bool {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id))
		return (h.Sum64()^seed)%poisonRate == 0
	}
}

// kill kills the function's processes after the SIEM accepted a request and before the function has the response.
// Syslog has no responses, so the time is arbitrary.
func kill(ctx context.Context, s *soak, l *pipeline) {
	const name, taken = "kill", "no answer"
	defer s.system.Kill(l.Function())
	if l.Name == qradar {
		return
	}
	before := l.Simulator.Stats().Refused[taken]
	l.Simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Times: 1, Name: name})
	defer l.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	for end := time.Now().Add(hanging); time.Now().Before(end) && l.Simulator.Stats().Refused[taken] == before; {
		if !wait(ctx, look, nil) {
			return
		}
	}
}

// rotate revokes the credential and stores the new one. If that fails, nothing is delivered any more.
func rotate(ctx context.Context, s *soak, l *pipeline) {
	l.Simulator.Rotate()
	if err := s.system.Publish(ctx, l.SIEM); err != nil {
		fmt.Fprintln(s.log, "soak |", err)
	}
}

// stopReading makes the SIEM stop reading for a while.
func stopReading(ctx context.Context, _ *soak, l *pipeline) {
	const name = "stops reading"
	l.Simulator.Inject(siem.Fault{Kind: siem.AcceptHang, Name: name})
	defer l.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	wait(ctx, hanging, nil)
}

// defaultBurst is far below the limits of SQS. moto iterates over the messages in flight for each message that it
// returns, one request at a time for all queues; with more messages, the other connectors would wait for moto.
const defaultBurst = 10_000

const (
	calm        = 40 * time.Second // the trickle alone, to compare with
	leastOutage = 30 * time.Second
	trickle     = 2 * time.Second // between two sends of system.MaxSend events to each of the others
	retryAfter  = "60"            // what the SIEM says while it is down: five attempts must last longer than the queueing
)

// burst is the result of the burst.
type burst struct {
	pipeline       *pipeline
	events         int
	enqueueing     time.Duration
	outage         time.Duration
	draining       time.Duration // from the SIEM's being back to the last event's being where it stays
	unmoved        int           // events that did not come to rest
	before, during spread        // delays of the others
}

// burst sends events for one connector while its SIEM is down, restores the SIEM, and waits until all are settled. The
// other connectors receive a few events all the time.
func (s *soak) burst(ctx context.Context) (*burst, error) {
	for _, l := range s.pipelines {
		l.Simulator.Inject(siem.Fault{Kind: siem.Heal})
	}
	b := &burst{pipeline: s.pipelines[0], events: s.options.burst}
	fmt.Fprintf(s.options.out, "burst: %d events for %s; first %s of calm\n", b.events, b.pipeline.Name, calm)
	over := make(chan struct{})
	var began, down, ended time.Time
	err := s.each(ctx, func(ctx context.Context, l *pipeline) error {
		if l != b.pipeline {
			return s.trickle(ctx, l, over)
		}
		defer close(over)
		began = time.Now()
		if !wait(ctx, calm, nil) {
			return context.Cause(ctx)
		}
		down = time.Now()
		err := s.surge(ctx, b, down)
		ended = time.Now()
		return err
	})
	if err != nil || b.unmoved > 0 {
		return b, err
	}
	if b.unmoved, err = s.settle(ctx, nil); b.unmoved > 0 || err != nil {
		return b, err
	}
	b.before = spreadOf(s.tracker.delays(began, down, b.pipeline))
	b.during = spreadOf(s.tracker.delays(down, ended, b.pipeline))
	return b, s.drain(ctx)
}

// surge is the outage, the burst, the recovery, and the wait until the burst is settled.
func (s *soak) surge(ctx context.Context, b *burst, down time.Time) error {
	const name = "burst"
	b.pipeline.Simulator.Inject(siem.Fault{
		Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: name,
		Header: map[string]string{"Retry-After": retryAfter},
	})
	queue := s.system.Queue(b.pipeline.Queue())
	for sent := 0; sent < b.events; {
		n := min(system.MaxSend, b.events-sent)
		if _, err := s.system.Enqueue(ctx, queue, b.pipeline.next(n, false)...); err != nil {
			return fmt.Errorf("%s: %w", b.pipeline.Name, err)
		}
		sent += n
	}
	b.enqueueing = time.Since(down)
	if !wait(ctx, leastOutage-b.enqueueing, nil) {
		return context.Cause(ctx)
	}
	b.outage = time.Since(down)
	fmt.Fprintf(s.options.out, "burst: all is queued after %s; the SIEM comes back\n", b.enqueueing.Round(time.Second))
	b.pipeline.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: name})
	back := time.Now()
	var err error
	b.unmoved, err = s.settle(ctx, b.pipeline)
	b.draining = time.Since(back)
	return err
}

// trickle sends a few events at a time to each pipeline, at different times, until the burst is over.
func (s *soak) trickle(ctx context.Context, l *pipeline, over <-chan struct{}) error {
	queue := s.system.Queue(l.Queue())
	offset := time.Duration(slices.Index(s.pipelines, l)) * trickle / time.Duration(len(s.pipelines))
	for pause := offset; wait(ctx, pause, over); pause = trickle {
		if _, err := s.system.Enqueue(ctx, queue, l.next(system.MaxSend, false)...); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// wait returns true after that time, and false if the context or over ends first.
func wait(ctx context.Context, d time.Duration, over <-chan struct{}) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-over:
	}
	return false
}
