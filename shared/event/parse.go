package event

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// MaxBytes is the largest event: what an SQS message can carry.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
const MaxBytes = 1 << 20

// Parser parses events. It is reused to save allocations, and belongs to one goroutine.
type Parser struct {
	texts []Text // arena of the events' lists
	key   []byte // scratch for keys with escapes

	b        []byte
	i        int
	depth    int
	spaced   bool
	e        *Event
	timeSeen kind
	activity Text
	list     []Text // of the array being read
	groups   []Text
	groupIDs []Text
	group    struct{ uid, name Text }
}

// kind is what sort of value stood where a field was looked for.
type kind string

// Reset gives up the lists of all events parsed so far; none of them may be used any more.
func (p *Parser) Reset() { p.texts = p.texts[:0] }

// Parse reads body into e. An error means that body can never be delivered: it is not a JSON object, not UTF-8, larger
// than MaxBytes, or has no usable time. e then holds nothing but the body. Errors quote no content.
func (p *Parser) Parse(body []byte, e *Event) error {
	*e = Event{Body: body}
	if len(body) > MaxBytes {
		return fmt.Errorf("body: expected at most %d bytes, has %d", MaxBytes, len(body))
	}
	if !utf8.Valid(body) {
		return fmt.Errorf("body: expected UTF-8, byte %d is not", invalidUTF8(body))
	}
	p.b, p.i, p.depth, p.spaced, p.e = body, 0, 0, false, e
	p.timeSeen, p.activity, p.groups, p.groupIDs = "", nil, nil, nil
	err := p.document()
	p.b, p.e = nil, nil
	if err != nil {
		*e = Event{Body: body}
	}
	return err
}

func (p *Parser) document() error {
	p.space()
	if p.i < len(p.b) && p.b[p.i] != '{' {
		if _, ok := jsonscan.Value(p.b, p.i, 0); ok {
			return fmt.Errorf("body: expected a JSON object, found %s", kindOf(p.b[p.i]))
		}
		return fmt.Errorf("body: expected a JSON object, byte %d is not JSON", p.i)
	}
	if p.i == len(p.b) {
		return errors.New("body: expected a JSON object, is empty")
	}
	if !p.object(root) {
		if p.depth > jsonscan.MaxDepth {
			return fmt.Errorf("body: expected at most %d levels of nesting", jsonscan.MaxDepth)
		}
		return fmt.Errorf("body: expected JSON, byte %d of %d breaks it", p.i, len(p.b))
	}
	if p.space(); p.i != len(p.b) {
		return fmt.Errorf("body: expected one JSON object, byte %d follows it", p.i)
	}
	return p.finish()
}

// finish settles what could only be known at the end.
func (p *Parser) finish() error {
	e := p.e
	if p.timeSeen != "" {
		return fmt.Errorf("time: expected an integer (Unix milliseconds, not negative), found %s", p.timeSeen)
	}
	if e.Time < 0 {
		return errors.New("time: expected an integer (Unix milliseconds), absent")
	}
	if e.Operation == nil {
		e.Operation = p.activity
	}
	if e.Groups = p.groups; len(p.groups) == 0 {
		e.Groups = p.groupIDs
	}
	e.spaced = p.spaced
	return nil
}

func (p *Parser) space() {
	if p.i < len(p.b) && p.b[p.i] <= ' ' {
		p.skipSpace()
	}
}

func (p *Parser) skipSpace() {
	end := jsonscan.Space(p.b, p.i)
	p.i, p.spaced = end, p.spaced || end != p.i
}

// object reads the object at the current position, whose place in an event is n.
func (p *Parser) object(n *node) bool {
	if n == root {
		p.e.Time = -1
	}
	p.depth++
	p.i++
	if p.space(); p.i < len(p.b) && p.b[p.i] == '}' {
		p.i, p.depth = p.i+1, p.depth-1
		return true
	}
	for {
		kid, ok := p.member(n)
		if !ok || !p.value(kid) {
			return false
		}
		more, ok := p.next('}')
		if !ok {
			return false
		}
		if !more {
			p.depth--
			return true
		}
	}
}

// next reads the separator behind an element, and tells whether another one follows.
func (p *Parser) next(last byte) (more, ok bool) {
	if p.space(); p.i >= len(p.b) {
		return false, false
	}
	switch p.b[p.i] {
	case ',':
		p.i++
		p.space()
		return true, true
	case last:
		p.i++
		return false, true
	}
	return false, false
}

// member reads a key and its colon, and returns the node of that name below n, nil when no field is there.
func (p *Parser) member(n *node) (*node, bool) {
	start := p.i
	if start >= len(p.b) || p.b[start] != '"' {
		return nil, false
	}
	end, escaped, ok := jsonscan.String(p.b, start)
	p.i = end
	if !ok {
		return nil, false
	}
	if p.space(); p.i >= len(p.b) || p.b[p.i] != ':' {
		return nil, false
	}
	p.i++
	p.space()
	if escaped {
		p.key = jsonscan.AppendUnquoted(p.key[:0], p.b[start:end])
		return n.find(p.key), true
	}
	return n.find(p.b[start+1 : end-1]), true
}

