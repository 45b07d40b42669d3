// Package lambdahost connects the functions to where they run: the environment, the AWS clients, the log and the Lambda
// runtime. No other package reads the environment. This one decides no event's outcome.
package lambdahost

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
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
	slog.SetDefault(slog.New(slog.DiscardHandler)) // also the output of package log, which net/http uses
	lambda.Start(&logging{h, os.Stdout})
}

// logging writes the error of an invocation to the log, too.
type logging struct {
	lambda.Handler
	out io.Writer
}

// Invoke implements lambda.Handler.
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

// System returns the Deps in Lambda. Nothing is read or connected before it is needed, so that a function starts fast.
func System() Deps {
	env := environment()
	clients := &clients{env: env}
	return Deps{
		Env: env, Out: os.Stdout, Now: time.Now,
		SQS: lazySQS{clients}, Secrets: lazySecrets{clients}, Identity: Identity(env, time.Now),
	}
}

// Logger returns the log: JSON lines of LOG_LEVEL and above. Its first line names the version.
func (d Deps) Logger(s *settings.Settings) *slog.Logger {
	level := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[s.OneOf("LOG_LEVEL", "info", "debug", "warn", "error")]
	return slog.New(versioned{slog.NewJSONHandler(d.Out, &slog.HandlerOptions{Level: level}), new(atomic.Bool)})
}

// versioned adds the version to the first record of a log. It has no groups.
type versioned struct {
	slog.Handler
	done *atomic.Bool // shared with the handlers that WithAttrs returns
}

// WithAttrs implements slog.Handler.
func (v versioned) WithAttrs(attrs []slog.Attr) slog.Handler {
	return versioned{v.Handler.WithAttrs(attrs), v.done}
}

// Handle implements slog.Handler.
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

// Recovered makes a panic the error of one invocation, so that SQS delivers its batch again. The value of a panic may
// hold anything, even a secret: only that of the runtime is quoted.
func Recovered(ctx context.Context, out io.Writer, p any) error {
	text := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		text = err.Error()
	}
	slog.New(slog.NewJSONHandler(out, nil)).LogAttrs(ctx, slog.LevelError, "panic",
		slog.String("panic", text), slog.String("stack", string(debug.Stack())), slog.String("version", version.Version))
	return fmt.Errorf("the function panicked: %s", text)
}
