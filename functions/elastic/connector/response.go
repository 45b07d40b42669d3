package connector

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

const (
	notElasticsearch = "ELASTIC_URL must be the base URL of Elasticsearch, not Kibana's, and without the path of an API"
)

// illegal comes with a 400 for many causes. The event is not the cause of most of them.
const illegal = "illegal_argument_exception"

// commonRows are Elasticsearch's errors of an item and of a request. Without the words of a reason, a code is
// ambiguous.
// https://www.elastic.co/docs/troubleshoot/elasticsearch
var commonRows = []httpsend.Code{
	{Status: 400, Code: illegal, Words: "pipeline with id [", Kind: failure.Misconfigured,
		Hint: "the pipeline ELASTIC_PIPELINE does not exist"},
	{Status: 400, Code: illegal, Words: "no write index is defined for alias", Kind: failure.Misconfigured,
		Hint: "the alias ELASTIC_INDEX has no write index"},
	{Status: 400, Code: illegal, Words: "index request with op_type=", Kind: failure.Misconfigured,
		Hint: "ELASTIC_INDEX must name the data stream, not one of its backing indices"},
	{Status: 400, Words: "limit of total fields", Kind: failure.Misconfigured,
		Hint: "the index has too many fields: install the index template of contrib/elastic, or raise " +
			"index.mapping.total_fields.limit"},
	{Status: 400, Code: "invalid_index_name_exception", Kind: failure.Misconfigured,
		Hint: "ELASTIC_INDEX is not a valid name of an index"},
	{Status: 400, Code: "index_closed_exception", Kind: failure.Misconfigured, Hint: "the index ELASTIC_INDEX is closed"},
	{Status: 400, Code: "index_not_found_exception", Kind: failure.Misconfigured, Hint: noIndex},
	{Status: 400, Code: "validation_exception", Kind: failure.Misconfigured,
		Hint: "the cluster refuses to create the index ELASTIC_INDEX"},
	{Status: 403, Code: blocked, Kind: failure.Misconfigured,
		Hint: "a block on the index or the cluster prevents writing: look at index.blocks.* and cluster.blocks.*"},
	{Status: 404, Code: "index_not_found_exception", Kind: failure.Misconfigured, Hint: noIndex},
	{Status: 429, Code: blocked, Kind: failure.Transient,
		Hint: "the disk of a data node is full (flood stage): free space; Elasticsearch then removes the block"},
}

const (
	blocked = "cluster_block_exception"
	noIndex = "the index ELASTIC_INDEX does not exist, and is not created automatically"
)

// requestCodes are the refusals of a request as a whole.
var requestCodes = &httpsend.Codes{SIEM: "Elasticsearch", Read: readRefusal, Hint: notElasticsearch,
	Rows: append([]httpsend.Code{
		{Status: 401, Kind: failure.Unauthorized,
			Hint: "Elasticsearch does not accept the API key ELASTIC_API_KEY: unknown, invalidated or expired"},
		{Status: 403, Code: "security_exception", Kind: failure.Unauthorized,
			Hint: "the API key ELASTIC_API_KEY has no privilege to write to ELASTIC_INDEX"},
		{Status: 406, Code: httpsend.Any, Kind: failure.Misconfigured, Hint: notElasticsearch},
	}, commonRows...)}

// itemCodes are the errors of an item. A credential that is refused for an item is known, so reading it again is no
// help.
var itemCodes = &httpsend.Codes{SIEM: "Elasticsearch", Rows: append([]httpsend.Code{
	{Status: 400, Code: illegal, Words: "only write ops with an op_type of create", Kind: failure.Unprocessed,
		Hint: "ELASTIC_INDEX is a data stream, which accepts only the action create"},
}, append(commonRows,
	httpsend.Code{Status: 401, Kind: failure.Misconfigured, Hint: noPrivilege},
	httpsend.Code{Status: 403, Kind: failure.Misconfigured, Hint: noPrivilege},
	httpsend.Code{Status: 404, Kind: failure.Misconfigured, Hint: noIndex},
)...)}

const noPrivilege = "the API key may not write to ELASTIC_INDEX, or not create it"

