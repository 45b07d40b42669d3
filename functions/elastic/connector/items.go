package connector

import (
	"strconv"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// item is what Elasticsearch says of one record. Texts are views into the answer.
type item struct {
	create       bool // the action was create, not index
	status       int
	failed       bool // there is an error
	code, reason event.Text
	failureStore event.Text
}

// refusal is why Elasticsearch refuses a request as a whole.
type refusal struct{ code, reason event.Text }

// readItems reads the answer of the bulk API, compact or pretty-printed, into p. It is false when the answer is not whole,
// not JSON, or not of this API. It decodes nothing that is accepted, and allocates nothing for it.
//
//	{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":400,"error":{"type":"…","reason":"…"}}}]}
func readItems(body []byte, p *panel) bool {
	r := reader{b: body}
	errors, items := 0, 0
	ok := r.object(func(key []byte) bool {
		switch string(key) {
		case "errors":
			errors++
			return r.boolean(&p.errors)
		case "items":
			items++
			return r.array(func() bool { return r.item(p) })
		}
		return r.skip()
	})
	return ok && r.end() && errors == 1 && items == 1
}

// readRefusal reads {"error":{"type":"…","reason":"…"},"status":400}, or {"error":"…"}, as far as it can be read.
func readRefusal(body []byte) (f refusal) {
	r := reader{b: body}
	_ = r.object(func(key []byte) bool {
		if string(key) == "error" {
			_, ok := r.cause(&f.code, &f.reason)
			return ok
		}
		return r.skip()
	})
	return f
}

// item reads one element of items: {"index":{"status":201}}.
func (r *reader) item(p *panel) bool {
	var t item
	actions := 0
	ok := r.object(func(op []byte) bool {
		actions++
		t.create = string(op) == opCreate
		return (t.create || string(op) == opIndex) && r.object(func(key []byte) bool {
			var ok bool
			switch string(key) {
			case "status":
				return r.integer(&t.status)
			case "error":
				t.failed, ok = r.cause(&t.code, &t.reason)
				return ok
			case "failure_store":
				return r.text(&t.failureStore)
			}
			return r.skip()
		})
	})
	const lowest, highest = 200, 599
	return ok && actions == 1 && lowest <= t.status && t.status <= highest && p.add(&t)
}

// cause reads an error: an object with a type and a reason, or a mere text. found is false when it is null.
func (r *reader) cause(code, reason *event.Text) (found, ok bool) {
	switch r.peek() {
	case '{':
		return true, r.object(func(key []byte) bool {
			switch {
			case string(key) == "type" && r.peek() == '"':
				return r.text(code)
			case string(key) == "reason" && r.peek() == '"':
				return r.text(reason)
			}
			return r.skip()
		})
	case '"':
		return true, r.text(reason)
	case 'n':
		return false, r.skip()
	}
	return true, r.skip()
}

// reader reads JSON from front to end. Its methods consume a value, and are false where the text is not JSON or the value
// is of another type.
type reader struct {
	b []byte
	i int
}

// peek returns the first byte of the next token, 0 at the end.
func (r *reader) peek() byte {
	if r.i = jsonscan.Space(r.b, r.i); r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

// next consumes the byte c if it is the next token.
func (r *reader) next(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.i++
	return true
}

// end tells whether nothing follows.
func (r *reader) end() bool { return r.peek() == 0 && r.i == len(r.b) }

func (r *reader) skip() (ok bool) {
	r.i, ok = jsonscan.Value(r.b, r.i, 0)
	return ok
}

// object reads an object; member consumes the value of each key. A key with escapes is given as it is written: none of
// the keys that are looked for needs one.
func (r *reader) object(member func(key []byte) bool) bool {
	if !r.next('{') {
		return false
	}
	if r.next('}') {
		return true
	}
	for {
		var key event.Text
		if !r.text(&key) || !r.next(':') || !member(key[1:len(key)-1]) {
			return false
		}
		if !r.next(',') {
			return r.next('}')
		}
	}
}

// array reads an array; element consumes each of its elements.
func (r *reader) array(element func() bool) bool {
	if !r.next('[') {
		return false
	}
	if r.next(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if !r.next(',') {
			return r.next(']')
		}
	}
}

func (r *reader) text(t *event.Text) (ok bool) {
	if r.peek() != '"' {
		return false
	}
	start := r.i
	r.i, _, ok = jsonscan.String(r.b, start)
	*t = r.b[start:r.i]
	return ok
}

func (r *reader) boolean(v *bool) (ok bool) {
	c := r.peek()
	if c != 't' && c != 'f' {
		return false
	}
	*v = c == 't'
	r.i, ok = jsonscan.Literal(r.b, r.i)
	return ok
}

func (r *reader) integer(n *int) bool {
	r.peek()
	start := r.i
	end, integer, ok := jsonscan.Number(r.b, start)
	if r.i = end; !ok || !integer {
		return false
	}
	v, err := strconv.Atoi(string(r.b[start:end]))
	*n = v
	return err == nil
}
