package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/system"
)

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
		if _, err := s.system.Enqueue(ctx, queue, b.pipeline.next(n)...); err != nil {
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
		if _, err := s.system.Enqueue(ctx, queue, l.next(system.MaxSend)...); err != nil {
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
