// Package deadletterhost is to the drain and the replay what lambdahost is to the connectors. It stands apart because the
// connectors' binaries would otherwise carry S3's client along.
package deadletterhost

import (
	"context"
	"sync"

	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// RunDrain serves the invocations of the function that writes dead letters to S3. It does not return.
func RunDrain() {
	w := lambdahost.System()
	lambdahost.Start(NewDrain(w, &lazyS3{env: w.Env}))
}

// RunReplay serves the invocations of the function that puts dead letters back. It does not return.
func RunReplay() {
	w := lambdahost.System()
	lambdahost.Start(NewReplay(w, &lazyS3{env: w.Env}))
}

// NewDrain makes the Lambda handler of the drain.
func NewDrain(w lambdahost.World, store deadletter.Putter) *Function {
	return newFunction(w, func(s *settings.Settings, o deadletter.Options) (handler, error) {
		return deadletter.NewDrain(s, store, o)
	})
}

// NewReplay makes the Lambda handler of the replay.
func NewReplay(w lambdahost.World, store deadletter.Store) *Function {
	return newFunction(w, func(s *settings.Settings, o deadletter.Options) (handler, error) {
		return deadletter.NewReplay(s, store, w.SQS, o)
	})
}

// handler is what a Function opens.
type handler interface {
	Handle(ctx context.Context, payload []byte) ([]byte, error)
}

// Function is the Lambda handler of a function that is not a connector. A misconfigured one starts, and says what is
// wrong in the answer to each invocation.
type Function struct {
	world lambdahost.World
	open  func() (handler, error)
}

func newFunction(w lambdahost.World, open func(*settings.Settings, deadletter.Options) (handler, error)) *Function {
	return &Function{world: w, open: sync.OnceValues(func() (handler, error) {
		s := settings.New(w.Env, nil)
		return open(s, deadletter.Options{Now: w.Now, Log: w.Logger(s), Metrics: w.Out})
	})}
}

// Invoke takes one payload.
func (f *Function) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, lambdahost.Recovered(ctx, f.world.Out, p)
		}
	}()
	h, err := f.open()
	if err != nil {
		return nil, err
	}
	return h.Handle(ctx, payload)
}
