package connector

import (
	"bytes"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/event"
)

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

// appendOrigin appends HOSTNAME, APP-NAME and PROCID with the spaces around them. Receivers look for the first "CEF:"
// of a line, so neither of the settings may contain it.
func appendOrigin(dst []byte, host, product string) []byte {
	dst = append(dst, ' ')
	dst = headerTail(append(dst, host...), len(dst), maxHostname)
	dst = append(dst, ' ')
	dst = headerTail(append(dst, product...), len(dst), maxAppName)
	return append(bytes.ReplaceAll(dst, []byte("CEF:"), []byte("CEF-")), " - "...)
}

// appendDevice appends the structured data, which is empty, and the CEF header up to the event class.
func appendDevice(dst []byte, vendor, product, version string) []byte {
	dst = append(dst, " - CEF:0|"...)
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
	dst = keepTail(id.Append(dst), start, inMessageID)
	if len(dst)-start > maxMessageID {
		dst = keepTail(dst, start, func(b byte) bool { return b != '-' })
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
	return nilTail(keepTail(dst, start, func(b byte) bool { return '!' <= b && b <= '~' }), start, most)
}

// keepTail removes the bytes of dst[start:] that keep does not report.
func keepTail(dst []byte, start int, keep func(byte) bool) []byte {
	kept := start
	for _, b := range dst[start:] {
		if keep(b) {
			dst[kept] = b
			kept++
		}
	}
	return dst[:kept]
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
