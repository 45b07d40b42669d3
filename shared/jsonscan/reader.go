package jsonscan

import (
	"fmt"
	"strconv"
)

// Reader reads one JSON text from front to back without copying it. It is the only JSON pull parser of the project.
//
//	r := jsonscan.NewReader(text, 0)
//	r.Object()
//	for key, ok := r.Key(); ok; key, ok = r.Key() {
//		switch string(key) {
//		case "status":
//			status, ok = r.Int()
//		default:
//			r.Skip()
//		}
//	}
//	if !r.End() {
//		return r.Err()
//	}
//
// Between two calls of Key or Element, the caller reads exactly one value. After the first error every method does
// nothing and returns its zero value, so the caller checks for an error once, at the end. All results are views into
// the text. The Reader does not check UTF-8.
type Reader struct {
	b      []byte
	i      int
	end    int  // of the last token before i
	depth  int  // arrays and objects around the current position
	first  bool // the position is right after an opening brace or bracket
	spaced bool
	err    error
}

// NewReader returns a Reader of text. envelope is how many of the outermost levels of nesting do not count toward
// MaxDepth: 1 for a text that wraps a value whose own nesting may reach MaxDepth.
func NewReader(text []byte, envelope int) Reader {
	r := Reader{b: text, depth: -envelope}
	r.advance(0)
	return r
}

// Err returns the first error, nil if there is none. Its text states what was expected, the byte found and its
// position.
func (r *Reader) Err() error { return r.err }

// Pos returns the current position in bytes. After an error it is the position of the error.
func (r *Reader) Pos() int { return r.i }

// Since returns the text from position start to the end of the last token read.
func (r *Reader) Since(start int) []byte { return r.b[start:r.end:r.end] }

// Spaced reports whether white space was read between tokens, before the first one or after the last one. It counts
// from the beginning of the text, or from the last call of ClearSpaced.
func (r *Reader) Spaced() bool { return r.spaced }

// ClearSpaced resets Spaced to false.
func (r *Reader) ClearSpaced() { r.spaced = false }

// fail records that the text does not continue as expected at the current position.
func (r *Reader) fail(expected string) { r.failAt(r.i, expected) }

// failAt records that the text does not continue as expected at position i. The text then ends there, so that no method
// reads on.
func (r *Reader) failAt(i int, expected string) {
	if r.err != nil {
		return
	}
	found := "the end"
	if r.i = i; i < len(r.b) {
		found = strconv.QuoteRuneToASCII(rune(r.b[i]))
		r.b = r.b[:i]
	}
	r.err = fmt.Errorf("expected %s, found %s at byte %d", expected, found, i)
}

