// Package event reads OCSF events. In one pass it checks that a text is an event, and finds the fields that the
// connectors need. An Event is a view into that text: it copies nothing, changes nothing, and is valid only as long as
// the text.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

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
