package event

import (
	"errors"
	"fmt"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// MaxEvents bounds the events of one message, and with them the memory that a message can take. A message of MaxBytes
// holds as many only if they have 20 bytes each, which is too short for an event with a time of this century.
const MaxEvents = 50_000

// Split appends the events of a message body to dst: the elements of a JSON array, as views into body, or else the body
// itself. It does not check whether an element is an event; ParseMessage does. array reports whether the body is an
// array. A byte order mark before the array is ignored. An error means that the array as a whole is invalid: it is
// empty, not JSON, not UTF-8, larger than MaxBytes, or has more than MaxEvents elements. Errors quote no content.
func Split(dst [][]byte, body []byte) (events [][]byte, array bool, err error) {
	if !isArray(body) {
		return append(dst, body), false, nil
	}
	text, err := check(body)
	if err != nil {
		return dst, true, err
	}
	r := jsonscan.NewReader(text, 1)
	events = dst
	for r.Array(); r.Element() && len(events)-len(dst) <= MaxEvents; {
		events = append(events, r.Value())
	}
	if err := arrayError(&r, len(events)-len(dst), len(text)); err != nil {
		return dst, true, err
	}
	return events, true, nil
}

// isArray reports whether a body begins like a JSON array.
func isArray(body []byte) bool {
	text := trimBOM(body)
	i := jsonscan.Space(text, 0)
	return i < len(text) && text[i] == '['
}

// arrayError returns what is wrong with an array of n elements, size bytes long, after r has read it.
func arrayError(r *jsonscan.Reader, n, size int) error {
	switch {
	case n > MaxEvents:
		return fmt.Errorf("body: expected at most %d events", MaxEvents)
	case !r.End():
		return fmt.Errorf("body: expected a JSON array, byte %d of %d is invalid", r.Pos(), size)
	case n == 0:
		return errors.New("body: expected an event or an array of events, found an empty array")
	}
	return nil
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
