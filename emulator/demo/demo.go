// Package demo runs the whole system on one machine. Events are enqueued while the SIEMs fail in different ways. Events
// that cannot be delivered become dead letters in S3, and a replay enqueues them again. At the end, every enqueued
// event is in its SIEM or in a dead letter with the reason.
//
// AWS is moto's server, the functions are the binaries that are deployed, their configuration is read from
// template.yaml, and the SIEMs are strict simulators. Only the bytes that a SIEM has accepted decide whether an event
// was delivered.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
)

// Options configure the demo. Every zero value is usable.
type Options struct {
	Events  string // file with one event per line; empty: Count generated events
	Count   int    // 0 = 1,000
	Seed    uint64
	Keep    bool           // continue to run after the account, until the context ends
	SIEMs   []catalog.SIEM // nil = all
	Root    string         // the repository; empty: the working directory
	Out     io.Writer      // the screen
	Screen  ScreenChoice   // its format
	Stretch time.Duration  // duration of the enqueueing; 0: 18 s
}

// The demo's back-off in seconds. With the default of up to 300 s, the first dead letter would take minutes.
const (
	backoffInitial = 1
	backoffMax     = 4
)

const (
	defaultCount   = 1000
	defaultStretch = 18 * time.Second
)

// Logical ids in template.yaml.
const (
	deadLetterQueue    = "DeadLetterQueue"
	deadLetterBucket   = "DeadLetterBucket"
	replayFunction     = "ReplayFunction"
	deadLetterFunction = "DeadLetterFunction"
)

// plainHTTP reports whether the simulators use plain HTTP: on macOS, Go ignores SSL_CERT_FILE, and four connectors have
// no setting for a CA.
const plainHTTP = runtime.GOOS == "darwin"

// ErrAccount reports that the event counts do not add up. The screen shows the differences.
var ErrAccount = errors.New("the account does not add up")

// actor is one of the SIEMs.
type actor struct {
	catalog.SIEM
	simulator siem.Simulator
	ledger    *ledger
	enqueued  atomic.Int64
	dead      atomic.Int64
	idle      atomic.Bool // all events are enqueued, and the queue is empty
	taken     int         // number of the simulator's accepted events in the ledger
}

// demo is one run.
type demo struct {
	options  Options
	screen   *screen
	messages []message
	actors   []*actor
	cloud    *cloud.Cloud
	aws      *services
	letters  *letters
	meters   *meters
	began    time.Time
}

// Run runs the demo. It returns nil only if the event counts add up.
func Run(ctx context.Context, o Options) (err error) {
	d, err := newDemo(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.failingSIEMs(ctx); err != nil {
		return err
	}
	if err := d.replay(ctx); err != nil {
		return err
	}
	accountErr := d.account(ctx)
	if accountErr != nil && !errors.Is(accountErr, ErrAccount) {
		return accountErr
	}
	if o.Keep {
		if err := d.keep(ctx); err != nil {
			return err
		}
	}
	return accountErr
}

func newDemo(o Options) (*demo, error) {
	if o.Count == 0 {
		o.Count = defaultCount
	}
	if o.Stretch == 0 {
		o.Stretch = defaultStretch
	}
	if o.SIEMs == nil {
		o.SIEMs = catalog.List()
	}
	messages, err := loadMessages(o)
	if err != nil {
		return nil, err
	}
	return &demo{options: o, messages: messages, screen: newScreen(o.Out, o.Screen), began: time.Now()}, nil
}

// start starts the simulators and the cloud, and stores the credentials.
func (d *demo) start(ctx context.Context) error {
	d.screen.title("ArbitexSIEM connectors: the whole system on this machine")
	if err := d.openSIEMs(); err != nil {
		return err
	}
	logs, err := d.logFile()
	if err != nil {
		return err
	}
	d.meters = newMeters(logs)
	parameters, environment := d.deployment()
	d.cloud, err = cloud.Start(ctx, cloud.Options{
		Template: filepath.Join(d.options.Root, "template.yaml"), Builds: filepath.Join(d.options.Root, "build"),
		Parameters: parameters, Environment: environment, Logs: d.meters, Progress: d.screen.progress(),
		Observe: d.meters.observe,
	})
	if err != nil {
		return fmt.Errorf("starting the cloud: %w", err)
	}
	d.aws = newServices(d.cloud.AWSConfig())
	if d.letters, err = newLetters(d.aws.s3, d.cloud.Bucket(deadLetterBucket)); err != nil {
		return err
	}
	for _, a := range d.actors {
		if err := d.cloud.PutSecret(ctx, a.Secret(), a.simulator.Secret()); err != nil {
			return fmt.Errorf("putting the secret of %s: %w", a.Name, err)
		}
	}
	d.introduce()
	return nil
}

func (d *demo) openSIEMs() error {
	folder := filepath.Join(d.options.Root, "build", "demo")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	authority, err := pki.New("ArbitexSIEM demo CA")
	if err != nil {
		return err
	}
	options := siem.Options{Authority: authority, CAFile: filepath.Join(folder, "ca.pem"), Plain: plainHTTP}
	if options.CAFile, err = filepath.Abs(options.CAFile); err != nil {
		return fmt.Errorf("finding the demo's folder: %w", err)
	}
	if err := authority.WriteFile(options.CAFile); err != nil {
		return err
	}
	for _, entry := range d.options.SIEMs {
		simulator, err := entry.New(options)
		if err != nil {
			return fmt.Errorf("starting the simulator of %s: %w", entry.Name, err)
		}
		a := &actor{SIEM: entry, simulator: simulator, ledger: newLedger(entry.Key, entry.Took)}
		for _, m := range d.messages {
			a.ledger.enqueue(m)
		}
		d.actors = append(d.actors, a)
	}
	return nil
}

func (d *demo) logFile() (io.Writer, error) {
	file, err := os.Create(filepath.Join(d.options.Root, "build", "demo.log"))
	if err != nil {
		return nil, fmt.Errorf("making the log file: %w", err)
	}
	return file, nil // open until the process ends, because the functions write to it
}

// deployment returns the template's parameters and the additional variables of the functions.
func (d *demo) deployment() (parameters map[string]string, environment map[string]map[string]string) {
	environment = map[string]map[string]string{}
	list := make([]catalog.SIEM, len(d.actors))
	for i, a := range d.actors {
		list[i] = a.SIEM
		variables := maps.Clone(a.simulator.Settings())
		variables["SIEM_BACKOFF_INITIAL_SECONDS"] = strconv.Itoa(backoffInitial)
		variables["SIEM_BACKOFF_MAX_SECONDS"] = strconv.Itoa(backoffMax)
		environment[a.Function()] = variables
	}
	return catalog.Parameters(list), environment
}

// stop stops everything and clears the table.
func (d *demo) stop() error {
	d.screen.finish()
	var errs []error
	if d.cloud != nil {
		d.cloud.Stop()
	}
	for _, a := range d.actors {
		errs = append(errs, a.simulator.Close())
	}
	return errors.Join(errs...)
}
