// Command soak sends many events through the emulator while the SIEMs fail, and reports the results and the cost:
// events lost, altered or delivered twice with the cause, dead letters by reason, memory, threads and sockets over
// time, throughput. It then queues a burst for one connector whose SIEM is down, and measures the delay of the others.
//
// It exits with 1 if an event is lost or altered, if memory grows, if the burst is not delivered, or if it delays the
// other connectors.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// Exit codes besides 0: a guarantee was broken or an error occurred; wrong command line; Ctrl-C.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is a command's main
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "soak:", err)
		return exitUsage
	}
	o.out = stdout
	err = soakAndReport(ctx, o)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "soak:", err)
	return exitFailed
}

// options are the options of the command line.
type options struct {
	events int    // through all connectors together
	burst  int    // queued for one of them
	seed   uint64 // of the events and of the faults
	root   string // the repository
	page   string // page whose part between the marks is renewed; "" for none
	out    io.Writer
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.events, "events", 1_000_000, "how many `events`, all connectors together")
	flags.IntVar(&o.burst, "burst", defaultBurst,
		"how many `events` are queued for one connector while its SIEM is down; 0 leaves it out")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` on which events and faults depend")
	flags.StringVar(&o.root, "root", ".", "`folder` of the repository")
	flags.StringVar(&o.page, "page", "", "`page` to renew between its marks")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.events < 1:
		return o, fmt.Errorf("-events is %d: at least 1 is expected", o.events)
	case o.burst < 0:
		return o, fmt.Errorf("-burst is %d: at least 0 is expected", o.burst)
	}
	return o, nil
}

// The waits of this run in seconds, which the report states. With the deployed values (back-off up to 300, visibility
// timeout 185), a run with a hundred faults would take hours.
const (
	backoffInitial = 1
	backoffMax     = 30
	visibility     = 45 // longer than a function's time limit of 30
)

// look is the interval between two reads of the SIEMs' journals, and so the precision of a delay.
const look = 50 * time.Millisecond

// soak is one run.
type soak struct {
	options   options
	tracker   *tracker
	pipelines []*pipeline
	byName    map[string]*pipeline // by function's logical id
	system    *system.System
	meters    meters
	watch     *watch
	log       io.WriteCloser
	began     time.Time
}

// soakAndReport runs everything and stops the emulator. A nil error means that all guarantees hold.
func soakAndReport(ctx context.Context, o options) (err error) {
	s := &soak{options: o, tracker: newTracker(), byName: map[string]*pipeline{}, began: time.Now()}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	r, err := s.run(ctx)
	if err != nil {
		return err
	}
	r.print(o.out)
	if o.page != "" {
		if err := docgen.Update(o.page, "soak", r.markdown()); err != nil {
			return err
		}
	}
	return r.verdict()
}

// run is the load with faults, the burst, and the result.
func (s *soak) run(ctx context.Context) (*report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var besides sync.WaitGroup
	defer besides.Wait()
	defer cancel(nil)
	besides.Go(func() { s.follow(ctx) })
	besides.Go(func() { s.watch.run(ctx, s.options.out, s.progress) })

	load, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	var b *burst
	if s.options.burst > 0 {
		if b, err = s.burst(ctx); err != nil {
			return nil, err
		}
	}
	for _, l := range s.pipelines {
		l.catchUp() // the tracker are closed on what the SIEMs have
	}
	letters, err := s.letters(ctx)
	if err != nil {
		return nil, err
	}
	return s.report(load, b, letters), nil
}

// follow records what the SIEMs accept, until the context ends.
func (s *soak) follow(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		for _, l := range s.pipelines {
			l.catchUp()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// start starts the simulators and the emulator, and stores the credentials.
func (s *soak) start(ctx context.Context) (err error) {
	folder := filepath.Join(s.options.root, "build", "soak")
	list := catalog.List()
	siems, _, err := system.Simulate(filepath.Join(folder, "ca.pem"), list)
	if err != nil {
		return err
	}
	if s.log, err = os.Create(filepath.Join(folder, "functions.log")); err != nil {
		return fmt.Errorf("making the log file: %w", err)
	}
	environment, queues := map[string]map[string]string{}, map[string]map[string]string{}
	for i, one := range siems {
		share := s.options.events / len(list)
		if i < s.options.events%len(list) {
			share++
		}
		l := newPipeline(one, s.tracker, s.options.seed*uint64(len(list))+uint64(i), share)
		s.pipelines, s.byName[l.Function()] = append(s.pipelines, l), l
		environment[l.Function()] = system.Backoff(backoffInitial, backoffMax)
		queues[l.Queue()] = map[string]string{"VisibilityTimeout": strconv.Itoa(visibility)}
	}
	s.system, err = system.Start(ctx, s.options.root, siems, cloud.Options{
		Environment: environment, QueueAttributes: queues, Logs: s.log, Printed: s.meters.read, Progress: s.options.out,
		Observe: s.observe,
	})
	if err != nil {
		return err
	}
	s.watch = newWatch(s.system.Stats)
	return nil
}

// letters records the dead letters, and counts them by connector and reason.
func (s *soak) letters(ctx context.Context) (map[letterReason]int, error) {
	reader, err := deadletter.NewReader(s.system.S3, "s3://"+s.system.Bucket("DeadLetterBucket")+"/dead-letters")
	if err != nil {
		return nil, err
	}
	count := map[letterReason]int{}
	broken, err := reader.Each(ctx, deadletter.Filter{}, func(one *deadletter.Letter) error {
		s.tracker.letter(siem.EventID(one.Body), one.Body)
		count[letterReason{one.Connector, brief(one.Error)}]++
		return nil
	})
	if err == nil && broken > 0 {
		err = fmt.Errorf("%d lines are not dead letters", broken)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the dead letters: %w", err)
	}
	return count, nil
}

// stop stops everything.
func (s *soak) stop() (err error) {
	if s.system != nil {
		err = s.system.Close()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return err
}

// observe records how a batch ended; see [cloud.Options]. A dead letter of the drain is settled; only the drain shows
// an event that SQS itself moved to the dead-letter queue.
func (s *soak) observe(function string, payload []byte, r runtimeapi.Result) {
	var batch struct {
		Records []struct {
			MessageID string `json:"messageId"`
			Body      string `json:"body"`
		}
	}
	var answer struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if json.Unmarshal(payload, &batch) != nil {
		return
	}
	how := endOf(r)
	if how == finished && json.Unmarshal(r.Payload, &answer) != nil {
		how = failed
	}
	again := map[string]bool{}
	for _, item := range answer.BatchItemFailures {
		again[item.ItemIdentifier] = true
	}
	l := s.byName[function]
	if l != nil {
		l.catchUp() // what the SIEM took in this attempt is in the tracker before its end is
	}
	for _, record := range batch.Records {
		end := how
		if again[record.MessageID] {
			end = listed
		}
		for _, event := range split(record.Body) {
			switch id := siem.EventID(event); {
			case l != nil:
				s.tracker.finish(id, end)
			case end == finished:
				s.tracker.drained(id)
			}
		}
	}
}

// split returns the events of a message.
func split(body string) [][]byte {
	var array []json.RawMessage
	if json.Unmarshal([]byte(body), &array) != nil { // one event
		return [][]byte{[]byte(body)}
	}
	events := make([][]byte, len(array))
	for i, event := range array {
		events[i] = event
	}
	return events
}

// endOf returns how the invocation ended for the whole batch.
func endOf(r runtimeapi.Result) ending {
	switch {
	case r.Error == nil:
		return finished
	case r.Error.Type == "Sandbox.Timedout":
		return timedOut
	case r.Error.Type == "Runtime.ExitError":
		return killed
	}
	return failed
}