// value reads the value at the current position; n is its place in an event, nil when nothing in it is a field.
func (p *Parser) value(n *node) bool {
	if p.i >= len(p.b) {
		return false
	}
	start, c := p.i, p.b[p.i]
	switch {
	case n == nil:
		return p.skip()
	case c == '{' && n.kids != nil:
		return p.depth < jsonscan.MaxDepth && p.object(n)
	case c == '[' && n.items != nil:
		return p.depth < jsonscan.MaxDepth && p.array(n)
	case c == '"':
		end, _, ok := jsonscan.String(p.b, start)
		if p.i = end; ok {
			p.text(n.field, p.b[start:end])
		}
		return ok
	case c == '-' || '0' <= c && c <= '9':
		end, integer, ok := jsonscan.Number(p.b, start)
		if p.i = end; ok {
			p.number(n.field, p.b[start:end], integer)
		}
		return ok
	}
	p.absent(n.field, kindOf(c))
	return p.skip()
}

// skip reads a value that holds no field.
func (p *Parser) skip() bool {
	end, spaced, ok := jsonscan.Skim(p.b, p.i, p.depth)
	p.i, p.spaced = end, p.spaced || spaced
	return ok
}

// array reads an array whose elements' place in an event is n.items.
func (p *Parser) array(n *node) bool {
	p.depth++
	p.i++
	p.list = p.list[:0]
	if p.space(); p.i < len(p.b) && p.b[p.i] == ']' {
		p.i, p.depth = p.i+1, p.depth-1
		p.keep(n.items.field)
		return true
	}
	for {
		p.group.uid, p.group.name = nil, nil
		if !p.value(n.items) {
			return false
		}
		p.element(n.items.field)
		more, ok := p.next(']')
		if !ok {
			return false
		}
		if !more {
			p.depth--
			p.keep(n.items.field)
			return true
		}
	}
}

// element adds a group that has been read whole: by its uid, else by its name.
func (p *Parser) element(f field) {
	if f != fieldGroup {
		return
	}
	if id := p.group.uid; id != nil {
		p.list = append(p.list, id)
	} else if name := p.group.name; name != nil {
		p.list = append(p.list, name)
	}
}

// keep moves the list just read into the arena and gives it to its field.
func (p *Parser) keep(f field) {
	start := len(p.texts)
	p.texts = append(p.texts, p.list...)
	list := p.texts[start:len(p.texts):len(p.texts)]
	switch f {
	case fieldGroup:
		p.groups = list
	case fieldGroupID:
		p.groupIDs = list
	case fieldDLPLabel:
		p.e.DLPLabels = list
	}
}

func (p *Parser) text(f field, raw Text) {
	switch f {
	case fieldGroupID, fieldDLPLabel:
		p.list = append(p.list, raw)
	case fieldTime, fieldClass, fieldSeverity, fieldTokensInput, fieldTokensOutput:
		p.absent(f, "a string")
	case fieldTimestamp:
		p.e.HasTimestamp = true
	default:
		if t := p.target(f); t != nil {
			*t = raw
		}
	}
}

// target is where the text of a field goes, nil for a field that is no text.
func (p *Parser) target(f field) *Text {
	switch f {
	case fieldUserID:
		return &p.e.UserID
	case fieldUserEmail:
		return &p.e.UserEmail
	case fieldGroupUID:
		return &p.group.uid
	case fieldGroupName:
		return &p.group.name
	case fieldRequestID:
		return &p.e.RequestID
	case fieldOperation:
		return &p.e.Operation
	case fieldActivity:
		return &p.activity
	case fieldEventID:
		return &p.e.uid
	case fieldModelID:
		return &p.e.ModelID
	case fieldPolicyAction:
		return &p.e.PolicyAction
	}
	return nil
}

func (p *Parser) number(f field, raw []byte, integer bool) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	ok := integer && err == nil
	switch {
	case f == fieldTime && ok && n >= 0:
		p.e.Time, p.timeSeen = milliseconds(n), ""
	case f == fieldTime && ok:
		p.absent(f, "a negative number")
	case !ok || f == fieldTimestamp:
		p.absent(f, "a number that is no integer")
	case f == fieldClass:
		p.e.Class = n
	case f == fieldSeverity:
		p.e.Severity = n
	case f == fieldTokensInput:
		p.e.TokensInput = Integer{n, true}
	case f == fieldTokensOutput:
		p.e.TokensOutput = Integer{n, true}
	default:
		p.absent(f, "a number")
	}
}

// milliseconds reads a time that lies beyond the year 9999 as what it is in the wild: microseconds or nanoseconds. Only
// what we derive from it changes; the event itself stays as it is.
func milliseconds(n int64) int64 {
	for n > MaxTime {
		n /= 1000
	}
	return n
}

// absent notes a value of the wrong type: the field counts as absent, also when the key stood there before.
func (p *Parser) absent(f field, found kind) {
	switch f {
	case fieldTime:
		p.e.Time, p.timeSeen = -1, found
	case fieldClass:
		p.e.Class = 0
	case fieldSeverity:
		p.e.Severity = 0
	case fieldTokensInput:
		p.e.TokensInput = Integer{}
	case fieldTokensOutput:
		p.e.TokensOutput = Integer{}
	case fieldTimestamp:
		p.e.HasTimestamp = true
	default:
		if t := p.target(f); t != nil {
			*t = nil
		}
	}
}

func kindOf(c byte) kind {
	switch c {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}
