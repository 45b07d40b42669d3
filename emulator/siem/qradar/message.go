package qradar

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Message is a parsed message.
type Message struct {
	PRI                               int
	Time                              time.Time
	Hostname, AppName, ProcID, MsgID  string // "-" if absent
	Vendor, Product, Version, ClassID string // of the CEF header, unescaped
	Name                              string
	Severity                          int
	Extension                         []Field // in order
}

// Field is one key of the extension with its unescaped value.
type Field struct{ Key, Value string }

// Value returns the value of a key, and whether the key exists.
func (m *Message) Value(key string) (string, bool) {
	for _, f := range m.Extension {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

// Keys returns the keys in their order.
func (m *Message) Keys() []string {
	keys := make([]string, len(m.Extension))
	for i, f := range m.Extension {
		keys[i] = f.Key
	}
	return keys
}

// header is the header of RFC 5424 (PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID) without
// STRUCTURED-DATA. The wire format limits the characters of MSGID, because receivers look for the first "CEF:" of a
// line.
var header = regexp.MustCompile(`^<(0|[1-9][0-9]{0,2})>1 ([0-9T:.+Z-]+) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([A-Za-z0-9._-]{1,32}) - `)

// timestamp is RFC 5424's subset of RFC 3339: T and Z in upper case, at most six decimals, no leap second.
var timestamp = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$`)

// Parse parses a message. It accepts only what every parser of RFC 5424 and CEF interprets in the same way.
func Parse(message []byte) (*Message, error) {
	text := string(message)
	part := header.FindStringSubmatch(text)
	if part == nil {
		return nil, errors.New("no valid RFC 5424 header")
	}
	m := &Message{Hostname: part[3], AppName: part[4], ProcID: part[5], MsgID: part[6]}
	if m.PRI, _ = strconv.Atoi(part[1]); m.PRI > 191 {
		return nil, fmt.Errorf("PRI %d is over 191", m.PRI)
	}
	if !timestamp.MatchString(part[2]) {
		return nil, fmt.Errorf("TIMESTAMP %q", part[2])
	}
	var err error
	if m.Time, err = time.Parse(time.RFC3339Nano, part[2]); err != nil {
		return nil, fmt.Errorf("TIMESTAMP: %w", err)
	}
	return m, m.parseCEF(text[len(part[0]):])
}

// lineEnds reports whether r is a control character, or ends a line for some parsers.
func lineEnds(r rune) bool {
	return r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029
}

func (m *Message) parseCEF(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("MSG is not UTF-8")
	}
	if i := strings.IndexFunc(text, lineEnds); i >= 0 {
		return fmt.Errorf("a control character at byte %d of MSG", i)
	}
	rest, ok := strings.CutPrefix(text, "CEF:0|")
	if !ok {
		return errors.New("MSG does not begin with CEF:0|")
	}
	var severity string
	for _, field := range [...]*string{&m.Vendor, &m.Product, &m.Version, &m.ClassID, &m.Name, &severity} {
		var err error
		if *field, rest, err = headerField(rest); err != nil {
			return err
		}
		if *field == "" {
			return errors.New("a field of the CEF header is empty")
		}
	}
	n, err := strconv.Atoi(severity)
	if err != nil || n < 0 || n > 10 || strconv.Itoa(n) != severity {
		return fmt.Errorf("CEF severity %q", severity)
	}
	m.Severity = n
	m.Extension, err = extension(rest)
	return err
}

// headerField returns the text before the next pipe that is not escaped.
func headerField(text string) (field, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '|':
			return b.String(), text[i+1:], nil
		case '\\':
			if i++; i == len(text) || text[i] != '\\' && text[i] != '|' {
				return "", "", errors.New("a wrong escape in the CEF header")
			}
		}
		b.WriteByte(text[i])
	}
	return "", "", errors.New("the CEF header ends early")
}

// extension parses key=value pairs. An equals sign that is not escaped ends a key. A blank precedes every key except
// the first; the text before the blank is the value of the previous key.
func extension(text string) ([]Field, error) {
	var fields []Field
	seen := map[string]bool{}
	equals := unescapedEquals(text)
	start := 0 // of the current value
	for n, at := range equals {
		from := at
		for from > start && isKey(text[from-1]) {
			from--
		}
		key := text[from:at]
		if key == "" || seen[key] {
			return nil, fmt.Errorf("extension: key %q is empty or comes twice", key)
		}
		seen[key] = true
		if n > 0 {
			if from == start || text[from-1] != ' ' {
				return nil, fmt.Errorf("extension: no blank before %q", key)
			}
			if err := setValue(fields, text[start:from-1]); err != nil {
				return nil, err
			}
		} else if from != 0 {
			return nil, errors.New("extension: does not begin with a key")
		}
		fields = append(fields, Field{Key: key})
		start = at + 1
	}
	if len(fields) == 0 {
		return nil, errors.New("extension: no key")
	}
	return fields, setValue(fields, text[start:])
}

func unescapedEquals(text string) (at []int) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '=':
			at = append(at, i)
		}
	}
	return at
}

func isKey(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_'
}

// setValue sets the value of the last field.
func setValue(fields []Field, raw string) error {
	f := &fields[len(fields)-1]
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' {
			if i++; i == len(raw) {
				return fmt.Errorf("extension: %s ends in an escape", f.Key)
			}
			switch c = raw[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case '\\', '=':
			default:
				return fmt.Errorf("extension: a wrong escape in %s", f.Key)
			}
		}
		b.WriteByte(c)
	}
	f.Value = b.String()
	return nil
}
