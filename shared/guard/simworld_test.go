package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
)

// The simulation counts events instead of keeping them: a connector's queue is a number of events for each count of
// attempts and of replays.
const (
	tick        = 5 * time.Second
	maxAttempts = 5
	maxReplays  = 3
	ringSize    = 128 // ticks; longer than the longest back-off
	redelivery  = 725 * time.Second
	drainDelay  = 15 * time.Second // from the dead-letter queue to S3
)

var backoffs = [maxAttempts]time.Duration{0, time.Second, 7 * time.Second, 45 * time.Second, 300 * time.Second}

// condition is a SIEM's behaviour during a period.
type condition struct {
	failing     float64 // the part of the deliveries that fail
	held        bool    // the failures are of the outcome "retry, held"
	checkFails  bool
	busy        bool // the check succeeds and reports that the SIEM's queues are nearly full
	slow        bool // a failing request takes 10 s instead of 0.2 s
	fromMinute  float64
	untilMinute float64
}

type events [maxAttempts][maxReplays + 1]int

func (e *events) total() (n int) {
	for _, byReplays := range e {
		for _, v := range byReplays {
			n += v
		}
	}
	return n
}

type deadLetters struct {
	at      time.Time
	replays int
	n       int
}

// plant is one connector with its mapping, its queue, its SIEM and its alarm.
type plant struct {
	w         *simWorld
	name      string
	script    []condition
	rate      int // events a tick
	mapping   Mapping
	own       Mapping   // with its own settings
	settled   time.Time // when Enabling or Disabling ends
	tag       string
	ready     events
	ring      [ringSize]events
	alarm     downalarm.Alarm
	replayed  []Hold
	letters   []deadLetters
	enqueued  int
	delivered int
	exhausted int
	ran       time.Time // when the tag entered the state replaying
	heldAt    time.Time
	paused    bool // an operator disabled the mapping
	touched   int  // changes of the mapping by the guard
}

func (p *plant) minute() float64 { return p.w.now.Sub(p.w.start).Minutes() }

func (p *plant) condition() condition {
	m := p.minute()
	for _, c := range p.script {
		if c.fromMinute <= m && m < c.untilMinute {
			return c
		}
	}
	return condition{}
}

// step simulates one tick.
func (p *plant) step(producing bool) {
	i := p.w.tick % ringSize
	for a := range p.ring[i] {
		for r, n := range p.ring[i][a] {
			p.ready[a][r] += n
		}
	}
	p.ring[i] = events{}
	if producing {
		p.ready[0][0] += p.rate
		p.enqueued += p.rate
	}
	if !p.w.now.Before(p.settled) {
		switch p.mapping.State {
		case "Enabling":
			p.mapping.State = "Enabled"
		case "Disabling":
			p.mapping.State = "Disabled"
		}
	}
	if p.mapping.State == "Enabled" || p.mapping.State == "Disabling" {
		p.deliver(p.condition())
	}
}

// capacity returns how many events the connector receives in a tick.
func (p *plant) capacity(c condition) int {
	concurrency := p.mapping.Concurrency
	if concurrency == 0 {
		concurrency = 20
	}
	batches := int(tick / (200 * time.Millisecond))
	if c.slow && c.failing > 0 {
		return concurrency * p.mapping.BatchSize * int(tick) / int(10*time.Second)
	}
	return concurrency * p.mapping.BatchSize * batches
}

func (p *plant) deliver(c condition) {
	total := p.ready.total()
	if total == 0 {
		return
	}
	part := min(1, float64(p.capacity(c))/float64(total))
	var v downalarm.Values
	for a := range p.ready {
		for r, n := range p.ready[a] {
			received := p.w.share(n, part)
			failed := p.w.share(received, c.failing)
			p.ready[a][r] -= received
			p.delivered += received - failed
			v.Delivered += float64(received - failed)
			if a+1 == maxAttempts {
				p.bury(r, failed)
				continue
			}
			v.Retried += float64(failed)
			delay := backoffs[a+1]
			if c.held {
				v.Held += float64(failed)
				delay = backoffs[maxAttempts-1]
			}
			p.ring[(p.w.tick+max(1, int(delay/tick)))%ringSize][a+1][r] += failed
		}
	}
	p.alarm.Add(p.w.now, v)
}

