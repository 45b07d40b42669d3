package deadletter

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// Record is one dead letter.
type Record struct {
	Time      time.Time // when it was given up; milliseconds, UTC
	Connector string    // one of the seven, or "unknown"
	Error     string    // why
	Body      []byte    // of the message; a JSON object without the white space between its tokens
	Attempts  int       // deliveries tried, 0 when not known
	MessageID string    // of the message that was given up
	Replays   int       // how often it had been put back before

	Object bool // Body is a JSON object, and can be put back
}

// timeLayout is RFC 3339 with milliseconds; times are UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AppendLine appends the record as one line of an object, its newline included. Keys always stand in the same order.
func (r *Record) AppendLine(dst []byte) []byte {
	dst = append(dst, `{"timestamp":"`...)
	dst = r.Time.UTC().AppendFormat(dst, timeLayout)
	dst = append(dst, `","connector":`...)
	dst = jsonscan.AppendQuoted(dst, r.Connector)
	dst = append(dst, `,"error":`...)
	dst = jsonscan.AppendQuoted(dst, r.Error)
	switch {
	case isObject(r.Body):
		dst = append(dst, `,"event":`...)
		dst = jsonscan.AppendCompact(dst, r.Body)
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

// isObject tells whether a body is one JSON object in UTF-8.
func isObject(body []byte) bool {
	i := jsonscan.Space(body, 0)
	if i == len(body) || body[i] != '{' || !utf8.Valid(body) {
		return false
	}
	end, ok := jsonscan.Value(body, i, 0)
	return ok && jsonscan.Space(body, end) == len(body)
}

// ParseLine reads one line of an object into r. The order of keys does not matter, unknown ones are skipped. r.Body is a
// view into line where the event is an object. Errors name the key at fault and quote no content.
func ParseLine(line []byte, r *Record) error {
	*r = Record{}
	if !utf8.Valid(line) {
		return errors.New("line: expected UTF-8")
	}
	seen, err := r.members(line)
	if err != nil {
		return err
	}
	for _, key := range [...]string{"timestamp", "connector", "event"} {
		if !seen[key] {
			return fmt.Errorf("%s: is missing", key)
		}
	}
	return nil
}

// members reads the keys and values of the object that a line is, and returns which of the required keys it has.
func (r *Record) members(line []byte) (seen map[string]bool, err error) {
	broken := func(i int) error { return fmt.Errorf("line: expected one JSON object, byte %d breaks it", i) }
	i := jsonscan.Space(line, 0)
	if i == len(line) || line[i] != '{' {
		return nil, broken(i)
	}
	seen = make(map[string]bool, 3)
	i = jsonscan.Space(line, i+1)
	for i < len(line) && line[i] != '}' {
		value, ok := jsonscan.Key(line, i)
		if !ok {
			return nil, broken(i)
		}
		keyEnd, _, _ := jsonscan.String(line, i)
		value = jsonscan.Space(line, value)
		end, ok := jsonscan.Value(line, value, 1)
		if !ok {
			return nil, broken(value)
		}
		if err := r.member(string(jsonscan.AppendUnquoted(nil, line[i:keyEnd])), line[value:end], seen); err != nil {
			return nil, err
		}
		i = jsonscan.Space(line, end)
		if i == len(line) || line[i] != ',' {
			break
		}
		if i = jsonscan.Space(line, i+1); i < len(line) && line[i] == '}' {
			return nil, broken(i)
		}
	}
	if i >= len(line) || line[i] != '}' || jsonscan.Space(line, i+1) != len(line) {
		return nil, broken(i)
	}
	return seen, nil
}

// member reads one value.
func (r *Record) member(key string, raw []byte, seen map[string]bool) error {
	var err error
	switch key {
	case "timestamp":
		var text string
		if text, err = textOf(key, raw); err == nil {
			r.Time, err = parseTime(key, text)
		}
	case "connector":
		r.Connector, err = textOf(key, raw)
	case "error":
		r.Error, err = textOf(key, raw)
	case "message_id":
		r.MessageID, err = textOf(key, raw)
	case "attempts":
		r.Attempts, err = countOf(key, raw)
	case "replays":
		r.Replays, err = countOf(key, raw)
	case "event":
		if r.Object = raw[0] == '{'; r.Object {
			r.Body = raw
		} else {
			err = r.text(key, raw)
		}
	case "event_base64":
		r.Object, key = false, "event"
		err = r.base64(raw)
	default:
		return nil
	}
	seen[key] = true
	return err
}

func (r *Record) text(key string, raw []byte) error {
	text, err := textOf(key, raw)
	r.Body = []byte(text)
	return err
}

func (r *Record) base64(raw []byte) error {
	text, err := textOf("event_base64", raw)
	if err != nil {
		return err
	}
	if r.Body, err = base64.StdEncoding.DecodeString(text); err != nil {
		return errors.New("event_base64: expected base64")
	}
	return nil
}

func textOf(key string, raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", fmt.Errorf("%s: expected a string", key)
	}
	return string(jsonscan.AppendUnquoted(nil, raw)), nil
}

func countOf(key string, raw []byte) (int, error) {
	n, err := strconv.ParseUint(string(raw), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s: expected an integer that is not negative", key)
	}
	return int(n), nil
}

// parseTime reads RFC 3339 within the years it can write.
func parseTime(key, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if ms := t.UnixMilli(); err != nil || ms < 0 || ms > event.MaxTime {
		return time.Time{}, fmt.Errorf("%s: expected RFC 3339, such as 2026-03-13T00:00:00Z, found %q", key, bound(text, 40))
	}
	return t.UTC().Truncate(time.Millisecond), nil
}
