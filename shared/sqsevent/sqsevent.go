// Package sqsevent reads the payload that Lambda passes to a function for a batch of SQS messages.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
package sqsevent

import (
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
	Receives        int    // ApproximateReceiveCount, at least 1
	Sent            int64  // SentTimestamp, Unix ms; 0 when absent
	DeadLetterQueue []byte // DeadLetterQueueSourceArn: the queue that SQS itself moved it from; nil when absent
	Attributes      []Attribute
}

// Attribute is one message attribute with a string value (types String and Number).
type Attribute struct{ Name, Type, Value []byte }

// Attribute returns the value of the message attribute of that name, nil when there is none.
func (m *Message) Attribute(name string) []byte {
	for _, a := range m.Attributes {
		if string(a.Name) == name {
			return a.Value
		}
	}
	return nil
}

// Payload is what a function was invoked with. It is reused to save allocations.
type Payload struct {
	Check    bool // the connection check is asked for, and there are no messages
	Messages []Message

	attributes []Attribute
}

// Read reads an invocation's payload: an SQS event, or {"check":true}. It decodes in place, so that the payload is spoilt
// afterwards for any other reader, and p's messages are views into it. Unknown keys are skipped. An error names the
// place; p then holds nothing.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
func (p *Payload) Read(payload []byte) error {
	p.Check, p.Messages, p.attributes = false, p.Messages[:0], p.attributes[:0]
	r := reader{b: payload, p: p}
	records := false
	r.object("payload", func(key []byte) {
		switch string(key) {
		case "Records":
			records = !r.null() || records
			r.array("Records", r.record)
		case "check":
			p.Check = r.isTrue()
		default:
			r.skip()
		}
	})
	if r.i = jsonscan.Space(r.b, r.i); r.err == nil && r.i != len(r.b) {
		r.fail("payload", "one JSON object")
	}
	if r.err == nil && !records && !p.Check {
		r.err = fmt.Errorf(`payload: expected an SQS event with Records, or {"check":true}`)
	}
	if r.err != nil {
		p.Check, p.Messages = false, nil
	}
	return r.err
}

// reader walks through a payload. After the first error it only runs out.
type reader struct {
	b   []byte
	i   int
	err error
	p   *Payload
}

func (r *reader) fail(where, expected string) {
	if r.err != nil {
		return
	}
	found := "the end"
	if r.i < len(r.b) {
		found = strconv.QuoteRune(rune(r.b[r.i]))
	}
	r.err = fmt.Errorf("%s: expected %s, found %s at byte %d", where, expected, found, r.i)
}

// next skips white space and returns the byte there, 0 at the end or after an error.
func (r *reader) next() byte {
	if r.i = jsonscan.Space(r.b, r.i); r.err != nil || r.i >= len(r.b) {
		return 0
	}
	return r.b[r.i]
}

func (r *reader) null() bool { return r.next() == 'n' }

// object reads an object and calls member at the value of each key; member must read it. null is an empty object.
func (r *reader) object(where string, member func(key []byte)) {
	if r.null() {
		r.skip()
		return
	}
	if r.next() != '{' {
		r.fail(where, "an object")
		return
	}
	r.i++
	if r.next() == '}' {
		r.i++
		return
	}
	for r.err == nil {
		key := r.text(where)
		if r.next() != ':' {
			r.fail(where, "a colon")
			return
		}
		r.i++
		member(key)
		if !r.more(where, '}') {
			return
		}
	}
}

// more reads what follows an element, and tells whether another one does.
func (r *reader) more(where string, last byte) bool {
	switch r.next() {
	case ',':
		r.i++
		return r.err == nil
	case last:
		r.i++
	default:
		r.fail(where, "a comma or "+string(last))
	}
	return false
}

func (r *reader) array(where string, element func()) {
	if r.null() {
		r.skip()
		return
	}
	if r.next() != '[' {
		r.fail(where, "an array")
		return
	}
	r.i++
	if r.next() == ']' {
		r.i++
		return
	}
	for r.err == nil {
		element()
		if !r.more(where, ']') {
			return
		}
	}
}

// text reads a string, decoding it in place. null is no text.
func (r *reader) text(where string) []byte {
	switch r.next() {
	case 'n':
		r.skip()
		return nil
	case '"':
		text, end, ok := jsonscan.UnquoteInPlace(r.b, r.i)
		if r.i = end; ok {
			return text
		}
	}
	r.fail(where, "a string")
	return nil
}

func (r *reader) isTrue() bool {
	is := r.next() == 't'
	r.skip()
	return is
}

func (r *reader) skip() {
	if r.err != nil {
		return
	}
	end, ok := jsonscan.Value(r.b, r.i, 0)
	if r.i = end; !ok {
		r.fail("payload", "JSON")
	}
}

func (r *reader) record() {
	r.p.Messages = append(r.p.Messages, Message{Receives: 1})
	m := &r.p.Messages[len(r.p.Messages)-1]
	r.object("record", func(key []byte) {
		switch string(key) {
		case "messageId":
			m.ID = r.text("messageId")
		case "receiptHandle":
			m.Receipt = r.text("receiptHandle")
		case "body":
			m.Body = r.text("body")
		case "eventSourceARN":
			m.SourceARN = r.text("eventSourceARN")
		case "attributes":
			r.object("attributes", func(key []byte) { r.system(m, key) })
		case "messageAttributes":
			start := len(r.p.attributes)
			r.object("messageAttributes", r.attribute)
			m.Attributes = r.p.attributes[start:len(r.p.attributes):len(r.p.attributes)]
		default:
			r.skip()
		}
	})
}

// system reads one of the attributes that SQS itself gives a message.
func (r *reader) system(m *Message, key []byte) {
	switch string(key) {
	case "ApproximateReceiveCount":
		if n, err := strconv.Atoi(string(r.text("ApproximateReceiveCount"))); err == nil && n > 0 {
			m.Receives = n
		}
	case "SentTimestamp":
		m.Sent, _ = strconv.ParseInt(string(r.text("SentTimestamp")), 10, 64)
	case "DeadLetterQueueSourceArn":
		m.DeadLetterQueue = r.text("DeadLetterQueueSourceArn")
	default:
		r.skip()
	}
}

func (r *reader) attribute(name []byte) {
	a := Attribute{Name: name}
	r.object("messageAttributes", func(key []byte) {
		switch string(key) {
		case "stringValue":
			a.Value = r.text("stringValue")
		case "dataType":
			a.Type = r.text("dataType")
		default:
			r.skip()
		}
	})
	if a.Value != nil {
		r.p.attributes = append(r.p.attributes, a)
	}
}
