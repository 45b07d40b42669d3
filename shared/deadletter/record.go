package deadletter

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Record is one dead letter.
type Record struct {
	Time      time.Time // of the failure; UTC, milliseconds
	Connector string    // a connector's name, or Unknown
	Error     string    // the reason
	Body      []byte    // of the message
	Attempts  int       // deliveries tried, 0 when not known
	MessageID string    // of the message that failed
	Replays   int       // replays before the failure

	Object bool // Body is a JSON object, so that it can be replayed
}

// TimeLayout is RFC 3339 with milliseconds, for times in UTC.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// byteOrderMark may precede a line or an event that an operator wrote.
var byteOrderMark = []byte("\uFEFF")

// AppendLine appends the record as one line of an object, with its newline. A JSON object is compacted; another body
// becomes a JSON string, and base64 if it is not UTF-8.
func (r *Record) AppendLine(dst []byte) []byte {
	dst = append(dst, `{"timestamp":"`...)
	dst = r.Time.UTC().AppendFormat(dst, TimeLayout)
	dst = append(dst, `","connector":`...)
	dst = jsonscan.AppendQuoted(dst, r.Connector)
	dst = append(dst, `,"error":`...)
	dst = jsonscan.AppendQuoted(dst, r.Error)
	switch body := bytes.TrimPrefix(r.Body, byteOrderMark); {
	case isObject(body):
		dst = append(dst, `,"event":`...)
		dst = jsonscan.AppendCompact(dst, body)
	case utf8.Valid(r.Body):
		dst = append(dst, `,"event":`...)
		dst = jsonscan.AppendQuoted(dst, r.Body)
	default:
		dst = append(dst, `,"event_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Body)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"attempts":`...)
	dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	dst = append(dst, `,"message_id":`...)
	dst = jsonscan.AppendQuoted(dst, r.MessageID)
	dst = append(dst, `,"replays":`...)
	dst = strconv.AppendInt(dst, int64(r.Replays), 10)
	return append(dst, "}\n"...)
}

// isObject reports whether body is one JSON object in UTF-8.
func isObject(body []byte) bool {
	r := jsonscan.NewReader(body, 0)
	return r.Peek() == '{' && r.Value() != nil && r.End() && utf8.Valid(body)
}

// ParseLine reads one line of an object into r. The order of the keys does not matter, and unknown keys are skipped.
// r.Body is a view into line if the event is an object. An error names the wrong key and quotes no content.
func ParseLine(line []byte, r *Record) error {
	*r = Record{}
	line = bytes.TrimPrefix(line, byteOrderMark)
	if !utf8.Valid(line) {
		return errors.New("line: expected UTF-8")
	}
	var wrong error
	seen := make(map[string]bool, 8)
	in := jsonscan.NewReader(line, 1) // an event may be nested as deeply as in a message
	in.Object()
	for key, ok := in.Key(); ok; key, ok = in.Key() {
		if value := in.Value(); value != nil {
			wrong = cmp.Or(wrong, r.member(string(key), value, seen))
		}
	}
	if !in.End() {
		return fmt.Errorf("line: expected one JSON object: byte %d", in.Pos())
	}
	for _, key := range [...]string{"timestamp", "connector", "event"} {
		if wrong == nil && !seen[key] {
			return fmt.Errorf("%s: is missing", key)
		}
	}
	return wrong
}

// member reads one value. Null is the same as an absent key, except for the keys that ParseLine requires.
func (r *Record) member(key string, raw []byte, seen map[string]bool) (err error) {
	var text string
	null := raw[0] == 'n'
	switch key {
	case "timestamp":
		if text, err = textOf(key, raw); err == nil {
			r.Time, err = ParseTime(key, text)
		}
	case "connector":
		r.Connector, err = textOf(key, raw)
	case "error":
		if !null {
			r.Error, err = textOf(key, raw)
		}
	case "message_id":
		if !null {
			r.MessageID, err = textOf(key, raw)
		}
	case "attempts":
		r.Attempts, err = countOf(key, raw)
	case "replays":
		r.Replays, err = countOf(key, raw)
	case "event":
		if r.Object = raw[0] == '{'; r.Object {
			r.Body = raw
			break
		}
		text, err = textOf(key, raw)
		r.Body = []byte(text)
	case "event_base64":
		if null {
			return nil
		}
		if text, err = textOf(key, raw); err != nil {
			return err
		}
		key, r.Object = "event", false
		if r.Body, err = base64.StdEncoding.DecodeString(text); err != nil {
			err = errors.New("event_base64: expected base64")
		}
	}
	seen[key] = true
	return err
}

func textOf(key string, raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", fmt.Errorf("%s: expected a string", key)
	}
	return string(jsonscan.AppendUnquoted(nil, raw)), nil
}

// countOf accepts every way to write an integer in JSON, such as 5.0, and null for 0.
func countOf(key string, raw []byte) (int, error) {
	if raw[0] == 'n' {
		return 0, nil
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || n < 0 || n > math.MaxInt32 || n != math.Trunc(n) {
		return 0, fmt.Errorf("%s: expected an integer that is not negative", key)
	}
	return int(n), nil
}

// ParseTime reads an RFC 3339 time of the range that an event may have. An error names key.
func ParseTime(key, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if ms := t.UnixMilli(); err != nil || ms < 0 || ms > event.MaxTime {
		return time.Time{}, fmt.Errorf("%s: expected RFC 3339, such as 2026-03-13T00:00:00Z, found %q", key, Bound(text, 40))
	}
	return t.UTC().Truncate(time.Millisecond), nil
}

// ID identifies a record among those of its connector: the first half of a SHA-256.
type ID [16]byte

// NewID hashes parts so that their borders count.
func NewID(parts ...[]byte) ID {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return ID(h.Sum(nil))
}

// ID identifies the record by its message id and its event without white space: two records of one message that have
// different events are two dead letters. place identifies a record without a message id.
func (r *Record) ID(place string) ID {
	body := r.Body
	if r.Object {
		body = jsonscan.AppendCompact(make([]byte, 0, len(body)), body)
	}
	if r.MessageID == "" {
		return NewID([]byte("place"), []byte(place), body)
	}
	return NewID([]byte("message"), []byte(r.MessageID), body)
}
