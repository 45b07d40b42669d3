package simulation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
)

// The guarantees, per event, and where each is checked:
//
//	an event is deleted only if it is elsewhere       retired, deleted: at every deletion
//	nothing is invented, nothing is changed           checkAccepted: at every acceptance; sent: at every message
//	delivered is what the SIEM has accepted           checkBatch: at the end of every invocation
//	the event counts add up                           checkCounts: at the end of every invocation, from the metrics
//	retries keep to the schedule                      checkDelay: at every visibility change and remainder
//	five attempts and no more                         checkBatch, sentRemainder
//	a dead letter states its reason                   checkLetter: at every dead letter
//	only the SIEM's own refusal rejects an event      checkFinal
//	one event does not fail its neighbours            checkFinal
//	sent again only for a reason                      checkEnd: acceptances against the faults that excuse them
//	each replay makes progress                        replayAll
//	the guard restores what an outage leaves          checkGuard, checkChange, checkAge
//	everything arrives when the faults are over       rest, checkEnd

// retired checks the deletion of a message. The queue calls it before the message is deleted.
func (w *world) retired(queue string, m fakeaws.Message) {
	if queue == guardQueue {
		return
	}
	w.checkAge(queue, m)
	events := w.eventsIn(m.Body)
	if events == nil {
		w.broken("nothing is invented", "a message that was never enqueued is deleted: %.100q", m.Body)
		return
	}
	w.mu.Lock()
	var lost []*event
	for i, e := range events {
		safe := e.arrived() || e.dead > 0 || len(e.letters) > 0 || e.queued > 1
		if queue == deadLetterQueue {
			safe = e.letters[letterOf(m, i)]
		}
		if queue != deadLetterQueue || m.Source != "" {
			e.queued--
		}
		if !safe {
			lost = append(lost, e)
		}
	}
	w.mu.Unlock()
	for _, e := range lost {
		w.broken("nothing is lost", "%s is deleted from %s, and is nowhere else", e, queue)
	}
}

// letterOf returns the message_id of the dead letter of an event in a message on the dead-letter queue.
func letterOf(m fakeaws.Message, i int) string {
	switch v, ok := m.Attributes["message_id"]; {
	case m.Source == "" && ok:
		return aws.ToString(v.StringValue)
	case isArray(m.Body):
		return fmt.Sprintf("%s/%d", m.ID, i)
	}
	return m.ID
}

// checkAccepted checks an event that a SIEM has accepted, and returns it, nil if it was never enqueued.
func (w *world) checkAccepted(inv *invocation, a siem.Accepted) *event {
	e := w.byUID[a.ID]
	switch {
	case e == nil && strings.Contains(string(a.Event), `"activity_name":"connection_check"`):
		return nil // XSIAM's check writes a record if the SIEM refuses an empty body
	case e == nil:
		w.broken("nothing is invented", "%s: the SIEM got an event %q that was never enqueued", inv, a.ID)
		return nil
	case e.pipeline != inv.process.pipeline:
		w.broken("to its own SIEM", "%s: %s was sent to %s", inv, e, inv.process.role)
		return nil
	case e.sort == malformed:
		w.broken("no malformed event is delivered", "%s: %s", inv, e)
	case a.Event != nil && !a.Truncated && string(a.Event) != e.compact:
		w.broken("bytes are unchanged", "%s: %s arrived as %.300q", inv, e, a.Event)
	}
	return e
}

// checkWait checks the time for which a function hides a message.
func (p *process) checkWait(inv *invocation, receipt string, seconds int) {
	i := slices.IndexFunc(inv.batch, func(r received) bool { return r.receipt == receipt })
	if i < 0 {
		p.broken("its own messages", "%s changes the visibility of a message that it does not have", inv)
		return
	}
	p.tell("%s hides %s for %d s", inv, short(inv.batch[i].id), seconds)
	if p.role == "guard" { // it has a schedule of its own
		return
	}
	p.checkDelay(inv, inv.batch[i], inv.batch[i].events, seconds)
}

// checkDelay checks the back-off of events of one message: the longest of theirs.
func (p *process) checkDelay(inv *invocation, r received, events []*event, seconds int) {
	var all []int
	longest, exact := 0, true
	for _, e := range events {
		allowed := p.delays(inv, r, e)
		all = append(all, allowed...)
		longest, exact = max(longest, allowed[0]), exact && len(allowed) == 1
	}
	if exact {
		all = []int{longest}
	}
	if !slices.Contains(all, seconds) {
		p.broken("retries keep to the schedule", "%s hides %s, attempt %d, for %d s; expected one of %v", inv, short(r.id),
			r.attempt, seconds, all)
	}
}

