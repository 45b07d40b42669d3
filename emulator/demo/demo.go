// Package demo runs the whole system on one machine. Events are enqueued while the SIEMs fail in different ways. Events
// that cannot be delivered become dead letters in S3, and a replay enqueues them again. At the end, every enqueued
// event is in its SIEM or in a dead letter with the reason.
//
// AWS is moto's server, the functions are the binaries that are deployed, their configuration is read from
// template.yaml, and the SIEMs are strict simulators. Only the bytes that a SIEM has accepted decide whether an event
// was delivered.
package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

// Options configure the demo, which runs in the folder of the repository.
type Options struct {
	Events string // file with one event per line; empty: Count generated events
	Count  int
	Seed   uint64
	Keep   bool // continue to run after the account, until the context ends
	SIEMs  []catalog.SIEM
	Out    io.Writer    // the screen
	Screen ScreenChoice // its format
}

// The demo's back-off in seconds. With the default of up to 300 s, the first dead letter would take minutes.
const (
	backoffInitial = 1
	backoffMax     = 4
)

// stretch is the duration of the enqueueing.
const stretch = 18 * time.Second

// Logical ids in template.yaml.
const (
	deadLetterQueue  = "DeadLetterQueue"
	deadLetterBucket = "DeadLetterBucket"
	replayFunction   = "ReplayFunction"
)

// ErrAccount reports that the event counts do not add up. The screen shows the differences.
var ErrAccount = errors.New("the account does not add up")

// actor is one of the SIEMs.
type actor struct {
	*system.SIEM

	ledger   *ledger
	enqueued atomic.Int64
	idle     atomic.Bool // all events are enqueued, and the queue is empty
	taken    int         // number of the simulator's accepted events in the ledger
}

// demo is one run.
type demo struct {
	stage

	options  Options
	messages []message
	actors   []*actor
	meters   *meters
	began    time.Time
}

// Run runs the demo. It returns nil only if the event counts add up.
func Run(ctx context.Context, o Options) (err error) {
	messages, err := loadMessages(o)
	if err != nil {
		return err
	}
	d := &demo{stage: stage{screen: newScreen(o.Out, o.Screen)}, options: o, messages: messages, began: time.Now()}
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

// start starts the simulators and the cloud, and stores the credentials.
func (d *demo) start(ctx context.Context) error {
	d.screen.title("ArbitexSIEM connectors: the whole system on this machine")
	siems, _, err := system.Simulate(caFile, d.options.SIEMs)
	if err != nil {
		return err
	}
	environment := map[string]map[string]string{}
	for _, one := range siems {
		a := &actor{SIEM: one, ledger: newLedger(one.SIEM)}
		for _, m := range d.messages {
			a.ledger.enqueue(m)
		}
		d.actors = append(d.actors, a)
		environment[one.Function()] = system.Backoff(backoffInitial, backoffMax)
		environment[one.Function()]["SIEM_RECEIPTS"] = strconv.FormatBool(d.options.Keep) // for siemctl reconcile
	}
	// Open until the process ends, because the functions write to it.
	logs, err := os.Create("build/demo.log")
	if err != nil {
		return fmt.Errorf("making the log file: %w", err)
	}
	d.meters = newMeters()
	d.system, err = system.Start(ctx, "", siems, cloud.Options{
		Environment: environment, Logs: logs, Printed: d.meters.read, Progress: progress{d.screen},
		Observe: d.meters.observe,
	})
	if err != nil {
		return err
	}
	d.introduce()
	return nil
}

// caFile is the file with the certificate of the simulators' authority.
const caFile = "build/demo/ca.pem"

// stage is the screen, and the system once it runs.
type stage struct {
	screen *screen
	system *system.System
}

// stop stops everything and clears the table.
func (s *stage) stop() error {
	s.screen.finish()
	if s.system == nil {
		return nil
	}
	return s.system.Close()
}

// storeSearch stores the credentials of the simulators' search APIs where siemctl reads them.
func (d *demo) storeSearch(ctx context.Context) error {
	credentials := map[string]string{}
	for _, a := range d.actors {
		if s, ok := a.Simulator.(siem.Searchable); ok {
			maps.Copy(credentials, s.SearchSettings())
		}
	}
	text, err := json.Marshal(credentials)
	if err != nil {
		return fmt.Errorf("storing the search credentials: %w", err)
	}
	_, err = secretsmanager.NewFromConfig(d.system.AWSConfig()).CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(cloud.StackName + "/search"), SecretString: aws.String(string(text))})
	if err != nil {
		return fmt.Errorf("storing the search credentials: %w", err)
	}
	return nil
}

