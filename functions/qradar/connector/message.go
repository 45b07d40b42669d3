package connector

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
)

// A message is a syslog header (RFC 5424, section 6) and CEF:
//
//	<PRI>1 TIMESTAMP HOSTNAME APP-NAME - MSGID - CEF:0|vendor|product|version|class|name|severity|key=value key=value …
//
// It has no byte order mark, because some receivers then do not find "CEF:", no line break, and no blanks at its end,
// which receivers remove.

// keys are the extension keys, each with the space before it and its label if it has one.
type keys struct {
	eventID, userEmail, userID, action, model, tokensInput, tokensOutput string // eventID may be "": not written
}

// keySets are the values of QRADAR_CEF_KEYS.
var keySets = map[string]*keys{
	// Those of the platform's page. model, tokenIn and tokenOut are not in the CEF dictionary, where duid is the
	// destination user.
	"page": {
		userEmail: " suser=", userID: " duid=", action: " act=",
		model: " model=", tokensInput: " tokenIn=", tokensOutput: " tokenOut=",
	},
	// All of these are in the CEF dictionary, so QRadar's Universal CEF parses them.
	"standard": {
		eventID: " externalId=", userEmail: " suser=", userID: " suid=", action: " act=",
		model: " cs4Label=ModelId cs4=", tokensInput: " cn1Label=TokensInput cn1=",
		tokensOutput: " cn2Label=TokensOutput cn2=",
	},
}

// Keys of both sets. The labels are in every message, with or without a value.
const (
	actionKey    = " cs1Label=PolicyAction cs1="
	labelsKey    = " cs2Label=DlpLabels cs2="
	groupsKey    = " cs3Label=GroupIds cs3="
	sourceKey    = " src=" // if the event has a source address
	truncatedKey = " truncated=1"
)

// severities map OCSF's severity_id to syslog and CEF: PRI is facility local0 (16) times 8 and the syslog severity.
var severities = [...]struct{ pri, cef string }{
	0: {"<134>1 ", "|0|"},
	1: {"<134>1 ", "|3|"},
	2: {"<133>1 ", "|4|"},
	3: {"<132>1 ", "|6|"},
	4: {"<131>1 ", "|8|"},
	5: {"<130>1 ", "|9|"},
	6: {"<129>1 ", "|10|"},
	7: {"<134>1 ", "|5|"}, // other
}

const other = 7

// minValue is the least that a value may be cut to: it keeps one character, escaped or not.
const minValue = utf8.UTFMax

// appendMessage appends e's message. If it has more than maxMessage bytes, items of cs3 are removed from the end, then
// items of cs2, then the longest values are cut.
func (c *connector) appendMessage(dst []byte, e *event.Event) (message []byte, truncated bool, err error) {
	start, most := len(dst), c.maxMessage
	dst = c.appendHead(dst, e, most)
	labels := len(dst)
	dst, _ = appendList(dst, e.DLPLabels, math.MaxInt)
	dst, _ = appendList(append(dst, groupsKey...), e.Groups, math.MaxInt)
	end := len(dst)
	if dst = appendSource(dst, e.SourceAddress, most); len(dst)-start <= most {
		return bytes.TrimRight(dst, " "), false, nil
	}
	source := bytes.Clone(dst[end:])
	bare := labels - start + len(groupsKey) + len(source) + len(truncatedKey)
	if room := most - bare; room >= 0 {
		dst, left := appendList(dst[:labels], e.DLPLabels, room)
		dst, _ = appendList(append(dst, groupsKey...), e.Groups, left) // none if labels were removed already
		return append(append(dst, source...), truncatedKey...), true, nil
	}
	limit := sort.Search(most, func(n int) bool { return len(c.appendCut(dst[:start], e, most-n))-start <= most })
	if limit = most - limit; limit < minValue {
		least := len(c.appendCut(dst[:start], e, minValue)) - start
		return dst, false, fmt.Errorf("encoding as cef: the message takes %d bytes with all values cut, and "+
			"QRADAR_MAX_MESSAGE_BYTES is %d", least, most)
	}
	return c.appendCut(dst[:start], e, limit), true, nil
}

// appendCut appends e's message without items of cs2 and cs3, and with at most limit bytes of each value.
func (c *connector) appendCut(dst []byte, e *event.Event, limit int) []byte {
	dst = c.appendHead(dst, e, limit)
	dst = append(dst, groupsKey...)
	dst = appendSource(dst, e.SourceAddress, limit)
	return append(dst, truncatedKey...)
}

