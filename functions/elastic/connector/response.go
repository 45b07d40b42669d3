package connector

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
)

const (
	notElasticsearch = "ELASTIC_URL does not lead to Elasticsearch"
	notUnderstood    = "the answer is not one of Elasticsearch's bulk API, so nothing in it counts as success"
)

// meaning is what one of Elasticsearch's errors means for us, of an item or of a request.
type meaning struct {
	code  string // error.type; "" is any
	words string // in error.reason; Elasticsearch has one type for many things
	kind  failure.Kind
	hint  string
}

// meanings are the errors that do not mean what their status says: they come with a 400 and yet no event is at fault.
// An error that is not here is judged by its status.
// https://www.elastic.co/docs/troubleshoot/elasticsearch
var meanings = [...]meaning{
	{code: "illegal_argument_exception", words: "op_type of create", kind: failure.Unprocessed, hint: "ELASTIC_INDEX is a data stream, which takes only the action create"},
	{code: "illegal_argument_exception", words: "pipeline with id [", kind: failure.Misconfigured, hint: "the pipeline ELASTIC_PIPELINE does not exist"},
	{code: "illegal_argument_exception", words: "no write index is defined for alias", kind: failure.Misconfigured, hint: "the alias ELASTIC_INDEX has no write index"},
	{code: "illegal_argument_exception", words: "backing indices is disallowed", kind: failure.Misconfigured, hint: "ELASTIC_INDEX must name the data stream, not an index behind it"},
	{code: "invalid_index_name_exception", kind: failure.Misconfigured, hint: "Elasticsearch takes no index of the name ELASTIC_INDEX"},
	{code: "index_closed_exception", kind: failure.Misconfigured, hint: "the index ELASTIC_INDEX is closed"},
	{code: "validation_exception", kind: failure.Misconfigured, hint: "the cluster refuses to create the index ELASTIC_INDEX"},
	{words: "no handler found for uri", kind: failure.Misconfigured, hint: "ELASTIC_URL must be the base URL of Elasticsearch, without the path of an API"},
}

// statusKind is what a status means without more; item tells whether it is an item's or a request's.
func statusKind(status int, item bool) (kind failure.Kind, hint string) {
	switch {
	case item && status == http.StatusUnauthorized, item && status == http.StatusForbidden:
		return failure.Misconfigured, "the index ELASTIC_INDEX is blocked, or the API key may not write to it or not create it"
	case item && status == http.StatusNotFound:
		return failure.Misconfigured, "the index ELASTIC_INDEX does not exist, and is not created by itself"
	case status == http.StatusUnauthorized:
		return failure.Unauthorized, "Elasticsearch does not take the API key ELASTIC_API_KEY: unknown, invalidated or expired"
	case status == http.StatusForbidden:
		return failure.Unauthorized, "the API key ELASTIC_API_KEY has no privilege to write to ELASTIC_INDEX"
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotAcceptable:
		return failure.Misconfigured, notElasticsearch
	}
	return httpsend.KindOf(status), ""
}

// explain finds the meaning of an error.
func explain(status int, code, reason string, item bool) (kind failure.Kind, hint string) {
	if status == http.StatusBadRequest {
		for _, m := range meanings {
			if (m.code == "" || m.code == code) && strings.Contains(reason, m.words) {
				return m.kind, m.hint
			}
		}
	}
	return statusKind(status, item)
}

// judgement is what becomes of a request's records.
type judgement struct {
	err           error // as deliver.Connector's Send returns it
	wantsCreate   bool  // the index is a data stream: use the action create from now on
	failureStored bool  // some accepted records went into the data stream's failure store
}

// judge turns Elasticsearch's answer to a request of n records into verdicts, one by one, by position.
func judge(a *httpsend.Response, n int, redactor *secret.Redactor) judgement {
	if !a.OK() {
		return judgement{err: judgeRefusal(a)}
	}
	p := panel{of: n, redactor: redactor}
	if a.BodyErr != nil || !readItems(a.Body, &p) {
		return judgement{err: a.Fault(failure.Transient, "", notUnderstood)}
	}
	if p.seen != n || p.errors != (p.verdicts != nil || p.conflicts > 0) {
		f := a.Fault(failure.Transient, "", notUnderstood)
		f.Detail = fmt.Sprintf("%d items for %d events, errors %t: %s", p.seen, n, p.errors, f.Detail)
		return judgement{err: f}
	}
	j := judgement{wantsCreate: p.wantsCreate, failureStored: p.failureStored}
	if p.verdicts != nil {
		j.err = &deliver.PartialError{Results: p.verdicts}
	}
	return j
}

// judgeRefusal judges an answer that refuses the request as a whole. What refuses it for its content is taken for one of
// the events: when it is the configuration after all, every event is refused alike, and the engine holds them.
func judgeRefusal(a *httpsend.Response) *failure.Error {
	r := readRefusal(a.Body)
	code := word(r.code)
	kind, hint := explain(a.Status, code, r.reason.String(), false)
	if kind == failure.Unprocessed { // only an item can be asked for in another form
		kind, hint = failure.Rejected, ""
	}
	return a.Fault(kind, code, hint)
}

// panel gathers the verdicts on a request's records.
type panel struct {
	of       int // records of the request
	redactor *secret.Redactor

	seen          int
	errors        bool    // what the answer says of itself
	verdicts      []error // nil while every record is accepted
	conflicts     int     // records accepted although their items are errors
	wantsCreate   bool
	failureStored bool
}

// add judges the next item. It is false when there are more items than records.
func (p *panel) add(t *item) bool {
	i := p.seen
	if p.seen++; p.seen > p.of {
		return false
	}
	switch {
	case t.status/100 == 2 && !t.failed:
		if string(t.failureStore) == `"used"` {
			p.failureStored = true
		}
	case t.status == http.StatusConflict && t.create: // the document is there: an earlier attempt has succeeded
		p.conflicts++
	default:
		if p.verdicts == nil {
			p.verdicts = make([]error, p.of)
		}
		p.verdicts[i] = p.verdict(t)
	}
	return true
}

// verdict says what is wrong with an item.
func (p *panel) verdict(t *item) *failure.Error {
	reason := t.reason.String()
	f := &failure.Error{Step: failure.Request, Status: t.status, Code: word(t.code)}
	f.Kind, f.Hint = explain(t.status, f.Code, reason, true)
	switch {
	case f.Kind == failure.Unprocessed && t.create: // it is in the form that is asked for already
		f.Kind = failure.Rejected
	case f.Kind == failure.Unprocessed:
		p.wantsCreate = true
	}
	if reason != "" {
		f.Detail = failure.Quote(p.redactor.Cut(reason))
	}
	return f
}

// word decodes one of Elasticsearch's error types. Codes go into logs, so what does not look like one is not taken for one.
func word(t event.Text) string {
	const maxBytes = 64
	if len(t) < 3 || len(t) > maxBytes || strings.Trim(string(t[1:len(t)-1]), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return ""
	}
	return string(t[1 : len(t)-1])
}
