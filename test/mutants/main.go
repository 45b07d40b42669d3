// Command mutants tests the tests: it puts one deliberate defect after another into the core, and has the tests of the
// package run. A defect that no test sees is a promise that nothing keeps, so the command fails when one survives, when
// one does not compile, and when the text a defect is to replace has changed.
//
//	go run ./test/mutants            all of them
//	go run ./test/mutants name,name  those alone, and what the tests printed
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

// atOnce is how many mutants are tried at a time; each has a compiler and a test to run.
const atOnce = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Join(os.Args[1:], ","), os.Stdout); err != nil {
		log.Fatalln("mutants:", err)
	}
}

// job is one mutant to try.
type job struct {
	source *source
	mutant *mutant
}

func run(ctx context.Context, names string, out io.Writer) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what is left behind is the system's to clean
	jobs, err := choose(table(), names)
	if err != nil {
		return err
	}
	l := &lab{root: root, scratch: scratch}
	if err := l.healthy(ctx, jobs); err != nil {
		return err
	}
	r := &results{out: out, verbose: names != "", of: len(jobs)}
	l.all(ctx, jobs, r)
	return errors.Join(ctx.Err(), r.err())
}

// choose picks the mutants that names lists, all when it is empty.
func choose(all []source, names string) ([]job, error) {
	var wanted []string
	if names != "" {
		wanted = strings.Split(names, ",")
	}
	var jobs []job
	for _, s := range all {
		for _, m := range s.mutants {
			if wanted == nil || slices.Contains(wanted, m.name) {
				jobs = append(jobs, job{&s, &m})
			}
		}
	}
	if len(jobs) < len(wanted) || len(jobs) == 0 {
		return nil, fmt.Errorf("expected names of mutants, found %q", names)
	}
	return jobs, nil
}

// healthy runs the tests once without any defect: where they fail by themselves, every mutant would seem to be found.
func (l *lab) healthy(ctx context.Context, jobs []job) error {
	var packages []string
	for _, j := range jobs {
		packages = append(packages, j.source.packages()...)
	}
	slices.Sort(packages)
	v := l.test(ctx, slices.Compact(packages), false)
	if v.err != nil {
		return v.err
	}
	if v.killer != "" {
		return fmt.Errorf("%s fails without any defect:\n%s", v.killer, v.output)
	}
	return nil
}

// all tries the mutants, a few at a time.
func (l *lab) all(ctx context.Context, jobs []job, r *results) {
	queue := make(chan job)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for j := range queue {
				r.add(j, l.try(ctx, j.source, j.mutant))
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		queue <- j
	}
	close(queue)
	wg.Wait()
}

// results prints verdicts as they come, and keeps what is wrong.
type results struct {
	out     io.Writer
	verbose bool
	of      int

	mu        sync.Mutex
	done      int
	survivors []string
	unjudged  []error
}

func (r *results) add(j job, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	end := "killed by " + v.killer
	switch {
	case v.err != nil:
		end = "ERROR: " + v.err.Error()
		r.unjudged = append(r.unjudged, fmt.Errorf("%s: %w", j.mutant.name, v.err))
	case v.killer == "":
		end = "SURVIVES"
		r.survivors = append(r.survivors, j.mutant.name)
	}
	_, _ = fmt.Fprintf(r.out, "%3d/%d %5.1fs  %-45s %-28s %s\n", r.done, r.of, v.took.Round(100*time.Millisecond).Seconds(), j.source.file, j.mutant.name, end)
	if r.verbose {
		_, _ = fmt.Fprintf(r.out, "%s\n", v.output)
	}
}

// err tells what is wrong with the tests, or with the table.
func (r *results) err() error {
	errs := slices.Clone(r.unjudged)
	if len(r.survivors) > 0 {
		errs = append(errs, fmt.Errorf("%d of %d survive: %s", len(r.survivors), r.done, strings.Join(r.survivors, ", ")))
	} else if len(errs) == 0 {
		_, _ = fmt.Fprintf(r.out, "%d mutants, none survives\n", r.done)
	}
	return errors.Join(errs...)
}
