// Package event reads OCSF events. In one pass it checks that a text is an event, and finds the fields that the
// connectors need. An Event is a view into that text: it copies nothing, changes nothing, and is valid only as long as
// the text.
package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Event is one parsed OCSF event. Absent fields are zero.
type Event struct {
	Body []byte // as received, without a byte order mark: a JSON object, valid UTF-8

	Time     int64 // Unix milliseconds, 0 to MaxTime; converted if the event states it in another unit
	Class    int64 // class_uid
	Severity int64 // severity_id

	UserID        Text
	UserEmail     Text
	RequestID     Text
	Operation     Text
	ModelID       Text
	PolicyAction  Text
	SourceAddress Text
	Groups        []Text // of the user
	DLPLabels     []Text

	TokensInput  Integer
	TokensOutput Integer

	HasSeverity   bool
	HasTimestamp  bool // the event has a top-level "@timestamp"
	TimeConverted bool // the event states its time in seconds, microseconds or nanoseconds

	uid    Text // metadata.uid
	spaced bool // there is white space between tokens
}

// Text is a JSON string as written in the event, with quotes and escapes; nil when absent.
type Text []byte

// AppendJSON appends the string as JSON, null when absent.
func (t Text) AppendJSON(dst []byte) []byte {
	if t == nil {
		return append(dst, "null"...)
	}
	return append(dst, t...)
}

// Append appends the decoded text, nothing when absent.
func (t Text) Append(dst []byte) []byte {
	if t == nil {
		return dst
	}
	return jsonscan.AppendUnquoted(dst, t)
}

// Empty reports whether there is no text: the string is absent or "".
func (t Text) Empty() bool { return len(t) <= len(`""`) }

// String returns the decoded text. It allocates; encoders use Append.
func (t Text) String() string { return string(t.Append(nil)) }

// AppendTexts appends a list of texts as a JSON array.
func AppendTexts(dst []byte, list []Text) []byte {
	dst = append(dst, '[')
	for i, t := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, t...)
	}
	return append(dst, ']')
}

// Integer is an optional integer.
type Integer struct {
	Value   int64
	Present bool
}

// AppendJSON appends the number, null when absent.
func (n Integer) AppendJSON(dst []byte) []byte {
	if !n.Present {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, n.Value, 10)
}

// AppendCompact appends the event's own bytes in one line: as received, without the white space between tokens.
func (e *Event) AppendCompact(dst []byte) []byte {
	if !e.spaced {
		return append(dst, e.Body...)
	}
	return jsonscan.AppendCompact(dst, e.Body)
}

// AppendQuoted appends the event's own compact bytes as a JSON string.
func (e *Event) AppendQuoted(dst []byte) []byte {
	if !e.spaced {
		return jsonscan.AppendQuoted(dst, e.Body)
	}
	start := len(dst)
	return QuoteFrom(e.AppendCompact(dst), start)
}

// QuoteFrom replaces dst[start:], which must be UTF-8, with its JSON string encoding.
func QuoteFrom(dst []byte, start int) []byte {
	end := len(dst)
	dst = jsonscan.AppendQuoted(dst, dst[start:])
	return append(dst[:start], dst[end:]...)
}

const (
	idHashDigits      = 32 // hex digits of the hash in the id of an event without metadata.uid
	contentHashDigits = 16 // hex digits of the hash that tells two events with one id apart
)

// HasUID reports whether the event has a metadata.uid that is not empty. Without one, its id is a hash.
func (e *Event) HasUID() bool { return !e.uid.Empty() }

// AppendID appends the event id as text: metadata.uid, else what AppendHashID appends.
func (e *Event) AppendID(dst []byte) []byte {
	if e.HasUID() {
		return e.uid.Append(dst)
	}
	return e.AppendHashID(dst)
}

// AppendHashID appends the id of an event that has no metadata.uid: the first 32 hex digits of the SHA-256 of the event
// without the white space between its tokens. A replay may remove that white space, and must not change the id.
func (e *Event) AppendHashID(dst []byte) []byte { return e.appendHash(dst, idHashDigits) }

// AppendContentHash appends the first 16 hex digits of the same SHA-256.
func (e *Event) AppendContentHash(dst []byte) []byte { return e.appendHash(dst, contentHashDigits) }

// appendHash appends the first hex digits of the hash of the compact event.
func (e *Event) appendHash(dst []byte, digits int) []byte {
	compact := e.Body
	if e.spaced {
		compact = jsonscan.AppendCompact(dst, e.Body)[len(dst):]
	}
	sum := sha256.Sum256(compact)
	return hex.AppendEncode(dst, sum[:digits/2])
}

