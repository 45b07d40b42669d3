package simulation

import (
	"slices"
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
		c.broken("the guard never enables a mapping that an operator disabled", "%s enables %s, paused %s ago", inv, l.name,
			time.Since(paused))
	}
}

// checkAge checks that the guard ends a hold before SQS deletes the events.
func (w *world) checkAge(queue string, m fakeaws.Message) {
	if keeps := time.Duration(w.plan.Guard.Retention) * 24 * time.Hour; w.plan.Guard.On && time.Since(m.Sent) > keeps {
		w.broken("no event is older than its queue keeps it", "%s is in %s for %s", short(m.ID), queue, time.Since(m.Sent))
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
