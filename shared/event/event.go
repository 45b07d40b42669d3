// Package event reads OCSF events: it proves that a message body is one, and finds the fields the connectors need in
// one pass. An Event is a view into the body it was parsed from; it copies nothing, changes nothing, and lives only as
// long as that body.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// MaxTime is the latest time an event may have: the last millisecond that RFC 3339 can write (year 9999).
const MaxTime = 253402300799999

// Event is one parsed OCSF event. Absent fields are zero.
type Event struct {
	Body []byte // as received: a JSON object, valid UTF-8

	Time     int64 // Unix milliseconds, 0 to MaxTime
	Class    int64 // class_uid
	Severity int64 // severity_id

	UserID       Text
	UserEmail    Text
	RequestID    Text
	Operation    Text
	ModelID      Text
	PolicyAction Text
	Groups       []Text // of the user
	DLPLabels    []Text

	TokensInput  Integer
	TokensOutput Integer

	HasTimestamp bool // the event brings a top-level "@timestamp" of its own

	uid    Text // metadata.uid
	spaced bool // there is white space between tokens
}

// Text is a JSON string as it stands in the event, quotes and escapes included; nil when absent.
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

// Empty tells whether there is no text: absent, or "".
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

// AppendCompact appends the event's own bytes on one line: as received, without the white space between tokens.
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

// QuoteFrom turns what stands behind start into a JSON string. It is quoted behind itself and moved down, which costs a
// copy and saves a buffer.
func QuoteFrom(dst []byte, start int) []byte {
	end := len(dst)
	dst = jsonscan.AppendQuoted(dst, dst[start:])
	return append(dst[:start], dst[end:]...)
}

// idHashDigits is how many hex digits of the body's SHA-256 stand for an event that has no id of its own.
const idHashDigits = 32

// AppendID appends the event id as text: metadata.uid, else the first 32 hex digits of SHA-256 over the body.
func (e *Event) AppendID(dst []byte) []byte {
	if !e.uid.Empty() {
		return e.uid.Append(dst)
	}
	return e.AppendHashID(dst)
}

// AppendHashID appends the id an event has that brings none: the first 32 hex digits of SHA-256 over the body.
func (e *Event) AppendHashID(dst []byte) []byte {
	sum := sha256.Sum256(e.Body)
	return hex.AppendEncode(dst, sum[:idHashDigits/2])
}

// AppendIDJSON appends the event id as a JSON string.
func (e *Event) AppendIDJSON(dst []byte) []byte {
	if !e.uid.Empty() {
		return append(dst, e.uid...)
	}
	return append(e.AppendHashID(append(dst, '"')), '"')
}

// timeLayout is RFC 3339 with milliseconds; the time is always UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AppendTime appends the event's time as RFC 3339 UTC with three decimals.
func (e *Event) AppendTime(dst []byte) []byte {
	return time.UnixMilli(e.Time).UTC().AppendFormat(dst, timeLayout)
}

// AppendTruncated appends what stands in the place of an event that does not fit: its size and hash as received, and
// what is needed to find the whole.
func (e *Event) AppendTruncated(dst []byte) []byte {
	sum := sha256.Sum256(e.Body)
	dst = append(dst, `{"truncated":true,"bytes":`...)
	dst = strconv.AppendInt(dst, int64(len(e.Body)), 10)
	dst = append(dst, `,"sha256":"`...)
	dst = hex.AppendEncode(dst, sum[:])
	dst = append(dst, `","class_uid":`...)
	dst = strconv.AppendInt(dst, e.Class, 10)
	dst = append(dst, `,"time":`...)
	dst = strconv.AppendInt(dst, e.Time, 10)
	dst = append(dst, `,"metadata":{"uid":`...)
	dst = e.AppendIDJSON(dst)
	return append(dst, `}}`...)
}