// keep continues to run until the context ends, and prints how to use the system by hand.
func (d *demo) keep(ctx context.Context) error {
	endpoint, err := d.system.ServeAPI(ctx)
	if err != nil {
		return err
	}
	if err := d.storeSearch(ctx); err != nil {
		return err
	}
	d.screen.title("Still running. Press Ctrl-C to stop.")
	cli := "aws --endpoint-url " + endpoint
	d.screen.lines(plain,
		"  AWS endpoint    "+endpoint,
		"  replay          "+d.replayURL(),
		"  dead letters    s3://"+d.system.Bucket(deadLetterBucket),
	)
	for _, a := range d.actors {
		d.screen.lines(plain, fmt.Sprintf("  %-15s %s", a.Name, d.system.Queue(a.Queue())))
		settings := a.Simulator.Settings()
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if value := settings[name]; len(value) < 200 && name != "SSL_CERT_FILE" { // not the PEM texts
				d.screen.lines(faint, fmt.Sprintf("  %-15s %s=%s", "", name, value))
			}
		}
	}
	first := d.actors[0]
	d.screen.lines(plain, "", "To enqueue an event, look at the dead letters, count them, replay them:", "",
		"  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION="+d.system.AWSConfig().Region,
		"  "+cli+" sqs send-message --queue-url "+d.system.Queue(first.Queue())+
			` --message-body '{"class_uid":6003,"time":'$(date +%s)'000,"message":"by hand"}'`,
		"  "+cli+" s3 ls --recursive s3://"+d.system.Bucket(deadLetterBucket)+"/",
		"  curl -s "+d.replayURL(),
		"  curl -s -X POST -H 'Content-Type: application/json' -d '{}' "+d.replayURL(),
		"", "The same, and more, with the operator's tool (make siemctl):", "",
		"  export AWS_ENDPOINT_URL="+endpoint+" AWS_REGION="+cloud.Region+" SIEMCTL_STACK="+cloud.StackName,
		"  build/siemctl status",
		"  build/siemctl send --to "+first.Name+" --generate 1 --wait",
		"  build/siemctl reconcile "+first.Name+" --from 1h", "")
	err = d.watch(ctx, func(state) bool { return false })
	if errors.Is(err, context.Canceled) {
		err = nil // the expected end
	}
	return err
}

// maxLine is the longest line of the events file: SQS accepts 1 MiB.
const maxLine = 1 << 20

// broken is an invalid event. It must become a dead letter with that reason, and remain one.
const broken = "this is no event, somebody typed it into the console"

// message is the body of an SQS message.
type message struct {
	body string
	id   string // of the event, "" if invalid
	// wire is the body as it must arrive: without white space between tokens, otherwise unchanged.
	wire string
}

func newMessage(body []byte) message {
	var wire bytes.Buffer
	if json.Compact(&wire, body) != nil {
		return message{body: string(body), wire: string(body)}
	}
	return message{body: string(body), wire: wire.String(), id: siem.EventID(body)}
}

// loadMessages reads the file or generates events. The generated events include an invalid one.
func loadMessages(o Options) ([]message, error) {
	if o.Events != "" {
		return readMessages(o.Events)
	}
	generator := ocsfgen.New(o.Seed)
	generator.Now = time.Now
	var out []message
	for n := range o.Count {
		if n == o.Count/2 {
			out = append(out, newMessage([]byte(broken)))
		}
		out = append(out, newMessage(generator.Next()))
	}
	return out, nil
}

func readMessages(path string) ([]message, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the events: %w", err)
	}
	defer file.Close()
	var out []message
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine+2)
	for lines.Scan() {
		if line := lines.Bytes(); len(bytes.TrimSpace(line)) > 0 {
			out = append(out, newMessage(line))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the events of %q after line %d: %w", path, len(out), err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("reading the events of %q: there are none; one JSON object a line is expected", path)
	}
	return out, nil
}

// poison chooses the event that a SIEM refuses: an early one, so that later faults apply to it as well, and if possible
// one with a unique id.
func poison(messages []message) (id string) {
	times := map[string]int{}
	for _, m := range messages {
		times[m.id]++
	}
	for _, m := range messages[len(messages)/50:] {
		switch {
		case m.id == "":
		case times[m.id] == 1:
			return m.id
		case id == "":
			id = m.id
		}
	}
	return id
}

// distinct reports whether all events have different ids.
func distinct(messages []message) bool {
	seen := map[string]bool{}
	for _, m := range messages {
		if m.id != "" && seen[m.id] {
			return false
		}
		seen[m.id] = true
	}
	return true
}