// Peek returns the first byte of the next token: a quote, a brace, a bracket, a digit, a minus sign, or the first
// letter of a literal. It returns 0 at the end of the text and after an error.
func (r *Reader) Peek() byte {
	if r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

// advance moves to the first token at or after i, the end of a token.
func (r *Reader) advance(i int) { r.i, r.end = gap(r.b, i, &r.spaced), i }

// open reads the bracket or brace c.
func (r *Reader) open(c byte, expected string) bool {
	if r.Peek() != c {
		r.fail(expected)
		return false
	}
	if r.depth == MaxDepth {
		r.fail("at most " + strconv.Itoa(MaxDepth) + " levels of nesting")
		return false
	}
	r.depth++
	r.first = true
	r.advance(r.i + 1)
	return true
}

// Object enters an object. It is an error if the next value is not an object. Key reads its members.
func (r *Reader) Object() bool { return r.open('{', "an object") }

// Array enters an array. It is an error if the next value is not an array. Element reads its elements.
func (r *Reader) Array() bool { return r.open('[', "an array") }

// Key returns the key of the next member of the current object. It reports false at the end of the object, which it
// leaves, and after an error. The key is decoded: a key with escapes is a copy.
func (r *Reader) Key() (key []byte, ok bool) {
	if r.first || r.Peek() != ',' {
		if !r.another('}') {
			return nil, false
		}
	} else {
		r.advance(r.i + 1)
	}
	if b, i := r.b, r.i; i < len(b) && b[i] == '"' { // the usual form of a key, in one step
		if end, escaped, ok := scanString(b, i); ok && !escaped && end < len(b) && b[end] == ':' {
			r.advance(end + 1)
			return b[i+1 : end-1], true
		}
	}
	return r.anyKey()
}

// anyKey reads any key and its colon.
func (r *Reader) anyKey() (key []byte, ok bool) {
	raw, escaped := r.str()
	if r.Peek() != ':' {
		r.fail("a colon")
		return nil, false
	}
	r.advance(r.i + 1)
	if escaped {
		return AppendUnquoted(nil, raw), true
	}
	return raw[1 : len(raw)-1], true
}

// Element reports whether the current array has another element. At the end of the array it leaves the array.
func (r *Reader) Element() bool { return r.another(']') }

// another reads what precedes the next member or element: nothing or a comma. At the end it reads the bracket or
// brace last.
func (r *Reader) another(last byte) bool {
	c := r.Peek()
	first := r.first
	r.first = false
	switch {
	case c == ',' && !first:
		r.advance(r.i + 1)
		return true
	case c == last:
		r.depth--
		r.advance(r.i + 1)
		return false
	case c != 0 && first:
		return true
	}
	if last == '}' {
		r.fail("a comma or }")
	} else {
		r.fail("a comma or ]")
	}
	return false
}

// str reads a string, quotes included.
func (r *Reader) str() (raw []byte, escaped bool) {
	if r.Peek() != '"' {
		r.fail("a string")
		return nil, false
	}
	start := r.i
	end, escaped, ok := scanString(r.b, start)
	if !ok {
		r.failAt(end, "a string")
		return nil, false
	}
	raw = r.b[start:end:end]
	r.advance(end)
	return raw, escaped
}

// String reads a string and returns it as it is written, with its quotes and escapes; nil after an error.
func (r *Reader) String() []byte {
	raw, _ := r.str()
	return raw
}

// Text reads a string and returns its decoded text; nil after an error. It decodes in place: it overwrites the string
// in the text that the Reader reads. Bytes that are not UTF-8 are kept.
func (r *Reader) Text() []byte {
	if r.Peek() != '"' {
		r.fail("a string")
		return nil
	}
	text, end, ok := unquoteInPlace(r.b, r.i)
	if !ok {
		r.failAt(end, "a string")
		return nil
	}
	r.advance(end)
	return text
}

// Number reads a number and returns it as it is written; nil after an error. integer reports whether it has neither a
// fraction nor an exponent.
func (r *Reader) Number() (raw []byte, integer bool) {
	start := r.i
	end, integer, ok := scanNumber(r.b, start)
	if !ok {
		r.failAt(end, "a number")
		return nil, false
	}
	raw = r.b[start:end:end]
	r.advance(end)
	return raw, integer
}

// Int reads an integer. A number that is not an integer, or that int64 cannot hold, is an error.
func (r *Reader) Int() int64 {
	start := r.i
	raw, integer := r.Number()
	if raw == nil {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if !integer || err != nil {
		r.failAt(start, "an integer")
		return 0
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	c := r.Peek()
	if c != 't' && c != 'f' {
		r.fail("true or false")
		return false
	}
	return r.Value() != nil && c == 't'
}

// Null reads a null if it is the next value, and reports whether it was.
func (r *Reader) Null() bool { return r.Peek() == 'n' && r.Value() != nil }

// Skip reads any value.
func (r *Reader) Skip() { r.Value() }

// Value reads any value and returns it as it is written; nil after an error.
func (r *Reader) Value() []byte {
	start := r.i
	end, ok := skim(r.b, start, r.depth, &r.spaced)
	if !ok {
		r.failAt(end, "a JSON value")
		return nil
	}
	raw := r.b[start:end:end]
	r.advance(end)
	return raw
}

// End reports whether the text ends here and there was no error. Text that follows is an error.
func (r *Reader) End() bool {
	if r.Peek() != 0 || r.i != len(r.b) {
		r.fail("the end")
	}
	return r.err == nil
}
