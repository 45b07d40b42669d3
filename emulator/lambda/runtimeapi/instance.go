package runtimeapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
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
	i.cmd = exec.Command(bootstrap)
	i.cmd.Dir = filepath.Dir(bootstrap) // LAMBDA_TASK_ROOT
	i.cmd.Env = environment(i.cfg, i.cmd.Dir, api)
	i.cmd.SysProcAttr = processAttributes()
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	i.cmd.Stderr = i.cmd.Stdout
	if err := i.launch(); err != nil {
		return err
	}
	go func() {
		readLines(out, line) // all that it says is on record before its end is known
		_ = i.cmd.Wait()
		i.mu.Lock()
		i.pid = 0
		i.mu.Unlock()
		_ = i.server.Close()
		onEnd(i)
		close(i.exited)
	}()
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

// readLines passes on the output of a process line by line until the process has closed it.
func readLines(out io.Reader, line func(string)) {
	r := bufio.NewReaderSize(out, maxLineBytes)
	for {
		text, _, err := r.ReadLine()
		if err != nil {
			return
		}
		line(string(text))
	}
}

// run invokes the process once and returns the result. It does not stop the process.
func (i *instance) run(ctx context.Context, inv *invocation) outcome {
	i.next <- inv // has room: an instance is given one invocation at a time
	if o := i.await(ctx, inv.taken, i.cfg.InitTimeout, initTimedOut, endedIdle); o != answered {
		return o
	}
	return i.await(ctx, inv.done, i.cfg.Timeout, timedOut, ended)
}

// await waits until the process has taken or answered an invocation; answered means that it has. late and gone are the
// outcomes if it has not done so within the limit, or has ended.
func (i *instance) await(ctx context.Context, did <-chan struct{}, limit time.Duration, late, gone outcome) outcome {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-did:
		return answered
	case <-timer.C:
		return late
	case <-ctx.Done():
		return cancelled
	case <-i.exited:
		select {
		case <-did: // with its last breath
			return answered
		default:
			return gone
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

// process returns the id of the process, 0 once it is reaped.
func (i *instance) process() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pid
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

// invocation is one payload on its way through a process.
type invocation struct {
	id      string
	trace   string
	payload []byte
	taken   chan struct{} // closed when the process has it
	done    chan struct{} // closed when the process has answered; the fields below are set then

	takenAt    time.Time
	doneAt     time.Time
	payloadOut []byte
	failure    *Error
}

func newInvocation(number int, payload []byte) *invocation {
	return &invocation{
		// A function may rely on the shape of an id, never on its randomness.
		id:      fmt.Sprintf("00000000-0000-4000-8000-%012x", number),
		trace:   fmt.Sprintf("Root=1-%08x-%024x;Sampled=0", time.Now().Unix(), number),
		payload: payload,
		taken:   make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// duration is the time the process had the invocation: until it answered, else until now.
func (inv *invocation) duration() time.Duration {
	select {
	case <-inv.taken:
	default:
		return 0
	}
	select {
	case <-inv.done:
		return inv.doneAt.Sub(inv.takenAt)
	default:
		return time.Since(inv.takenAt)
	}
}

// document is the error as Lambda's caller gets it.
func (e *Error) document() []byte {
	data, _ := json.Marshal(map[string]string{"errorType": e.Type, "errorMessage": e.Message}) // strings always marshal
	return data
}

// handler is the Runtime API.
func (i *instance) handler() http.Handler {
	const base = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"invocation/next", i.serveNext)
	for _, result := range []string{"response", "error"} {
		mux.HandleFunc("POST "+base+"invocation/{id}/"+result, func(w http.ResponseWriter, r *http.Request) {
			i.serveAnswer(w, r, result == "error")
		})
	}
	mux.HandleFunc("POST "+base+"init/error", i.serveInitError)
	return mux
}

// serveNext blocks until there is an invocation, and hands it out.
func (i *instance) serveNext(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	if i.init == 0 {
		i.init = time.Since(i.started)
	}
	i.mu.Unlock()
	var inv *invocation
	select {
	case inv = <-i.next:
	case <-r.Context().Done():
		return
	}
	i.mu.Lock()
	i.current = inv
	i.mu.Unlock()
	inv.takenAt = time.Now()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.takenAt.Add(i.cfg.Timeout).UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", i.cfg.ARN)
	h.Set("Lambda-Runtime-Trace-Id", inv.trace)
	close(inv.taken)
	_, _ = w.Write(inv.payload)
}

// serveAnswer takes the answer to the current invocation, good or bad.
func (i *instance) serveAnswer(w http.ResponseWriter, r *http.Request, failed bool) {
	i.mu.Lock()
	inv := i.current
	i.mu.Unlock()
	if inv == nil || inv.id != r.PathValue("id") {
		http.Error(w, `{"errorType":"InvalidRequestID","errorMessage":"no such invocation"}`, http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayloadBytes+1))
	if err != nil {
		return // the connection broke: the process will end, or be ended
	}
	if len(body) > maxPayloadBytes {
		body, failed = (&Error{"Function.ResponseSizeTooLarge", "response payload size exceeded 6 MB"}).document(), true
	}
	// A runtime whose handler fails while it streams its answer says so in a trailer.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		body, failed = (&Error{kind, "the handler failed while it wrote its answer"}).document(), true
	}
	i.mu.Lock()
	i.current = nil
	i.mu.Unlock()
	inv.doneAt, inv.payloadOut = time.Now(), body
	if failed {
		inv.failure = parseError(body)
	}
	close(inv.done)
	accept(w)
}

// serveInitError takes word that the process could not come up. It is expected to end itself then.
func (i *instance) serveInitError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayloadBytes))
	if err != nil {
		return
	}
	i.mu.Lock()
	i.initError = parseError(body)
	i.mu.Unlock()
	accept(w)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

// parseError reads an error document; one that cannot be read is the message itself.
func parseError(body []byte) *Error {
	var d struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}
	if err := json.Unmarshal(body, &d); err != nil || d.ErrorType == "" && d.ErrorMessage == "" {
		return &Error{"Runtime.Unknown", string(body)}
	}
	return &Error{d.ErrorType, d.ErrorMessage}
}
