package sqsbatch

import (
	"context"
	"strconv"
	"strings"
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

// attemptsAttribute counts the attempts of the events before they were resent.
const attemptsAttribute = "attempts"

// Replays is the message attribute that counts the replays of a dead letter. The connectors copy it to the next one.
const Replays = "replays"

// counts returns the attributes `attempts` and `replays` of a message, 0 where they do not count.
func (r Roles) counts(m *sqsevent.Message) (attempts, replays int) {
	if m.SentBy(r.Connector) {
		attempts = m.Count(attemptsAttribute)
	}
	resent := m.SentBy(r.Connector) && m.Attribute(attemptsAttribute) != nil
	if resent || m.SentBy(r.Replay) {
		replays = m.Count(Replays)
	}
	return attempts, replays
}

// sendDeadLetters sends the events that can never be delivered to the dead-letter queue. An event is safe when the
// queue has confirmed its dead letter by its id. An event whose dead letter was not confirmed is to be retried.
func (b *batch) sendDeadLetters(ctx context.Context) {
	ctx, cancel := half(ctx)
	defer cancel()
	s := NewSender(ctx, b.Queue, b.DeadLetterQueue, "dead letters",
		func(i int) { b.records[i].disposition = deadLettered })
	for i := range b.records {
		r := &b.records[i]
		if r.disposition != deadLetter {
			continue
		}
		if r.disposition = retry; ctx.Err() != nil {
			continue
		}
		s.Add(i, r.body, 0, b.deadLetterAttributes(r))
	}
	b.note(s.Wait()...)
}

func (b *batch) deadLetterAttributes(r *record) Attributes {
	m := &b.messages[r.message]
	attributes := Attributes{
		"connector":       Text(b.Connector),
		"error":           Text(r.reason(m.attempts)),
		attemptsAttribute: Text(strconv.Itoa(m.attempts)),
		"message_id":      Text(b.id(r)),
		"failed_at":       Text(b.report.ended.UTC().Format(timeLayout)),
	}
	if m.replays > 0 {
		attributes[Replays] = Number(m.replays)
	}
	return attributes
}

// maxReason bounds the reason of a dead letter in bytes.
const maxReason = 1024

// reason returns the reason of a dead letter: bounded, and without the characters that SQS refuses.
func (r *record) reason(attempts int) string {
	reason := r.fault.Error()
	if r.exhausted {
		reason = "given up after " + strconv.Itoa(attempts) + " attempts, the last of which: " + reason
	}
	reason = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || c == 0xFFFE || c == 0xFFFF {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(reason, "�"))
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason-len("…")], "") + "…"
	}
	return reason
}

// resend replaces each message that has some, but not all, events left to deliver: it sends these events as a new
// message to the connector's own queue. SQS may delete the old message once it has confirmed the new one. resend
// returns the messages to retain: those with all events left, and those whose new message was not confirmed.
func (b *batch) resend(ctx context.Context, messages []int) (retained []int) {
	ctx, cancel := half(ctx)
	defer cancel()
	s := NewSender(ctx, b.Queue, b.QueueURL, "messages with the events that are left",
		func(i int) { b.messages[i].retained = false })
	for _, i := range messages {
		m := &b.messages[i]
		unsafe, _ := b.left(m)
		if m.retained = unsafe > 0; m.retained && unsafe < m.end-m.first {
			s.Add(i, b.remainder(m), seconds(b.wait(m), maxDelay), m.resentAttributes())
		}
	}
	b.note(s.Wait()...)
	for _, i := range messages {
		if b.messages[i].retained {
			retained = append(retained, i)
		}
	}
	return retained
}

// remainder returns the events of a message that are not safe, as an array.
func (b *batch) remainder(m *message) []byte {
	body := append(make([]byte, 0, len(m.Body)), '[')
	for i := m.first; i < m.end; i++ {
		r := &b.records[i]
		if r.disposition.safe() {
			continue
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(body, r.body...)
	}
	return append(body, ']')
}

// resentAttributes returns the attributes of the message that replaces m. If there was no time to send all events of m,
// this attempt does not count: the attempts of a large message must not end before each of its events has had one. The
// number of attempts stays bounded, because each new message has fewer events.
func (m *message) resentAttributes() Attributes {
	attempts := m.attempts
	if m.unsent {
		attempts--
	}
	attributes := Attributes{attemptsAttribute: Number(attempts)}
	if m.replays > 0 {
		attributes[Replays] = Number(m.replays)
	}
	return attributes
}
