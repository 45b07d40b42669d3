package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

const (
	sampling = 2 * time.Second
	telling  = 5 // samples for each line of progress
)

// growth is the bound on the growth of a function's largest process from the start to the end of the steady state.
const growth = 8 << 20

// progress is the state of the load.
type progress struct{ sent, settled, delivered, of int }

// share is the settled part of the load; more than 1 during the burst.
func (p progress) share() float64 { return float64(p.settled) / float64(p.of) }

// sample is a measurement of all processes.
type sample struct {
	share      float64
	functions  map[string]usage // by logical id
	goroutines int              // of the soak's own process, which is the SIEMs and the mappings too
	own        int64
}

// watch measures the processes at intervals.
type watch struct {
	stats func() map[string]runtimeapi.Stats
	began time.Time

	mu      sync.Mutex
	samples []sample
}

func newWatch(stats func() map[string]runtimeapi.Stats) *watch {
	return &watch{stats: stats, began: time.Now()}
}

// run takes samples and prints the progress, until the context ends.
func (w *watch) run(ctx context.Context, out io.Writer, how func() progress) {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	var last progress
	at := time.Now()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p := how()
		s := w.take(p)
		if n%telling == 0 {
			now := time.Now()
			fmt.Fprintln(out, line(now.Sub(w.began), p, s, float64(p.settled-last.settled)/now.Sub(at).Seconds()))
			last, at = p, now
		}
	}
}

func (w *watch) take(p progress) sample {
	s := sample{
		share: p.share(), functions: usageOf(w.stats()), goroutines: runtime.NumGoroutine(),
		own: runtimeapi.Status(os.Getpid(), "VmRSS"),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, s)
	return s
}

// line is one line of progress.
func line(since time.Duration, p progress, s sample, rate float64) string {
	left := "-"
	if rate > 0 && p.settled < p.of {
		left = (time.Duration(float64(p.of-p.settled)/rate) * time.Second).Round(time.Second).String()
	}
	var largest int64
	threads, sockets := 0, 0
	for _, u := range s.functions {
		largest = max(largest, u.largest)
		threads += u.threads
		sockets += u.sockets
	}
	return fmt.Sprintf("%7s  sent %8d  in the SIEMs %8d  settled %8d  %5.0f/s  left %s  largest function %s, threads "+
		"%d, sockets %d; soak %s, goroutines %d",
		since.Round(time.Second), p.sent, p.delivered, p.settled, rate, left, mib(largest), threads, sockets, mib(s.own),
		s.goroutines)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// stretch is a part of the load, by the settled share.
type stretch struct {
	name     string
	from, to float64
}

// stretches returns the measured parts of the steady state: after the kills, in the middle, at the end.
func stretches() []stretch {
	return []stretch{{"start", 0.10, 0.30}, {"middle", 0.45, 0.65}, {"end", 0.80, 1}}
}

// peak returns the largest values of a function in a stretch. ok reports whether there is a sample.
func peak(samples []sample, function string, s stretch) (most usage, ok bool) {
	for _, one := range samples {
		u, found := one.functions[function]
		if !found || one.share < s.from || one.share > s.to {
			continue
		}
		ok = true
		most.processes = max(most.processes, u.processes)
		most.largest = max(most.largest, u.largest)
		most.threads = max(most.threads, u.threads)
		most.sockets = max(most.sockets, u.sockets)
	}
	return most, ok
}

// flat reports whether memory stayed within the bound.
func flat(start, end usage) bool { return end.largest <= start.largest+growth }

// all returns the samples so far.
func (w *watch) all() []sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.samples)
}

// goroutines returns the largest number of the soak's own goroutines in each stretch.
func (w *watch) goroutines() string {
	var out []string
	for _, s := range stretches() {
		most := 0
		for _, one := range w.all() {
			if one.share >= s.from && one.share <= s.to {
				most = max(most, one.goroutines)
			}
		}
		out = append(out, strconv.Itoa(most))
	}
	return strings.Join(out, " · ")
}

// usage is the resources of a function's processes.
type usage struct {
	processes        int
	largest          int64 // resident bytes of the largest
	threads, sockets int   // of all together
}

// usageOf returns the resources of each function's processes, by logical id.
func usageOf(stats map[string]runtimeapi.Stats) map[string]usage {
	out := map[string]usage{}
	for id, one := range stats {
		u := usage{processes: len(one.Processes)}
		for _, pid := range one.Processes {
			u.largest = max(u.largest, runtimeapi.Status(pid, "VmRSS"))
			u.threads += int(runtimeapi.Status(pid, "Threads"))
			u.sockets += sockets(pid)
		}
		if u.largest > 0 { // else the system does not tell
			out[id] = u
		}
	}
	return out
}

func sockets(pid int) (n int) {
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is valid
	for _, path := range open {
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
