package event

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// MaxBytes is the largest event: what an SQS message can carry.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const MaxBytes = 1 << 20

// Parser parses events. It is reused to save allocations. It is not safe for concurrent use.
type Parser struct {
	texts []Text // backing array of the lists of all events since Reset

	r       jsonscan.Reader
	e       *Event
	timeErr string // what is wrong with the time; "" if nothing is
	list    []Text // of the array being read
	group   struct{ uid, name Text }
	values
}

// values are the values of one event that are not in the Event itself.
type values struct {
	class, severity Integer
	second          struct { // of the second paths
		activity, modelName Text
		prompt, completion  Integer
		groupIDs            []Text
	}
}

// Reset releases the lists of all events parsed so far. Those events must not be used afterwards.
func (p *Parser) Reset() { p.texts = p.texts[:0] }

// Parse reads body into e. A byte order mark before the event is ignored. An error means that body can never be
// delivered: it is not a JSON object, not UTF-8, larger than MaxBytes, or has no usable time. Then e holds only the
// body. Errors quote no content.
func (p *Parser) Parse(body []byte, e *Event) error {
	*e = Event{Body: body}
	text, err := check(body)
	if err != nil {
		return err
	}
	p.r = jsonscan.NewReader(text, 0)
	if p.r.Peek() == 0 && p.r.Pos() == len(text) {
		return errors.New("body: expected a JSON object, is empty")
	}
	if err = p.readEvent(e); !p.r.End() {
		err = fmt.Errorf("body: expected a JSON object, byte %d of %d is invalid", p.r.Pos(), len(text))
	}
	e.Body, e.spaced = text, p.r.Spaced()
	if err != nil {
		*e = Event{Body: body}
	}
	return err
}

// Entry is one event of a message.
type Entry struct {
	Event Event
	Index int   // in the array that the message's body is, or Whole
	Err   error // why the event can never be delivered; Event then holds only the body
}

// Whole is the index of an event that is the whole body of its message.
const Whole = -1

// ParseMessage appends the events of a message body to dst: those of a JSON array, or else the body itself, as Parse
// reads it. A byte order mark before it is ignored. An element of the array that is not an event has an entry with an
// error of its own. An array that is invalid as a whole (empty, not JSON, not UTF-8, larger than MaxBytes, or of more
// than MaxEvents elements) has one entry, with its error.
func (p *Parser) ParseMessage(dst []Entry, body []byte) []Entry {
	first := len(dst)
	if !IsArray(body) {
		dst = append(dst, Entry{Index: Whole})
		dst[first].Err = p.Parse(body, &dst[first].Event)
		return dst
	}
	text, err := check(body)
	if err == nil {
		p.r = jsonscan.NewReader(text, 1)
		dst = p.elements(dst)
		err = arrayError(&p.r, len(dst)-first, len(text))
	}
	if err != nil {
		clear(dst[first:])
		dst = append(dst[:first], Entry{Event: Event{Body: body}, Index: Whole, Err: err})
	}
	return dst
}

// elements appends the elements of the array at the reader's position, at most one more than MaxEvents.
func (p *Parser) elements(dst []Entry) []Entry {
	first := len(dst)
	for p.r.Array(); p.r.Element() && len(dst)-first <= MaxEvents; {
		dst = append(dst, Entry{Index: len(dst) - first})
		entry := &dst[len(dst)-1]
		start := p.r.Pos()
		p.r.ClearSpaced()
		entry.Err = p.readEvent(&entry.Event)
		if p.r.Err() != nil {
			return dst
		}
		body := p.r.Since(start)
		if entry.Event.Body, entry.Event.spaced = body, p.r.Spaced(); entry.Err != nil {
			entry.Event = Event{Body: body}
		}
	}
	return dst
}

// check checks what can be checked of a body as a whole, and returns it without a byte order mark.
func check(body []byte) (text []byte, err error) {
	if len(body) > MaxBytes {
		return nil, fmt.Errorf("body: expected at most %d bytes, has %d", MaxBytes, len(body))
	}
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("body: expected UTF-8, byte %d is invalid", invalidUTF8(body))
	}
	return trimBOM(body), nil
}

// trimBOM returns text without a byte order mark before it.
func trimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) }

