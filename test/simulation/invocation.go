package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/eventsource"
)

// invocation is one invocation of a function, as observed from outside.
type invocation struct {
	process *process
	number  int // within the process
	batch   []received
	begun   time.Time

	// Guarded by the process.
	steps  int
	dieAt  int            // step at which the process dies; 0: never
	done   map[string]int // calls by name
	struck map[Kind]bool  // faults of AWS
	over   bool           // it has ended

	// Guarded by the world.
	took    map[*event]int // acceptances, including those that the SIEM loses
	open    map[*event]int // of took: over a connection whose state is known at the end of the invocation
	acked   map[*event]int // of took: confirmed to the function
	said    map[*event][]answer
	unnamed []answer // not about events: for a token, or a connection
	last    answer
	waits   []int           // Retry-After of the responses, in seconds
	dead    map[string]bool // by letterID: the dead letters that the function knows to be sent
	resent  map[string]bool // by letterID: the events that were sent in a new message
	again   map[*event]int  // how often an event was sent in a new message
	claimed map[string]bool // by letterID: the events of which a new message was sent, perhaps unknown to the function
	putBack []*event
}

// received is a message in a batch.
type received struct {
	id, receipt string
	attempt     int    // receives, and the attempts before the message
	replays     string // attribute, if a function has set it
	events      []*event
	array       bool
}

// letterID returns the message_id of the dead letter of an event.
func (r received) letterID(i int) string {
	if r.array {
		return fmt.Sprintf("%s/%d", r.id, i)
	}
	return r.id
}

// answer is the last response of a SIEM, or that there was none.
type answer struct {
	status  int
	token   string // in its body, if own
	class   class
	retry   int  // Retry-After, seconds
	own     bool // in the SIEM's own error format
	blocked bool // an intermediary's refusal of a request with a blocked event
	events  int  // in the request
	proxy   bool // the proxy's response to CONNECT
	network bool // no response
}

func (i *invocation) String() string { return fmt.Sprintf("%s.%d", i.process.name, i.number) }

func (p *process) begin(number int, batch []eventsource.Message) *invocation {
	i := &invocation{
		process: p, number: number, begun: time.Now(), done: map[string]int{}, struck: map[Kind]bool{},
		took: map[*event]int{}, open: map[*event]int{}, acked: map[*event]int{},
		// no response yet
		said: map[*event][]answer{}, dead: map[string]bool{}, resent: map[string]bool{}, again: map[*event]int{},
		claimed: map[string]bool{}, last: answer{network: true},
	}
	for _, m := range batch {
		i.batch = append(i.batch, p.receive(m))
	}
	if f, ok := p.fault(crash, p.role, "planned", p.name, number); ok {
		p.count("fault: "+string(crash), -1) // counted when it happens
		i.dieAt = 1 + p.rng.below(f.N, "die at", p.name, number)
	}
	if f, ok := p.fault(clockStep, p.role, p.name, number); ok {
		p.skew = time.Duration(f.N-3600) * time.Second
		p.tell("%s: the wall clock is %s off", i, p.skew)
	}
	p.printed() // discard the output of earlier invocations
	p.guard.Lock()
	p.current = i
	p.guard.Unlock()
	p.count("invocations of "+p.role, 1)
	return i
}

// receive returns a message as the function has to understand it.
func (p *process) receive(m eventsource.Message) received {
	r := received{id: m.ID, receipt: m.ReceiptHandle, events: p.eventsIn(m.Body), array: isArray(m.Body)}
	_, _ = fmt.Sscan(m.Attributes["ApproximateReceiveCount"], &r.attempt) // encoded by the mapping
	sender := m.Attributes["SenderId"]
	own := p.pipeline != nil && strings.HasPrefix(sender, roleID(p.pipeline.name)+":")
	if a, ok := m.MessageAttributes["attempts"]; ok && own {
		before := 0
		_, _ = fmt.Sscan(*a.StringValue, &before) // checked when it was sent
		r.attempt += before
	}
	if a, ok := m.MessageAttributes["replays"]; ok && (own || strings.HasPrefix(sender, roleID("replay")+":")) {
		r.replays = *a.StringValue
	}
	return r
}

// roleID returns the id of a function's role.
func roleID(role string) string { return "AROA" + strings.ToUpper(role) }

// result is the result of an invocation for its caller.
type result struct {
	response []byte
	err      error
	died     bool
}

