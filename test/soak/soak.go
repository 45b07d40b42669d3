package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

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
	s.meters = newMeters(s.log)
	s.system, err = system.Start(ctx, s.options.root, siems, cloud.Options{
		Environment: environment, QueueAttributes: queues, Logs: s.meters, Progress: s.options.out, Observe: s.observe,
	})
	s.watch = newWatch(filepath.Join(s.options.root, "build"))
	return err
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
