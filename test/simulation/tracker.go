package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// sort is what becomes of an event if nothing fails.
type sort uint8

const (
	good      sort = iota
	poisonous      // the SIEM refuses it
	blocked        // an intermediary refuses requests that contain it
	malformed      // it is not a valid event
)

// event is one event, and everything that has happened to it. The world guards what changes.
type event struct {
	pipeline *pipeline
	uid      string
	body     string // as enqueued; of an invalid array, the whole array
	compact  string
	sort     sort
	burst    bool // part of the plan's burst
	old      bool // a dead letter from before the run

	enqueuedAt time.Duration
	acceptedAt time.Duration // first

	taken   int             // times the SIEM has accepted and kept it
	lied    int             // times the SIEM has accepted and lost it
	excuses int             // times it may be sent again although it was accepted
	causes  []string        // of the excuses
	letters map[string]bool // message ids of its dead letters in S3
	dead    int             // times it was sent to the dead-letter queue
	putBack int             // times a replay has sent it
	queued  int             // messages that contain it and were not deleted
}

func (e *event) String() string { return fmt.Sprintf("event %s of %s", e.uid, e.pipeline.name) }

// arrived reports whether the SIEM has accepted it.
func (e *event) arrived() bool { return e.taken > 0 || e.lied > 0 }

// excuse allows one more acceptance. The world is locked.
func (e *event) excuse(cause string) {
	e.excuses++
	e.causes = append(e.causes, cause)
}

// eventsIn returns the events in the body of a message, nil if one of them was never enqueued.
func (w *world) eventsIn(body string) []*event {
	if e := w.byBody[body]; e != nil {
		return []*event{e}
	}
	var elements []json.RawMessage
	if json.Unmarshal([]byte(body), &elements) != nil {
		return nil
	}
	var events []*event
	for _, raw := range elements {
		e := w.byBody[string(raw)]
		if e == nil {
			return nil
		}
		events = append(events, e)
	}
	return events
}

// excuse allows one more acceptance of the events in the bodies of messages.
func (w *world) excuse(cause string, bodies ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, body := range bodies {
		for _, e := range w.eventsIn(body) {
			e.excuse(cause)
		}
	}
}

// isArray reports whether the body of a message is an array of events.
func isArray(body string) bool {
	return strings.HasPrefix(body, "[") && json.Valid([]byte(body))
}

// track registers an event by its id and its bodies.
func (w *world) track(e *event) {
	w.byBody[e.body] = e
	if e.sort != malformed {
		w.byBody[e.compact] = e
	}
	w.byUID[e.uid] = e
}

// makeEvents makes the pipeline's events: those of the plan, those of its burst, and old dead letters.
func (l *pipeline) makeEvents(i uint64) {
	next := newGenerator(l, i)
	for n := range l.plan.Events {
		l.add(l.makeEvent(n, next()))
	}
	if l.name == l.plan.Burst.Connector {
		for range l.plan.Burst.Events {
			e := l.makeEvent(len(l.events), next())
			e.burst = true
			l.add(e)
		}
	}
	if i == 0 {
		l.makeOld(next)
	}
}

func (l *pipeline) add(e *event) {
	l.events = append(l.events, e)
	l.track(e)
}

func (l *pipeline) makeEvent(n int, body string) *event {
	e := &event{pipeline: l, body: body, compact: body, uid: uidOf(body), letters: map[string]bool{}}
	switch {
	case l.rng.chance(l.plan.Malformed, "malformed", l.name, n):
		e.sort = malformed
		e.body = l.misshapen(n, e.uid)
	case l.rng.chance(l.plan.Poison, "poison", l.name, n):
		e.sort = poisonous
	case l.rng.chance(l.plan.Blocked, "blocked", l.name, n) && l.name != "qradar":
		e.sort = blocked
	case n%7 == 3: // with white space
		var spaced bytes.Buffer
		if json.Indent(&spaced, []byte(body), "", "  ") == nil {
			e.body = spaced.String()
		}
	}
	return e
}

// misshapen returns a body that is not a valid event.
func (l *pipeline) misshapen(n int, uid string) string {
	bodies := []string{
		// valid in an array
		`"` + uid + `"`, `{"time":"yesterday","metadata":{"uid":"` + uid + `"}}`, `{"metadata":{"uid":"` + uid + `"}}`,
		"not JSON " + uid, `{"metadata":{"uid":"` + uid + `"}`,
	}
	if l.plan.Arrays > 0 {
		bodies = append(bodies, `[{"time":1741824000123,"metadata":{"uid":"`+uid+`"}},`)
	}
	return bodies[l.rng.below(len(bodies), "misshapen", l.name, n)]
}

// groupable reports whether an event can be an element of an array.
func (e *event) groupable() bool { return e.sort != malformed || json.Valid([]byte(e.body)) }

// messages returns the bodies of the messages in which the events are sent: alone, or several in an array.
func (l *pipeline) messages(events []*event) []string {
	const most = 20 // events in an array
	var bodies []string
	for n := 0; n < len(events); {
		size := 1
		if l.rng.chance(l.plan.Arrays, "array", l.name, n) {
			size = 1 + l.rng.below(most, "size", l.name, n)
		}
		group := []string{events[n].body}
		for len(group) < size && n+len(group) < len(events) && events[n].groupable() && events[n+len(group)].groupable() {
			group = append(group, events[n+len(group)].body)
		}
		n += len(group)
		body := group[0]
		if size > 1 && events[n-1].groupable() {
			body = "[" + strings.Join(group, ",") + "]"
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// firstOld is the day of the oldest dead letter, some days before the beginning of every run.
const firstOld = "1999-12-20"

// oldName begins the name of an old dead letter. The drain has not written it, so it does not tell what is in it.
const oldName = "old-"

// makeOld stores dead letters from before the run. A replay that begins with the run must pass them.
func (l *pipeline) makeOld(next func() string) {
	for n := range l.plan.Old {
		e := l.makeEvent(0, next())
		e.body, e.sort, e.old = e.compact, good, true
		l.add(e)
		key := fmt.Sprintf("%s%sconnector=%s/date=%s/%s%05d.jsonl", keyPrefix, pendingPath, l.name, firstOld, oldName, n)
		line := fmt.Sprintf(`{"timestamp":"%sT00:00:00.000Z","connector":%q,"error":"given up after 5 attempts, the last of which: status 503",`+
			`"event":%s,"attempts":5,"message_id":"old-%d","replays":0}`+"\n", firstOld, l.name, e.body, n)
		l.s3.Put(key, []byte(line))
		l.stored(key, []byte(line))
	}
}
