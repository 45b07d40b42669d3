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
	"runtime"
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

// The sizes of events and batches.
var (
	growSizes   = [...]int{200, 1_000, 10_000, 100_000, 900_000}
	growBatches = [...]int{1, 10, 100}
)

const (
	growBytes  = 40_000_000 // of events a round, and not more than growEvents
	growEvents = 10_000
	// payloadBytes is the largest payload of an invocation; a batch is as large as fits.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	payloadBytes = 6 << 20
)

// grow measures one process of the Splunk function, with gzip, by event and batch size.
func (p *plan) grow(s *sink) error {
	run := lambda(filepath.Join(p.builds, "splunk", "bootstrap"), senders[0].with("gzip"))
	var b strings.Builder
	fmt.Fprintf(&b, "%s; medians of %d rounds.\n\n| an event | 1 a batch | 10 | 100 | on the wire |\n"+
		"|---:|---:|---:|---:|---:|\n", machine(), p.rounds)
	for _, size := range growSizes {
		fmt.Fprintf(&b, "| %s |", bytesText(size))
		fits := payloadBytes / len(makePayloads(1, 1, size)[0])
		wire, before := 0., 0
		for _, want := range growBatches {
			batch := min(want, fits)
			if batch == before {
				b.WriteString(" – |")
				continue
			}
			before = batch
			count := max(batch, min(growEvents, growBytes/size)/batch*batch)
			payloads := makePayloads(count, batch, size)
			var rs []result
			for round := range p.rounds {
				fmt.Fprintf(os.Stderr, "\r%d bytes, %d a batch, round %d of %d%20s", size, batch, round+1, p.rounds, "")
				r, err := run(s, &work{count: count, batch: batch, payloads: payloads})
				if err != nil {
					return fmt.Errorf("%d bytes, %d a batch: %w", size, batch, err)
				}
				rs = append(rs, r)
			}
			events := float64(count)
			cpu := median(rs, func(r result) float64 { return r.cpu.Seconds() * 1e6 / events })
			rate := median(rs, func(r result) float64 { return events / r.wall.Seconds() })
			wire = median(rs, func(r result) float64 { return float64(r.wire) / events })
			if batch < want {
				fmt.Fprintf(&b, " %d a batch:", batch)
			}
			fmt.Fprintf(&b, " %s µs, %s/s |", digits(cpu), digits(rate))
		}
		fmt.Fprintf(&b, " %s B |\n", digits(wire)) // of the largest batch
	}
	fmt.Fprintln(os.Stderr)
	_, err := fmt.Print(b.String())
	return err
}

func bytesText(n int) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KB", n/1000)
}

// digits returns a number with two significant digits, and commas.
func digits(x float64) string {
	unit := 1.
	for x/unit >= 100 {
		unit *= 10
	}
	n := int(x/unit+.5) * int(unit)
	switch {
	case x < 9.95:
		return fmt.Sprintf("%.1f", x)
	case n < 1000:
		return fmt.Sprint(n)
	case n < 1_000_000:
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprintf("%d,%03d,%03d", n/1_000_000, n/1000%1000, n%1000)
}

// row holds one subject's medians.
type row struct {
	name, wire string
	gzip, ours bool
	cpu        float64 // CPU-seconds for a million events
	ratio      float64 // to the floor of the same compression
	bytes      float64 // an event, at the sink
	requests   float64 // for a million events
	init       float64 // milliseconds; 0 when there is none
	rss        float64 // MB
}

// table is the result for one batch size.
type table struct {
	batch      int
	conditions string
	rows       []row
}

func newTable(p *plan, w *work, all []subject, results [][]result) table {
	t := table{batch: w.batch,
		conditions: fmt.Sprintf("%d distinct events of %d bytes a round, %d a batch, medians of %d rounds; %s", w.count,
			p.size, w.batch, p.rounds, machine())}
	million := 1e6 / float64(w.count)
	floors := map[bool]float64{}
	for i, x := range all {
		rs := results[i]
		if rs == nil {
			continue
		}
		r := row{
			name: x.name, wire: x.wire, gzip: x.gzip, ours: x.ours,
			cpu:      median(rs, func(r result) float64 { return r.cpu.Seconds() }) * million,
			bytes:    median(rs, func(r result) float64 { return float64(r.wire) }) / float64(w.count),
			requests: median(rs, func(r result) float64 { return float64(r.calls) }) * million,
			init:     median(rs, func(r result) float64 { return milliseconds(r.init) }),
			rss:      median(rs, func(r result) float64 { return float64(r.rss) }) / 1e6,
		}
		if x.name == "floor" {
			floors[x.gzip] = r.cpu
		}
		t.rows = append(t.rows, r)
	}
	for i := range t.rows {
		t.rows[i].ratio = t.rows[i].cpu / floors[t.rows[i].gzip]
	}
	return t
}

// machine describes the machine.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", strings.TrimSpace(model), runtime.NumCPU(), runtime.GOOS,
		runtime.GOARCH, runtime.Version())
}

// text returns the table for a terminal.
func (t table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%-22s %-9s %-5s %12s %8s %9s %10s %8s %8s\n", t.conditions, "subject", "wire", "gzip",
		"CPU-s per M", "x floor", "bytes", "requests", "init", "RSS")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "%-22s %-9s %-5v %12.1f %8.2f %9.0f %10.0f %8s %6.1fMB\n", r.name, r.wire, r.gzip, r.cpu,
			r.ratio, r.bytes, r.requests, r.start(), r.rss)
	}
	return b.String()
}

// markdown returns the table for the page, with plain and gzip of a subject in one row.
func (t table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n\n| deliverer | plain (× floor) | gzip (× floor) | peak RSS |\n|---|---:|---:|---:|\n",
		t.conditions)
	for _, plain := range t.rows {
		if plain.gzip {
			continue
		}
		zipped, rss := "", plain.rss
		if z, ok := t.find(plain.name, true); ok {
			zipped, rss = z.cost(), max(rss, z.rss)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f MB |\n", plain.title(), plain.cost(), zipped, rss)
	}
	return b.String()
}

func (r row) cost() string { return fmt.Sprintf("%.1f (%.2f)", r.cpu, r.ratio) }

func (r row) title() string {
	if r.ours {
		return "**" + r.name + "**"
	}
	return strings.TrimSuffix(r.name+", "+r.wire, ", –")
}

// start returns the time from the process's start to its readiness, if it was measured.
func (r row) start() string {
	if r.init == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", r.init)
}

func (t table) find(name string, gzip bool) (row, bool) {
	for _, r := range t.rows {
		if r.name == name && r.gzip == gzip {
			return r, true
		}
	}
	return row{}, false
}