// appendHead appends everything up to the value of cs2, with at most limit bytes of each value.
func (c *connector) appendHead(dst []byte, e *event.Event, limit int) []byte {
	severity := &severities[other]
	if 0 <= e.Severity && e.Severity < other {
		severity = &severities[e.Severity]
	}
	dst = append(dst, severity.pri...)
	dst = e.AppendTime(dst)
	dst = append(dst, c.origin...)
	dst = appendMessageID(dst, e.RequestID)
	dst = append(dst, c.device...)
	dst = strconv.AppendInt(dst, e.Class, 10)
	dst = append(dst, '|')
	dst = appendName(dst, e, limit)
	dst = append(dst, severity.cef...)

	dst = append(dst, "rt="...)
	dst = strconv.AppendInt(dst, e.Time, 10)
	if c.keys.eventID != "" {
		dst = append(dst, c.keys.eventID...)
		start := len(dst)
		dst = cutTail(escapeTail(e.AppendID(dst), start, inValue), start, limit)
	}
	dst = appendText(dst, c.keys.userEmail, e.UserEmail, limit)
	dst = appendText(dst, c.keys.userID, e.UserID, limit)
	dst = appendText(dst, c.keys.action, e.PolicyAction, limit)
	dst = appendText(dst, c.keys.model, e.ModelID, limit)
	dst = appendNumber(dst, c.keys.tokensInput, e.TokensInput)
	dst = appendNumber(dst, c.keys.tokensOutput, e.TokensOutput)
	dst = append(dst, actionKey...)
	dst = appendValue(dst, e.PolicyAction, limit)
	return append(dst, labelsKey...)
}

// appendName appends CEF's name of the event, which must not be empty: the operation, or the class.
func appendName(dst []byte, e *event.Event, limit int) []byte {
	if e.Operation.Empty() {
		return strconv.AppendInt(append(dst, "OCSF class "...), e.Class, 10)
	}
	start := len(dst)
	return cutTail(escapeTail(e.Operation.Append(dst), start, inHeader), start, limit)
}

// appendText appends key and value, or nothing if there is no value.
func appendText(dst []byte, key string, value event.Text, limit int) []byte {
	if value.Empty() {
		return dst
	}
	return appendValue(append(dst, key...), value, limit)
}

// appendSource appends the source. CEF allows only an address as src.
func appendSource(dst []byte, source event.Text, limit int) []byte {
	key := " shost="
	if text := bytes.Trim(source, `"`); len(bytes.Trim(text, "0123456789.")) == 0 ||
		bytes.IndexByte(text, ':') >= 0 && len(bytes.Trim(text, "0123456789abcdefABCDEF.:")) == 0 {
		key = sourceKey
	}
	return appendText(dst, key, source, limit)
}

func appendNumber(dst []byte, key string, value event.Integer) []byte {
	if !value.Present {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), value.Value, 10)
}

func appendValue(dst []byte, value event.Text, limit int) []byte {
	start := len(dst)
	return cutTail(escapeTail(value.Append(dst), start, inValue), start, limit)
}

// appendItem appends an item of a list. A comma in it becomes a space, or the item would read as two.
func appendItem(dst []byte, item event.Text) []byte {
	start := len(dst)
	dst = escapeTail(item.Append(dst), start, inValue)
	for i := start; i < len(dst); i++ {
		if dst[i] == ',' {
			dst[i] = ' '
		}
	}
	return dst
}

// appendList appends items separated by commas, until one no longer fits into room bytes. It returns the room that is
// left, which is negative if an item was left out.
func appendList(dst []byte, items []event.Text, room int) (list []byte, left int) {
	for i, v := range items {
		before := len(dst)
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendItem(dst, v)
		if room -= len(dst) - before; room < 0 {
			return dst[:before], room
		}
	}
	return dst, room
}

// insertLength inserts the length of the message that begins at start before it: RFC 6587, section 3.4.1.
func insertLength(dst []byte, start int) []byte {
	var digits [24]byte
	length := strconv.AppendInt(digits[:0], int64(len(dst)-start), 10)
	return slices.Insert(dst, start, append(length, ' ')...)
}

// place is a place of text in a message, with its escaping: ArcSight Common Event Format, revision 25, "Character
// Encoding".
type place struct {
	mark      byte      // ends the text there, so it is escaped by a backslash
	lineBreak bool      // line breaks become \n and \r; otherwise spaces
	special   [256]bool // bytes that may need an escape
}

// The places, in the order of places.
const (
	inHeader = iota // a field of CEF's header
	inValue         // an extension's value
)

var places = [...]place{inHeader: newPlace('|', false), inValue: newPlace('=', true)}

func newPlace(mark byte, lineBreak bool) place {
	p := place{mark: mark, lineBreak: lineBreak}
	for b := range 0x20 {
		p.special[b] = true
	}
	for _, b := range [...]byte{'\\', mark, 0x7f, c1, separators} {
		p.special[b] = true
	}
	return p
}

