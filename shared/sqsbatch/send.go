package sqsbatch

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// sendDeadLetters sends the events that can never be delivered to the dead-letter queue. An event is safe when the
// queue has confirmed its dead letter by its id. An event whose dead letter was not confirmed is to be retried.
func (b *batch) sendDeadLetters(ctx context.Context) {
	ctx, cancel := half(ctx)
	defer cancel()
	s := b.newSender(ctx, b.DeadLetterQueue, "dead letters", func(i int) { b.records[i].disposition = deadLettered })
	for i := range b.records {
		r := &b.records[i]
		if r.disposition != deadLetter {
			continue
		}
		if r.disposition = retry; ctx.Err() != nil {
			continue
		}
		s.add(i, r.body, 0, b.deadLetterAttributes(r))
	}
	s.wait()
}

func (b *batch) deadLetterAttributes(r *record) map[string]types.MessageAttributeValue {
	m := &b.messages[r.message]
	attributes := map[string]types.MessageAttributeValue{
		"connector":       text(b.Connector),
		"error":           text(r.reason(m.attempts)),
		attemptsAttribute: text(strconv.Itoa(m.attempts)),
		"message_id":      text(b.id(r)),
		"failed_at":       text(b.report.ended.UTC().Format(timeLayout)),
	}
	if m.replays > 0 {
		attributes[replaysAttribute] = number(m.replays)
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
	s := b.newSender(ctx, b.QueueURL, "messages with the events that are left",
		func(i int) { b.messages[i].retained = false })
	for _, i := range messages {
		m := &b.messages[i]
		unsafe, _ := b.left(m)
		if m.retained = unsafe > 0; m.retained && unsafe < m.end-m.first {
			s.add(i, b.remainder(m), seconds(b.wait(m), maxDelay), m.resentAttributes())
		}
	}
	s.wait()
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
func (m *message) resentAttributes() map[string]types.MessageAttributeValue {
	attempts := m.attempts
	if m.unsent {
		attempts--
	}
	attributes := map[string]types.MessageAttributeValue{attemptsAttribute: number(attempts)}
	if m.replays > 0 {
		attributes[replaysAttribute] = number(m.replays)
	}
	return attributes
}
