package deadletter

import (
	"bytes"
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

// ParseLine reads one line of an object into r. The order of the keys does not matter, unknown keys are skipped, and
// null counts as absent. r.Body is a view into line if the event is an object. An error names the wrong key and quotes
// no content.
func ParseLine(line []byte, r *Record) error {
	*r = Record{}
	line = bytes.TrimPrefix(line, byteOrderMark)
	if !utf8.Valid(line) {
		return errors.New("line: expected UTF-8")
	}
	var wrong error
	in := jsonscan.NewReader(line, 1) // an event may be nested as deeply as in a message
	in.Object()
	for key, ok := in.Key(); ok; key, ok = in.Key() {
		value := in.Value()
		if len(value) == 0 || value[0] == 'n' {
			continue
		}
		if err := r.set(string(key), value); err != nil && wrong == nil {
			wrong = fmt.Errorf("%s: %w", key, err)
		}
	}
	switch {
	case !in.End():
		return fmt.Errorf("line: expected one JSON object: byte %d", in.Pos())
	case wrong != nil:
		return wrong
	case r.Time.IsZero():
		return errors.New("timestamp: is missing")
	case r.Connector == "":
		return errors.New("connector: is missing")
	case r.Body == nil:
		return errors.New("event: is missing")
	}
	return nil
}

// set reads one value.
func (r *Record) set(key string, raw []byte) (err error) {
	var text string
	switch key {
	case "timestamp":
		if text, err = textOf(raw); err == nil {
			r.Time, err = ParseTime(text)
		}
	case "connector":
		r.Connector, err = textOf(raw)
	case "error":
		r.Error, err = textOf(raw)
	case "message_id":
		r.MessageID, err = textOf(raw)
	case "attempts":
		r.Attempts, err = countOf(raw)
	case "replays":
		r.Replays, err = countOf(raw)
	case "event":
		if r.Object = raw[0] == '{'; r.Object {
			r.Body = raw
			return nil
		}
		text, err = textOf(raw)
		r.Body = []byte(text)
	case "event_base64":
		r.Object = false
		if text, err = textOf(raw); err != nil {
			return err
		}
		if r.Body, err = base64.StdEncoding.DecodeString(text); err != nil {
			return errors.New("expected base64")
		}
	}
	return err
}

func textOf(raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", errors.New("expected a string")
	}
	return string(jsonscan.AppendUnquoted(nil, raw)), nil
}

// countOf accepts every way to write an integer in JSON, such as 5.0.
func countOf(raw []byte) (int, error) {
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || n < 0 || n > math.MaxInt32 || n != math.Trunc(n) {
		return 0, errors.New("expected an integer that is not negative")
	}
	return int(n), nil
}

// ParseTime reads an RFC 3339 time of the range that an event may have.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if ms := t.UnixMilli(); err != nil || ms < 0 || ms > event.MaxTime {
		return time.Time{}, fmt.Errorf("expected RFC 3339, such as 2026-03-13T00:00:00Z, found %q", Bound(text, 40))
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