// readEvent reads the next value into e. Its error is about this value; the error of the reader means that the text is
// not JSON.
func (p *Parser) readEvent(e *Event) error {
	p.e, p.timeErr, p.values = e, "absent", values{}
	start, c := p.r.Pos(), p.r.Peek()
	if c != '{' {
		p.r.Skip()
		return errors.New("body: expected a JSON object, found " + kindOf(c))
	}
	p.object(root)
	if p.timeErr == "" {
		p.complete()
		return nil
	}
	if p.r.Err() == nil {
		if advice := envelopeAdvice(p.r.Since(start)); advice != "" {
			return errors.New("body: " + advice)
		}
	}
	return errors.New("time: expected an integer (Unix milliseconds), " + p.timeErr)
}

// complete takes the values over that are not in the Event yet.
func (p *Parser) complete() {
	e, second := p.e, &p.second
	e.Class, e.Severity, e.HasSeverity = p.class.Value, p.severity.Value, p.severity.Present
	if e.Operation == nil {
		e.Operation = second.activity
	}
	if e.ModelID == nil {
		e.ModelID = second.modelName
	}
	e.TokensInput = cmp.Or(e.TokensInput, second.prompt)
	e.TokensOutput = cmp.Or(e.TokensOutput, second.completion)
	if len(e.Groups) == 0 {
		e.Groups = second.groupIDs
	}
}

// object reads the object at node n.
func (p *Parser) object(n *node) {
	p.r.Object()
	for key, ok := p.r.Key(); ok; key, ok = p.r.Key() {
		p.value(n.find(key))
	}
}

// value reads the value at node n; nil means that the value contains no field.
func (p *Parser) value(n *node) {
	if n == nil {
		p.r.Skip()
		return
	}
	switch c := p.r.Peek(); {
	case c == '{' && n.kids != nil:
		p.object(n)
	case c == '[' && n.items != nil:
		p.array(n.items)
	case c == '"':
		if raw := p.r.String(); raw != nil {
			p.text(n, raw)
		}
	case c == '-' || '0' <= c && c <= '9':
		if raw, integer := p.r.Number(); raw != nil {
			p.number(n, raw, integer)
		}
	default:
		p.absent(n, kindOf(c))
		p.r.Skip()
	}
}

// array reads an array whose elements are at node n.
func (p *Parser) array(n *node) {
	p.list = p.list[:0]
	for p.r.Array(); p.r.Element(); {
		p.group.uid, p.group.name = nil, nil
		if p.value(n); n.groups {
			p.addGroup()
		}
	}
	start := len(p.texts)
	p.texts = append(p.texts, p.list...)
	if n.list != nil {
		*n.list(p) = p.texts[start:len(p.texts):len(p.texts)]
	}
}

// addGroup adds the group just read: by its uid, else by its name.
func (p *Parser) addGroup() {
	if id := p.group.uid; id != nil {
		p.list = append(p.list, id)
	} else if name := p.group.name; name != nil {
		p.list = append(p.list, name)
	}
}

// text takes a string at node n.
func (p *Parser) text(n *node, raw Text) {
	switch {
	case n.text != nil:
		*n.text(p) = raw
	case n.list != nil && !n.groups:
		p.list = append(p.list, raw)
	default:
		p.absent(n, "a string")
	}
}

// number takes a number at node n.
func (p *Parser) number(n *node, raw []byte, integer bool) {
	v, found := parseInteger(raw, integer)
	switch {
	case found != "":
		p.absent(n, found)
	case !n.time && !integer && bytes.ContainsAny(raw, "eE"): // the SIEM reads 1e3 as a float
		p.absent(n, "a number with an exponent")
	case n.time:
		p.e.Time, p.e.TimeConverted, p.timeErr = milliseconds(v)
	case n.integer != nil:
		*n.integer(p) = Integer{v, true}
	default:
		p.absent(n, "a number")
	}
}

// absent handles a value of the wrong type: the field counts as absent, even if the key occurred before with a valid
// value.
func (p *Parser) absent(n *node, found string) {
	switch {
	case n.time:
		p.timeErr = "found " + found
	case n.timestamp:
		p.e.HasTimestamp = true
	case n.text != nil:
		*n.text(p) = nil
	case n.integer != nil:
		*n.integer(p) = Integer{}
	case n.items != nil && n.items.list != nil:
		*n.items.list(p) = nil
	}
}

// kinds names the types of values by their first bytes; a value with any other one is a number.
var kinds = [256]string{
	'{': "an object", '[': "an array", '"': "a string", 't': "a boolean", 'f': "a boolean", 'n': "null",
}

// kindOf names the type of the value that begins with c.
func kindOf(c byte) string { return cmp.Or(kinds[c], "a number") }

// invalidUTF8 returns the position of the first byte of b that is not UTF-8. There must be one.
func invalidUTF8(b []byte) int {
	for i := 0; ; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}