func (p *plant) bury(replays, n int) {
	if n > 0 {
		p.exhausted += n
		p.letters = append(p.letters, deadLetters{at: p.w.now, replays: replays, n: n})
	}
}

func (p *plant) waiting() (n int) {
	n = p.ready.total()
	for i := range p.ring {
		n += p.ring[i].total()
	}
	return n
}

// left counts the dead letters that are left from the times of holds whose replay succeeded.
func (p *plant) left() (n int) {
	for _, l := range p.letters {
		if slices.ContainsFunc(p.replayed, func(h Hold) bool {
			return l.at.After(h.Since.Add(-ReplayMargin)) && l.at.Before(h.At.Add(-drainDelay))
		}) {
			n += l.n
		}
	}
	return n
}

func (p *plant) pending() (n int) {
	for _, l := range p.letters {
		n += l.n
	}
	return n
}

// simMessage is a message on the guard's queue.
type simMessage struct {
	id      string
	sent    time.Time
	visible time.Time
	alarm   string
}

// simWorld is the simulated account. It implements Lambda and Queue.
type simWorld struct {
	rng         *rand.Rand
	start, now  time.Time
	tick        int
	plants      []*plant
	messages    []*simMessage
	current     *simMessage
	clock       time.Duration
	ids         int
	kills       float64 // probability that a call ends the process
	errors      float64 // probability that a call fails
	replayFault string  // "timeout", "locked" or "error"
	replayUntil time.Time
	calls       int
	killBefore  int    // the number of the call before whose effect the process ends; 0 = none
	killAfter   int    // the same, after the effect
	turn        func() // called before each call
	adjacent    bool   // the previous call read the tag; a write that follows at once is one step with it
	crashes     int
	stuck       int // invocations that failed because an operator must act
	invocations int
	transitions map[string]int
	broken      []string
}

// newWorld returns a world without connectors. offset moves its start within the periods of the alarms.
func newWorld(rng *rand.Rand, offset time.Duration) *simWorld {
	start := time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC).Add(offset)
	return &simWorld{rng: rng, start: start, now: start, transitions: map[string]int{}}
}

// add adds a connector that gets rate events a tick.
func (w *simWorld) add(name string, rate, concurrency, batch int, script []condition) *plant {
	m := Mapping{State: "Enabled", Concurrency: concurrency, BatchSize: batch,
		Function: "arn:aws:lambda:eu-central-1:123456789012:function:prod-" + name}
	p := &plant{w: w, name: name, script: script, rate: rate, mapping: m, own: m}
	w.plants = append(w.plants, p)
	return p
}

// killed ends the process in the middle of an invocation.
type killed struct{}

// share returns part of n, rounded at random.
func (w *simWorld) share(n int, part float64) int {
	if n == 0 || part <= 0 {
		return 0
	}
	if part >= 1 {
		return n
	}
	exact := float64(n) * part
	whole := int(exact)
	if w.rng.Float64() < exact-float64(whole) {
		whole++
	}
	return whole
}

func (w *simWorld) plantOf(id string) *plant {
	for _, p := range w.plants {
		if strings.HasSuffix(id, p.name) {
			return p
		}
	}
	panic("no connector " + id)
}

var errThrottled = errors.New("TooManyRequestsException")

// call injects the faults of a call; the result of effect counts even if the process ends after it.
func (w *simWorld) call(effect func() error) error {
	w.calls++
	if w.turn != nil && !w.adjacent {
		w.turn()
	}
	w.adjacent = false
	if w.calls == w.killBefore {
		panic(killed{})
	}
	if w.calls == w.killAfter {
		_ = effect()
		panic(killed{})
	}
	if w.kills > 0 && w.rng.Float64() < w.kills {
		panic(killed{})
	}
	if w.errors > 0 && w.rng.Float64() < w.errors {
		return errThrottled
	}
	err := effect()
	if w.kills > 0 && w.rng.Float64() < w.kills {
		panic(killed{})
	}
	return err
}

