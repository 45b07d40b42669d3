package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
)

// introduce describes the demo.
func (d *demo) introduce() {
	d.screen.lines(plain, "")
	for _, text := range []string{
		fmt.Sprintf("%s, each enqueued for %s.", d.what(), count(len(d.actors), "SIEM")),
		fmt.Sprintf("Back-off is truncated here to %d–%d s (SIEM_BACKOFF_INITIAL_SECONDS, SIEM_BACKOFF_MAX_SECONDS); "+
			"deployed it is 1, 7, 45, 300 s.", backoffInitial, backoffMax),
		"The functions' logs are in build/demo.log.",
	} {
		d.screen.prose(plain, "", text)
	}
	d.screen.lines(plain, "")
}

func (d *demo) what() string {
	if d.options.Events != "" {
		return count(len(d.messages), "event") + " of " + d.options.Events
	}
	return fmt.Sprintf("%s (OCSF 1.1, seed %d) and one invalid message",
		count(d.options.Count, "generated event"), d.options.Seed)
}

// failingSIEMs enqueues the events while the scripts run, and waits until each event is delivered or a dead letter.
func (d *demo) failingSIEMs(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var playing sync.WaitGroup
	run := func(what func(context.Context, *actor) error, a *actor) {
		playing.Go(func() {
			if err := what(ctx, a); err != nil {
				cancel(err)
			}
		})
	}
	for _, a := range d.actors {
		run(d.enqueue, a)
		run(d.play, a)
	}
	over := make(chan struct{})
	go func() {
		playing.Wait()
		close(over)
	}()
	err := d.watch(ctx, func(state) bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	})
	if err == nil {
		d.screen.say(plain, "all events are enqueued; waiting until the queues are empty")
		err = d.settle(ctx)
	}
	cancel(nil)
	playing.Wait()
	return err
}

// enqueue sends the messages to one SIEM's queue, evenly distributed over the time.
func (d *demo) enqueue(ctx context.Context, a *actor) error {
	queue := d.system.Queue(a.Queue())
	began := time.Now()
	for sent := 0; sent < len(d.messages); {
		due := began.Add(d.options.Stretch * time.Duration(sent) / time.Duration(len(d.messages)))
		if !wait(ctx, due) {
			return nil // another error ended it, which is reported elsewhere
		}
		var bodies []string
		for _, m := range d.messages[sent:min(sent+system.MaxSend, len(d.messages))] {
			bodies = append(bodies, m.body)
		}
		if _, err := d.system.Enqueue(ctx, queue, bodies...); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		sent += len(bodies)
		a.enqueued.Store(int64(sent))
	}
	return nil
}

// play runs the script of one SIEM.
func (d *demo) play(ctx context.Context, a *actor) error {
	var publishErr error
	stage := &catalog.Stage{SIEM: a.Simulator, Poison: poison(d.messages), Distinct: distinct(d.messages),
		Publish: func() {
			publishErr = d.system.Publish(ctx, a.SIEM)
		}}
	began, before := time.Now(), a.Simulator.Stats()
	for _, act := range a.Script {
		if !wait(ctx, began.Add(act.At)) || !d.ready(ctx, a, act, before) {
			return nil
		}
		before = a.Simulator.Stats()
		d.screen.say(warned, "%s %s", a.Name, act.Say)
		if act.Do(stage); publishErr != nil {
			return fmt.Errorf("putting the secret of %s: %w", a.Name, publishErr)
		}
	}
	return nil
}

// ready waits for the condition of an act, as long as it can still occur. It returns false if the context ends.
func (d *demo) ready(ctx context.Context, a *actor, act catalog.Act, before siem.Stats) bool {
	end := time.Now().Add(catalog.Patience)
	ready := func() bool { return act.Ready(before, a.Simulator.Stats()) && a.dead.Load() >= int64(act.Dead) }
	for !ready() && time.Now().Before(end) && !a.idle.Load() {
		if !wait(ctx, time.Now().Add(100*time.Millisecond)) {
			return false
		}
	}
	return true
}

// wait waits until a time. It returns false if the context ends before.
func wait(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
