package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

// work is what every subject delivers.
type work struct {
	count, batch int
	payloads     [][]byte // the events as invocations
	file         string   // the events, one a line
}

// result is the cost of one delivery of the work.
type result struct {
	cpu   time.Duration // user and system, as the system counts it
	wall  time.Duration // with what hands over the work and takes it; Lambda functions only
	init  time.Duration // process start to readiness; Lambda functions only
	rss   int64         // peak, bytes
	wire  int64         // bytes the sink got
	calls int64         // requests the sink got
}

// warmUp is the number of invocations before the measurement, which fill pools and open the connection.
const warmUp = 20

// account returns the difference as a result, and an error if the sink did not receive exactly the events.
func account(before, after counts, events int, cpu time.Duration) (result, error) {
	if n := after.events - before.events; n != int64(events) {
		return result{}, fmt.Errorf("%d of %d events arrived", n, events)
	}
	if cpu <= 0 {
		return result{}, fmt.Errorf("the system tells no CPU time")
	}
	return result{cpu: cpu, wire: after.bytes - before.bytes, calls: after.requests - before.requests}, nil
}

// lambda measures a function under the Runtime API.
func lambda(bootstrap string, environment func(*sink) map[string]string) func(*sink, *work) (result, error) {
	return func(s *sink, w *work) (result, error) {
		path, err := filepath.Abs(bootstrap)
		if err != nil {
			return result{}, err
		}
		env, events := environment(s), w.count
		if env["FLOOR_NOTHING"] != "" {
			events = 0
		}
		f := function(path, env, 256)
		defer f.Close()
		for i := range warmUp {
			if err := call(f, w.payloads[i%len(w.payloads)]); err != nil {
				return result{}, err
			}
		}
		before, counted, start := f.Stats(), s.counts(), time.Now()
		for _, p := range w.payloads {
			if err := call(f, p); err != nil {
				return result{}, err
			}
		}
		after, wall := f.Stats(), time.Since(start)
		// The kernel may have acknowledged the last bytes of a stream that the sink has not read yet.
		for end := time.Now().Add(time.Second); s.counts().events-counted.events < int64(events) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		r, err := account(counted, s.counts(), events, after.CPU-before.CPU)
		r.wall, r.init, r.rss = wall, after.Inits[0], peakRSS(after.Processes[0])
		return r, err
	}
}

func function(bootstrap string, env map[string]string, memoryMB int) *runtimeapi.Function {
	return runtimeapi.New(runtimeapi.Config{
		Name: "bench", ARN: "arn:aws:lambda:eu-central-1:000000000000:function:bench", Bootstrap: bootstrap,
		Region: "eu-central-1", Environment: env, Timeout: 30 * time.Second, MemoryMB: memoryMB,
	})
}

func call(f *runtimeapi.Function, payload []byte) error {
	r, err := f.Invoke(context.Background(), payload)
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

// fed measures a peer of test/peers, which reports when it is ready, delivers on request, and reports when it has
// delivered.
func fed(program, path string, gzip bool) func(*sink, *work) (result, error) {
	return func(s *sink, w *work) (result, error) {
		cmd := exec.Command(program, "-url", s.url(path), "-batch", strconv.Itoa(w.batch), "-events", w.file,
			"-gzip="+strconv.FormatBool(gzip))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			return result{}, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return result{}, err
		}
		if err := cmd.Start(); err != nil {
			return result{}, err
		}
		defer cmd.Wait() //nolint:errcheck // it has said that all is delivered, or the error is returned
		defer in.Close()
		words := bufio.NewScanner(out)
		if err := expect(words, "ready"); err != nil {
			return result{}, err
		}
		counted, before := s.counts(), runtimeapi.CPU(cmd.Process.Pid)
		if _, err := io.WriteString(in, "go\n"); err != nil {
			return result{}, err
		}
		if err := expect(words, "done"); err != nil {
			return result{}, err
		}
		r, err := account(counted, s.counts(), w.count, runtimeapi.CPU(cmd.Process.Pid)-before)
		r.rss = peakRSS(cmd.Process.Pid)
		return r, err
	}
}

func expect(words *bufio.Scanner, word string) error {
	if words.Scan(); words.Text() != word {
		return fmt.Errorf("it said %q, want %q", words.Text(), word)
	}
	return nil
}

// peakRSS returns the largest resident memory of a process so far, in bytes; 0 if the system does not report it.
func peakRSS(pid int) int64 { return runtimeapi.Status(pid, "VmHWM") }

const (
	// cpuMB is the memory at which Lambda allocates one CPU; less memory has less of it, in proportion.
	// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	cpuMB = 1769

	// cpuPeriod is the period in which the kernel allocates CPU time.
	cpuPeriod = 20 * time.Millisecond

	latencyBatches = 400
)

// latencies measures how long the Splunk function takes for a batch, with gzip, when a cgroup gives it the CPU time of
// a function with so much memory. Batches follow each other without a pause, so none has CPU time left from before.
func (p *plan) latencies(s *sink) error {
	program, err := filepath.Abs(filepath.Join(p.builds, "splunk", "bootstrap"))
	if err != nil {
		return err
	}
	fmt.Print("| memory | events per batch | median | p99 |\n| ---: | ---: | ---: | ---: |\n")
	for _, memory := range []int{128, 256, cpuMB} {
		for _, batch := range []int{1, 100} {
			took, err := latency(s, program, memory, batch, p.size)
			if err != nil {
				return err
			}
			fmt.Printf("| %d MB | %d | %.1f ms | %.1f ms |\n", memory, batch,
				milliseconds(took[len(took)/2]), milliseconds(took[len(took)*99/100]))
		}
	}
	return nil
}

// latency returns the sorted times of batches.
func latency(s *sink, program string, memory, batch, size int) ([]time.Duration, error) {
	f := function(program, senders[0].with("gzip")(s), memory)
	defer f.Close()
	payloads := makePayloads(batch*warmUp, batch, size)
	for _, payload := range payloads {
		if err := call(f, payload); err != nil {
			return nil, err
		}
	}
	release, err := throttle(f.Stats().Processes[0], time.Duration(memory)*cpuPeriod/cpuMB)
	if err != nil {
		return nil, err
	}
	defer release()
	var took []time.Duration
	for i := range latencyBatches {
		start := time.Now()
		if err := call(f, payloads[i%len(payloads)]); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took, nil
}

// throttle limits a process to so much CPU time per period. It needs root and the cpu controller of cgroup v1.
func throttle(pid int, quota time.Duration) (release func(), err error) {
	dir, err := os.MkdirTemp("/sys/fs/cgroup/cpu", "bench")
	if err != nil {
		return nil, fmt.Errorf("a cgroup for the CPU limit: %w", err)
	}
	release = func() {
		_ = os.WriteFile("/sys/fs/cgroup/cpu/cgroup.procs", []byte(strconv.Itoa(pid)), 0) // the process may have ended
		_ = os.Remove(dir)
	}
	for _, setting := range []struct {
		name  string
		value int64
	}{
		{"cpu.cfs_period_us", cpuPeriod.Microseconds()},
		{"cpu.cfs_quota_us", quota.Microseconds()},
		{"cgroup.procs", int64(pid)},
	} {
		if err := os.WriteFile(filepath.Join(dir, setting.name), strconv.AppendInt(nil, setting.value, 10), 0); err != nil {
			release()
			return nil, fmt.Errorf("limiting the CPU: %w", err)
		}
	}
	return release, nil
}
