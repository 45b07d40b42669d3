package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
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
	entry     catalog.SIEM
	screen    *screen
	simulator siem.Simulator
	cloud     *cloud.Cloud
	aws       *services
	sent      int

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
	d := &outage{entry: siems[i], screen: newScreen(o.Out, o.Screen)}
	defer func() { err = errors.Join(err, d.stop()) }()
	d.screen.title("An outage to which no operator responds")
	d.screen.prose(plain, "", "The guard's minutes take a second here, and the periods of the alarm "+short(outagePeriod)+
		". An event has two attempts. Deployed, the guard acts after two minutes.")
	d.screen.lines(plain, "")
	if err := d.start(ctx, o); err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		return err
	}
	return d.verdict()
}

func (d *outage) start(ctx context.Context, o Options) error {
	authority, err := pki.New("ArbitexSIEM demo CA")
	if err != nil {
		return err
	}
	file, err := filepath.Abs(filepath.Join(o.Root, "build", "demo", "ca.pem"))
	if err != nil {
		return fmt.Errorf("finding the demo's folder: %w", err)
	}
	if err := authority.WriteFile(file); err != nil {
		return err
	}
	if d.simulator, err = d.entry.New(siem.Options{Authority: authority, CAFile: file, Plain: plainHTTP}); err != nil {
		return fmt.Errorf("starting the simulator of %s: %w", d.entry.Name, err)
	}
	log, err := os.Create(filepath.Join(o.Root, "build", "demo-outage.log"))
	if err != nil {
		return fmt.Errorf("creating the log file: %w", err)
	}
	settings := maps.Clone(d.simulator.Settings())
	maps.Copy(settings, map[string]string{"SIEM_BACKOFF_INITIAL_SECONDS": "1", "SIEM_BACKOFF_MAX_SECONDS": "1"})
	d.cloud, err = cloud.Start(ctx, cloud.Options{
		Template: filepath.Join(o.Root, "template.yaml"), Builds: filepath.Join(o.Root, "build"),
		Parameters:  map[string]string{"Connectors": d.entry.Name, "MaxAttempts": "2"},
		Environment: map[string]map[string]string{d.entry.Function(): settings, guardFunction: {"GUARD_MINUTE_SECONDS": "1"}},
		Logs:        cloud.NewLines(log, d.line), Progress: io.Discard, AlarmPeriod: outagePeriod,
	})
	if err != nil {
		return fmt.Errorf("starting the cloud: %w", err)
	}
	d.aws = newServices(d.cloud.AWSConfig())
	return d.cloud.PutSecret(ctx, d.entry.Secret(), d.simulator.Secret())
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
	d.screen.say(warned, "%s is down: 503 to everything", d.entry.Name)
	d.simulator.Inject(siem.Fault{Kind: siem.Status, Status: 503, Name: "outage"})
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
	d.simulator.Inject(siem.Fault{Kind: siem.Heal, Name: "outage"})
	d.screen.say(warned, "%s is up again, after two failed checks", d.entry.Name)
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
	var messages []message
	for range n {
		messages = append(messages, message{body: fmt.Sprintf(
			`{"time":%d,"class_uid":6003,"severity_id":1,"metadata":{"uid":"outage-%d"}}`, time.Now().UnixMilli(), d.sent)})
		d.sent++
	}
	for len(messages) > 0 {
		done, err := d.aws.send(ctx, d.cloud.Queue(d.entry.Queue()), messages)
		if err != nil {
			return err
		}
		messages = messages[done:]
	}
	return nil
}

// arrived counts the events in the SIEM, each once.
func (d *outage) arrived() int {
	ids := map[string]bool{}
	for _, a := range d.simulator.Accepted() {
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
	if d.cloud != nil {
		d.cloud.Stop()
	}
	if d.simulator != nil {
		return d.simulator.Close()
	}
	return nil
}
