package main

import (
	"bytes"
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
	functions  map[string]usage
	goroutines int // of the soak's own process, which is the SIEMs and the mappings too
	own        int64
}

// watch measures the processes at intervals.
type watch struct {
	builds string
	began  time.Time

	mu      sync.Mutex
	samples []sample
}

func newWatch(builds string) *watch {
	abs, err := filepath.Abs(builds)
	if err != nil {
		abs = builds
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved // as /proc shows it
	}
	return &watch{builds: abs, began: time.Now()}
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
		share: p.share(), functions: processes(w.builds), goroutines: runtime.NumGoroutine(),
		own: status("/proc/self", "VmRSS:") * 1024,
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

// processes returns the running functions by the folder of their bootstrap, from /proc. Without /proc there are none.
func processes(builds string) map[string]usage {
	out := map[string]usage{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, e := range entries {
		pid := e.Name()
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		folder := filepath.Join("/proc", pid)
		name, ok := function(folder, builds)
		if !ok || parent(folder) != os.Getpid() {
			continue
		}
		u := out[name]
		u.processes++
		u.largest = max(u.largest, status(folder, "VmRSS:")*1024)
		u.threads += int(status(folder, "Threads:"))
		u.sockets += sockets(folder)
		out[name] = u
	}
	return out
}

// function returns the name of the function whose bootstrap the process runs, even if it was built again meanwhile.
func function(folder, builds string) (string, bool) {
	exe, err := os.Readlink(filepath.Join(folder, "exe"))
	if err != nil {
		return "", false
	}
	dir, file := filepath.Split(strings.TrimSuffix(exe, " (deleted)"))
	dir = filepath.Clean(dir)
	return filepath.Base(dir), file == "bootstrap" && filepath.Dir(dir) == builds
}

// parent returns the parent's id: the second field after the name in parentheses.
func parent(folder string) int {
	text, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(string(fields[1])) // 0 is nobody's parent
	return pid
}

// status returns a number of the process's status, 0 if it has ended.
func status(folder, name string) int64 {
	text, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"+name))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	number, _, _ := strings.Cut(strings.TrimSpace(string(value)), " ")
	n, _ := strconv.ParseInt(number, 10, 64) // a process that has just ended has no such line
	return n
}

func sockets(folder string) (n int) {
	entries, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(folder, "fd", e.Name())); err == nil &&
			strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
