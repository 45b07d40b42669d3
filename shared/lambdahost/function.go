package lambdahost

import (
	"context"
	"sync"

	"github.com/arbitex/siem-connectors/shared/settings"
)

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
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, Recovered(ctx, f.deps.Out, p)
		}
	}()
	h, err := f.open()
	if err != nil {
		return nil, err
	}
	return h.Handle(ctx, payload)
}
