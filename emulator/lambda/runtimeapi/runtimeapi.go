// Package runtimeapi emulates Lambda for one function: it runs the function's bootstrap binary, serves the Runtime API
// (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html), enforces the time limit, and measures the
// invocations. An execution environment, here called an instance, is a process with its own API address. It runs one
// invocation at a time, and is reused until it ends, exceeds the time limit, or is killed.
//
// Unlike Lambda, it does not freeze a process between invocations, and does not limit its memory and CPU.
package runtimeapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// defaultInitTimeout is how long Lambda waits for a new environment's first call of next.
	// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
	defaultInitTimeout = 10 * time.Second
	defaultMemoryMB    = 128
	// maxPayloadBytes is the largest payload of a synchronous invocation, either way.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxPayloadBytes = 6 << 20
)

// ErrClosed is the error of Invoke after Close.
var ErrClosed = errors.New("the function was closed")

// Config describes a function.
type Config struct {
	Name         string
	ARN          string            // Lambda-Runtime-Invoked-Function-Arn
	Bootstrap    string            // path of its binary
	Region       string            // AWS_REGION
	Environment  map[string]string // its own variables, besides those that Lambda sets
	Timeout      time.Duration     // of one invocation
	InitTimeout  time.Duration     // 0: Lambda's 10 s
	MemoryMB     int               // not enforced; 0: 128
	MaxInstances int               // concurrent invocations; further ones wait; 0: 1
	Output       func(line string) // called for each line of the processes' output; nil: discarded
}

// Result is the result of an invocation.
type Result struct {
	RequestID string
	Payload   []byte        // the function's response, or the error document if Error is set
	Error     *Error        // nil if the function succeeded
	Duration  time.Duration // from the invocation's being handed out to the answer
	Init      time.Duration // from process start to its first call of next, when this invocation started the process
	// user and system time of the process since its last answer, or since its start; 0 where the system does not tell
	CPU time.Duration
}

// Error is a function error: the invocation ran and failed.
type Error struct {
	Type    string // errorType of the error document, or Lambda's own name for it (Sandbox.Timedout, Runtime.ExitError)
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("function error %s: %.1024q", e.Type, e.Message) }

// Stats counts the invocations of a function.
type Stats struct {
	Invocations int
	Errors      int             // of those, the ones that ended in a function error
	Inits       []time.Duration // one an instance that came up
	CPU         time.Duration   // user and system time of all its processes, those alive included where the system tells
	Processes   []int           // ids of those alive
}

// Function runs the invocations of one function. Its methods may be called concurrently.
type Function struct {
	cfg   Config
	slots chan struct{}

	mu     sync.Mutex
	idle   []*instance // the last used is the next one used, as in Lambda
	all    map[*instance]struct{}
	stats  Stats
	closed bool
	number int // of requests so far

	output sync.Mutex
}

// New returns a Function. It starts no process before the first invocation.
func New(cfg Config) *Function {
	cfg.InitTimeout = cmp.Or(cfg.InitTimeout, defaultInitTimeout)
	cfg.MemoryMB = cmp.Or(cfg.MemoryMB, defaultMemoryMB)
	return &Function{
		cfg:   cfg,
		slots: make(chan struct{}, max(1, cfg.MaxInstances)),
		all:   map[*instance]struct{}{},
	}
}

// Invoke invokes the function, and waits for an instance if all are busy. A function error is in the Result. The
// returned error means that the invocation did not run, or that ctx ended first, which kills the instance.
func (f *Function) Invoke(ctx context.Context, payload []byte) (Result, error) {
	if len(payload) > maxPayloadBytes {
		return Result{}, fmt.Errorf("invoking %s: the payload has %d bytes, Lambda allows %d", f.cfg.Name, len(payload),
			maxPayloadBytes)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for a free instance of %s: %w", f.cfg.Name, ctx.Err())
	}
	for {
		inst, fresh, err := f.instance()
		if err != nil {
			return Result{}, fmt.Errorf("invoking %s: %w", f.cfg.Name, err)
		}
		inv := f.invocation(payload)
		outcome := inst.run(ctx, inv)
		if outcome == endedIdle && !fresh {
			continue // it ended while it was idle: Lambda starts a new environment
		}
		return f.finish(ctx, inst, inv, outcome, fresh)
	}
}

