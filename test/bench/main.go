// Command bench measures what delivering costs: CPU time of the real bootstrap of each connector, from the Runtime API's
// answer to the posted response, user and system, as the operating system counts it. All subjects get the same events,
// in turn, against the same sink, in one run; the figures are medians of rounds, and ratios to an ordinary Go Lambda that
// does nothing but decode, copy and post (the floor).
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/local/runtimeapi"
)

// subject is a process to measure.
type subject struct {
	name      string
	bootstrap string
	env       func(sink *sink) map[string]string
}

func main() {
	var (
		builds = flag.String("builds", "build", "folder with <function>/bootstrap")
		floor  = flag.String("floor", "build/bench/floor", "binary of the floor")
		count  = flag.Int("events", 50_000, "events a round")
		batch  = flag.Int("batch", 100, "events an invocation")
		size   = flag.Int("size", 907, "bytes an event")
		rounds = flag.Int("rounds", 5, "rounds")
		only   = flag.String("only", "", "comma-separated names of subjects, all when empty")
	)
	flag.Parse()
	if err := run(*builds, *floor, *count, *batch, *size, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(builds, floor string, count, batch, size, rounds int, only string) error {
	payloads := makePayloads(count, batch, size)
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	all := subjects(builds, floor)
	if only != "" {
		all = slices.DeleteFunc(all, func(x subject) bool {
			return !slices.Contains(strings.Split(only, ","), x.name) && x.name != "floor" && x.name != "floor gzip"
		})
	}
	results := make([][]result, len(all))
	for round := range rounds {
		for i, x := range all {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-20s", round+1, rounds, x.name)
			r, err := measure(x, s, payloads)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	fmt.Fprintf(os.Stderr, "\r%-50s\r", "")
	fmt.Printf("%d events of about %d bytes a round, %d an invocation, %d rounds; medians\n\n", count, size, batch, rounds)
	fmt.Printf("%-16s %12s %10s %10s %12s\n", "subject", "CPU-s per M", "x floor", "init", "peak RSS")
	var floors [2]float64
	for i, x := range all {
		cpu := median(results[i], func(r result) float64 { return r.cpu.Seconds() / float64(count) * 1e6 })
		switch x.name {
		case "floor":
			floors[0] = cpu
		case "floor gzip":
			floors[1] = cpu
		}
		against := floors[0]
		if strings.HasSuffix(x.name, "gzip") {
			against = floors[1]
		}
		ratio := "-"
		if against > 0 {
			ratio = fmt.Sprintf("%.2f", cpu/against)
		}
		fmt.Printf("%-16s %12.1f %10s %8.1fms %10.1fMB\n", x.name, cpu, ratio,
			median(results[i], func(r result) float64 { return float64(r.init.Microseconds()) / 1000 }),
			median(results[i], func(r result) float64 { return float64(r.rss) / 1e6 }))
	}
	return nil
}

type result struct {
	cpu, init time.Duration
	rss       int64
}

func median(rs []result, of func(result) float64) float64 {
	values := make([]float64, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values[len(values)/2]
}

// warmUp is how many invocations are made before the measuring begins: pools fill, the connection is opened.
const warmUp = 20

func measure(x subject, s *sink, payloads [][]byte) (result, error) {
	env := x.env(s)
	bootstrap, err := filepath.Abs(x.bootstrap)
	if err != nil {
		return result{}, err
	}
	f := runtimeapi.New(runtimeapi.Config{Name: x.name, ARN: "arn:aws:lambda:eu-central-1:000000000000:function:bench", Bootstrap: bootstrap,
		Region: "eu-central-1", Environment: env, Timeout: 30 * time.Second, MemoryMB: 256})
	defer f.Close()
	ctx := context.Background()
	invoke := func(p []byte) error {
		r, err := f.Invoke(ctx, p)
		switch {
		case err != nil:
			return err
		case r.Error != nil:
			return r.Error
		case string(r.Payload) != `{"batchItemFailures":[]}` && string(r.Payload) != `{"batchItemFailures":null}`:
			return fmt.Errorf("not all delivered: %.200s", r.Payload)
		}
		return nil
	}
	for i := range warmUp {
		if err := invoke(payloads[i%len(payloads)]); err != nil {
			return result{}, err
		}
	}
	before := f.Stats()
	for _, p := range payloads {
		if err := invoke(p); err != nil {
			return result{}, err
		}
	}
	after := f.Stats()
	return result{cpu: after.CPU - before.CPU, init: after.Inits[0], rss: peakRSS(x.bootstrap)}, nil
}