// delays returns the back-offs that are allowed for an event, in seconds.
func (p *process) delays(inv *invocation, r received, e *event) []int {
	p.guard.Lock()
	cut := p.cut
	p.guard.Unlock()
	p.mu.Lock()
	a, own := inv.lastSaid(e)
	if !own {
		a = inv.last
	}
	strict := own && a == inv.last && a.class != unsure && inv.copies(e) == 1 // another copy may have another response
	if !own && a.proxy && !slices.ContainsFunc(inv.unnamed, func(other answer) bool { return other != a }) {
		strict = true // every connection got the same refusal
	}
	waits := slices.Clone(inv.waits)
	p.mu.Unlock()
	schedule := []int{1, 7, 45, 300}
	grown, most := schedule[min(r.attempt, len(schedule))-1], schedule[3]
	allowed := []int{grown, most}
	switch {
	case strict && a.class == growing:
		allowed = []int{max(grown, min(a.retry, 900))}
	case strict && a.class == longest:
		allowed = []int{max(most, min(a.retry, 900))}
		if cut { // a later request, for example for a token, may have got no response
			allowed = append(allowed, grown)
		}
	default:
		for _, asked := range waits {
			allowed = append(allowed, max(grown, min(asked, 900)), max(most, min(asked, 900)))
		}
	}
	return allowed
}

// checkLetter checks the attributes of a dead letter. Its reason must be the last response.
func (p *process) checkLetter(inv *invocation, e *event, entry *types.SendMessageBatchRequestEntry) {
	reason, id := attribute(entry, "error"), attribute(entry, "message_id")
	r, ok := inv.letterSource(e, id)
	if !ok || attribute(entry, "connector") != inv.process.role || attribute(entry, "attempts") != fmt.Sprint(r.attempt) {
		p.broken("a dead letter states its origin", "%s: %s has connector %q, message_id %q, attempts %q", inv, e,
			attribute(entry, "connector"), id, attribute(entry, "attempts"))
		return
	}
	p.mu.Lock()
	own, last := slices.Clone(inv.decisive(e)), inv.last
	arrived := inv.acked[e] > 0
	p.mu.Unlock()
	switch {
	case arrived: // checkBatch reports it
	case e.sort == malformed:
		if !strings.Contains(reason, "invalid event") {
			p.broken("a dead letter states its reason", "%s: malformed %s has the reason %q", inv, e, reason)
		}
	case strings.Contains(reason, "time for this batch"), strings.Contains(reason, "another request of the batch failed"):
	case !slices.ContainsFunc(append(own, last), func(a answer) bool { return explains(reason, a) }):
		p.broken("a dead letter states its reason", "%s: %s has the reason %q, and the SIEM last said %+v, of the event %+v",
			inv, e, reason, last, own)
	case len(own) == 1:
		p.checkFinal(inv, e, own[0], r.attempt >= maxAttempts)
	}
}

// letterSource returns the message of the batch whose event has a dead letter with that message_id.
func (i *invocation) letterSource(e *event, id string) (received, bool) {
	for _, r := range i.batch {
		for n, other := range r.events {
			if other == e && r.letterID(n) == id {
				return r, true
			}
		}
	}
	return received{}, false
}

// checkFinal checks that a response may decide that an event becomes a dead letter.
func (p *process) checkFinal(inv *invocation, e *event, a answer, exhausted bool) {
	rejects := a.own && !a.network && a.class != growing && a.class != longest
	switch {
	case !exhausted && !rejects:
		p.broken("only the SIEM's own refusal rejects an event", "%s: %s is a dead letter after %+v", inv, e, a)
	case exhausted && e.sort == good && a.blocked && a.events > 1:
		p.broken("one event does not fail its neighbours", "%s: %s is a dead letter after %+v", inv, e, a)
	case exhausted && e.sort == good && rejects && a.status == 400 && a.events > 1:
		p.broken("no event gets the refusal of another", "%s: %s is a dead letter after %+v", inv, e, a)
	}
}

// explains reports whether a reason is about a response: it contains the status and, if the response is in the SIEM's
// own error format, words that only responses to this invocation have.
func explains(reason string, a answer) bool {
	switch {
	case a.network:
		return reason != "" && !strings.Contains(reason, "status ")
	case a.status/100 == 2: // the result of one record, in the body of a success
		return reason != ""
	case !strings.Contains(reason, fmt.Sprint(a.status)):
		return false
	case a.token == "" || !a.own:
		return true
	}
	invocation := a.token[:strings.LastIndexByte(a.token, '-')+1] // a token ends with the number of the request
	return strings.Contains(reason, invocation)
}

