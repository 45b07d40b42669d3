package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
)

const (
	// outagePeriod is longer than the batching window, so that every period of the alarm has a batch.
	outagePeriod   = 6 * time.Second
	outagePatience = 3 * time.Minute
	outageRate     = 10 // messages every outagePause
	outagePause    = 300 * time.Millisecond

	guardFunction = "GuardFunction"
)

// outage is a SIEM that fails for longer than the attempts of its events take, while no operator responds.
type outage struct {
	stage

	siem *system.SIEM
	sent int

	mu       sync.Mutex
	state    string // of the hold
	failed   int    // checks
	drained  int    // dead letters
	replayed int
}

// Outage shows the guard: it holds the first of the SIEMs that uses HTTP, checks it, resumes it, and replays its dead
// letters. It returns nil only if every event is in the SIEM.
func Outage(ctx context.Context, o Options) (err error) {
	i := slices.IndexFunc(o.SIEMs, func(s catalog.SIEM) bool { return s.Name != "qradar" })
	if i < 0 {
		return nil
	}
	d := &outage{stage: stage{screen: newScreen(o.Out, o.Screen)}}
	defer func() { err = errors.Join(err, d.stop()) }()
	d.screen.title("An outage to which no operator responds")
	d.screen.prose(plain, "", "The guard's minutes take a second here, and the periods of the alarm "+short(outagePeriod)+
		". An event has two attempts. Deployed, the guard acts after two minutes.")
	d.screen.lines(plain, "")
	if err := d.start(ctx, o.SIEMs[i]); err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	return d.verdict()
}

func (d *outage) start(ctx context.Context, entry catalog.SIEM) error {
	siems, _, err := system.Simulate(caFile, []catalog.SIEM{entry})
	if err != nil {
		return err
	}
	d.siem = siems[0]
	log, err := os.Create("build/demo-outage.log")
	if err != nil {
		return fmt.Errorf("creating the log file: %w", err)
	}
	d.system, err = system.Start(ctx, "", siems, cloud.Options{
		Parameters: map[string]string{"MaxAttempts": "2", "EnableGuard": "true"},
		Environment: map[string]map[string]string{entry.Function(): system.Backoff(1, 1),
			guardFunction: {"GUARD_MINUTE_SECONDS": "1"}},
		Logs: log, Printed: d.line, Progress: io.Discard, AlarmPeriod: outagePeriod,
	})
	return err
}

// line reads a line that a function printed.
func (d *outage) line(printed []byte) {
	var l struct {
		Msg, From, To, Reason string
		OK                    *bool
		Drained, Replayed     float64
	}
	if json.Unmarshal(printed, &l) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case l.Msg == "check" && l.OK != nil && !*l.OK:
		d.failed++
	case l.Msg == "guard" && l.From != l.To:
		d.state = l.To
		d.screen.say(plain, "guard: %s (%s)", l.To, l.Reason)
	case l.Msg == "":
		d.drained += int(l.Drained)
		d.replayed += int(l.Replayed)
	}
}

// play lets the SIEM fail until two checks of the guard have failed, and waits until the guard is done.
func (d *outage) play(ctx context.Context) error {
	if err := d.enqueue(ctx, 100); err != nil {
		return err
	}
	if err := d.await(ctx, "the first events", 0, func() bool { return d.arrived() == d.sent }); err != nil {
		return err
	}
	d.screen.say(warned, "%s is down: 503 to everything", d.siem.Name)
	d.siem.Simulator.Inject(siem.Fault{Kind: siem.Status, Status: 503, Name: "outage"})
	if err := d.await(ctx, "a hold", outageRate, d.is("held")); err != nil {
		return err
	}
	if err := d.await(ctx, "two checks", outageRate, d.read(func() bool { return d.failed >= 2 })); err != nil {
		return err
	}
	d.siem.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: "outage"})
	d.screen.say(warned, "%s is up again, after two failed checks", d.siem.Name)
	if err := d.await(ctx, "the end of the hold", 0, d.is("done")); err != nil {
		return err
	}
	return d.await(ctx, "every event", 0, func() bool { return d.arrived() == d.sent })
}

// read returns a condition that what the functions printed must meet.
func (d *outage) read(condition func() bool) func() bool {
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return condition()
	}
}

func (d *outage) is(state string) func() bool { return d.read(func() bool { return d.state == state }) }

// await waits until done reports true, and enqueues so many messages meanwhile at each pause.
func (d *outage) await(ctx context.Context, what string, messages int, done func() bool) error {
	for end := time.Now().Add(outagePatience); !done(); {
		if time.Now().After(end) {
			return fmt.Errorf("timeout waiting for %s; build/demo-outage.log has the functions' output", what)
		}
		if err := d.enqueue(ctx, messages); err != nil {
			return err
		}
		if !wait(ctx, time.Now().Add(outagePause)) {
			return ctx.Err()
		}
	}
	return nil
}

func (d *outage) enqueue(ctx context.Context, n int) error {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = fmt.Sprintf(`{"time":%d,"class_uid":6003,"severity_id":1,"metadata":{"uid":"outage-%d"}}`,
			time.Now().UnixMilli(), d.sent+i)
	}
	d.sent += n
	_, err := d.system.Enqueue(ctx, d.system.Queue(d.siem.Queue()), bodies...)
	return err
}

// arrived counts the events in the SIEM, each once.
func (d *outage) arrived() int {
	ids := map[string]bool{}
	for _, a := range d.siem.Simulator.Accepted() {
		ids[a.ID] = true
	}
	return len(ids)
}

func (d *outage) verdict() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	arrived := d.arrived()
	st, err := good, error(nil)
	if arrived != d.sent {
		st, err = bad, ErrAccount
	}
	d.screen.lines(plain, "")
	d.screen.prose(st, "", fmt.Sprintf("%s enqueued = %s in the SIEM; lost %s. %s became dead letters, and the guard "+
		"replayed %s. No operator acted.",
		number(d.sent), number(arrived), number(d.sent-arrived), number(d.drained), number(d.replayed)))
	return err
}

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
	var over atomic.Bool
	go func() {
		playing.Wait()
		over.Store(true)
	}()
	err := d.watch(ctx, func(state) bool { return over.Load() })
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
		due := began.Add(stretch * time.Duration(sent) / time.Duration(len(d.messages)))
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
	play := &catalog.Stage{SIEM: a.Simulator, Poison: poison(d.messages), Distinct: distinct(d.messages),
		Publish: func() { publishErr = d.system.Publish(ctx, a.SIEM) }}
	began, before := time.Now(), a.Simulator.Stats()
	for _, act := range a.Script {
		if !wait(ctx, began.Add(act.At)) || !d.ready(ctx, a, act, before) {
			return nil
		}
		before = a.Simulator.Stats()
		d.screen.say(warned, "%s %s", a.Name, act.Say)
		if act.Do(play); publishErr != nil {
			return fmt.Errorf("putting the secret of %s: %w", a.Name, publishErr)
		}
	}
	return nil
}

// ready waits for the condition of an act, as long as it can still occur. It returns false if the context ends.
func (d *demo) ready(ctx context.Context, a *actor, act catalog.Act, before siem.Stats) bool {
	end := time.Now().Add(catalog.Patience)
	ready := func() bool { return act.Ready(before, a.Simulator.Stats()) && d.meters.dead(a.Name) >= act.Dead }
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
