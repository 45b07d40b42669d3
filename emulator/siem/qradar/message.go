package qradar

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/emulator/siem"
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
	if strings.HasSuffix(text, " ") {
		return errors.New("blanks at the end of MSG, which a parser removes from the last value")
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

// hostname is the log source identifier. QRadar assigns a message to a log source by the HOSTNAME of its header, and
// messages with an unknown one to "SIM Generic".
// https://www.ibm.com/docs/en/qsip/7.6.0?topic=options-multiple-log-sources-over-tls-syslog
const hostname = "platform.arbitex.ai"

// take accepts a message, or records why QRadar would not create an event from it.
func (s *Simulator) take(message []byte) {
	s.Arrived(int64(len(message)))
	if len(message) > s.source.Payload {
		s.Violate("a message of %d bytes is over the payload limit of %d: QRadar would cut it", len(message),
			s.source.Payload)
		return
	}
	m, err := Parse(message)
	if err != nil {
		s.Violate("%v", err)
		return
	}
	if m.Hostname != hostname {
		s.Violate("HOSTNAME %q is not a log source", m.Hostname)
		return
	}
	s.judge(m)
	fields := map[string]string{
		"hostname": m.Hostname, "app_name": m.AppName, "msgid": m.MsgID, "class": m.ClassID, "name": m.Name,
		"severity": strconv.Itoa(m.Severity), "message": string(bytes.Clone(message)),
	}
	for _, f := range m.Extension {
		fields[f.Key] = f.Value
	}
	truncated, _ := m.Value("truncated")
	s.Accept(siem.Accepted{ID: identity(m), Fields: fields, Truncated: truncated == "1"})
}

// identity returns the event id if the keys contain it, else the request id and the time.
func identity(m *Message) string {
	if id, ok := m.Value("externalId"); ok {
		return id
	}
	rt, _ := m.Value("rt")
	return m.MsgID + " " + rt
}

// The keys in their order. A question mark marks an optional key.
var (
	pageOrder = []string{
		"rt", "suser?", "duid?", "act?", "model?", "tokenIn?", "tokenOut?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "src?", "shost?", "truncated?",
	}
	standardOrder = []string{
		"rt", "externalId", "suser?", "suid?", "act?", "cs4Label?", "cs4?", "cn1Label?", "cn1?", "cn2Label?", "cn2?",
		"cs1Label", "cs1", "cs2Label", "cs2", "cs3Label", "cs3", "src?", "shost?", "truncated?",
	}
)

// severities maps a CEF severity to the syslog severities of the wire format.
var severities = map[int][]int{0: {6}, 3: {6}, 4: {5}, 6: {4}, 8: {3}, 9: {2}, 10: {1}, 5: {6}}

// judge records violations of the wire format that QRadar accepts.
func (s *Simulator) judge(m *Message) {
	const local0 = 16
	if m.PRI/8 != local0 || !slices.Contains(severities[m.Severity], m.PRI%8) {
		s.Violate("PRI %d does not match CEF severity %d", m.PRI, m.Severity)
	}
	if m.ProcID != "-" {
		s.Violate("PROCID %q", m.ProcID)
	}
	if rt, _ := m.Value("rt"); rt != strconv.FormatInt(m.Time.UnixMilli(), 10) {
		s.Violate("rt and TIMESTAMP are not the same time")
	}
	order := standardOrder
	if s.source.Page {
		order = pageOrder
	}
	if !follows(m.Keys(), order) {
		s.Violate("extension keys are %s", strings.Join(m.Keys(), " "))
	}
	for key, label := range map[string]string{"cs1": "PolicyAction", "cs2": "DlpLabels", "cs3": "GroupIds"} {
		if got, _ := m.Value(key + "Label"); got != label {
			s.Violate("%sLabel is %q", key, got)
		}
	}
	for _, key := range []string{"suser", "suid", "duid", "act", "model", "cs4", "tokenIn", "tokenOut", "cn1", "cn2",
		"src", "shost"} {
		if v, ok := m.Value(key); ok && v == "" {
			s.Violate("%s has no value", key)
		}
	}
}

// follows reports whether keys are those of order, in that order.
func follows(keys, order []string) bool {
	for _, want := range order {
		name, optional := strings.CutSuffix(want, "?")
		switch {
		case len(keys) > 0 && keys[0] == name:
			keys = keys[1:]
		case !optional:
			return false
		}
	}
	return len(keys) == 0
}
