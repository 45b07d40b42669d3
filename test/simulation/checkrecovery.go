package simulation

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/guard"
)

const (
	// deadLetterTime is the part of an outage whose events may become dead letters.
	deadLetterTime = 4 * time.Minute
	// recoveryBound is the longest time from the end of an outage until the connector runs with its own settings.
	recoveryBound = 80 * time.Minute
	// arrivalBound is the longest time from the end of an outage until every event is in the SIEM.
	arrivalBound = 90 * time.Minute
)

// checkChange checks a change of a mapping by the guard.
func (c lambdaClient) checkChange(l *pipeline, change guard.Change) {
	c.guard.Lock()
	inv := c.current
	c.guard.Unlock()
	c.mu.Lock()
	l.mapping.touched = true
	paused := l.mapping.pausedAt
	c.mu.Unlock()
	const race = time.Second // the guard reads the tag immediately before
	if change.Enabled != nil && *change.Enabled && !paused.IsZero() && time.Since(paused) > race && !inv.unsure() {
		c.broken("the guard never enables a mapping that an operator disabled", "%s enables %s, paused %s ago", inv,
			l.name, time.Since(paused))
	}
}

// checkAge checks that the guard ends a hold before SQS deletes the events.
func (w *world) checkAge(queue string, m fakeaws.Message) {
	if keeps := time.Duration(w.plan.Guard.Retention) * 24 * time.Hour; w.plan.Guard.On && time.Since(m.Sent) > keeps {
		w.broken("no event is older than its queue keeps it", "%s is in %s for %s", short(m.ID), queue,
			time.Since(m.Sent))
	}
}

// checkStuck checks an invocation of the guard that calls an operator.
func (w *world) checkStuck(err error) {
	w.count("invocations of guard that call an operator", 1)
	if w.plan.strict() {
		w.broken("the guard needs no operator", "%v", err)
	}
}

// checkGuard checks the state that the guard leaves, before an operator acts.
func (w *world) checkGuard() {
	for _, l := range w.pipelines {
		l.checkMapping()
		for _, e := range l.events {
			if !e.old && w.plan.Guard.Calm {
				l.checkRestored(e)
			}
		}
	}
}

// checkMapping checks a connector's mapping and tag.
func (l *pipeline) checkMapping() {
	l.mu.Lock()
	m, now, g := &l.mapping, l.mapping.Mapping, l.plan.Guard
	l.mu.Unlock()
	if s := state(m.tag); s != guard.None && s != guard.Done && s != guard.Ended {
		l.broken("a hold ends", "%s: the tag is %q", l.name, m.tag)
	}
	if now != m.own {
		l.broken("the mapping gets its own settings", "%s: %+v, deployed %+v", l.name, now, m.own)
	}
	affected := slices.Contains(g.Affected, l.name)
	switch {
	case g.Calm && !affected && (m.tag != "" || m.touched):
		l.broken("other connectors are not affected", "%s: the tag is %q", l.name, m.tag)
	case l.plan.strict() && affected && m.resumedAt > g.To+recoveryBound:
		l.broken("the connector runs in time", "%s runs at %s, the outage ended at %s", l.name, m.resumedAt, g.To)
	}
}

// checkRestored checks that the guard alone has restored an event of an outage.
func (l *pipeline) checkRestored(e *event) {
	l.mu.Lock()
	restored, accepted := e.arrived(), e.acceptedAt
	for _, events := range l.pending {
		restored = restored && !slices.Contains(events, e)
	}
	late := len(e.letters) > 0 && e.enqueuedAt > l.plan.Guard.From+deadLetterTime && l.mapping.letThrough == 0
	l.mu.Unlock()
	if len(e.letters) > 0 {
		l.count("guard: dead letters: "+l.plan.Guard.Outage, 1)
	}
	switch {
	case !l.plan.strict():
		if !restored {
			l.count("guard: left to an operator: "+l.plan.Guard.Outage, 1)
		}
	case !restored:
		l.broken("the guard restores everything", "%s is not in its SIEM, or its dead letter is pending", e)
	case late:
		l.broken("only the events of the first minutes become dead letters", "%s, enqueued at %s", e, e.enqueuedAt)
	case accepted > max(e.enqueuedAt, l.plan.Guard.To)+arrivalBound:
		l.broken("every event arrives in time", "%s arrives at %s, enqueued at %s, the outage ended at %s", e, accepted,
			e.enqueuedAt, l.plan.Guard.To)
	}
}