// AppendIDJSON appends the event id as a JSON string.
func (e *Event) AppendIDJSON(dst []byte) []byte {
	if e.HasUID() {
		return append(dst, e.uid...)
	}
	return append(e.AppendHashID(append(dst, '"')), '"')
}

// AppendTruncated appends the object that replaces an event that is too large: the event's size and hash as received,
// and the fields by which the whole event can be found.
func (e *Event) AppendTruncated(dst []byte) []byte {
	const form = `{"truncated":true,"bytes":%d,"sha256":"%x","class_uid":%d,"time":%d,"metadata":{"uid":%s}}`
	return fmt.Appendf(dst, form, len(e.Body), sha256.Sum256(e.Body), e.Class, e.Time, e.AppendIDJSON(nil))
}

// MaxEvents bounds the events of one message, and with them the memory that a message can take. A message of MaxBytes
// holds more only if they are shorter than {"time":631152000}, an event of 1990.
const MaxEvents = 56_000

// Elements returns the elements of a message body that is a valid array, as views into body, and nil for any other
// body. It does not check whether an element is an event; ParseMessage does.
func Elements(body []byte) (elements [][]byte) {
	text, err := check(body)
	if err != nil {
		return nil
	}
	r := jsonscan.NewReader(text, 1)
	for r.Array(); r.Element() && len(elements) <= MaxEvents; {
		elements = append(elements, r.Value())
	}
	if arrayError(&r, len(elements), len(text)) != nil {
		return nil
	}
	return elements
}

// IsArray reports whether a body begins like a JSON array.
func IsArray(body []byte) bool {
	r := jsonscan.NewReader(trimBOM(body), 0)
	return r.Peek() == '['
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

// MaxTime is the latest time of an event: the last millisecond that RFC 3339 can express (year 9999).
const MaxTime = 253402300799999

// The years 1990 to 2100 in Unix seconds, from the first inclusive to the last exclusive. Within these years, a value
// in seconds, milliseconds, microseconds or nanoseconds can only be in that unit: the ranges do not overlap.
const (
	firstSecond = 631152000  // 1990-01-01
	endSecond   = 4133980800 // 2101-01-01
)

// milliseconds converts the value of `time` to Unix milliseconds. converted reports whether the value is in another
// unit. problem describes an unusable value; it is "" for a usable one.
func milliseconds(n int64) (ms int64, converted bool, problem string) {
	const thousand, million, billion = 1_000, 1_000_000, 1_000_000_000
	within := func(unit int64) bool { return firstSecond*unit <= n && n < endSecond*unit }
	switch {
	case within(1):
		return n * thousand, true, ""
	case within(million):
		return n / thousand, true, ""
	case within(billion):
		return n / million, true, ""
	case n < 0:
		return 0, false, "found a negative number"
	case n > MaxTime:
		return 0, false, "found a number after the year 9999"
	}
	return n, false, ""
}

// parseInteger reads a number whose value is an integer, also one with a fraction of zero or an exponent. found names
// the value if it is not one.
func parseInteger(raw []byte, integer bool) (n int64, found string) {
	if !integer {
		if raw, found = wholeDigits(raw); found != "" {
			return 0, found
		}
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, outOfRange
	}
	return n, ""
}

const outOfRange = "a number out of range"

// wholeDigits returns the digits of a number with a fraction or an exponent whose value is an integer.
func wholeDigits(raw []byte) (digits []byte, found string) {
	mantissa, shift := raw, 0
	if i := bytes.IndexAny(raw, "eE"); i >= 0 {
		n, err := strconv.ParseInt(string(raw[i+1:]), 10, 16)
		if err != nil {
			return nil, outOfRange
		}
		mantissa, shift = raw[:i], int(n)
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	digits = slices.Concat(whole, fraction, bytes.Repeat([]byte{'0'}, max(0, shift-len(fraction))))
	end := max(0, len(whole)+shift)
	if len(bytes.Trim(digits[end:], "0")) > 0 {
		return nil, "a number that is not an integer"
	}
	return digits[:end], ""
}

// timeLayout is RFC 3339 with milliseconds. Times are in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AppendTime appends the event's time as RFC 3339 in UTC with three decimals.
func (e *Event) AppendTime(dst []byte) []byte {
	return time.UnixMilli(e.Time).UTC().AppendFormat(dst, timeLayout)
}

// year9999 is the first millisecond of the last year that RFC 3339 can express.
const year9999 = 253370764800000

// TimePlaceholder reports whether the time is a value that senders use for "unknown" or "never": 0, or in the year
// 9999.
func (e *Event) TimePlaceholder() bool { return e.Time == 0 || e.Time >= year9999 }
