// Package lambdahost connects the functions to where they run: the environment, the AWS clients, the log and the Lambda
// runtime. No other package reads the environment. This one decides no event's outcome.
package lambdahost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
	"github.com/arbitex/siem-connectors/shared/version"
)

// OpenFunc makes a connector from settings. It notes problems in the settings, and opens no connection.
type OpenFunc func(*settings.Settings) deliver.Connector

// RunConnector serves the invocations of a connector's function. It does not return.
func RunConnector(name string, open OpenFunc) {
	Start(NewConnector(name, open, System()))
}

// Start serves invocations with a handler. It does not return. Nothing is written to standard error: libraries may
// quote a request there, with its credential and events.
func Start(h lambda.Handler) {
	fitMachine()
	// This is also the output of package log, which net/http uses.
	slog.SetDefault(slog.New(exiting{slog.NewJSONHandler(os.Stdout, nil)}))
	lambda.Start(&logging{h, os.Stdout})
}

// exiting logs why package log ends the process, and discards everything else. Lambda's library ends the process when
// there is no Runtime API, or when it fails. Lambda itself only reports the exit status.
type exiting struct{ slog.Handler }

// Handle implements slog.Handler.
func (e exiting) Handle(ctx context.Context, r slog.Record) error {
	if !calledByFatal() {
		return nil
	}
	exit := slog.NewRecord(r.Time, slog.LevelError, "exiting", 0)
	exit.AddAttrs(slog.String("error", r.Message), slog.String("version", version.Version))
	return e.Handler.Handle(ctx, exit)
}

// calledByFatal reports whether log.Fatal, log.Fatalf or log.Fatalln is on the stack.
func calledByFatal() bool {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers[:])])
	for more := true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); strings.HasPrefix(f.Function, "log.Fatal") {
			return true
		}
	}
	return false
}

// logging writes the error of an invocation to the log, too.
type logging struct {
	lambda.Handler
	out io.Writer
}

func (l *logging) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	response, err := l.Handler.Invoke(ctx, payload)
	if err != nil {
		log := slog.New(slog.NewJSONHandler(l.out, nil))
		log.LogAttrs(ctx, slog.LevelError, "invocation failed",
			slog.String("error", err.Error()), slog.String("version", version.Version))
	}
	return response, err
}

// Deps are a function's external dependencies. Tests replace them.
type Deps struct {
	Env      settings.Lookup
	Out      io.Writer // log and metrics, a line each
	Now      func() time.Time
	SQS      SQS
	Secrets  Secrets
	Dial     settings.Dial     // to the SIEM; nil means the network
	Identity settings.Identity // of the function's role; nil if it has none
}

// System returns the Deps in Lambda. It connects to nothing, so that a function starts fast.
func System() Deps {
	env := environment()
	queue, _ := AWSConfig(env, "SQS") // an error is that of every request
	secrets, _ := AWSConfig(env, "SECRETS_MANAGER")
	return Deps{
		Env: env, Out: os.Stdout, Now: time.Now, Identity: Identity(env, time.Now),
		SQS: sqs.NewFromConfig(queue), Secrets: secretsmanager.NewFromConfig(secrets),
	}
}

// Logger returns the log: JSON lines of LOG_LEVEL and above. Its first line names the version.
func (d Deps) Logger(s *settings.Settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevel(s)}
	return slog.New(versioned{slog.NewJSONHandler(d.Out, options), new(atomic.Bool)})
}

func logLevel(s *settings.Settings) slog.Level {
	return map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[s.OneOf("LOG_LEVEL", "info", "debug", "warn", "error")]
}

// versioned adds the version to the first record of a log. It has no groups.
type versioned struct {
	slog.Handler
	done *atomic.Bool // shared with the handlers that WithAttrs returns
}

func (v versioned) WithAttrs(attrs []slog.Attr) slog.Handler {
	return versioned{v.Handler.WithAttrs(attrs), v.done}
}

