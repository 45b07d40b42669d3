package matrix

import (
	"bytes"
	"fmt"
	"net/http"
)

// hec is an answer in HEC's words.
func hec(status, code int, more string) answer {
	return says(status, fmt.Sprintf(`{"text":"as documented","code":%d%s}`, code, more))
}

const (
	first = `,"invalid-event-number":1` // of three: the second one

	// The middle one of three events fares as these say.
	dead    = "delivered · dead letter · delivered"
	comes   = "delivered · 1 s · delivered"
	isHeld  = "delivered · 300 s · delivered"
	inOrder = "delivered · 1 s · 1 s"
)

// partial is HEC's answer to three events of which it took the first and stopped at the second; it takes all that comes
// after.
func partial(status, code int) answer {
	return func(e *exchange) {
		e.read()
		e.took(e.ids[0])
		hec(status, code, first)(e)
	}
}

// splunkRows are HEC's codes.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
func splunkRows() []row {
	rows := []row{
		{name: "200, code 0", answer: hec(200, 0, ""), want: "delivered"},
		{name: "200, code 24: queue nearly full", answer: hec(200, 24, ""), want: "delivered"},
		{name: "200, code 25: acknowledgements nearly full", answer: hec(200, 25, ""), want: "delivered"},
		{name: "200, code 17: the health endpoint", answer: hec(200, 17, ""), want: held, says: "code 17"},
		{name: "200, code 6: a contradiction", answer: hec(200, 6, ""), want: again, says: "code 6"},
		{name: "500, code 0: a contradiction", answer: hec(500, 0, ""), want: again, says: "code 0"},
		{name: "403, code 1: token disabled", answer: hec(403, 1, ""), want: held, renewed: true, says: "code 1"},
		{name: "401, code 2: token required", answer: hec(401, 2, ""), want: held, renewed: true, says: "code 2"},
		{name: "401, code 3: invalid authorization", answer: hec(401, 3, ""), want: held, renewed: true, says: "code 3"},
		{name: "403, code 4: invalid token", answer: hec(403, 4, ""), want: held, renewed: true, says: "code 4"},
		{name: "400, code 5: no data", answer: hec(400, 5, ""), want: again, says: "code 5"},
		{name: "400, code 6 at the second event", answer: partial(400, 6), once: true, want: dead, requests: 2, says: "code 6"},
		{name: "400, code 6 without a number", answer: hec(400, 6, ""), want: held, says: "code 6"},
		{name: "400, code 6 at an event beyond the last", answer: hec(400, 6, `,"invalid-event-number":7`), want: held, says: "code 6"},
		{name: "400, code 7: incorrect index", answer: hec(400, 7, ""), want: held, requests: 1, says: "SPLUNK_HEC_INDEX"},
		{name: "500, code 8: internal error", answer: hec(500, 8, ""), want: again, says: "code 8"},
		{name: "503, code 9: busy", answer: hec(503, 9, ""), want: again, says: "code 9"},
		{name: "503, code 9 at the second event", answer: partial(503, 9), want: inOrder, requests: 1, says: "code 9"},
		{name: "400, code 10: channel missing", answer: hec(400, 10, ""), want: held, says: "code 10"},
		{name: "400, code 11: channel invalid", answer: hec(400, 11, ""), want: held, says: "code 11"},
		{name: "400, code 12 at the second event", answer: partial(400, 12), once: true, want: dead, says: "code 12"},
		{name: "400, code 13 at the second event", answer: partial(400, 13), once: true, want: dead, says: "code 13"},
		{name: "400, code 14: acknowledgement disabled", answer: hec(400, 14, ""), want: held, says: "code 14"},
		{name: "400, code 15 at the second event", answer: partial(400, 15), once: true, want: dead, says: "code 15"},
		{name: "400, code 16: token in the query", answer: hec(400, 16, ""), want: held, says: "code 16"},
		{name: "503, code 18: unhealthy, queues full", answer: hec(503, 18, ""), want: again, says: "code 18"},
		{name: "503, code 19: unhealthy, no acknowledgements", answer: hec(503, 19, ""), want: again, says: "code 19"},
		{name: "503, code 20: unhealthy, both", answer: hec(503, 20, ""), want: again, says: "code 20"},
		{name: "400, code 21: invalid token", answer: hec(400, 21, ""), want: held, renewed: true, says: "code 21"},
		{name: "400, code 22: token disabled", answer: hec(400, 22, ""), want: held, renewed: true, says: "code 22"},
		{name: "503, code 23: shutting down", answer: hec(503, 23, ""), want: again, says: "code 23"},
		{name: "429, code 26: queue full", answer: hec(429, 26, ""), want: again, says: "code 26"},
		{name: "429, code 27: acknowledgements full", answer: hec(429, 27, ""), want: again, says: "code 27"},
		{name: "400, code 99, which nobody has promised", answer: hec(400, 99, ""), want: again, says: "code 99"},
		{name: "400, code 6 at the second event, then reset", answer: behind(partial(400, 6), resetAfter), want: "delivered · dead letter · 1 s", says: ""},
		{name: "400, code 6 at the second event, then 503", answer: behind(partial(400, 6), hec(503, 9, "")), want: "delivered · dead letter · 1 s", says: ""},
	}
	return these("splunk", 3, rows)
}