// instance returns an idle instance, or a new one.
func (f *Function) instance() (inst *instance, fresh bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, ErrClosed
	}
	for len(f.idle) > 0 {
		inst = f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if inst.alive() {
			return inst, false, nil
		}
	}
	if inst, err = startInstance(&f.cfg, f.line, f.ended); err != nil {
		return nil, false, err
	}
	f.all[inst] = struct{}{}
	return inst, true, nil
}

func (f *Function) invocation(payload []byte) *invocation {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	return newInvocation(f.number, payload)
}

// finish returns the result of an invocation, and releases or discards the instance.
func (f *Function) finish(ctx context.Context, inst *instance, inv *invocation, o outcome, fresh bool) (Result, error) {
	r := Result{RequestID: inv.id, Duration: inv.duration(), CPU: inst.used()}
	if fresh {
		r.Init = inst.initDuration()
	}
	switch o {
	case answered:
		r.Payload, r.Error = inv.payloadOut, inv.failure
	case timedOut:
		r.Error = &Error{"Sandbox.Timedout", fmt.Sprintf("task timed out after %.2f seconds", f.cfg.Timeout.Seconds())}
	case initTimedOut:
		r.Error = &Error{"Sandbox.Timedout", fmt.Sprintf("initialising took more than %v", f.cfg.InitTimeout)}
	case cancelled:
		inst.kill()
		return Result{}, fmt.Errorf("invoking %s: %w", f.cfg.Name, ctx.Err())
	case ended, endedIdle:
		r.Error = inst.exitError()
	}
	if o != answered {
		inst.kill()
		r.Payload = r.Error.document()
	}
	f.record(inst, r, o)
	return r, nil
}

// record counts a result, and keeps a usable instance for the next invocation.
func (f *Function) record(inst *instance, r Result, o outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Invocations++
	if r.Error != nil {
		f.stats.Errors++
	}
	if o == answered {
		f.idle = append(f.idle, inst)
	}
}

// ended is called once after an instance's process has ended.
func (f *Function) ended(inst *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, inst)
	f.stats.CPU += inst.cpu()
	if d := inst.initDuration(); d > 0 {
		f.stats.Inits = append(f.stats.Inits, d)
	}
}

// line passes on a line of a process's output.
func (f *Function) line(s string) {
	if f.cfg.Output == nil {
		return
	}
	f.output.Lock()
	defer f.output.Unlock()
	f.cfg.Output(s)
}

// Kill ends every instance with SIGKILL, waits for their end, and returns their number.
func (f *Function) Kill() int {
	living := f.instances()
	for _, inst := range living {
		inst.kill()
	}
	return len(living)
}

func (f *Function) instances() []*instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.all))
}

// Stats returns the counts so far.
func (f *Function) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Inits = slices.Clone(s.Inits)
	for inst := range f.all {
		s.CPU += inst.cpu()
		if d := inst.initDuration(); d > 0 {
			s.Inits = append(s.Inits, d)
		}
		if pid := inst.process(); pid != 0 {
			s.Processes = append(s.Processes, pid)
		}
	}
	return s
}

// Status returns a number of a process's /proc/<pid>/status, 0 if there is none. Sizes are in bytes.
func Status(pid int, name string) (n int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, value, _ := strings.Cut(string(text), "\n"+name+":")
	unit := ""
	_, _ = fmt.Sscan(value, &n, &unit) // n stays 0
	if unit == "kB" {
		n *= 1024
	}
	return n
}

// Close ends every instance. Running and later invocations return an error.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.Kill()
}
