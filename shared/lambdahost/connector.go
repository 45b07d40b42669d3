package lambdahost

import (
	"context"
	"sync"

	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// Connector is the Lambda handler of a connector's function. It is safe for concurrent invocations.
type Connector struct {
	deps  Deps
	name  string
	cache *connectorCache
}

// NewConnector makes the handler. It reads no settings and opens no connection: a misconfigured function starts, and
// returns an error that names all problems from each invocation.
func NewConnector(name string, open OpenFunc, d Deps) *Connector {
	return &Connector{deps: d, name: name, cache: newConnectorCache(name, open, d)}
}

var payloads = sync.Pool{New: func() any { return new(sqsevent.Payload) }}

// Invoke handles one payload: a batch of messages, or the connection check.
func (c *Connector) Invoke(ctx context.Context, payload []byte) (response []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, Recovered(ctx, c.deps.Out, p)
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
	known := c.cache.cache.Loads()
	instance, err := c.cache.ready(ctx)
	if err != nil {
		return nil, err
	}
	known = max(known, 1) // the read for the first instance is not a change
	return instance.batches.Handle(ctx, &source{cache: c.cache, instance: instance, known: known}, p.Messages)
}