// invoke calls the function, and waits until it returns, dies, or exceeds its time limit.
func (p *process) invoke(i *invocation, payload []byte) result {
	most := p.limit
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	answered := make(chan result, 1)
	p.spawn(func() {
		response, err := p.call(ctx, payload)
		for n := range payload { // the Lambda runtime reuses it: a retained part would show as a changed event
			payload[n] = 0xDB
		}
		answered <- result{response: response, err: err}
	})
	limit := time.NewTimer(most)
	defer limit.Stop()
	defer func() {
		p.guard.Lock()
		defer p.guard.Unlock()
		i.over = true
	}()
	select {
	case r := <-answered:
		if p.step("before the answer of the function is taken") != nil {
			return result{died: true}
		}
		return r
	case <-p.dying:
	case <-limit.C:
		p.kill("out of time")
		if !p.ending(i) {
			p.broken("returns in time", "%s has not returned within %s", i, most)
		}
	}
	return result{died: true}
}

// unsure reports whether a fault leaves open which requests have taken effect.
func (i *invocation) unsure() bool {
	i.process.guard.Lock()
	defer i.process.guard.Unlock()
	for kind := range i.struck {
		if kind != sendFails && kind != sendEntry && kind != awsSlow {
			return true
		}
	}
	return false
}

// sendFailed reports whether a fault has affected the sending of messages.
func (i *invocation) sendFailed() bool {
	i.process.guard.Lock()
	defer i.process.guard.Unlock()
	return i.struck[sendFails] || i.struck[sendEntry] || i.struck[sendLost] || i.struck[awsSlow]
}

// lastSaid returns the last response about an event, if any. The world is locked.
func (i *invocation) lastSaid(e *event) (answer, bool) {
	said := i.said[e]
	if len(said) == 0 {
		return answer{}, false
	}
	return said[len(said)-1], true
}

// decisive returns the responses that may be the last for an event: the last one about it; all about it if the batch
// contains the event more than once, because the response of a replay was lost; and those to requests whose events are
// unknown, because they were not read. The world is locked.
func (i *invocation) decisive(e *event) []answer {
	said := i.said[e]
	if i.copies(e) <= 1 && len(said) > 0 {
		said = said[len(said)-1:]
	}
	return slices.Concat(said, i.unnamed)
}

// copies returns how often the batch contains an event.
func (i *invocation) copies(e *event) (n int) {
	for _, r := range i.batch {
		for _, other := range r.events {
			if other == e {
				n++
			}
		}
	}
	return n
}

// slow reports whether the invocation may run out of time.
func (i *invocation) slow() bool { return time.Since(i.begun) > timeLimit/4 }

// running reports whether the invocation has not ended.
func (i *invocation) running() bool {
	i.process.guard.Lock()
	defer i.process.guard.Unlock()
	return !i.over
}

// ending reports whether the end of the run has ended the process.
func (p *process) ending(*invocation) bool { return p.cause == "the end of the run" }

// answer records a response about events, nil if it is not about events.
func (i *invocation) answer(events []*event, a answer) {
	w := i.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	i.last = a
	if a.retry > 0 {
		i.waits = append(i.waits, a.retry)
	}
	if len(events) == 0 {
		i.unnamed = append(i.unnamed, a)
	}
	for _, e := range events {
		i.said[e] = append(i.said[e], a)
	}
}

// keep records that a SIEM has accepted an event, and whether it has kept it.
func (i *invocation) keep(e *event, kept bool) {
	w := i.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	i.took[e]++
	if !kept {
		e.lied++
		w.counts["unknowable: the SIEM accepted and lost the event"]++
	} else if e.taken++; e.taken > 1 {
		w.counts["events accepted again"]++
	} else {
		w.counts["events accepted"]++
		e.acceptedAt = w.since()
	}
}

// learn records what the function knows of an acceptance.
func (i *invocation) learn(e *event, s knowledge, cause string) {
	w := i.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s {
	case known:
		i.acked[e]++
	case unknown:
		e.excuse(cause)
	case undecided:
		i.open[e]++
	}
}

// knowledge is what a function knows of an acceptance.
type knowledge uint8

const (
	known     knowledge = iota
	unknown             // the response has not arrived
	undecided           // there are no responses, and the connection decides
)

// batchEvents returns the events in a stable order.
func batchEvents(counts map[*event]int) []*event {
	return slices.SortedFunc(maps.Keys(counts), func(a, b *event) int { return strings.Compare(a.uid, b.uid) })
}
