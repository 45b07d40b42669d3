package connector

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// item is what Elasticsearch says of one record. Texts are views into the response.
type item struct {
	create       bool // the action was create, not index
	status       int
	failed       bool // there is an error
	cause        cause
	failureStore event.Text
	result       event.Text
}

// cause is Elasticsearch's error. Versions before 8 give the reason of a parse failure only in caused_by.
type cause struct{ code, reason, root event.Text }

// readItems reads a response of the bulk API, compact or pretty-printed, into p. It is false if the response is not
// complete, not JSON, or not of this API. It allocates nothing for items that are accepted.
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

// readRefusal reads the refusal of a request: {"error":{"type":"…","reason":"…"},"status":400}.
func readRefusal(a *httpsend.Response) httpsend.Reply {
	var c cause
	r := reader{b: a.Body}
	_ = r.object(func(key []byte) bool {
		if string(key) == "error" {
			_, ok := r.cause(&c, 0)
			return ok
		}
		return r.skip()
	})
	return c.reply()
}

// reply is the cause for the response table. An error without a type is not Elasticsearch's.
func (c *cause) reply() httpsend.Reply {
	code, reason, root := decode(c.code), decode(c.reason), decode(c.root)
	if root != "" && !strings.Contains(reason, root) {
		reason = strings.TrimPrefix(reason+": "+root, ": ")
	}
	return httpsend.Reply{Own: code != "", Code: code, Text: reason}
}

// decode returns a text, at most the first bytes of it: a reason can be as long as the event.
func decode(t event.Text) string {
	const most, longestEscape = 2 << 10, len(`\ud83d\ude00`)
	if len(t) > most {
		tail := most - longestEscape
		if i := bytes.IndexByte(t[tail:most], '\\'); i >= 0 { // an escape may cross the cut
			tail += i
		} else {
			tail = most
		}
		t = append(bytes.TrimRight(t[:tail:tail], `\`), '"')
	}
	return t.String()
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
				t.failed, ok = r.cause(&t.cause, 0)
				return ok
			case "failure_store":
				return r.text(&t.failureStore)
			case "result":
				return r.text(&t.result)
			}
			return r.skip()
		})
	})
	const lowest, highest = 200, 599
	return ok && actions == 1 && lowest <= t.status && t.status <= highest && p.add(&t)
}

// maxCauses bounds the causes of causes that are read.
const maxCauses = 8

// cause reads an error: an object with a type and a reason, or a text. found is false if it is null. Of the causes of the
// cause, the last one's reason is kept.
func (r *reader) cause(c *cause, depth int) (found, ok bool) {
	switch r.peek() {
	case '{':
		return true, r.object(func(key []byte) bool {
			switch name := string(key); {
			case name == "type" && r.peek() == '"' && depth == 0:
				return r.text(&c.code)
			case name == "reason" && r.peek() == '"' && depth == 0:
				return r.text(&c.reason)
			case name == "reason" && r.peek() == '"':
				return r.text(&c.root)
			case name == "caused_by" && r.peek() == '{' && depth < maxCauses:
				_, ok := r.cause(c, depth+1)
				return ok
			}
			return r.skip()
		})
	case '"':
		return true, r.text(&c.reason)
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