func (w *simWorld) Mapping(_ context.Context, id string) (m Mapping, err error) {
	w.adjacent = false
	err = w.call(func() error { m = w.plantOf(id).mapping; return nil })
	return m, err
}

func (w *simWorld) SetMapping(_ context.Context, id string, c Change) error {
	w.adjacent = w.adjacent && c.Enabled != nil && *c.Enabled // the tag was read immediately before
	p := w.plantOf(id)
	return w.call(func() error {
		if p.mapping.State == "Enabling" || p.mapping.State == "Disabling" {
			return fmt.Errorf("%w: ResourceInUseException", ErrBusy)
		}
		p.touched++
		if c.Enabled != nil && *c.Enabled && p.paused {
			w.broken = append(w.broken, "the guard enabled a mapping that an operator disabled")
		}
		h, _ := ParseHold(p.tag)
		if h != nil && h.State == Resumed && c.Concurrency != nil && p.mapping.on() && p.condition().busy && w.errors == 0 {
			w.broken = append(w.broken, "the guard raised the concurrency while the SIEM's queues were nearly full")
		}
		p.change(c)
		return nil
	})
}

func (p *plant) change(c Change) {
	before := p.mapping.State
	if p.mapping.Apply(c); p.mapping.State == before {
		return
	}
	p.settled = p.w.now.Add(time.Duration(p.w.rng.IntN(60)) * time.Second)
}

func (w *simWorld) Tag(_ context.Context, arn string) (tag string, err error) {
	w.adjacent = false
	err = w.call(func() error { tag = w.plantOf(arn).tag; return nil })
	w.adjacent = true
	return tag, err
}

func (w *simWorld) SetTag(_ context.Context, arn, value string) error {
	p := w.plantOf(arn)
	return w.call(func() error { w.write(p, value); return nil })
}

func (w *simWorld) write(p *plant, value string) {
	from, to := None, None
	old, _ := ParseHold(p.tag)
	if old != nil {
		from = old.State
	}
	h, err := ParseHold(value)
	if err != nil || len(value) > 256 {
		w.broken = append(w.broken, fmt.Sprintf("tag %q: %v", value, err))
	} else {
		to = h.State
	}
	w.transitions[edge(from, to)]++
	if to == Held && p.heldAt.IsZero() {
		p.heldAt = w.now
	}
	if to == Replaying && from != Replaying {
		p.ran = w.now
	}
	if from == Replaying && to == Done {
		old.At = p.ran
		p.replayed = append(p.replayed, *old)
	}
	p.tag = value
}

func edge(from, to State) string {
	name := func(s State) string {
		if s == None {
			return "[*]"
		}
		return string(s)
	}
	return name(from) + " --> " + name(to)
}

func (w *simWorld) Invoke(_ context.Context, function string, payload []byte) (out []byte, err error) {
	w.adjacent = false
	if function == "replay" {
		err = w.call(func() error { out, err = w.replay(payload); return err })
		return out, err
	}
	p := w.plantOf(function)
	err = w.call(func() error {
		c := p.condition()
		out = fmt.Appendf(nil, `{"connector":%q,"ok":%t,"step":"request","backpressure":%t}`, p.name, !c.checkFails, c.busy)
		return nil
	})
	return out, err
}

// replay is the replay function.
func (w *simWorld) replay(payload []byte) ([]byte, error) {
	var request struct{ Body string }
	var body struct {
		Connector, Reason string
		From              time.Time
		To                *time.Time
		Limit             int
	}
	if json.Unmarshal(payload, &request) != nil || json.Unmarshal([]byte(request.Body), &body) != nil ||
		body.Reason != exhausted {
		w.broken = append(w.broken, "bad request of a replay: "+request.Body)
	}
	switch faulty := w.now.Before(w.replayUntil); {
	case faulty && w.replayFault == "timeout":
		return nil, context.DeadlineExceeded
	case faulty && w.replayFault == "locked":
		return []byte(`{"statusCode":409,"body":"{\"error\":\"another replay is running\"}"}`), nil
	case faulty:
		return []byte(`{"statusCode":500,"body":"{\"error\":\"internal\"}"}`), nil
	}
	p := w.plantOf(body.Connector)
	var done, skipped, remaining int
	kept := p.letters[:0]
	for _, l := range p.letters {
		matches := !l.at.Before(body.From) && (body.To == nil || l.at.Before(*body.To)) && w.now.Sub(l.at) > drainDelay
		n := 0
		switch {
		case matches && l.replays >= maxReplays:
			skipped += l.n
		case matches:
			n = min(l.n, body.Limit-done)
			p.ready[0][l.replays+1] += n
			done += n
			remaining += l.n - n
		}
		if l.n -= n; l.n > 0 {
			kept = append(kept, l)
		}
	}
	p.letters = kept
	return fmt.Appendf(nil, `{"statusCode":200,"body":"{\"replayed\":%d,\"skipped\":%d,\"remaining\":%d}"}`, done, skipped,
		remaining), nil
}

