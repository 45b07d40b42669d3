package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/arbitex/siem-connectors/shared/drain"
	"github.com/arbitex/siem-connectors/shared/guardhost"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/replay"
)

// process is an execution environment of a function. It may die at any step; its code has no effect after that.
type process struct {
	*world
	pipeline *pipeline // of a connector's function
	role     string
	lane     string // of its faults
	name     string
	limit    time.Duration // of an invocation
	badProxy bool          // its proxy setting cannot be parsed
	call     func(ctx context.Context, payload []byte) ([]byte, error)

	guard   sync.Mutex
	dead    bool
	dying   chan struct{} // closed at its death
	cause   string
	conns   []*conn
	cut     bool          // a connection has died while it was frozen: a request may get no response
	skew    time.Duration // of its wall clock
	current *invocation
	opened  int // old dead letters, by a replay
	out     bytes.Buffer
}

// errDead is the result of all calls of a dead process.
var (
	errDead      = errors.New("the process is dead")
	errThrottled = errors.New("the invocation is throttled")
)

func (w *world) newProcess(role string, l *pipeline) *process {
	p := &process{world: w, pipeline: l, role: role, lane: role, limit: timeLimit, dying: make(chan struct{})}
	p.name = fmt.Sprintf("%s#%d", role, w.number("process "+role))
	p.badProxy = l != nil && l.proxied() && w.injects(proxyUnparsable, role, "environment", p.name)
	outside := lambdahost.Deps{
		Env: p.env, Out: p, Now: p.now, SQS: queueClient{p}, Secrets: secretsClient{p}, Dial: p.dial,
	}
	switch role {
	case "deadletter":
		p.call = drain.NewFunction(outside, storeClient{p}).Invoke
	case "replay":
		p.limit = replayLimit
		if w.plan.Old > fewOld { // a replay of many dead letters takes several calls
			p.limit = shortLimit
		}
		p.call = replay.NewFunction(outside, storeClient{p}).Invoke
	case "guard":
		p.limit = guardLimit
		p.call = guardhost.New(outside, lambdaClient{p}).Invoke
	default:
		p.call = lambdahost.NewConnector(role, l.open, outside).Invoke
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.processes = append(w.processes, p)
	return p
}

// env returns a variable of the function's environment.
func (p *process) env(name string) string {
	if p.pipeline == nil {
		if name == "SIEM_DEAD_LETTER_PATH" {
			return deadLetterPath
		}
		if name == "SIEM_REPLAY_ROLE_ID" {
			return roleID("replay")
		}
		for _, l := range p.pipelines {
			switch name {
			case upper(l.name) + "_QUEUE_URL":
				return l.queueURL
			case upper(l.name) + "_ROLE_ID":
				return roleID(l.name)
			case upper(l.name) + "_FUNCTION_NAME", upper(l.name) + "_MAPPING_ID":
				return l.name
			}
		}
		return p.guardSetting(name)
	}
	switch name {
	case "SIEM_ROLE_ID":
		return roleID(p.role)
	case "SIEM_REPLAY_ROLE_ID":
		return roleID("replay")
	case "SIEM_QUEUE_URL":
		return p.pipeline.queueURL
	case "SIEM_DEAD_LETTER_QUEUE_URL":
		return deadLetterQueue
	case "SIEM_SECRET_ID":
		if len(p.pipeline.siem.secret()) > 0 {
			return p.pipeline.name
		}
	case "SIEM_COMPRESSION":
		if p.pipeline.name != "xsiam" && !p.plan.Gzip {
			return "none"
		}
	}
	if value := p.proxySetting(name); value != "" {
		return value
	}
	return p.pipeline.siem.settings()[name]
}

func (p *process) now() time.Time {
	p.guard.Lock()
	defer p.guard.Unlock()
	return time.Now().Add(p.skew)
}

// Write implements io.Writer for the log and the metrics.
func (p *process) Write(line []byte) (int, error) {
	p.guard.Lock()
	defer p.guard.Unlock()
	if p.dead {
		return 0, errDead
	}
	if p.alarms != nil {
		p.alarms.Line(line)
	}
	return p.out.Write(line)
}

// printed returns the output since the last call.
func (p *process) printed() string {
	p.guard.Lock()
	defer p.guard.Unlock()
	defer p.out.Reset()
	return p.out.String()
}

func (p *process) isDead() bool {
	p.guard.Lock()
	defer p.guard.Unlock()
	return p.dead
}

// kill ends the process, and resets its connections.
func (p *process) kill(cause string) {
	p.guard.Lock()
	if p.dead {
		p.guard.Unlock()
		return
	}
	p.dead, p.cause = true, cause
	close(p.dying)
	conns := p.conns
	p.guard.Unlock()
	for _, c := range conns {
		c.markFaulty()
		c.hold(false)
		c.reset()
	}
}

// step is a point at which the process may die: before or after an effect. It then returns errDead.
func (p *process) step(where string) error {
	p.guard.Lock()
	inv := p.current
	if inv == nil || p.dead {
		p.guard.Unlock()
		return errDead
	}
	inv.steps++
	dies := inv.steps == inv.dieAt
	p.guard.Unlock()
	if !dies {
		return nil
	}
	p.count("fault: "+string(crash), 1)
	p.count("crash: "+where, 1)
	p.tell("%s dies %s", inv, where)
	p.kill(where)
	return errDead
}

// effect performs an effect on the outside world. It takes time, and the process may die before and after it. key
// distinguishes it from concurrent effects of the invocation.
func (p *process) effect(ctx context.Context, op, key string, do func(inv *invocation, n int) error) error {
	inv, n := p.next(op + key)
	if inv == nil {
		return errDead
	}
	n += 1000 * p.rng.below(1<<40, key) // so that concurrent requests do not take the same time
	if !wait(ctx, p.takes(inv, op, n)) {
		return ctx.Err()
	}
	if err := p.step("before " + op); err != nil {
		return err
	}
	if err := do(inv, n); err != nil {
		return err
	}
	return p.step("after " + op)
}

// next returns the current invocation, nil if there is none, and the next number for a name.
func (p *process) next(name string) (*invocation, int) {
	p.guard.Lock()
	defer p.guard.Unlock()
	inv := p.current
	if inv == nil {
		return nil, 0
	}
	inv.done[name]++
	return inv, inv.done[name]
}

// takes returns the duration of a request to AWS, or of a connection.
func (p *process) takes(inv *invocation, op string, n int) time.Duration {
	d := p.rng.between(2*time.Millisecond, 20*time.Millisecond, "takes", p.name, inv.number, op, n)
	if f, ok := p.fault(awsSlow, p.role, p.name, inv.number, op, n); ok && op != "dial" {
		d += time.Duration(f.N) * time.Second
		p.tell("%s: AWS takes %s (%s)", inv, d.Round(time.Second), op)
		p.guard.Lock()
		inv.struck[awsSlow] = true
		p.guard.Unlock()
	}
	return d
}

// inject reports whether a fault applies to an effect, and logs it.
func (p *process) inject(kind Kind, inv *invocation, op string, n int) bool {
	struck := p.injects(kind, p.lane, p.name, inv.number, op, n)
	if struck {
		p.tell("%s: %s (%s)", inv, kind, op)
		p.guard.Lock()
		inv.struck[kind] = true
		p.guard.Unlock()
	}
	return struck
}

// dial opens a connection to a SIEM.
func (p *process) dial(ctx context.Context, _, to string) (opened net.Conn, err error) {
	err = p.effect(ctx, "dial", "", func(inv *invocation, n int) error {
		switch {
		case p.inject(refused, inv, "dial", n):
			inv.answer(nil, answer{network: true})
			return opError("dial", syscall.ECONNREFUSED)
		case p.inject(noName, inv, "dial", n):
			inv.answer(nil, answer{network: true})
			return opError("dial", &net.DNSError{Err: "no such host", Name: to, IsNotFound: true})
		case p.inject(unreachable, inv, "dial", n):
			inv.answer(nil, answer{network: true})
			<-ctx.Done()
			return opError("dial", ctx.Err())
		}
		client, server := newConn(p, to)
		p.guard.Lock()
		p.conns = append(p.conns, client)
		p.guard.Unlock()
		if err := p.connect(ctx, to, server); err != nil {
			return err
		}
		opened = client
		return nil
	})
	if err != nil && opened != nil {
		_ = opened.Close()
		opened = nil
	}
	return opened, err
}

// freeze freezes the process between invocations. Its connections may die meanwhile.
func (p *process) freeze(n int) {
	p.guard.Lock()
	conns := p.conns
	p.guard.Unlock()
	open, cut := conns[:0:0], false
	for i, c := range conns {
		if c.gone() {
			continue
		}
		open = append(open, c)
		c.hold(true)
		if p.injects(frozen, p.role, p.name, n, i) {
			p.tell("%s: a connection dies while it is frozen", p.name)
			c.drop(p.rng.below(3, "drop", p.name, n, i))
			cut = true
		}
	}
	p.guard.Lock()
	p.conns, p.cut = open, p.cut || cut
	p.guard.Unlock()
}

// thaw continues the process. It sees what has arrived on its connections a moment later.
func (p *process) thaw() {
	p.guard.Lock()
	conns := p.conns
	p.guard.Unlock()
	time.AfterFunc(5*time.Millisecond, func() {
		for _, c := range conns {
			c.hold(false)
		}
	})
}

var _ io.Writer = (*process)(nil)
