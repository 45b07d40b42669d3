package event

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// MaxEvents bounds the events of one message. A message of MaxBytes cannot hold so many valid events: the shortest one
// takes 11 bytes with its comma.
const MaxEvents = 100_000

// Split appends the events of a message body to dst: the elements of a JSON array, as views into body, or else the body
// itself. It does not check whether an element is an event; Parse does. array reports whether the body is an array.
// A byte order mark before the array is ignored. An error means that the array as a whole is invalid: it is empty, not
// JSON, not UTF-8, larger than MaxBytes, or has more than MaxEvents elements. Errors quote no content.
func Split(dst [][]byte, body []byte) (events [][]byte, array bool, err error) {
	text := trimBOM(body)
	if i := jsonscan.Space(text, 0); i == len(text) || text[i] != '[' {
		return append(dst, body), false, nil
	}
	if len(body) > MaxBytes {
		return dst, true, fmt.Errorf("body: expected at most %d bytes, has %d", MaxBytes, len(body))
	}
	if !utf8.Valid(text) {
		return dst, true, fmt.Errorf("body: expected UTF-8, byte %d is invalid", invalidUTF8(body))
	}
	r := jsonscan.NewReader(text, 1)
	events = dst
	for r.Array(); r.Element(); {
		if len(events)-len(dst) == MaxEvents {
			return dst, true, fmt.Errorf("body: expected at most %d events", MaxEvents)
		}
		events = append(events, r.Value())
	}
	if !r.End() {
		return dst, true, fmt.Errorf("body: expected a JSON array, byte %d of %d is invalid", r.Pos(), len(text))
	}
	if len(events) == len(dst) {
		return dst, true, errors.New("body: expected an event or an array of events, found an empty array")
	}
	return events, true, nil
}

// envelopeAdvice returns what to change if body is not an event but an envelope that an AWS service wrapped around one;
// "" if it is not such an envelope.
func envelopeAdvice(body []byte) string {
	found := map[string]bool{}
	r := jsonscan.NewReader(body, 0)
	r.Object()
	for key, ok := r.Key(); ok; key, ok = r.Key() {
		switch string(key) {
		case "Type", "TopicArn", "Message", "detail-type", "source", "detail":
			found[string(key)] = true
		}
		r.Skip()
	}
	switch {
	case found["Type"] && found["TopicArn"] && found["Message"]:
		return "expected an event, found an Amazon SNS envelope: turn on raw message delivery for the subscription"
	case found["detail-type"] && found["source"] && found["detail"]:
		return "expected an event, found an Amazon EventBridge envelope: set InputPath of the rule's target to $.detail"
	}
	return ""
}
