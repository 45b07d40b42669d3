// Package lambdahost is the glue between the functions and where they run: the environment, the AWS clients, the log, the
// Lambda runtime. Nothing else reads the environment, and nothing here decides what becomes of an event.
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
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Opener makes a connector from settings. It notes problems in the settings, and makes no connection.
type Opener func(*settings.Settings) deliver.Connector

// RunConnector serves the invocations of a connector's function. It does not return.
func RunConnector(name string, open Opener) {
	Start(NewConnector(name, open, System()))
}

// Start serves invocations with a handler. It does not return.
func Start(h lambda.Handler) {
	fitMachine()
	lambda.Start(h)
}

// World is what a function has around it. Tests put their own in its place.
type World struct {
	Env      settings.Lookup
	Out      io.Writer // log and metrics, a line each
	Now      func() time.Time
	SQS      SQS
	Secrets  Secrets
	Dial     settings.Dial     // the way to the SIEM; nil is the network
	Identity settings.Identity // the identity of the function's role; nil if it has none
}

// System is the real World. It reads and connects nothing before it is needed, so that a function starts fast.
func System() World {
	env := environment()
	clients := &clients{env: env}
	return World{Env: env, Out: os.Stdout, Now: time.Now, SQS: lazySQS{clients}, Secrets: lazySecrets{clients}, Identity: Identity(env, time.Now)}
}

// Logger makes the log: JSON lines, from LOG_LEVEL on.
func (w World) Logger(s *settings.Settings) *slog.Logger {
	level := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[s.OneOf("LOG_LEVEL", "info", "debug", "warn", "error")]
	return slog.New(slog.NewJSONHandler(w.Out, &slog.HandlerOptions{Level: level}))
}

const (
	// memoryShare is how much of the function's memory Go may take before it collects harder, in percent: the rest is
	// for what is not the heap.
	memoryShare = 85

	// wholeCPU is the memory, in MB, from which on Lambda gives a function the time of a whole CPU or more.
	// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
	wholeCPU = 1769
)

// fitMachine tells Go what Lambda enforces and Go does not know: the memory, and the share of a CPU. Lambda shows more
// CPUs than that; a second thread then finds no time of its own, and waking it costs a fifth of a small batch.
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

// Recovered turns a panic into the error of one invocation, so that SQS brings its batch back. What a panic says may hold
// anything, a secret too: only the runtime's own words are passed on.
func Recovered(ctx context.Context, out io.Writer, p any) error {
	text := fmt.Sprintf("%T", p)
	if err, ok := p.(runtime.Error); ok {
		text = err.Error()
	}
	slog.New(slog.NewJSONHandler(out, nil)).LogAttrs(ctx, slog.LevelError, "panic", slog.String("panic", text), slog.String("stack", string(debug.Stack())))
	return fmt.Errorf("the function panicked: %s", text)
}
