// Package sqsevent reads the payload that Lambda passes to a function with an SQS trigger.
package sqsevent

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Message is one SQS message of an invocation. All bytes are views into the payload.
type Message struct {
	ID              []byte
	Receipt         []byte
	Body            []byte // as enqueued; bytes that are not UTF-8 are kept
	SourceARN       []byte // of the queue
	Sender          []byte // SenderId: for a role, "<id of the role>:<name of the session>"; nil when absent
	Receives        int    // ApproximateReceiveCount, at least 1
	Sent            int64  // SentTimestamp, Unix ms; 0 when absent
	DeadLetterQueue []byte // DeadLetterQueueSourceArn: the queue from which SQS itself moved the message; nil when absent
	Attributes      []Attribute
}

// Attribute is one message attribute with a string value (types String and Number).
type Attribute struct{ Name, Type, Value []byte }

// Attribute returns the value of the message attribute of that name, nil when it is absent.
func (m *Message) Attribute(name string) []byte {
	for _, a := range m.Attributes {
		if string(a.Name) == name {
			return a.Value
		}
	}
	return nil
}

// SentBy reports whether a role, which is named by its id, sent the message. An empty id matches any sender.
func (m *Message) SentBy(role string) bool { return bytes.HasPrefix(m.Sender, []byte(role)) }

// maxCount bounds the value of a counting attribute.
const maxCount = 1_000_000

// Count returns the value of a message attribute of the type Number that counts something; 0 when the attribute is
// absent, has another type, or is not an integer from 0 to 1,000,000.
func (m *Message) Count(name string) int {
	for _, a := range m.Attributes {
		if string(a.Name) == name && string(a.Type) == "Number" {
			if n, err := strconv.Atoi(string(a.Value)); err == nil && 0 <= n && n <= maxCount {
				return n
			}
		}
	}
	return 0
}

// Payload is the payload of one invocation. It is reused to save allocations.
type Payload struct {
	Check    bool // the invocation requests a connection check; there are no messages
	Messages []Message

	attributes []Attribute
	r          jsonscan.Reader
}

// Read reads an invocation's payload: an SQS event, or {"check":true}. It decodes in place: it overwrites the payload,
// and the messages are views into it. Unknown keys are skipped, and null counts as absent. An error gives the position
// and quotes no content; the Payload is then empty.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
func (p *Payload) Read(payload []byte) error {
	p.Check, p.Messages, p.attributes = false, p.Messages[:0], p.attributes[:0]
	p.r = jsonscan.NewReader(payload, 0)
	records := p.document()
	var err error
	switch {
	case !p.r.End():
		err = fmt.Errorf("payload: %w", p.r.Err())
	case !records && !p.Check:
		err = errors.New(`payload: expected an SQS event with Records, or {"check":true}`)
	}
	if err != nil {
		p.Check, p.Messages = false, nil
	}
	p.r = jsonscan.Reader{}
	return err
}

// document reads the payload and reports whether it has records.
func (p *Payload) document() (records bool) {
	p.r.Object()
	for key, ok := p.r.Key(); ok; key, ok = p.r.Key() {
		switch {
		case string(key) == "Records" && !p.r.Null():
			records = true
			for p.r.Array(); p.r.Element(); {
				p.record()
			}
		case string(key) == "Records":
		case string(key) == "check" && p.r.Peek() == 't':
			p.Check = p.r.Bool()
		default:
			p.r.Skip()
		}
	}
	return records
}

func (p *Payload) record() {
	p.Messages = append(p.Messages, Message{Receives: 1})
	m := &p.Messages[len(p.Messages)-1]
	p.r.Object()
	for key, ok := p.r.Key(); ok; key, ok = p.r.Key() {
		switch string(key) {
		case "messageId":
			m.ID = p.text()
		case "receiptHandle":
			m.Receipt = p.text()
		case "body":
			m.Body = p.text()
		case "eventSourceARN":
			m.SourceARN = p.text()
		case "attributes":
			p.systemAttributes(m)
		case "messageAttributes":
			p.messageAttributes(m)
		default:
			p.r.Skip()
		}
	}
}

// text reads a string; nil for null.
func (p *Payload) text() []byte {
	if p.r.Null() {
		return nil
	}
	return p.r.Text()
}

// systemAttributes reads the attributes that SQS itself adds to a message.
func (p *Payload) systemAttributes(m *Message) {
	if p.r.Null() {
		return
	}
	p.r.Object()
	for key, ok := p.r.Key(); ok; key, ok = p.r.Key() {
		switch string(key) {
		case "ApproximateReceiveCount":
			if n, err := strconv.Atoi(string(p.text())); err == nil && n > 0 {
				m.Receives = n
			}
		case "SentTimestamp":
			m.Sent, _ = strconv.ParseInt(string(p.text()), 10, 64)
		case "SenderId":
			m.Sender = p.text()
		case "DeadLetterQueueSourceArn":
			m.DeadLetterQueue = p.text()
		default:
			p.r.Skip()
		}
	}
}

func (p *Payload) messageAttributes(m *Message) {
	if p.r.Null() {
		return
	}
	start := len(p.attributes)
	p.r.Object()
	for name, ok := p.r.Key(); ok; name, ok = p.r.Key() {
		if a := (Attribute{Name: name}); p.attribute(&a) {
			p.attributes = append(p.attributes, a)
		}
	}
	m.Attributes = p.attributes[start:len(p.attributes):len(p.attributes)]
}

// attribute reads a message attribute and reports whether it has a string value.
func (p *Payload) attribute(a *Attribute) bool {
	if p.r.Null() {
		return false
	}
	p.r.Object()
	for key, ok := p.r.Key(); ok; key, ok = p.r.Key() {
		switch string(key) {
		case "stringValue":
			a.Value = p.text()
		case "dataType":
			a.Type = p.text()
		default:
			p.r.Skip()
		}
	}
	return a.Value != nil
}

// CheckIDs returns an error for a message without an id, which a response could not name.
func CheckIDs(messages []Message) error {
	for i := range messages {
		if len(messages[i].ID) == 0 {
			return fmt.Errorf("Records[%d].messageId: expected the id of an SQS message, is empty", i)
		}
	}
	return nil
}

// Response returns the response of an invocation: SQS delivers the failed messages again, and deletes the others.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func Response(failed [][]byte) []byte {
	r := append(make([]byte, 0, 64), `{"batchItemFailures":[`...)
	for i, id := range failed {
		if i > 0 {
			r = append(r, ',')
		}
		r = jsonscan.AppendQuoted(append(r, `{"itemIdentifier":`...), id)
		r = append(r, '}')
	}
	return append(r, `]}`...)
}