// behind answers in one way to three events, and in another to fewer.
func behind(a, then answer) answer {
	return func(e *exchange) {
		if e.read(); len(e.ids) == 3 {
			a(e)
			return
		}
		then(e)
	}
}

// these completes the rows of one connector.
func these(name string, events int, rows []row) []row {
	for i := range rows {
		r := &rows[i]
		if r.events == 0 {
			r.events = events
		}
		r.but = only(name, r.want)
	}
	return rows
}

// second is a bulk answer in which the second event's item is as other says.
func second(other string) answer {
	return func(e *exchange) {
		e.read()
		others := map[string]string{}
		for _, id := range e.ids {
			if id == eventID(1) {
				others[id] = other
			} else {
				e.took(id)
			}
		}
		e.text(http.StatusOK, items(e, "", others))
	}
}

// bulkRefusal is a refusal of the whole request.
func bulkRefusal(status int, kind, reason string) answer {
	return says(status, fmt.Sprintf(`{"error":{"root_cause":[],"type":%q,"reason":%q},"status":%d}`, kind, reason, status))
}

// cut is a bulk answer that some items have been added to, or taken from.
func cut(n int) answer {
	return func(e *exchange) {
		e.read()
		ids := e.ids
		e.took(ids...)
		e.ids = append(append([]string{}, ids...), ids...)[:len(ids)+n]
		e.text(http.StatusOK, items(e, "", nil))
	}
}

// elasticRows are Elasticsearch's answers, by item and as a whole.
func elasticRows() []row {
	create := map[string]string{"ELASTIC_OP_TYPE": "create"}
	return these("elastic", 3, []row{
		{name: "item 400 document_parsing_exception", answer: second("400 document_parsing_exception failed to parse"), want: dead, says: "document_parsing_exception"},
		{name: "item 400 illegal_argument_exception: only op_type of create", answer: wantsCreate, want: "delivered", requests: 2},
		{name: "item 400 illegal_argument_exception: no such pipeline", answer: second("400 illegal_argument_exception pipeline with id [p] does not exist"), want: isHeld, says: "ELASTIC_PIPELINE"},
		{name: "item 403 cluster_block_exception", answer: second("403 cluster_block_exception index is read-only"), want: isHeld, says: "cluster_block_exception"},
		{name: "item 404 index_not_found_exception", answer: second("404 index_not_found_exception no such index"), want: isHeld, says: "ELASTIC_INDEX"},
		{name: "item 409 version_conflict, action index", answer: second("409 version_conflict_engine_exception conflict"), want: comes, says: "version_conflict"},
		{name: "item 409 version_conflict, action create", env: create, answer: thereAlready, want: "delivered", requests: 1},
		{name: "item 413", answer: second("413 content_too_large too large"), want: dead, says: "status 413"},
		{name: "item 429 es_rejected_execution_exception", answer: second("429 es_rejected_execution_exception full"), want: comes, says: "es_rejected_execution_exception"},
		{name: "item 500", answer: second("500 internal broken"), want: comes, says: "status 500"},
		{name: "item 503 unavailable_shards_exception", answer: second("503 unavailable_shards_exception primary shard is not active"), want: comes, says: "unavailable_shards_exception"},
		{name: "an item too few", answer: cut(-1), want: again, says: "2 items for 3 events"},
		{name: "an item too many", answer: cut(+1), want: again},
		{name: "`errors` says true, and no item does", answer: contradicts("true", ""), want: again, says: "errors true"},
		{name: "`errors` says false, and an item does not", answer: contradicts("false", "429 es_rejected_execution_exception full"), want: again, says: "errors false"},
		{name: "no items", answer: says(200, `{"took":1,"errors":false}`), want: again, says: "bulk API"},
		{name: "400 illegal_argument_exception: no such pipeline", answer: bulkRefusal(400, "illegal_argument_exception", "pipeline with id [p] does not exist"), want: held, says: "ELASTIC_PIPELINE"},
		{name: "401 security_exception", answer: bulkRefusal(401, "security_exception", "unable to authenticate"), want: held, renewed: true, says: "ELASTIC_API_KEY"},
		{name: "403 security_exception", answer: bulkRefusal(403, "security_exception", "unauthorized"), want: held, renewed: true, says: "ELASTIC_API_KEY"},
		{name: "429 circuit_breaking_exception", answer: bulkRefusal(429, "circuit_breaking_exception", "data too large"), want: again, requests: 1, says: "circuit_breaking_exception"},
		{name: "one item refused, the rest reset when it is sent as create", answer: behind(wantsCreateOfLast, resetAfter), want: "delivered · delivered · 1 s"},
	})
}

