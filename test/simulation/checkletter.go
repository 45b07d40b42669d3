package simulation

import (
	"bytes"
	"encoding/json"
	"strings"
)

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
		e = w.byUID[uidIn(body)]
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

// uidIn returns the metadata.uid of a body.
func uidIn(body string) string {
	var e struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal([]byte(body), &e) // invalid bodies have none
	return e.Metadata.UID
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
