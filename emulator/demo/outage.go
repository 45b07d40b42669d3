package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
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
	siem   *system.SIEM
	screen *screen
	system *system.System
	sent   int

	mu       sync.Mutex
	state    string // of the hold
	failed   int    // checks
	drained  int    // dead letters
	replayed int
}

// Outage shows the guard: it holds the first of the SIEMs that uses HTTP, checks it, resumes it, and replays its dead
// letters. It returns nil only if every event is in the SIEM.
func Outage(ctx context.Context, o Options) (err error) {
	siems := o.SIEMs
	if siems == nil {
		siems = catalog.List()
	}
	i := slices.IndexFunc(siems, func(s catalog.SIEM) bool { return s.Name != "qradar" })
	if i < 0 {
		return nil
	}
	d := &outage{screen: newScreen(o.Out, o.Screen)}
	defer func() { err = errors.Join(err, d.stop()) }()
	d.screen.title("An outage to which no operator responds")
	d.screen.prose(plain, "", "The guard's minutes take a second here, and the periods of the alarm "+short(outagePeriod)+
		". An event has two attempts. Deployed, the guard acts after two minutes.")
	d.screen.lines(plain, "")
	if err := d.start(ctx, o, siems[i]); err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	return d.verdict()
}

func (d *outage) start(ctx context.Context, o Options, entry catalog.SIEM) error {
	siems, _, err := system.Simulate(o.caFile(), []catalog.SIEM{entry})
	if err != nil {
		return err
	}
	d.siem = siems[0]
	log, err := os.Create(filepath.Join(o.Root, "build", "demo-outage.log"))
	if err != nil {
		return fmt.Errorf("creating the log file: %w", err)
	}
	d.system, err = system.Start(ctx, o.Root, siems, cloud.Options{
		Parameters: map[string]string{"MaxAttempts": "2", "EnableGuard": "true"},
		Environment: map[string]map[string]string{entry.Function(): system.Backoff(1, 1),
			guardFunction: {"GUARD_MINUTE_SECONDS": "1"}},
		Logs: cloud.NewLines(log, d.line), Progress: io.Discard, AlarmPeriod: outagePeriod,
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
	failedTwice := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.failed >= 2
	}
	if err := d.await(ctx, "two checks", outageRate, failedTwice); err != nil {
		return err
	}
	d.siem.Simulator.Inject(siem.Fault{Kind: siem.Heal, Name: "outage"})
	d.screen.say(warned, "%s is up again, after two failed checks", d.siem.Name)
	if err := d.await(ctx, "the end of the hold", 0, d.is("done")); err != nil {
		return err
	}
	return d.await(ctx, "every event", 0, func() bool { return d.arrived() == d.sent })
}

func (d *outage) is(state string) func() bool {
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.state == state
	}
}

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

func (d *outage) stop() error {
	d.screen.finish()
	if d.system == nil {
		return nil
	}
	return d.system.Close()
}
