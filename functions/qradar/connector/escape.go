package connector

import (
	"bytes"

	"github.com/arbitex/siem-connectors/shared/event"
)

// place is where in a message a text stands, which decides what has to be escaped in it: ArcSight Common Event Format,
// revision 25, "Character Encoding".
type place struct {
	mark      byte      // ends the text there, so it is escaped by a backslash
	lineBreak bool      // line breaks are written as \n and \r; else they are a blank
	special   [256]bool // bytes that need a second look
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

// The first bytes, in UTF-8, of the characters beyond ASCII that some parsers take for a line's end: the C1 controls
// (U+0080 to U+009F, with NEL), and U+2028 and U+2029.
const (
	c1         = 0xc2
	separators = 0xe2
)

// escapeTail escapes the text dst[start:] where it stands.
func escapeTail(dst []byte, start, at int) []byte {
	p := &places[at]
	for i := start; i < len(dst); i++ {
		if p.special[dst[i]] {
			end := len(dst)
			dst = p.appendEscaped(dst, dst[i:end]) // behind the text, then over it
			return dst[:i+copy(dst[i:], dst[end:])]
		}
	}
	return dst
}

// appendEscaped appends text, which is UTF-8, so that it cannot end before its end.
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
		case b < c1: // the other controls have no escape, and some receivers stop at them
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

// lineEnd returns how many bytes the character has that text begins with, 0 when no parser takes it for a line's end.
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

// appendOrigin appends HOSTNAME, APP-NAME and PROCID with the blanks around them.
func appendOrigin(dst []byte, host, product string) []byte {
	dst = append(dst, ' ')
	dst = headerTail(append(dst, host...), len(dst), maxHostname)
	dst = append(dst, ' ')
	dst = headerTail(append(dst, product...), len(dst), maxAppName)
	return append(dst, " - "...)
}

// appendDevice appends the structured data, which is none, and CEF's header up to the event class.
func appendDevice(dst []byte, vendor, product, version string) []byte {
	dst = append(dst, " - CEF:0|"...)
	for _, field := range [...]string{vendor, product, version} {
		start := len(dst)
		dst = escapeTail(append(dst, field...), start, inHeader)
		dst = append(dst, '|')
	}
	return dst
}

// appendMessageID appends a request id as MSGID. A UUID is longer than that by just its hyphens.
func appendMessageID(dst []byte, id event.Text) []byte {
	start := len(dst)
	dst = printableTail(id.Append(dst), start)
	if len(dst)-start > maxMessageID {
		kept := start
		for _, b := range dst[start:] {
			if b != '-' {
				dst[kept] = b
				kept++
			}
		}
		dst = dst[:kept]
	}
	return nilTail(dst, start, maxMessageID)
}

// headerTail makes the text dst[start:] fit for a field of the syslog header.
func headerTail(dst []byte, start, most int) []byte {
	return nilTail(printableTail(dst, start), start, most)
}

// printableTail drops from dst[start:] what is not printable ASCII; a blank would end the field.
func printableTail(dst []byte, start int) []byte {
	kept := start
	for _, b := range dst[start:] {
		if '!' <= b && b <= '~' {
			dst[kept] = b
			kept++
		}
	}
	return dst[:kept]
}

// nilTail cuts dst[start:] to most bytes, and writes the header's nil value where nothing is left.
func nilTail(dst []byte, start, most int) []byte {
	if len(dst) == start {
		return append(dst, '-')
	}
	return dst[:min(len(dst), start+most)]
}
