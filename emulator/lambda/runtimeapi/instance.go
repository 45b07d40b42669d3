package runtimeapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// maxLineBytes bounds a line of output; longer lines are split.
const maxLineBytes = 1 << 20

// instance is one process of the function with its Runtime API.
type instance struct {
	cfg     *Config
	cmd     *exec.Cmd
	server  *http.Server
	started time.Time
	next    chan *invocation // what the process takes at its next call of next
	exited  chan struct{}    // closed when the process is gone and accounted for

	mu        sync.Mutex
	current   *invocation
	init      time.Duration
	initError *Error        // what the process posted to init/error
	pid       int           // 0 once it is reaped
	counted   time.Duration // of its CPU time, what used has returned
}

// outcome is how an invocation ended.
type outcome int

const (
	answered     outcome = iota
	timedOut             // the function's time limit
	initTimedOut         // the process never asked for work
	cancelled            // the caller's context ended
	ended                // the process ended while it worked
	endedIdle            // the process ended before it took the invocation
)

// startInstance starts a process. onEnd is called when it is gone.
func startInstance(cfg *Config, line func(string), onEnd func(*instance)) (*instance, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the runtime: %w", err)
	}
	i := &instance{
		cfg: cfg, next: make(chan *invocation, 1), exited: make(chan struct{}),
	}
	i.server = &http.Server{Handler: i.handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = i.server.Serve(listener) }()
	if err := i.startProcess(listener.Addr().String(), line, onEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", cfg.Bootstrap, err), i.server.Close())
	}
	return i, nil
}

func (i *instance) startProcess(api string, line func(string), onEnd func(*instance)) error {
	bootstrap, err := filepath.Abs(i.cfg.Bootstrap)
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	i.cmd = exec.Command(bootstrap)
	i.cmd.Dir = filepath.Dir(bootstrap) // LAMBDA_TASK_ROOT
	i.cmd.Env = environment(i.cfg, i.cmd.Dir, api)
	i.cmd.Stdout, i.cmd.Stderr = in, in
	i.cmd.SysProcAttr = processAttributes()
	err = i.launch()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return err
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		readLines(out, line)
	}()
	go i.wait(printed, onEnd)
	return nil
}

// launch starts the process. It may call the Runtime API before this returns.
func (i *instance) launch() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.started = time.Now()
	if err := i.cmd.Start(); err != nil {
		return err
	}
	i.pid = i.cmd.Process.Pid
	return nil
}

// wait sees the process to its end.
func (i *instance) wait(printed <-chan struct{}, onEnd func(*instance)) {
	_ = i.cmd.Wait()
	i.mu.Lock()
	i.pid = 0
	i.mu.Unlock()
	<-printed // all that it said is on record before its end is known
	_ = i.server.Close()
	onEnd(i)
	close(i.exited)
}

// readLines passes on the output of a process line by line until the process has ended.
func readLines(out *os.File, line func(string)) {
	defer func() { _ = out.Close() }()
	r := bufio.NewReaderSize(out, maxLineBytes)
	for {
		text, _, err := r.ReadLine()
		if err != nil {
			_, _ = io.Copy(io.Discard, out)
			return
		}
		line(string(text))
	}
}

// run invokes the process once and returns the result. It does not stop the process.
func (i *instance) run(ctx context.Context, inv *invocation) outcome {
	i.next <- inv // has room: an instance is given one invocation at a time
	if o := i.awaitTaken(ctx, inv); o != answered {
		return o
	}
	limit := time.NewTimer(i.cfg.Timeout)
	defer limit.Stop()
	select {
	case <-inv.done:
		return answered
	case <-limit.C:
		return timedOut
	case <-ctx.Done():
		return cancelled
	case <-i.exited:
		select {
		case <-inv.done: // it answered with its last breath
			return answered
		default:
			return ended
		}
	}
}

// awaitTaken waits until the process has taken the invocation; answered means that it has.
func (i *instance) awaitTaken(ctx context.Context, inv *invocation) outcome {
	limit := time.NewTimer(i.cfg.InitTimeout)
	defer limit.Stop()
	select {
	case <-inv.taken:
		return answered
	case <-limit.C:
		return initTimedOut
	case <-ctx.Done():
		return cancelled
	case <-i.exited:
		select {
		case <-inv.taken:
			return answered // and run finds out how it ended
		default:
			return endedIdle
		}
	}
}

func (i *instance) alive() bool {
	select {
	case <-i.exited:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and returns when it is gone.
func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	<-i.exited
}

// cpu returns the user and system time the process has used.
func (i *instance) cpu() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pid == 0 {
		return i.cmd.ProcessState.UserTime() + i.cmd.ProcessState.SystemTime()
	}
	return CPU(i.pid)
}

// used returns the CPU time since it was last asked for it.
func (i *instance) used() time.Duration {
	now := i.cpu()
	i.mu.Lock()
	defer i.mu.Unlock()
	since := max(0, now-i.counted)
	i.counted += since
	return since
}

// initDuration is the time from process start to the first call of next; 0 before that.
func (i *instance) initDuration() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.init
}

// exitError describes the end of the process.
func (i *instance) exitError() *Error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.initError != nil {
		return i.initError
	}
	return &Error{"Runtime.ExitError", fmt.Sprintf("runtime exited: %v", i.cmd.ProcessState)}
}

// environment returns the environment variables that Lambda sets for a function.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func environment(cfg *Config, root, api string) []string {
	env := map[string]string{
		"_HANDLER":                        "bootstrap",
		"AWS_ACCESS_KEY_ID":               "local",
		"AWS_DEFAULT_REGION":              cfg.Region,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(cfg.MemoryMB),
		"AWS_LAMBDA_FUNCTION_NAME":        cfg.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + cfg.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      "local",
		"AWS_LAMBDA_RUNTIME_API":          api,
		"AWS_REGION":                      cfg.Region,
		"AWS_SECRET_ACCESS_KEY":           "local",
		"AWS_SESSION_TOKEN":               "local",
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LAMBDA_TASK_ROOT":                root,
		"LANG":                            "en_US.UTF-8",
		"PATH":                            "/usr/local/bin:/usr/bin:/bin:/opt/bin",
		"TZ":                              ":UTC",
	}
	maps.Copy(env, cfg.Environment)
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
