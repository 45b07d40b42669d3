package lambdahost

import (
	"context"
	"log/slog"
	"sync"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// RunDrain serves the invocations of the function that writes dead letters to S3. It does not return.
func RunDrain() {
	limitMemory()
	lambda.Start(NewDrain(System()))
}

// RunReplay serves the invocations of the function that puts dead letters back. It does not return.
func RunReplay() {
	limitMemory()
	lambda.Start(NewReplay(System()))
}

// NewDrain makes the Lambda handler of the drain.
func NewDrain(w World) *Function {
	return newFunction(w, func(s *settings.Settings, o deadletter.Options) (handler, error) {
		return deadletter.NewDrain(s, w.S3, o)
	})
}

// NewReplay makes the Lambda handler of the replay.
func NewReplay(w World) *Function {
	return newFunction(w, func(s *settings.Settings, o deadletter.Options) (handler, error) {
		return deadletter.NewReplay(s, w.S3, w.SQS, o)
	})
}

// handler is what a Function opens.
type handler interface {
	Handle(ctx context.Context, payload []byte) ([]byte, error)
}

// Function is the Lambda handler of a function that is not a connector. A misconfigured one starts, and says what is
// wrong in the answer to each invocation.
type Function struct {
	world World
	open  func() (handler, error)
}

func newFunction(w World, open func(*settings.Settings, deadletter.Options) (handler, error)) *Function {
	return &Function{world: w, open: sync.OnceValues(func() (handler, error) {
		s := settings.New(w.Env, nil)
		return open(s, deadletter.Options{Now: w.Now, Log: w.logger(s), Metrics: w.Out})
	})}
}

// Invoke takes one payload.
func (f *Function) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, recovered(slog.New(slog.NewJSONHandler(f.world.Out, nil)), p)
		}
	}()
	h, err := f.open()
	if err != nil {
		return nil, err
	}
	return h.Handle(ctx, payload)
}