// checkBatch checks the end of a connector's invocation: the events that the function treats as delivered are those
// that the SIEM has accepted. It also decides what the function can know of connections without responses.
func (w *world) checkBatch(inv *invocation, r result, err error, retained map[string]bool) {
	w.decide(inv, r, err)
	if err != nil {
		return
	}
	events, done, kept := map[*event]int{}, map[*event]int{}, map[*event]bool{}
	total, retried, dead, loose := 0, 0, 0, false
	for _, m := range inv.batch {
		unsent := retained[m.id] && m.array && inv.sendFailed() // the remainder could not be sent
		loose = loose || unsent
		for i, e := range m.events {
			total++
			events[e]++
			switch id := m.letterID(i); {
			case inv.dead[id]:
				dead++
			case retained[m.id]:
				retried++
			default:
				done[e]++
			}
			kept[e] = kept[e] || unsent
		}
		if retained[m.id] && m.attempt >= maxAttempts && !inv.sendFailed() && !inv.slow() {
			w.broken("five attempts and no more", "%s retains %s on attempt %d", inv, short(m.id), m.attempt)
		}
	}
	for _, e := range batchEvents(events) {
		again := min(done[e], inv.again[e]) // by event: messages may have the same events
		done[e] -= again
		retried += again
		w.mu.Lock()
		took, acked := inv.took[e], inv.acked[e]
		if kept[e] {
			for range acked + events[e] {
				e.excuse("the remainder of its message could not be sent")
			}
		}
		w.mu.Unlock()
		if done[e] > took {
			w.broken("delivered is what the SIEM has accepted", "%s treats %s as delivered, and the SIEM has not accepted it",
				inv, e)
		}
		if acked > done[e] && !kept[e] {
			w.broken("what the SIEM has accepted is delivered",
				"the SIEM confirms %[2]d times to %[1]s that it has accepted %[3]s, which is delivered %[4]d times", inv, acked, e,
				done[e])
		}
	}
	w.checkCounts(inv, counted{total, total - retried - dead, retried, dead}, loose)
}

// decide decides the acceptances over connections without responses, and excuses the events of a failed invocation.
func (w *world) decide(inv *invocation, r result, err error) {
	struck := r.died || inv.process.anyFaulty()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range batchEvents(inv.open) {
		if struck {
			for range inv.open[e] {
				e.excuse("the connection did not hold")
			}
		} else {
			inv.acked[e] += inv.open[e]
		}
	}
	if err == nil {
		return
	}
	for _, m := range inv.batch {
		for i, e := range m.events {
			if id := m.letterID(i); inv.acked[e] > 0 || inv.dead[id] || inv.resent[id] {
				e.excuse("the invocation failed")
			}
		}
	}
}

func (p *process) anyFaulty() bool {
	p.guard.Lock()
	defer p.guard.Unlock()
	return slices.ContainsFunc(p.conns, func(c *conn) bool { return c.isFaulty() })
}

// counted are the metrics of a batch.
type counted struct{ Received, Delivered, Retried, DeadLettered int }

// checkCounts checks the metrics of an invocation. If the remainder of a message could not be sent, only the sum is
// known.
func (w *world) checkCounts(inv *invocation, want counted, loose bool) {
	found := 0
	for line := range strings.Lines(inv.process.printed()) {
		if !strings.Contains(line, `"_aws"`) {
			continue
		}
		var m counted
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			w.broken("the event counts add up", "%s writes %q", inv, line)
			continue
		}
		found++
		sum := m.Delivered + m.Retried + m.DeadLettered
		if m != want && (!loose || m.Received != want.Received || m.Received != sum) {
			w.broken("the event counts add up", "%s writes %+v, and it was %+v", inv, m, want)
		}
	}
	if found != 1 {
		w.broken("the event counts add up", "%s writes %d lines of metrics", inv, found)
	}
}

// checkEnd checks the final state.
func (w *world) checkEnd() {
	for _, l := range w.pipelines {
		for _, e := range l.events {
			w.checkEvent(e)
		}
		for _, v := range l.siem.violations() {
			w.broken("nothing breaks the wire format", "%s: %s", l.name, v)
		}
	}
}

func (w *world) checkEvent(e *event) {
	w.mu.Lock()
	defer func() { w.mu.Unlock() }()
	again := e.taken + e.lied - 1
	if again > 0 {
		for _, cause := range e.causes[:min(again, len(e.causes))] {
			w.counts["sent again: "+cause]++
		}
	}
	var rule, text string
	switch {
	case again > e.excuses:
		rule, text = "sent again only for a reason", fmt.Sprintf("%s was accepted %d times, and there are %d reasons: %v", e,
			e.taken+e.lied, e.excuses, e.causes)
	case e.sort == malformed && len(e.letters) == 0:
		rule, text = "nothing is lost", fmt.Sprintf("malformed %s is not a dead letter", e)
	case e.sort != malformed && !e.arrived():
		rule, text = "everything arrives when the faults are over", e.String()
	case e.lied > 0 && e.taken == 0:
		w.counts["events lost by a SIEM that had accepted them"]++
	}
	if rule != "" {
		w.mu.Unlock()
		w.broken(rule, "%s", text)
		w.mu.Lock()
	}
}
