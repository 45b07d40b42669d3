package connector

import (
	"bytes"
	"strings"

	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

// item is the response for one record. Texts are views into the response body.
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
	r := jsonscan.NewReader(body, 0)
	errors, items, ok := 0, 0, true
	r.Object()
	for key, more := r.Key(); more && ok; key, more = r.Key() {
		switch string(key) {
		case "errors":
			errors++
			p.errors = r.Bool()
		case "items":
			items++
			for r.Array(); ok && r.Element(); {
				ok = readItem(&r, p)
			}
		default:
			r.Skip()
		}
	}
	return ok && r.End() && errors == 1 && items == 1
}

// readItem reads one element of items: {"index":{"status":201}}.
func readItem(r *jsonscan.Reader, p *panel) bool {
	var t item
	r.Object()
	op, ok := r.Key()
	t.create = string(op) == opCreate
	if !ok || !t.create && string(op) != opIndex {
		return false
	}
	r.Object()
	for key, more := r.Key(); more; key, more = r.Key() {
		switch string(key) {
		case "status":
			t.status = int(r.Int())
		case "error":
			t.failed = !r.Null()
			if t.failed {
				readCause(r, &t.cause, 0)
			}
		case "failure_store":
			t.failureStore = r.String()
		case "result":
			t.result = r.String()
		default:
			r.Skip()
		}
	}
	_, second := r.Key()
	const lowest, highest = 200, 599
	return !second && r.Err() == nil && lowest <= t.status && t.status <= highest && p.add(&t)
}

// maxCauses bounds the causes of causes that are read.
const maxCauses = 8

// readCause reads an error: an object with a type and a reason, or a text. Of the causes of the cause, the last one's
// reason is kept.
func readCause(r *jsonscan.Reader, c *cause, depth int) {
	switch r.Peek() {
	case '{':
	case '"':
		c.reason = r.String()
		return
	default:
		r.Skip()
		return
	}
	r.Object()
	for key, more := r.Key(); more; key, more = r.Key() {
		switch name := string(key); {
		case name == "type" && r.Peek() == '"' && depth == 0:
			c.code = r.String()
		case name == "reason" && r.Peek() == '"' && depth == 0:
			c.reason = r.String()
		case name == "reason" && r.Peek() == '"':
			c.root = r.String()
		case name == "caused_by" && r.Peek() == '{' && depth < maxCauses:
			readCause(r, c, depth+1)
		default:
			r.Skip()
		}
	}
}

// readRefusal reads the refusal of a request: {"error":{"type":"…","reason":"…"},"status":400}.
func readRefusal(a *httpsend.Response) httpsend.Reply {
	var c cause
	r := jsonscan.NewReader(a.Body, 0)
	r.Object()
	for key, more := r.Key(); more; key, more = r.Key() {
		if string(key) == "error" {
			readCause(&r, &c, 0)
		} else {
			r.Skip()
		}
	}
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

// setup returns the reason, or that of the cause, if it begins with words of the response table. Words anywhere else
// may come from an event: Elasticsearch quotes its keys and values.
func (c *cause) setup() string {
	for _, t := range []event.Text{c.reason, c.root} {
		text := strings.ToLower(decode(t))
		if position, after, ok := strings.Cut(text, "] "); ok && strings.Trim(position, "[:0123456789") == "" { // [1:114]
			text = after
		}
		text = strings.TrimPrefix(text, "failed to parse: ")
		for _, row := range itemCodes.Rows {
			if row.Words != "" && strings.HasPrefix(text, row.Words) {
				return text
			}
		}
	}
	return ""
}

// decode returns a text, at most the first bytes of it: a reason can be as long as the event.
func decode(t event.Text) string {
	const most, longestEscape = 2 << 10, len(`\ud83d\ude00`)
	if len(t) > most {
		end := most
		if i := bytes.IndexByte(t[most-longestEscape:most], '\\'); i >= 0 { // an escape may cross the cut
			end += i - longestEscape
		}
		t = append(bytes.TrimRight(t[:end:end], `\`), '"')
	}
	return t.String()
}
