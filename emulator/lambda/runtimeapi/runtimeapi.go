// Package runtimeapi is Lambda for one function: it runs the function's bootstrap binary as Lambda runs it, serves it the
// Runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html), holds it to its time limit, and measures
// it. An execution environment, here called an instance, is one process with an API address of its own; it takes one
// invocation at a time, is kept for the next, and is given up when it ends, runs into the time limit, or is killed.
//
// What Lambda does and this does not: freezing a process between invocations, and limiting its memory and CPU.
package runtimeapi

import (
	"context"
	"errors"
	"fmt"
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

// ErrClosed is what Invoke returns of a function that was closed.
var ErrClosed = errors.New("the function was closed")

// Config describes a function.
type Config struct {
	Name         string
	ARN          string            // Lambda-Runtime-Invoked-Function-Arn
	Bootstrap    string            // path of its binary
	Region       string            // AWS_REGION
	Environment  map[string]string // its own variables; all else that it sees is what Lambda sets
	Timeout      time.Duration     // of one invocation
	InitTimeout  time.Duration     // 0: Lambda's 10 s
	MemoryMB     int               // told to the function, not enforced; 0: 128
	MaxInstances int               // invocations at once; more wait. 0: 1
	Output       func(line string) // takes each line the processes print, one at a time; nil: dropped
}

// Result is what became of an invocation.
type Result struct {
	RequestID string
	Payload   []byte        // what the function answered, or the error document when Error is set
	Error     *Error        // nil when the function answered
	Duration  time.Duration // from the invocation's being handed out to the answer
	Init      time.Duration // from process start to its first call of next, when this invocation started the process
	CPU       time.Duration // user and system time of the process since its last answer, or since its start; 0 where the system does not tell
}

// Error is a function error: the invocation took place, and failed.
type Error struct {
	Type    string // errorType of the error document, or Lambda's own name for it (Sandbox.Timedout, Runtime.ExitError)
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("function error %s: %.1024q", e.Type, e.Message) }

// Stats is what a function did so far.
type Stats struct {
	Invocations int
	Errors      int // of those, the ones that ended in a function error
	Timeouts    int // of those, the ones that ran into the time limit
	Killed      int // instances ended by Kill
	Durations   []time.Duration
	Inits       []time.Duration // one an instance that came up
	CPU         time.Duration   // user and system time of all its processes, those alive included where the system tells
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

// New makes a Function. Nothing is started before the first invocation.
func New(cfg Config) *Function {
	if cfg.InitTimeout == 0 {
		cfg.InitTimeout = defaultInitTimeout
	}
	if cfg.MemoryMB == 0 {
		cfg.MemoryMB = defaultMemoryMB
	}
	return &Function{
		cfg:   cfg,
		slots: make(chan struct{}, max(1, cfg.MaxInstances)),
		all:   map[*instance]struct{}{},
	}
}

// Invoke has the function handle a payload, waiting for a free instance when all are busy. A function error is in the
// Result; the error returned says that the invocation did not take place or that ctx ended first, which kills the
// instance.
func (f *Function) Invoke(ctx context.Context, payload []byte) (Result, error) {
	if len(payload) > maxPayloadBytes {
		return Result{}, fmt.Errorf("invoking %s: the payload has %d bytes, Lambda allows %d", f.cfg.Name, len(payload), maxPayloadBytes)
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
			continue // it died in its sleep: Lambda makes a new environment
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

// finish turns the end of an invocation into its result, and gives the instance back or up.
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

// record counts a result, and keeps the instance for the next invocation when it can take one.
func (f *Function) record(inst *instance, r Result, o outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Invocations++
	f.stats.Durations = append(f.stats.Durations, r.Duration)
	if r.Error != nil {
		f.stats.Errors++
	}
	if o == timedOut || o == initTimedOut {
		f.stats.Timeouts++
	}
	if o == answered {
		f.idle = append(f.idle, inst)
	}
}

// ended is called once when an instance's process is gone.
func (f *Function) ended(inst *instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, inst)
	f.stats.CPU += inst.cpu()
	if d := inst.initDuration(); d > 0 {
		f.stats.Inits = append(f.stats.Inits, d)
	}
}

// line hands one line of a process's output on.
func (f *Function) line(s string) {
	if f.cfg.Output == nil {
		return
	}
	f.output.Lock()
	defer f.output.Unlock()
	f.cfg.Output(s)
}

// Kill ends every instance with SIGKILL, whatever it is doing, waits until they are gone, and says how many they were.
func (f *Function) Kill() int {
	living := f.instances()
	for _, inst := range living {
		inst.kill()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Killed += len(living)
	return len(living)
}

func (f *Function) instances() []*instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	living := make([]*instance, 0, len(f.all))
	for inst := range f.all {
		living = append(living, inst)
	}
	return living
}

// Stats returns what the function did so far.
func (f *Function) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	s.Durations = append([]time.Duration(nil), s.Durations...)
	s.Inits = append([]time.Duration(nil), s.Inits...)
	for inst := range f.all {
		s.CPU += inst.cpu()
		if d := inst.initDuration(); d > 0 {
			s.Inits = append(s.Inits, d)
		}
	}
	return s
}

// Close ends every instance. Invocations under way end in an error, and so do all that come later.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	for _, inst := range f.instances() {
		inst.kill()
	}
}
