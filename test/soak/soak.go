package main

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
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/siem/pki"
	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// The waits of this run in seconds, which the report states. With the deployed values (back-off up to 300, visibility
// timeout 185), a run with a hundred faults would take hours.
const (
	backoffInitial = 1
	backoffMax     = 30
	visibility     = 45 // longer than a function's time limit of 30
)

// plainHTTP is set on macOS, where Go ignores SSL_CERT_FILE.
const plainHTTP = runtime.GOOS == "darwin"

// look is the interval between two reads of the SIEMs' journals, and so the precision of a delay.
const look = 50 * time.Millisecond

// soak is one run.
type soak struct {
	options   options
	tracker   *tracker
	pipelines []*pipeline
	byName    map[string]*pipeline // by function's logical id
	cloud     *cloud.Cloud
	aws       *services
	meters    *meters
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
	letters, err := s.aws.letters(ctx, s.cloud.Bucket("DeadLetterBucket"))
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
func (s *soak) start(ctx context.Context) error {
	folder, err := filepath.Abs(filepath.Join(s.options.root, "build", "soak"))
	if err != nil {
		return fmt.Errorf("finding the folder of the soak: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the folder of the soak: %w", err)
	}
	if s.log, err = os.Create(filepath.Join(folder, "functions.log")); err != nil {
		return fmt.Errorf("making the log file: %w", err)
	}
	if err := s.openSIEMs(folder); err != nil {
		return err
	}
	s.meters = newMeters(s.log)
	parameters, environment, attributes := s.deployment()
	s.cloud, err = cloud.Start(ctx, cloud.Options{
		Template: filepath.Join(s.options.root, "template.yaml"), Builds: filepath.Join(s.options.root, "build"),
		Parameters: parameters, Environment: environment, QueueAttributes: attributes,
		Logs: s.meters, Progress: s.options.out, Observe: s.observe,
	})
	if err != nil {
		return fmt.Errorf("starting the cloud: %w", err)
	}
	s.aws = newServices(s.cloud.AWSConfig())
	s.watch = newWatch(filepath.Join(s.options.root, "build"))
	for _, l := range s.pipelines {
		if err := s.cloud.PutSecret(ctx, l.Secret(), l.simulator.Secret()); err != nil {
			return fmt.Errorf("putting the secret of %s: %w", l.Name, err)
		}
	}
	return nil
}

func (s *soak) openSIEMs(folder string) error {
	authority, err := pki.New("ArbitexSIEM soak CA")
	if err != nil {
		return err
	}
	o := siem.Options{Authority: authority, CAFile: filepath.Join(folder, "ca.pem"), Plain: plainHTTP}
	if err := authority.WriteFile(o.CAFile); err != nil {
		return err
	}
	list := catalog.List()
	for i, entry := range list {
		simulator, err := entry.New(o)
		if err != nil {
			return fmt.Errorf("starting the simulator of %s: %w", entry.Name, err)
		}
		share := s.options.events / len(list)
		if i < s.options.events%len(list) {
			share++
		}
		l := newPipeline(entry, simulator, s.tracker, s.options.seed*uint64(len(list))+uint64(i), share)
		s.pipelines, s.byName[entry.Function()] = append(s.pipelines, l), l
	}
	return nil
}

// deployment returns the template's parameters, the functions' additional variables, and the changed attributes of the
// queues.
func (s *soak) deployment() (parameters map[string]string, environment, queues map[string]map[string]string) {
	list := make([]catalog.SIEM, len(s.pipelines))
	environment, queues = map[string]map[string]string{}, map[string]map[string]string{}
	for i, l := range s.pipelines {
		list[i] = l.SIEM
		variables := maps.Clone(l.simulator.Settings())
		variables["SIEM_BACKOFF_INITIAL_SECONDS"] = strconv.Itoa(backoffInitial)
		variables["SIEM_BACKOFF_MAX_SECONDS"] = strconv.Itoa(backoffMax)
		environment[l.Function()] = variables
		queues[l.Queue()] = map[string]string{"VisibilityTimeout": strconv.Itoa(visibility)}
	}
	return catalog.Parameters(list), environment, queues
}

// stop stops everything.
func (s *soak) stop() error {
	var errs []error
	if s.cloud != nil {
		s.cloud.Stop()
	}
	for _, l := range s.pipelines {
		errs = append(errs, l.simulator.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}
