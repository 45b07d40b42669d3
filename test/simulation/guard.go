package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/guard"
)

const (
	guardQueue      = "https://sqs.sim/1/guard"
	guardVisibility = 725 * time.Second
	guardSlots      = 2          // MaximumConcurrency of the guard's mapping
	firstAlarm      = 30_000_000 // number of the first message of the guard's queue
	firstReplay     = 10_000     // number of the guard's first replay
	stack           = "local"    // default of SIEM_STACK
)

// mapping is the event source mapping of a connector, and the tag of its function. The world guards it.
type mapping struct {
	guard.Mapping

	own     guard.Mapping // as deployed
	tag     string
	applied sync.Mutex // is held while the pollers change

	changes    int // of Enabled
	pausedAt   time.Time
	resumedAt  time.Duration // when it last got its own settings and was enabled
	touched    bool          // by the guard
	letThrough int           // holds that the guard ended although the SIEM was down
	operations []Operation   // that are still to come
}

// init sets the settings of the template.
func (m *mapping) init(l *pipeline) {
	m.Mapping = guard.Mapping{
		State: "Enabled", Concurrency: []int{0, 3, 5, 10}[l.rng.below(4, "concurrency", l.name)],
		BatchSize: l.plan.BatchSize, Function: "arn:aws:lambda:eu-west-1:1:function:" + l.name,
	}
	m.own = m.Mapping
	for _, o := range l.plan.Guard.Operations {
		if o.Connector == l.name {
			m.operations = append(m.operations, o)
		}
	}
}

// newGuard makes the guard's queue and the alarms.
func (w *world) newGuard() {
	w.sqs.Create(fakeaws.Queue{URL: guardQueue, ARN: "arn:aws:sqs:eu-west-1:1:guard", Visibility: guardVisibility,
		FirstID: firstAlarm})
	w.count("seeds with the guard", 1)
	w.count("outage: "+w.plan.Guard.Outage, 1)
	w.alarms = downalarm.New(downalarm.Config{Stack: stack, Connectors: w.plan.Connectors, Send: w.alarm})
}

// alarm puts the event of an alarm on the guard's queue. EventBridge delivers at least once.
func (w *world) alarm(_ context.Context, event []byte) error {
	copies := 1
	if w.rng.chance(0.05, "copies", w.number("alarm")) {
		copies = 2
	}
	for range copies {
		id := w.sqs.Put(guardQueue, string(event), nil)
		w.tell("an alarm fires: %s", short(id))
	}
	w.count("alarms of connectors", 1)
	return nil
}

// startGuard starts the pollers of the guard's queue, and CloudWatch's evaluation of the alarms.
func (w *world) startGuard(ctx context.Context) {
	for slot := range guardSlots {
		p := &poller{world: w, role: "guard", slot: slot, url: guardQueue, arn: "arn:aws:sqs:eu-west-1:1:guard",
			batchSize: 1, visibility: guardVisibility}
		p.start(ctx)
	}
	const period, delay = 30 * time.Second, 30*time.Second + 13*time.Microsecond
	w.spawn(func() {
		for d := delay; wait(ctx, d); d = period {
			w.alarms.Evaluate(ctx, time.Now().Add(-delay))
		}
	})
}

// guardSetting returns a variable of the guard's environment.
func (p *process) guardSetting(name string) string {
	switch name {
	case "SIEM_QUEUE_URL":
		return guardQueue
	case "REPLAY_FUNCTION_NAME":
		return "replay"
	case "SIEM_QUEUE_RETENTION_DAYS":
		if p.plan.Guard.On {
			return fmt.Sprint(p.plan.Guard.Retention)
		}
	}
	return ""
}

// lambdaClient is the Lambda client of the guard. Mappings and functions have the names of their connectors.
type lambdaClient struct{ *process }

// api performs a call of the Lambda API.
func (c lambdaClient) api(ctx context.Context, op, connector string, do func(l *pipeline) error) error {
	return c.effect(ctx, op, connector, func(inv *invocation, n int) error {
		if c.inject(lambdaFails, inv, op, n) {
			return fakeaws.Error("TooManyRequestsException")
		}
		return do(c.pipelineOf(connector))
	})
}

// pipelineOf returns a connector's pipeline by its name, or by the ARN of its function.
func (w *world) pipelineOf(name string) *pipeline {
	name = name[strings.LastIndexByte(name, ':')+1:]
	for _, l := range w.pipelines {
		if l.name == name {
			return l
		}
	}
	return nil
}

// Mapping implements guard.Lambda.
func (c lambdaClient) Mapping(ctx context.Context, id string) (m guard.Mapping, err error) {
	err = c.api(ctx, "GetEventSourceMapping", id, func(l *pipeline) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		m = l.mapping.Mapping
		return nil
	})
	return m, err
}