// wantsCreate is a data stream's answer: items of the action index are refused.
func wantsCreate(e *exchange) {
	others := map[string]string{}
	if e.read(); !bytes.Contains(e.body, []byte(`{"create":`)) {
		for _, id := range e.ids {
			others[id] = "400 illegal_argument_exception only write ops with an op_type of create are allowed in data streams"
		}
	} else {
		e.took(e.ids...)
	}
	e.text(http.StatusOK, items(e, "", others))
}

// wantsCreateOfLast refuses the last item so, and takes the others.
func wantsCreateOfLast(e *exchange) {
	e.read()
	last := len(e.ids) - 1
	e.took(e.ids[:last]...)
	e.text(http.StatusOK, items(e, "", map[string]string{
		e.ids[last]: "400 illegal_argument_exception only write ops with an op_type of create are allowed in data streams"}))
}

// thereAlready is the answer when an earlier attempt has brought the second event.
func thereAlready(e *exchange) {
	e.read()
	e.took(eventID(1))
	second("409 version_conflict_engine_exception document already exists")(e)
}

func contradicts(flag, other string) answer {
	return func(e *exchange) {
		e.read()
		others := map[string]string{}
		if other != "" {
			others[e.ids[0]] = other
		}
		e.text(http.StatusOK, items(e, flag, others))
	}
}

// sentinelRows are the answers of Azure's two endpoints.
func sentinelRows() []row {
	refusal := func(code string) string { return `{"error":{"code":"` + code + `","message":"as documented"}}` }
	oauth := func(kind string, number int) string {
		return fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: as documented","error_codes":[%d]}`, kind, number, number)
	}
	return these("sentinel", 2, []row{
		{name: "400 InvalidStream", answer: says(400, refusal("InvalidStream")), want: held, requests: 1, says: "SENTINEL_DCR_STREAM_NAME"},
		{name: "400 to one event of three", answer: refuses(1, says(400, refusal("InvalidPayload"))), events: 3, want: dead, says: "InvalidPayload"},
		{name: "401", answer: says(401, refusal("InvalidToken")), want: held, requests: 2, renewed: true, says: "SENTINEL_SCOPE"},
		{name: "401 until there is a new token", answer: status(401), once: true, want: "delivered", requests: 2, renewed: true},
		{name: "403 OperationFailed", answer: says(403, refusal("OperationFailed")), want: held, renewed: true, says: "Monitoring Metrics Publisher"},
		{name: "404 ResourceNotFound", answer: says(404, refusal("ResourceNotFound")), want: held, requests: 1, says: "SENTINEL_DCR_RULE_ID"},
		{name: "413 ContentLengthLimitExceeded to two events", answer: tooMany, want: "delivered", requests: 3},
		{name: "429, `Retry-After: 45`", answer: status(429, "Retry-After", "45"), want: "45 s", requests: 1, says: "status 429"},
		{name: "token: 401 invalid_client, secret expired", token: says(401, oauth("invalid_client", 7000222)), want: held, renewed: true, says: "AADSTS7000222"},
		{name: "token: 400 unauthorized_client, unknown application", token: says(400, oauth("unauthorized_client", 700016)), want: held, renewed: true, says: "AADSTS700016"},
		{name: "token: 400 temporarily_unavailable", token: says(400, oauth("temporarily_unavailable", 90033)), want: again, says: "AADSTS90033"},
		{name: "token: 404", token: status(404), want: held, says: "SENTINEL_AUTHORITY_HOST"},
		{name: "token: 302", token: redirect(302), want: held, says: "redirects are not followed"},
		{name: "token: 429, `Retry-After: 30`", token: status(429, "Retry-After", "30"), want: "30 s", says: "status 429"},
		{name: "token: 503", token: status(503), want: again, says: "status 503"},
		{name: "token: reset", token: resetAfter, want: again, says: "reset"},
		{name: "token: no answer", token: blackHole, slow: true, want: again, says: "in time"},
		{name: "token: 200 that is a web page", token: garbage, want: again, says: "does not give access tokens"},
		{name: "token: 200 without an expiry", token: says(200, `{"access_token":"`+tokenCanary+`"}`), want: again, says: "does not give access tokens"},
		{name: "token: 200 with a line break in the token", token: says(200, `{"access_token":"a\nb","expires_in":3600}`), want: again, says: "does not give access tokens"},
		{name: "token: 200 without end", token: endless, want: again, says: "does not give access tokens"},
	})
}

