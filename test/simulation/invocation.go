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

// invocation is one call of a function, and all that was seen of it from outside.
type invocation struct {
	process *process
	number  int // of the process's invocations
	batch   []received

	// Guarded by the process.
	steps  int
	dieAt  int            // step at which the process dies; 0 is never
	done   map[string]int // how often of what
	struck map[Kind]bool  // faults of AWS
	over   bool           // it has answered, or will not

	// Guarded by the world.
	took    map[*event]int // acceptances, the pretended ones too
	open    map[*event]int // of them, those over a connection of which only the end of the invocation tells whether it held
	acked   map[*event]int // of them, those whose answer the function got
	said    map[*event][]answer
	unnamed []answer // about no event: to requests for a token, or for a connection
	last    answer
	waits   []int // seconds that answers have asked for
	dead    map[string]bool
	putBack []*event
}

// received is a message in a batch.
type received struct {
	id, receipt string
	receives    int
	event       *event
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
	network bool // no response
}

func (i *invocation) String() string { return fmt.Sprintf("%s.%d", i.process.name, i.number) }

func (p *process) begin(number int, batch []eventsource.Message) *invocation {
	i := &invocation{
		process: p, number: number, done: map[string]int{}, struck: map[Kind]bool{}, took: map[*event]int{}, open: map[*event]int{}, acked: map[*event]int{},
		said: map[*event][]answer{}, dead: map[string]bool{}, last: answer{network: true}, // nobody has said anything
	}
	for _, m := range batch {
		r := received{id: m.ID, receipt: m.ReceiptHandle, event: p.byBody[m.Body]}
		_, _ = fmt.Sscan(m.Attributes["ApproximateReceiveCount"], &r.receives) // the model's own number
		i.batch = append(i.batch, r)
	}
	if f, ok := p.fault(crash, p.role, "planned", p.name, number); ok {
		p.count("fault: "+string(crash), -1) // counted when it comes to it
		i.dieAt = 1 + p.rng.below(f.N, "die at", p.name, number)
	}
	if f, ok := p.fault(clockStep, p.role, p.name, number); ok {
		p.skew = time.Duration(f.N-3600) * time.Second
		p.tell("%s: the wall clock is %s off", i, p.skew)
	}
	p.printed() // what earlier invocations wrote
	p.guard.Lock()
	p.current = i
	p.guard.Unlock()
	p.count("invocations of "+p.role, 1)
	return i
}

// result is how an invocation ended for the one who invoked it.
type result struct {
	response []byte
	err      error
	died     bool
}

// invoke calls the function, and waits until it answers, dies, or is out of time.
func (p *process) invoke(i *invocation, payload []byte) result {
	most := timeLimit
	if p.role == "replay" {
		most = replayLimit
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	answered := make(chan result, 1)
	p.spawn(func() {
		response, err := p.call(ctx, payload)
		for n := range payload { // it is the Lambda runtime's again: what was kept of it would show as an altered event
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
			p.broken("answers in time", "%s has not answered within %s", i, most)
		}
	}
	return result{died: true}
}

// unsure tells whether a fault has struck that leaves open what has had an effect.
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

// sendFailed tells whether a fault has kept a dead letter from being sent, or from being known to be.
func (i *invocation) sendFailed() bool {
	i.process.guard.Lock()
	defer i.process.guard.Unlock()
	return i.struck[sendFails] || i.struck[sendEntry] || i.struck[sendLost] || i.struck[awsSlow]
}

// lastSaid is what was said of an event last, false when nothing was. The world is locked.
func (i *invocation) lastSaid(e *event) (answer, bool) {
	said := i.said[e]
	if len(said) == 0 {
		return answer{}, false
	}
	return said[len(said)-1], true
}

// decisive returns the responses that may be the last for an event: the last one about it; all about it if the batch contains
// the event more than once, because the response of a replay was lost; and those to requests whose events are unknown, because
// they were not read. The world is locked.
func (i *invocation) decisive(e *event) []answer {
	said, copies := i.said[e], 0
	for _, r := range i.batch {
		if r.event == e {
			copies++
		}
	}
	if copies <= 1 && len(said) > 0 {
		said = said[len(said)-1:]
	}
	return slices.Concat(said, i.unnamed)
}

// running tells whether the invocation is still under way.
func (i *invocation) running() bool {
	i.process.guard.Lock()
	defer i.process.guard.Unlock()
	return !i.over
}

// ending tells whether it is the simulation that has ended the process.
func (p *process) ending(*invocation) bool { return p.cause == "the end of the world" }

// answer notes what a SIEM has said about events, nil for all that come after.
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

// keep notes that a SIEM has taken an event, or only says so.
func (i *invocation) keep(e *event, kept bool) {
	w := i.process.world
	w.mu.Lock()
	defer w.mu.Unlock()
	i.took[e]++
	if !kept {
		e.lied++
		w.counts["unknowable: the SIEM said 200 and lost the event"]++
	} else if e.taken++; e.taken > 1 {
		w.counts["events accepted again"]++
	} else {
		w.counts["events accepted"]++
		e.acceptedAt = w.since()
	}
}

// learn notes what the function knows of an acceptance.
func (i *invocation) learn(e *event, s standing, cause string) {
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

// standing is what a function knows of an acceptance.
type standing uint8

const (
	known     standing = iota
	unknown            // the answer has not arrived
	undecided          // there is no answer, and only the connection tells
)

// batchEvents are the events of a batch in a stable order.
func batchEvents(counts map[*event]int) []*event {
	return slices.SortedFunc(maps.Keys(counts), func(a, b *event) int { return strings.Compare(a.uid, b.uid) })
}