// SetMapping implements guard.Lambda.
func (c lambdaClient) SetMapping(ctx context.Context, id string, change guard.Change) error {
	return c.api(ctx, "UpdateEventSourceMapping", id, func(l *pipeline) error {
		c.checkChange(l, change)
		return l.change("the guard", change)
	})
}

// Tag implements guard.Lambda.
func (c lambdaClient) Tag(ctx context.Context, function string) (tag string, err error) {
	err = c.api(ctx, "ListTags", function, func(l *pipeline) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		tag = l.mapping.tag
		return nil
	})
	return tag, err
}

// SetTag implements guard.Lambda.
func (c lambdaClient) SetTag(ctx context.Context, function, value string) error {
	return c.api(ctx, "TagResource", function, func(l *pipeline) error {
		l.setTag(value)
		return nil
	})
}

// Invoke implements guard.Lambda. The invocation continues if the caller stops waiting.
func (c lambdaClient) Invoke(ctx context.Context, function string, payload []byte) (out []byte, err error) {
	err = c.api(ctx, "Invoke", function, func(l *pipeline) error {
		responded := make(chan result, 1)
		c.spawn(func() { //nolint:contextcheck // an invocation has a context of its own
			if l == nil {
				responded <- c.replayForGuard(payload)
			} else {
				responded <- l.check(payload)
			}
		})
		select {
		case r := <-responded:
			if r.died || r.err != nil {
				return errors.New("the function failed")
			}
			out = r.response
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return out, err
}

// check invokes the connector's check in an execution environment of its own.
func (l *pipeline) check(payload []byte) result {
	p := l.newProcess(l.name, l)
	p.lane = l.name + " " + checks
	inv := p.begin(1, nil)
	r := p.invoke(inv, payload)
	l.tell("%s: check: %s", inv, r.response)
	p.kill("it is recycled")
	return r
}

// replayForGuard invokes the replay function, and checks its response.
func (w *world) replayForGuard(payload []byte) result {
	n := firstReplay + w.number("replay of the guard")
	inv, r := w.invokeReplay(n, payload)
	if a, ok := w.replayResponse(inv, r, ""); ok {
		w.count("guard: events replayed", a.Replayed)
	}
	return r
}

// change changes the mapping. Lambda takes up to a minute to enable or disable it.
func (l *pipeline) change(who string, c guard.Change) error {
	l.mu.Lock()
	m := &l.mapping
	if m.State == "Enabling" || m.State == "Disabling" {
		l.mu.Unlock()
		return fmt.Errorf("%w: ResourceInUseException", guard.ErrBusy)
	}
	takes, before := time.Duration(0), m.State
	m.Apply(c)
	if m.State != before {
		m.changes++
		takes = l.rng.between(time.Second, time.Minute, "state", l.name, m.changes)
	}
	now := m.Mapping
	l.mu.Unlock()
	l.tell("%s: %s changes the mapping to %+v", l.name, who, now)
	l.spawn(func() {
		time.Sleep(takes)
		l.settled()
	})
	return nil
}

// settled ends the state Enabling or Disabling, and passes the mapping's settings to its pollers.
func (l *pipeline) settled() {
	l.mapping.applied.Lock()
	defer l.mapping.applied.Unlock()
	l.mu.Lock()
	m := &l.mapping
	switch m.State {
	case "Enabling":
		m.State = "Enabled"
	case "Disabling":
		m.State = "Disabled"
	}
	on, concurrency, batch := m.State == "Enabled", m.Concurrency, m.BatchSize
	if on && concurrency == m.own.Concurrency && batch == m.own.BatchSize {
		m.resumedAt = l.since()
	}
	l.mu.Unlock()
	for slot, p := range l.pollers {
		p.set(on && (concurrency == 0 || slot < concurrency), batch)
	}
}

// state returns the state of a tag.
func state(tag string) guard.State {
	h, err := guard.ParseHold(tag)
	if err != nil {
		return guard.None
	}
	return h.State
}

// setTag writes the tag of the connector's function.
func (l *pipeline) setTag(value string) {
	from, to := state(l.mapping.tag), state(value)
	if to == guard.None || len(value) > 256 {
		l.broken("the tag is valid", "%s: %q", l.name, value)
	}
	name := func(s guard.State) string {
		if s == guard.None {
			return "[*]"
		}
		return string(s)
	}
	l.tell("%s: tag: %s", l.name, value)
	l.count("transition: "+name(from)+" --> "+name(to), 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &l.mapping
	m.tag = value
	if to == guard.Trial || to == guard.Holding && (from == guard.Resumed || from == guard.Running) {
		m.letThrough++
	}
	for i, o := range m.operations {
		if o.State == to {
			m.operations = append(m.operations[:i:i], m.operations[i+1:]...)
			l.operating.Add(1)
			l.spawn(func() { l.operation(o) })
			break
		}
	}
}