// datadogRows are the intake's answers.
func datadogRows() []row {
	refusal := func(status int) string {
		return fmt.Sprintf(`{"errors":[{"status":"%d","title":"as documented"}]}`, status)
	}
	return these("datadog", 3, []row{
		{name: "202 `{}`", answer: says(202, `{}`), want: "delivered"},
		{name: "200 `{}`", answer: says(200, `{}`), want: "delivered"},
		{name: "202 with errors", answer: says(202, refusal(400)), want: again, says: "not one of Datadog's"},
		{name: "400 to one event of three", answer: refuses(1, says(400, refusal(400))), want: dead, says: "status 400"},
		{name: "401", answer: says(401, refusal(401)), want: held, renewed: true, says: "DATADOG_API_KEY"},
		{name: "403", answer: says(403, refusal(403)), want: held, renewed: true, says: "DATADOG_SITE"},
		{name: "408", answer: says(408, refusal(408)), want: again, says: "status 408"},
		{name: "413 to more than one event", answer: tooMany, want: "delivered"},
		{name: "429, `X-RateLimit-Reset: 60`", answer: status(429, "X-RateLimit-Reset", "60"), want: "60 s", says: "status 429"},
		{name: "429, `X-RateLimit-Period: 10`", answer: status(429, "X-RateLimit-Period", "10"), want: "10 s", says: "status 429"},
		{name: "429, `Retry-After: 5`, `X-RateLimit-Reset: 60`", answer: status(429, "Retry-After", "5", "X-RateLimit-Reset", "60"), want: "5 s", says: "status 429"},
		{name: "503", answer: says(503, refusal(503)), want: again, says: "status 503"},
	})
}

// sumoRows are the HTTP source's answers.
func sumoRows() []row {
	reply := func(status int, code string) string {
		return fmt.Sprintf(`{"id":"X","code":%q,"status":%d,"message":"as documented"}`, code, status)
	}
	return these("sumo", 3, []row{
		{name: "200 with a code", answer: says(200, reply(200, "header.invalid")), want: "delivered"},
		{name: "400 to one event of three", answer: refuses(1, says(400, reply(400, "malformed"))), want: dead, says: "code malformed"},
		{name: "401", answer: says(401, reply(401, "unauthorized")), want: held, renewed: true, says: "SUMO_HTTP_SOURCE_URL"},
		{name: "403", answer: says(403, reply(403, "forbidden")), want: held, renewed: true, says: "SUMO_HTTP_SOURCE_URL"},
		{name: "404", answer: says(404, reply(404, "notfound")), want: held, says: "SUMO_HTTP_SOURCE_URL"},
		{name: "408", answer: says(408, reply(408, "timeout")), want: again, says: "may have taken a part"},
		{name: "413 to more than one event", answer: tooMany, want: "delivered"},
		{name: "429", answer: says(429, reply(429, "rate.limit.exceeded")), want: again, requests: 1, says: "rate.limit.exceeded"},
		{name: "503", answer: says(503, reply(503, "internal.error")), want: again, says: "internal.error"},
		{name: "504", answer: status(504), want: again, says: "status 504"},
	})
}

// xsiamRows are the event endpoint's answers.
func xsiamRows() []row {
	return these("xsiam", 3, []row{
		{name: "200 `{\"error\":\"false\"}`", answer: says(200, `{"error":"false"}`), want: "delivered"},
		{name: "202", answer: says(202, ``), want: "delivered"},
		{name: "401", answer: says(401, `{"error":"Unauthorized"}`), want: held, renewed: true, says: "XSIAM_API_KEY"},
		{name: "404", answer: status(404), want: held, says: "XSIAM_URL"},
		{name: "413 to more than one event", answer: tooMany, want: "delivered"},
		{name: "429", answer: status(429), want: again, requests: 1, says: "status 429"},
		{name: "500: format or compression do not fit", answer: status(500), want: again, says: "XSIAM_BODY"},
		{name: "500 to one event of three", answer: refuses(1, status(500)), want: again, last: dead, says: "status 500"},
		{name: "502", answer: status(502), want: again, says: "status 502"},
	})
}