func (v versioned) Handle(ctx context.Context, r slog.Record) error {
	if !v.done.Load() && v.done.CompareAndSwap(false, true) {
		r = r.Clone()
		r.AddAttrs(slog.String("version", version.Version))
	}
	return v.Handler.Handle(ctx, r)
}

const (
	// memoryShare is the percentage of the function's memory at which Go collects more often: the rest is for memory
	// outside the heap.
	memoryShare = 85

	// wholeCPU is the memory, in MB, at which a function gets the time of one CPU.
	// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	wholeCPU = 1769
)

// fitMachine sets the limits that Lambda enforces and Go does not know: the memory, and the share of a CPU. The
// function sees more CPUs than it gets time of: waking a second thread costs a fifth of a small batch.
func fitMachine() {
	megabytes, err := strconv.Atoi(os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil || megabytes <= 0 {
		return
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(megabytes) << 20 * memoryShare / 100)
	}
	if os.Getenv("GOMAXPROCS") == "" && megabytes < wholeCPU {
		runtime.GOMAXPROCS(1)
	}
}

// Connector is the Lambda handler of a connector's function. It is safe for concurrent invocations.
type Connector struct {
	deps  Deps
	name  string
	open  OpenFunc
	cache *refresh.Cache[*instance] // between invocations
}

// NewConnector makes the handler. It reads no settings and opens no connection: a misconfigured function starts, and
// returns an error that names all problems from each invocation.
func NewConnector(name string, open OpenFunc, d Deps) *Connector {
	always := func(error) bool { return true } // a connector that works is better than none
	return &Connector{deps: d, name: name, open: open, cache: refresh.New[*instance](d.Now, secretPause, always)}
}

var payloads = sync.Pool{New: func() any { return new(sqsevent.Payload) }}

// Invoke handles one payload: a batch of messages, or the connection check.
func (c *Connector) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return c.deps.guarded(ctx, func() ([]byte, error) { return c.handle(ctx, payload) })
}

func (c *Connector) handle(ctx context.Context, payload []byte) ([]byte, error) {
	p := payloads.Get().(*sqsevent.Payload)
	defer payloads.Put(p)
	if err := p.Read(payload); err != nil {
		return nil, err
	}
	if p.Check {
		return c.check(ctx), nil
	}
	known := c.cache.Loads()
	instance, err := c.cache.Get(ctx, c.load)
	if err != nil { // it names everything that is wrong with the configuration, which the next invocation reads again
		return nil, err
	}
	known = max(known, 1) // the read for the first instance is not a change
	return instance.batches.Handle(ctx, &source{Connector: c, instance: instance, known: known}, p.Messages)
}

// Handler handles one payload.
type Handler interface {
	Handle(ctx context.Context, payload []byte) ([]byte, error)
}

// Function is the Lambda handler of a function that is not a connector.
type Function struct {
	deps Deps
	open func() (Handler, error)
}

// NewFunction makes the handler. It calls open at the first invocation: a misconfigured function starts, and responds
// to each invocation with the error of open.
func NewFunction(d Deps, open func(*settings.Settings) (Handler, error)) *Function {
	return &Function{deps: d, open: sync.OnceValues(func() (Handler, error) { return open(settings.New(d.Env, nil)) })}
}

// Invoke handles one payload.
func (f *Function) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	return f.deps.guarded(ctx, func() ([]byte, error) {
		h, err := f.open()
		if err != nil {
			return nil, err
		}
		return h.Handle(ctx, payload)
	})
}

// guarded calls handle. It logs a panic, and makes it the error of one invocation: SQS then delivers its batch again.
func (d Deps) guarded(ctx context.Context, handle func() ([]byte, error)) (response []byte, err error) {
	err = Guard(func() (err error) {
		response, err = handle()
		return err
	})
	if p, ok := errors.AsType[*PanicError](err); ok {
		p.Log(ctx, d.Out)
	}
	return response, err
}

// PanicError is a recovered panic. The value of a panic may hold anything, even a secret: only that of the runtime is
// quoted.
type PanicError struct{ text, stack string }

