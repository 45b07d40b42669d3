// Package demo shows the whole system at work on one machine: events go into the queues, the SIEMs fail in their own ways,
// what cannot be delivered becomes a dead letter in S3, a replay puts it back, and at the end the account is made: every
// event enqueued is either in its SIEM or in a dead letter that says why, nothing is lost.
//
// AWS is moto's server, the functions are the binaries to be deployed, what they are given is read from template.yaml, and
// the SIEMs are strict simulators. Nothing here decides whether an event arrived but the bytes the SIEM took.
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

// Options say what is shown. The zero value of a field is good.
type Options struct {
	Events  string // file with one event a line; empty = Count generated ones
	Count   int    // 0 = 1,000
	Seed    uint64
	Keep    bool           // stay up after the account, until the context ends
	SIEMs   []catalog.SIEM // nil = all
	Root    string         // the repository; empty = the working directory
	Out     io.Writer      // the screen
	Screen  ScreenChoice   // how to write on it
	Stretch time.Duration  // how long enqueueing takes; 0 = 18 s
}

// The demo's back-off, in seconds: real waits of up to 300 s would make the first dead letter take minutes.
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

// plainHTTP: on macOS Go trusts no CA file named in the environment, and four connectors have no other way to be told.
const plainHTTP = runtime.GOOS == "darwin"

// ErrAccount says that the account did not add up; what is wrong is on the screen.
var ErrAccount = errors.New("the account does not add up")

// actor is one SIEM taking part.
type actor struct {
	catalog.SIEM
	simulator siem.Simulator
	ledger    *ledger
	enqueued  atomic.Int64
	dead      atomic.Int64
	idle      atomic.Bool // all is enqueued, and nothing is left in the queue
	taken     int         // how many of the simulator's accepted events the ledger has
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

// Run shows it all, and returns nil only when the account adds up.
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

// start brings up the simulators and the cloud, and hands the functions their credentials.
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
		Parameters: parameters, Environment: environment, Logs: d.meters, Progress: d.screen.progress(), Observe: d.meters.observe,
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
	return file, nil // open as long as the process, which is as long as the functions write to it
}

// deployment returns the template's parameters and the variables that the functions get in addition.
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

// stop takes everything down and leaves the screen tidy.
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
