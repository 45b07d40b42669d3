package lambdahost

import (
	"context"
	"sync"

	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// Connector is the Lambda handler of a connector's function. It is safe for concurrent invocations.
type Connector struct {
	world  World
	name   string
	holder *holder
}

// NewConnector makes the handler. It reads and connects nothing: a misconfigured function starts, and says what is wrong
// in the answer to its first invocation.
func NewConnector(name string, open Opener, w World) *Connector {
	return &Connector{world: w, name: name, holder: &holder{world: w, open: open, name: name}}
}

var payloads = sync.Pool{New: func() any { return new(sqsevent.Payload) }}

// Invoke takes one payload: a batch of messages, or the connection check.
func (c *Connector) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, Recovered(ctx, c.world.Out, p)
		}
	}()
	p := payloads.Get().(*sqsevent.Payload)
	defer payloads.Put(p)
	if err := p.Read(payload); err != nil {
		return nil, err
	}
	if p.Check {
		return c.check(ctx), nil
	}
	opened, err := c.holder.ready(ctx)
	if err != nil {
		return nil, err
	}
	return opened.intake.Handle(ctx, &source{holder: c.holder, opened: opened}, p.Messages)
}