func (p *PanicError) Error() string { return "the function panicked: " + p.text }

// Log writes the panic with its stack as one line.
func (p *PanicError) Log(ctx context.Context, out io.Writer) {
	slog.New(slog.NewJSONHandler(out, nil)).LogAttrs(ctx, slog.LevelError, "panic",
		slog.String("panic", p.text), slog.String("stack", p.stack), slog.String("version", version.Version))
}

// Guard calls do and returns a panic as a *PanicError. A panic in a goroutine would otherwise end the process and print
// its value, which may be an event, to standard error.
func Guard(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			p := &PanicError{text: fmt.Sprintf("%T", value), stack: string(debug.Stack())}
			if own, ok := value.(runtime.Error); ok {
				p.text = own.Error()
			}
			err = p
		}
	}()
	return do()
}

// CheckResult is the response to the connection check. Step, Detail and Hint describe the failure. Hint alone is a
// note. Backpressure reports that the SIEM's queues are full or nearly full.
type CheckResult struct {
	Connector    string       `json:"connector"`
	OK           bool         `json:"ok"`
	Step         failure.Step `json:"step,omitempty"`
	Detail       string       `json:"detail,omitempty"`
	Hint         string       `json:"hint,omitempty"`
	Backpressure bool         `json:"backpressure,omitempty"`
	Milliseconds int64        `json:"milliseconds"`
}

// check checks the connection to the SIEM. A failure is part of the response, never an invocation error.
func (c *Connector) check(ctx context.Context) []byte {
	start := c.deps.Now()
	ctx, cancel := sqsbatch.Reserve(ctx, 2*time.Second, 5) // a SIEM that does not respond is a failure of the check
	defer cancel()
	result := CheckResult{Connector: c.name, OK: true}
	err := Guard(func() error {
		note, err := c.tryConnection(ctx)
		result.Hint, result.Backpressure = note.Text, note.Backpressure
		return err
	})
	if f := failure.Of(err); f != nil {
		result.OK, result.Step, result.Hint = false, cmp.Or(f.Step, failure.Request), f.Hint
		shown := *f
		shown.Hint = ""
		result.Detail = shown.Error()
	}
	result.Milliseconds = c.deps.Now().Sub(start).Milliseconds()
	response, _ := json.Marshal(result) // strings and numbers always marshal
	return response
}

// tryConnection returns the failure of the connection; if it works, nil and a note. It always reads the secret again,
// so that a check shows the effect of a correction at once.
func (c *Connector) tryConnection(ctx context.Context) (note deliver.Note, err error) {
	used, _ := c.cache.Current()
	instance, err := c.cache.Renew(ctx, used, c.cache.Loads(), c.load)
	if err != nil {
		_, classified := errors.AsType[*failure.Error](err)
		if wrong, ok := errors.AsType[*settings.Error](err); ok && !classified {
			err = &failure.Error{
				Step: failure.Config, Detail: wrong.Error(),
				Hint: "set each variable named, in the function's environment or as a key of its secret",
			}
		}
		return note, err
	}
	checker, ok := instance.connector.Connector.(deliver.Checker)
	if !ok {
		return note, errors.New("this connector has no check")
	}
	if err := checker.Check(ctx); err != nil {
		return note, instance.connector.redact(err)
	}
	if noter, ok := checker.(deliver.Noter); ok {
		note = noter.Note(ctx)
	}
	return note, nil
}

// environment returns a lookup in the process's environment that ignores the case of names: a loop in template.yaml can
// only write splunk_QUEUE_URL for SPLUNK_QUEUE_URL.
func environment() func(string) string {
	values := sync.OnceValue(func() map[string]string {
		all := os.Environ()
		m := make(map[string]string, len(all))
		for _, entry := range all {
			name, value, _ := strings.Cut(entry, "=")
			m[strings.ToUpper(name)] = value
		}
		return m
	})
	return func(name string) string {
		if value := os.Getenv(name); value != "" {
			return value
		}
		return values()[strings.ToUpper(name)]
	}
}
