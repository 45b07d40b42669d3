package sqsbatch

import (
	"bytes"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsevent"
)

// message is an SQS message. Its events are the records from first to end.
type message struct {
	*sqsevent.Message
	first, end int
	attempts   int  // of its events, this one included
	resent     int  // attempts before its events were resent in this message
	replays    int  // how often its events were replayed
	unsent     bool // there was no time to send all of its events
	retained   bool // SQS is to deliver it again
}

// record is one event of a message, or something that is not an event in its place.
type record struct {
	message     int    // number of the message
	index       int    // in the array that the message's body is, or event.Whole
	body        []byte // as received
	disposition disposition
	exhausted   bool           // the event would be retried, but this was its last attempt
	fault       *failure.Error // why it was not delivered
}

// disposition is what happens to an event.
type disposition uint8

// The dispositions. The zero value is the one that loses nothing.
const (
	retry        disposition = iota
	delivered                // the SIEM accepted it
	filtered                 // the operator's filter excludes it
	deadLetter               // it is to be sent to the dead-letter queue
	deadLettered             // the dead-letter queue confirmed it
)

// safe reports whether SQS may delete the event.
func (d disposition) safe() bool { return d == delivered || d == filtered || d == deadLettered }

// left returns how many events of a message are not safe, and how many of those wait for their dead letter.
func (b *batch) left(m *message) (unsafe, pending int) {
	for i := m.first; i < m.end; i++ {
		switch d := b.records[i].disposition; {
		case d == deadLetter:
			unsafe++
			pending++
		case !d.safe():
			unsafe++
		}
	}
	return unsafe, pending
}

// wait returns the back-off of a message: the longest of its events that are not safe.
func (b *batch) wait(m *message) (longest time.Duration) {
	for i := m.first; i < m.end; i++ {
		if r := &b.records[i]; !r.disposition.safe() {
			longest = max(longest, b.Backoff.Wait(m.attempts, r.fault))
		}
	}
	return longest
}

// id returns the message_id of a record's dead letter.
func (b *batch) id(r *record) string {
	id := string(b.messages[r.message].ID)
	if r.index != event.Whole {
		id += "/" + strconv.Itoa(r.index)
	}
	return id
}

// Roles holds the ids of the roles whose message attributes count. An empty id means that the sender is not checked.
type Roles struct {
	Connector string // resends events: `attempts` and `replays`
	Replay    string // replays dead letters: `replays`
}

// ReadRoles reads the ids of the roles.
func ReadRoles(s *settings.Settings) Roles {
	return Roles{Connector: s.String("SIEM_ROLE_ID", ""), Replay: s.String("SIEM_REPLAY_ROLE_ID", "")}
}

// The attributes of a message that this package or the replay sends.
const (
	attemptsAttribute = "attempts"
	replaysAttribute  = "replays"
)

// counts returns the attributes `attempts` and `replays` of a message, 0 where they do not count.
func (r Roles) counts(m *sqsevent.Message) (attempts, replays int) {
	if len(m.Attributes) == 0 {
		return 0, 0
	}
	if sentBy(m, r.Connector) {
		attempts = m.Count(attemptsAttribute)
	}
	resent := sentBy(m, r.Connector) && m.Attribute(attemptsAttribute) != nil
	if resent || sentBy(m, r.Replay) {
		replays = m.Count(replaysAttribute)
	}
	return attempts, replays
}

// sentBy reports whether a role sent the message. An empty id matches any sender.
func sentBy(m *sqsevent.Message, role string) bool { return bytes.HasPrefix(m.Sender, []byte(role)) }