func (w *simWorld) Hide(_ context.Context, _ string, d time.Duration) error {
	w.adjacent = false
	return w.call(func() error {
		if d < time.Second || d > 12*time.Hour || d%time.Second != 0 && d < 2*time.Second {
			w.broken = append(w.broken, fmt.Sprintf("visibility timeout %s", d))
		}
		w.current.visible = w.now.Add(d)
		return nil
	})
}

// deliverMessages invokes the guard for each visible message.
func (w *simWorld) deliverMessages(g *Guard) {
	for _, m := range slices.Clone(w.messages) {
		if m.visible.After(w.now) {
			continue
		}
		if w.now.Sub(m.sent) > 14*24*time.Hour {
			w.broken = append(w.broken, "SQS deleted a hold")
			w.remove(m)
			continue
		}
		m.visible = w.now.Add(redelivery)
		if stays, finished := w.invoke(g, m); finished && !stays {
			w.remove(m)
		}
	}
}

func (w *simWorld) remove(m *simMessage) {
	w.messages = slices.DeleteFunc(w.messages, func(other *simMessage) bool { return other == m })
}

func (w *simWorld) invoke(g *Guard, m *simMessage) (stays, finished bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
			w.crashes++
		}
	}()
	w.invocations++
	w.current = m
	out, err := g.Handle(context.Background(), sqsPayload(m.id, m.alarm, m.sent))
	if err != nil {
		w.stuck++
		return true, true
	}
	return strings.Contains(string(out), m.id), true
}

func sqsPayload(id, alarm string, sent time.Time) []byte {
	body, _ := json.Marshal(string(downalarm.Event(alarm, id, sent)))
	return fmt.Appendf(nil, `{"Records":[{"messageId":%q,"receiptHandle":"r","body":%s,`+
		`"attributes":{"SentTimestamp":"%d"},`+
		`"eventSourceARN":"arn:aws:sqs:eu-central-1:123456789012:guard"}]}`, id, body, sent.UnixMilli())
}

func (w *simWorld) alarms() {
	for _, p := range w.plants {
		if p.alarm.Evaluate(w.now.Add(-30 * time.Second)) { // CloudWatch evaluates with a delay
			w.send("prod-" + p.name + "-down")
		}
	}
}

func (w *simWorld) send(alarm string) {
	copies := 1
	if w.rng.IntN(20) == 0 { // EventBridge delivers at least once
		copies = 2
	}
	for range copies {
		w.ids++
		w.messages = append(w.messages, &simMessage{
			id: fmt.Sprintf("5fea7756-0ea4-451a-a703-%012d", w.ids), sent: w.now, visible: w.now, alarm: alarm,
		})
	}
}

func (w *simWorld) guard() *Guard {
	g := &Guard{
		Stack: "prod", Connectors: map[string]Target{}, Replay: "replay", Retention: 14 * 24 * time.Hour,
		Minute: time.Minute, Lambda: w, Queue: w,
		Now: func() time.Time { return w.now.Add(w.clock) }, Log: slog.New(slog.DiscardHandler), Metrics: io.Discard,
	}
	for _, p := range w.plants {
		g.Connectors[p.name] = Target{Function: "prod-" + p.name, Mapping: "mapping-" + p.name}
	}
	return g
}
