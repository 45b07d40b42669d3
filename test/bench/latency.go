package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

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
	f := runtimeapi.New(runtimeapi.Config{
		Name: "bench", ARN: "arn:aws:lambda:eu-central-1:000000000000:function:bench", Bootstrap: program,
		Region: "eu-central-1", Environment: senders[0].with("gzip")(s), Timeout: 30 * time.Second, MemoryMB: memory,
	})
	defer f.Close()
	payloads := makePayloads(batch*warmUp, batch, size)
	for _, payload := range payloads {
		if err := call(f, payload); err != nil {
			return nil, err
		}
	}
	release, err := throttle(childOf(program), time.Duration(memory)*cpuPeriod/cpuMB)
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