// stored records an object that the drain has written.
func (w *world) stored(key string, body []byte) {
	if !strings.HasPrefix(key, keyPrefix+pendingPath) {
		return
	}
	var events []*event
	for line := range bytes.Lines(body) {
		e, id := w.letter(key, line)
		if e == nil {
			continue
		}
		events = append(events, e)
		w.mu.Lock()
		e.letters[id] = true
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending[key] = events
	w.counts["dead letters stored"] += len(events)
}

// letter parses a line of a dead-letter object with encoding/json.
func (w *world) letter(key string, line []byte) (*event, string) {
	var l struct {
		Timestamp, Connector, Error string
		Event                       json.RawMessage
		Attempts                    int
		MessageID                   string `json:"message_id"`
	}
	if err := json.Unmarshal(line, &l); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
		w.broken("a dead letter is a line of JSON", "%s: %q", key, line)
		return nil, ""
	}
	body := string(l.Event)
	var text string
	if json.Unmarshal(l.Event, &text) == nil {
		body = text
	}
	e := w.byBody[body]
	if e == nil {
		e = w.byUID[uidOf(body)]
	}
	switch {
	case e == nil || e.sort != malformed && body != e.compact:
		w.broken("bytes are unchanged", "%s has an event that was never enqueued: %.300q", key, line)
		return nil, ""
	case l.Connector != e.pipeline.name || !w.isMessage(l.MessageID) || l.Error == "" || l.Attempts < 1 ||
		l.Timestamp == "":
		w.broken("a dead letter states its origin and reason", "%s: %.300q", key, line)
	}
	return e, l.MessageID
}

// isMessage reports whether a message_id names a message.
func (w *world) isMessage(id string) bool {
	id, _, _ = strings.Cut(id, "/")
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.senders[id] != "" || strings.HasPrefix(id, "old-")
}

// deleted checks the deletion of an object: all of its dead letters must have been replayed.
func (w *world) deleted(key string) {
	w.mu.Lock()
	events := w.pending[key]
	delete(w.pending, key)
	w.mu.Unlock()
	for _, e := range events {
		w.mu.Lock()
		back := e.putBack > 0
		w.mu.Unlock()
		if !back {
			w.broken("nothing is lost", "%s is deleted, and %s has never been replayed", key, e)
		}
	}
	if len(events) > 0 && w.s3.Body(strings.Replace(key, "/"+pendingPath, "/"+replayedPath, 1)) == nil {
		w.broken("an object is moved, not deleted", "%s is deleted, and was not copied", key)
	}
}

// checkReplay checks the response of a replay.
func (w *world) checkReplay(inv *invocation, a replayed, body string) {
	w.mu.Lock()
	sent := len(inv.putBack)
	w.mu.Unlock()
	if a.status != 200 || inv.unsure() || strings.Contains(body, "dry_run") {
		if sent > 0 && strings.Contains(body, "dry_run") {
			w.broken("a dry run changes nothing", "%s has replayed %d events", inv, sent)
		}
		return
	}
	inv.process.guard.Lock()
	opened := inv.process.opened
	inv.process.guard.Unlock()
	const smallGroups = 32 // objects that are read for a small limit
	switch {
	case a.Passed > 0 && sent == 0:
		w.count("calls of the replay that only pass dead letters", 1)
	case strings.Contains(body, `"limit":3`) && opened > smallGroups:
		w.broken("a small limit opens few objects", "%s opens %d", inv, opened)
	}
	if a.Replayed != sent {
		w.broken("the account adds up", "%s says that it has replayed %d events, and it was %d", inv, a.Replayed, sent)
	}
}
