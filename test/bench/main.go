// Command bench measures the cost of a delivery: the CPU time (user and system) of each connector's bootstrap, from the
// Runtime API's response to the posted response. All subjects deliver the same events, in turn, to the same sink, in
// one run. The figures are medians of rounds, and ratios to a minimal Go Lambda that only decodes, copies and posts
// (the floor). Peers are other programs for the same job: the Collector's exporter and Elastic's client (test/peers),
// rsyslog and syslog-ng from Debian.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// plan is what to measure.
type plan struct {
	builds, peers string
	count, size   int
	batches       []int
	rounds        int
	only          []string
	page          string
	growth        bool
	latency       bool
}

func main() {
	var (
		p       plan
		batches = flag.String("batches", "100", "events an invocation or request, one table each")
		only    = flag.String("only", "", "comma-separated names of subjects beside the floor, all when empty")
	)
	flag.StringVar(&p.builds, "builds", "build", "folder with <function>/bootstrap")
	flag.StringVar(&p.peers, "peers", "build/bench", "folder with the floor and the peers")
	flag.IntVar(&p.count, "events", 20_000, "events a round")
	flag.IntVar(&p.size, "size", 907, "bytes an event")
	flag.IntVar(&p.rounds, "rounds", 5, "rounds")
	flag.StringVar(&p.page, "page", "", "page whose tables to update, for example docs/performance.md")
	flag.BoolVar(&p.growth, "growth", false, "measure one process by event and batch size; nothing else is measured")
	flag.BoolVar(&p.latency, "latency", false,
		"measure the time of a batch with the CPU of small functions; nothing else is measured")
	flag.Parse()
	for field := range strings.SplitSeq(*batches, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			fail(fmt.Errorf("-batches: %q is not a number of events", field))
		}
		p.batches = append(p.batches, n)
	}
	if *only != "" {
		p.only = strings.Split(*only, ",")
	}
	if err := p.run(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// run measures, prints, and updates the pages of the plan.
func (p *plan) run() error {
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	if p.growth {
		return p.grow(s)
	}
	if p.latency {
		return p.latencies(s)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "events.jsonl")
	if err := os.WriteFile(file, []byte(lines(p.count, p.size)), 0o600); err != nil {
		return err
	}
	var tables []table
	for _, batch := range p.batches {
		t, err := p.measure(s, &work{p.count, batch, makePayloads(p.count, batch, p.size), file})
		if err != nil {
			return err
		}
		fmt.Print(t.text(), "\n")
		tables = append(tables, t)
	}
	if p.page == "" {
		return nil
	}
	return p.write(tables)
}

// measure measures the subjects in turn, round by round. It names and omits a subject whose program is missing.
func (p *plan) measure(s *sink, w *work) (table, error) {
	all := subjects(p.builds, p.peers)
	if p.only != nil {
		all = slices.DeleteFunc(all, func(x subject) bool {
			return x.name != "floor" && x.name != "nothing" && !slices.Contains(p.only, x.name)
		})
	}
	results := make([][]result, len(all))
	var missing []string
	for round := range p.rounds {
		for i, x := range all {
			if round > 0 && results[i] == nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "\r%d a batch, round %d of %d: %-20s", w.batch, round+1, p.rounds, x.name)
			r, err := x.measure(s, w)
			if err != nil && round == 0 && !x.ours && errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, x.name)
				continue
			}
			if err != nil {
				return table{}, fmt.Errorf("%s: %w", x.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	fmt.Fprintf(os.Stderr, "\r%-60s\r", "")
	if missing != nil {
		fmt.Fprintf(os.Stderr, "not measured, as its program is not there: %s\n", strings.Join(missing, ", "))
	}
	return newTable(p, w, all, results), nil
}

func median[T cmp.Ordered](rs []result, of func(result) T) T {
	values := make([]T, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// write updates the generated parts of the page.
func (p *plan) write(tables []table) error {
	for _, t := range tables {
		if err := docgen.Update(p.page, fmt.Sprintf("batch %d", t.batch), t.markdown()); err != nil {
			return err
		}
	}
	return nil
}