// result is the outcome of a request, read from its response.
type result struct {
	err           error // Send's
	wantsCreate   bool  // the index is a data stream: use the action create from now on
	failureStored bool  // some accepted records went into the data stream's failure store
	replaced      []int // the records that replaced a document

	response *httpsend.Response
	of, seen int     // records of the request; items that have been read
	results  []error // nil while every record is accepted
}

// classify turns Elasticsearch's response to a request of n records into results, one by one, by position.
func classify(a *httpsend.Response, n int) result {
	r := result{of: n, response: a}
	if !a.OK() {
		f := failure.Of(requestCodes.Classify(a))
		if n > 1 && a.Status/100 == 2 && errors.Is(a.BodyErr, httpsend.ErrTooLong) {
			if readItems(a.Body, &r); r.results != nil { // refused events are quoted: fewer events, a shorter response
				f.Kind = failure.TooLarge
			}
		}
		return result{err: f}
	}
	if !readItems(a.Body, &r) || r.seen != n {
		return result{err: &failure.Error{
			Step: failure.Request, Status: a.Status, Hint: notElasticsearch,
			Detail: fmt.Sprintf("not a response of the bulk API: %d items for %d events", r.seen, n),
		}}
	}
	if r.results != nil {
		r.err = &deliver.PartialError{Results: r.results}
	}
	return r
}

// unknownParameter reports whether a response refuses the request for a parameter that its version does not know.
func unknownParameter(a *httpsend.Response) bool {
	return a.Status == http.StatusBadRequest && strings.Contains(readRefusal(a).Text, "unrecognized parameter")
}

// add classifies the next item. It is false if there are more items than records.
func (r *result) add(t *item) bool {
	i := r.seen
	if r.seen++; r.seen > r.of {
		return false
	}
	switch {
	case t.status/100 == 2 && !t.failed:
		r.failureStored = r.failureStored || string(t.failureStore) == `"used"`
		if string(t.result) == `"updated"` {
			r.replaced = append(r.replaced, i)
		}
	case t.status == http.StatusConflict && t.create: // the document exists: an earlier attempt succeeded
	default:
		if r.results == nil {
			r.results = make([]error, r.of)
		}
		r.results[i] = r.explain(t)
	}
	return true
}

// explain says what is wrong with an item.
func (r *result) explain(t *item) *failure.Error {
	reply := t.cause.reply()
	f := &failure.Error{Step: failure.Request, Status: t.status, Code: r.response.Word(reply.Code)}
	setup := httpsend.Reply{Own: reply.Own, Code: reply.Code, Text: t.cause.setup()}
	f.Kind, f.Hint = itemCodes.Explain(t.status, setup)
	switch {
	case f.Kind == failure.Unprocessed && t.create: // the item already has the action that is asked for
		f.Kind = failure.Rejected
	case f.Kind == failure.Unprocessed:
		r.wantsCreate = true
	}
	if reply.Text != "" {
		f.Detail = r.response.Quote(reply.Text)
	}
	return f
}

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

// readItems reads a response of the bulk API, compact or pretty-printed. It is false if the response is not
// complete, not JSON, or not of this API. It allocates nothing for items that are accepted.
//
//	{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":400,"error":{"type":"…","reason":"…"}}}]}
func readItems(body []byte, into *result) bool {
	r := jsonscan.NewReader(body, 0)
	lists, ok := 0, true
	r.Object()
	for key, more := r.Key(); more && ok; key, more = r.Key() {
		if string(key) != "items" {
			r.Skip()
			continue
		}
		lists++
		for r.Array(); ok && r.Element(); {
			ok = readItem(&r, into)
		}
	}
	return ok && r.End() && lists == 1
}

// readItem reads one element of items: {"index":{"status":201}}.
func readItem(r *jsonscan.Reader, into *result) bool {
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
	return !second && r.Err() == nil && lowest <= t.status && t.status <= highest && into.add(&t)
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
		const most = failure.MaxQuote / 2 // a reason may hold the whole value of the field, and the cause follows it
		if len(reason) > most {
			reason = reason[:most] + "…"
		}
		reason = strings.TrimPrefix(reason+": "+root, ": ")
	}
	// The JSON parser's location quotes the start of the request, which is another event. 7.10 sends it.
	reason, _, _ = strings.Cut(reason, "\n at [Source: ")
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
