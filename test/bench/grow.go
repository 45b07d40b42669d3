package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

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
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", strings.TrimSpace(model), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version())
}

// text returns the table for a terminal.
func (t table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%-22s %-9s %-5s %12s %8s %9s %10s %8s %8s\n", t.conditions, "subject", "wire", "gzip",
		"CPU-s per M", "x floor", "bytes", "requests", "init", "RSS")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "%-22s %-9s %-5v %12.1f %8.2f %9.0f %10.0f %8s %6.1fMB\n", r.name, r.wire, r.gzip, r.cpu, r.ratio,
			r.bytes, r.requests, r.start(), r.rss)
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