// The first bytes, in UTF-8, of the characters beyond ASCII that some parsers read as a line break: the C1 controls
// (U+0080 to U+009F), and U+2028 and U+2029.
const (
	c1         = 0xc2
	separators = 0xe2
)

// escapeTail escapes the text dst[start:] in place.
func escapeTail(dst []byte, start, at int) []byte {
	p := &places[at]
	for i := start; i < len(dst); i++ {
		if p.special[dst[i]] {
			end := len(dst)
			dst = p.appendEscaped(dst, dst[i:end]) // appended, then moved over the text
			return dst[:i+copy(dst[i:], dst[end:])]
		}
	}
	return dst
}

// appendEscaped appends text, which is UTF-8, with its escapes.
func (p *place) appendEscaped(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		b := text[i]
		switch {
		case !p.special[b]:
			dst = append(dst, b)
		case b == '\\' || b == p.mark:
			dst = append(dst, '\\', b)
		case b == '\n' && p.lineBreak:
			dst = append(dst, '\\', 'n')
		case b == '\r' && p.lineBreak:
			dst = append(dst, '\\', 'r')
		case b < c1: // the other controls have no escape
			dst = append(dst, ' ')
		default:
			n := lineEnd(text[i:])
			if n == 0 {
				dst = append(dst, b)
				continue
			}
			dst = append(dst, ' ')
			i += n - 1
		}
	}
	return dst
}

// lineEnd returns the length of the line break that text begins with, 0 if there is none.
func lineEnd(text []byte) int {
	switch {
	case text[0] == c1 && len(text) > 1 && text[1] < 0xa0:
		return 2
	case bytes.HasPrefix(text, []byte("\u2028")), bytes.HasPrefix(text, []byte("\u2029")):
		return 3
	}
	return 0
}

// The fields of the syslog header hold printable ASCII without blanks, and so many bytes: RFC 5424, section 6.
const (
	maxHostname  = 255
	maxAppName   = 48
	maxMessageID = 32
)

// origin returns HOSTNAME, APP-NAME and PROCID with the spaces around them. Receivers look for the first "CEF:" of a
// line, so neither of the settings may contain it.
func origin(host, product string) []byte {
	dst := []byte(" ")
	dst = headerTail(append(dst, host...), len(dst), maxHostname)
	dst = append(dst, ' ')
	dst = headerTail(append(dst, product...), len(dst), maxAppName)
	return append(bytes.ReplaceAll(dst, []byte("CEF:"), []byte("CEF-")), " - "...)
}

// device returns the structured data, which is empty, and the CEF header up to the event class.
func device(vendor, product, version string) []byte {
	dst := []byte(" - CEF:0|")
	for _, field := range [...]string{vendor, product, version} {
		start := len(dst)
		dst = escapeTail(append(dst, field...), start, inHeader)
		dst = append(dst, '|')
	}
	return dst
}

// appendMessageID appends a request id as MSGID. A UUID is longer than MSGID may be only by its hyphens.
func appendMessageID(dst []byte, id event.Text) []byte {
	start := len(dst)
	dst = dropTail(id.Append(dst), start, func(b byte) bool { return !inMessageID(b) })
	if len(dst)-start > maxMessageID {
		dst = dropTail(dst, start, func(b byte) bool { return b == '-' })
	}
	return nilTail(dst, start, maxMessageID)
}

// inMessageID reports whether MSGID keeps a character. With a colon, an event could forge the "CEF:" that receivers
// look for.
func inMessageID(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '.' || b == '_' || b == '-'
}

// headerTail makes the text dst[start:] fit for a field of the syslog header: printable ASCII without spaces.
func headerTail(dst []byte, start, most int) []byte {
	return nilTail(dropTail(dst, start, func(b byte) bool { return b < '!' || b > '~' }), start, most)
}

// dropTail removes the bytes of dst[start:] that drop reports.
func dropTail(dst []byte, start int, drop func(byte) bool) []byte {
	return dst[:start+len(slices.DeleteFunc(dst[start:], drop))]
}

// nilTail cuts dst[start:] to most bytes, and writes the header's nil value if nothing is left.
func nilTail(dst []byte, start, most int) []byte {
	if len(dst) == start {
		return append(dst, '-')
	}
	return dst[:min(len(dst), start+most)]
}

// cutTail cuts the escaped text dst[start:] to at most most bytes, between two characters and not in an escape.
func cutTail(dst []byte, start, most int) []byte {
	end := start + most
	if len(dst) <= end {
		return dst
	}
	for end > start && !utf8.RuneStart(dst[end]) {
		end--
	}
	if slashes := end - start - len(bytes.TrimRight(dst[start:end], `\`)); slashes%2 == 1 {
		end--
	}
	return dst[:end]
}
