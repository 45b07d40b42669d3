package matrix

import (
	"bytes"
	"fmt"
	"net/http"
)

// hec is a response of HEC.
func hec(status, code int, more string) responder {
	return reply(status, fmt.Sprintf(`{"text":"as documented","code":%d%s}`, code, more))
}

const (
	first = `,"invalid-event-number":1` // of three: the second one

	// The outcomes of three events.
	dead    = "delivered · dead letter · delivered"
	comes   = "delivered · 1 s · delivered"
	isHeld  = "delivered · 300 s · delivered"
	inOrder = "delivered · 1 s · 1 s"
)

// partial is HEC's response to three events if it accepts the first and stops at the second.
func partial(status, code int) responder {
	return func(q *request) {
		q.read()
		q.took(q.ids[0])
		hec(status, code, first)(q)
	}
}

// splunkRows are HEC's codes.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
func splunkRows() []row {
	rows := []row{
		{name: "200, code 0", respond: hec(200, 0, ""), want: "delivered"},
		{name: "200, code 24: queue nearly full", respond: hec(200, 24, ""), want: "delivered"},
		{name: "200, code 25: acknowledgements nearly full", respond: hec(200, 25, ""), want: "delivered"},
		{name: "200, code 17: the health endpoint", respond: hec(200, 17, ""), want: again, reason: "code 17"},
		{name: "200, code 6: a contradiction", respond: hec(200, 6, ""), want: again, reason: "code 6"},
		{name: "500, code 0: a contradiction", respond: hec(500, 0, ""), want: again, reason: "code 0"},
		{name: "403, code 1: token disabled", respond: hec(403, 1, ""), want: held, renewed: true, reason: "code 1"},
		{name: "401, code 2: token required", respond: hec(401, 2, ""), want: held, renewed: true, reason: "code 2"},
		{name: "401, code 3: invalid authorization", respond: hec(401, 3, ""), want: held, renewed: true, reason: "code 3"},
		{name: "403, code 4: invalid token", respond: hec(403, 4, ""), want: held, renewed: true, reason: "code 4"},
		{name: "400, code 5: no data", respond: hec(400, 5, ""), want: again, reason: "code 5"},
		{name: "400, code 6 at the second event", respond: partial(400, 6), once: true, want: dead, requests: 2,
			reason: "code 6"},
		{name: "400, code 6 without a number", respond: hec(400, 6, ""), want: held, reason: "code 6"},
		{name: "400, code 6 at an event beyond the last", respond: hec(400, 6, `,"invalid-event-number":7`), want: held,
			reason: "code 6"},
		{name: "400, code 7: incorrect index", respond: hec(400, 7, ""), want: held, requests: 1, reason: "SPLUNK_HEC_INDEX"},
		{name: "500, code 8: internal error", respond: hec(500, 8, ""), want: again, reason: "code 8"},
		{name: "503, code 9: busy", respond: hec(503, 9, ""), want: again, reason: "code 9"},
		{name: "503, code 9 at the second event", respond: partial(503, 9), want: inOrder, requests: 1, reason: "code 9"},
		{name: "400, code 10: channel missing", respond: hec(400, 10, ""), want: held, reason: "code 10"},
		{name: "400, code 11: channel invalid", respond: hec(400, 11, ""), want: held, reason: "code 11"},
		{name: "400, code 12 at the second event", respond: partial(400, 12), once: true, want: dead, reason: "code 12"},
		{name: "400, code 13 at the second event", respond: partial(400, 13), once: true, want: dead, reason: "code 13"},
		{name: "400, code 14: acknowledgement disabled", respond: hec(400, 14, ""), want: held, reason: "code 14"},
		{name: "400, code 15 at the second event", respond: partial(400, 15), once: true, want: dead, reason: "code 15"},
		{name: "400, code 16: token in the query", respond: hec(400, 16, ""), want: held, reason: "code 16"},
		{name: "503, code 18: unhealthy, queues full", respond: hec(503, 18, ""), want: again, reason: "code 18"},
		{name: "503, code 19: unhealthy, no acknowledgements", respond: hec(503, 19, ""), want: again, reason: "code 19"},
		{name: "503, code 20: unhealthy, both", respond: hec(503, 20, ""), want: again, reason: "code 20"},
		{name: "400, code 21: invalid token", respond: hec(400, 21, ""), want: held, renewed: true, reason: "code 21"},
		{name: "400, code 22: token disabled", respond: hec(400, 22, ""), want: held, renewed: true, reason: "code 22"},
		{name: "503, code 23: shutting down", respond: hec(503, 23, ""), want: again, reason: "code 23"},
		{name: "429, code 26: queue full", respond: hec(429, 26, ""), want: again, reason: "code 26"},
		{name: "429, code 27: acknowledgements full", respond: hec(429, 27, ""), want: again, reason: "code 27"},
		{name: "400, code 99, which is not documented", respond: hec(400, 99, ""), want: again, reason: "code 99"},
		{name: "400, code 6 at the second event, then reset", respond: behind(partial(400, 6), resetAfter),
			want: "delivered · dead letter · 1 s"},
		{name: "400, code 6 at the second event, then 503", respond: behind(partial(400, 6), hec(503, 9, "")),
			want: "delivered · dead letter · 1 s"},
	}
	return rows
}

// behind responds with a to three events, and with then to fewer.
func behind(a, then responder) responder {
	return func(q *request) {
		if q.read(); len(q.ids) == 3 {
			a(q)
			return
		}
		then(q)
	}
}

// second is a bulk response in which other is the second event's item.
func second(other string) responder { return flagged("", other) }

// flagged is such a response, with flag as `errors`. If other is empty, all events are accepted.
func flagged(flag, other string) responder {
	return func(q *request) {
		q.read()
		others := map[string]string{}
		for _, id := range q.ids {
			if id == eventID(1) && other != "" {
				others[id] = other
			} else {
				q.took(id)
			}
		}
		q.text(http.StatusOK, items(q, flag, others))
	}
}

// bulkRefusal is a refusal of the whole request.
func bulkRefusal(status int, kind, reason string) responder {
	return reply(status, fmt.Sprintf(`{"error":{"root_cause":[],"type":%q,"reason":%q},"status":%d}`, kind, reason,
		status))
}

// cut is a bulk response with n items too many.
func cut(n int) responder {
	return func(q *request) {
		q.read()
		ids := q.ids
		q.took(ids...)
		q.ids = append(append([]string{}, ids...), ids...)[:len(ids)+n]
		q.text(http.StatusOK, items(q, "", nil))
	}
}

// elasticRows are Elasticsearch's responses, by item and as a whole.
func elasticRows() []row {
	create := map[string]string{"ELASTIC_OP_TYPE": "create"}
	return []row{
		{name: "item 400 document_parsing_exception", respond: second("400 document_parsing_exception failed to parse"),
			want: dead, reason: "document_parsing_exception"},
		{name: "item 400 illegal_argument_exception: only op_type of create", respond: wantsCreate, want: "delivered",
			requests: 2},
		{name: "item 400 illegal_argument_exception: no such pipeline",
			respond: second("400 illegal_argument_exception pipeline with id [p] does not exist"), want: isHeld,
			reason: "ELASTIC_PIPELINE"},
		{name: "item 403 cluster_block_exception", respond: second("403 cluster_block_exception index is read-only"),
			want: isHeld, reason: "cluster_block_exception"},
		{name: "item 404 index_not_found_exception", respond: second("404 index_not_found_exception no such index"),
			want: isHeld, reason: "ELASTIC_INDEX"},
		{name: "item 409 version_conflict, action index", respond: second("409 version_conflict_engine_exception conflict"),
			want: comes, reason: "version_conflict"},
		{name: "item 409 version_conflict, action create", env: create, respond: thereAlready, want: "delivered",
			requests: 1},
		{name: "item 413", respond: second("413 content_too_large too large"), want: dead, reason: "status 413"},
		{name: "item 429 es_rejected_execution_exception", respond: second("429 es_rejected_execution_exception full"),
			want: comes, reason: "es_rejected_execution_exception"},
		{name: "item 500", respond: second("500 internal broken"), want: comes, reason: "status 500"},
		{name: "item 503 unavailable_shards_exception",
			respond: second("503 unavailable_shards_exception primary shard is not active"), want: comes,
			reason: "unavailable_shards_exception"},
		{name: "one item is missing", respond: cut(-1), want: again, reason: "2 items for 3 events"},
		{name: "one item too many", respond: cut(+1), want: again},
		{name: "`errors` is true, but no item is an error", respond: flagged("true", ""), want: "delivered",
			requests: 1},
		{name: "`errors` is false, but an item is an error",
			respond: flagged("false", "429 es_rejected_execution_exception full"), want: comes,
			reason: "es_rejected_execution_exception"},
		{name: "no items", respond: reply(200, `{"took":1,"errors":false}`), want: again, reason: "bulk API"},
		{name: "400 illegal_argument_exception: no such pipeline",
			respond: bulkRefusal(400, "illegal_argument_exception", "pipeline with id [p] does not exist"), want: held,
			reason: "ELASTIC_PIPELINE"},
		{name: "401 security_exception", respond: bulkRefusal(401, "security_exception", "unable to authenticate"),
			want: held, renewed: true, reason: "ELASTIC_API_KEY"},
		{name: "403 security_exception", respond: bulkRefusal(403, "security_exception", "unauthorized"), want: held,
			renewed: true, reason: "ELASTIC_API_KEY"},
		{name: "429 circuit_breaking_exception", respond: bulkRefusal(429, "circuit_breaking_exception", "data too large"),
			want: again, requests: 1, reason: "circuit_breaking_exception"},
		{name: "one item refused, the rest reset when it is sent as create", respond: behind(wantsCreateOfLast, resetAfter),
			want: "delivered · delivered · 1 s"},
	}
}

// wantsCreate is a data stream's response: it refuses the action index.
func wantsCreate(q *request) {
	others := map[string]string{}
	if q.read(); !bytes.Contains(q.body, []byte(`{"create":`)) {
		for _, id := range q.ids {
			others[id] = "400 illegal_argument_exception only write ops with an op_type of create are allowed in data streams"
		}
	} else {
		q.took(q.ids...)
	}
	q.text(http.StatusOK, items(q, "", others))
}

// wantsCreateOfLast refuses the last item like a data stream, and accepts the others.
func wantsCreateOfLast(q *request) {
	q.read()
	last := len(q.ids) - 1
	q.took(q.ids[:last]...)
	q.text(http.StatusOK, items(q, "", map[string]string{
		q.ids[last]: "400 illegal_argument_exception only write ops with an op_type of create are allowed in data streams"}))
}

// thereAlready is the response if an earlier attempt delivered the second event.
func thereAlready(q *request) {
	q.read()
	q.took(eventID(1))
	second("409 version_conflict_engine_exception document already exists")(q)
}

// sentinelRows are the responses of Azure's two endpoints.
func sentinelRows() []row {
	refusal := func(code string) string { return `{"error":{"code":"` + code + `","message":"as documented"}}` }
	oauth := func(kind string, number int) string {
		return fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: as documented","error_codes":[%d]}`, kind, number,
			number)
	}
	return []row{
		{name: "400 InvalidStream", respond: reply(400, refusal("InvalidStream")), want: held, requests: 1,
			reason: "SENTINEL_DCR_STREAM_NAME"},
		{name: "400 to one event of three", respond: refuses(1, reply(400, refusal("InvalidPayload"))), want: dead,
			reason: "InvalidPayload"},
		{name: "401", respond: reply(401, refusal("InvalidToken")), want: held, requests: 2, renewed: true,
			reason: "SENTINEL_SCOPE"},
		{name: "401 until there is a new token", respond: status(401), once: true, want: "delivered", requests: 2,
			renewed: true},
		{name: "403 OperationFailed", respond: reply(403, refusal("OperationFailed")), want: held, renewed: true,
			reason: "Monitoring Metrics Publisher"},
		{name: "404 ResourceNotFound", respond: reply(404, refusal("ResourceNotFound")), want: held, requests: 1,
			reason: "SENTINEL_DCR_RULE_ID"},
		{name: "413 ContentLengthLimitExceeded to more than one event", respond: tooMany, want: "delivered", requests: 5},
		{name: "429, `Retry-After: 45`", respond: status(429, "Retry-After", "45"), want: "45 s", requests: 1,
			reason: "status 429"},
		{name: "token: 401 invalid_client, secret expired", token: reply(401, oauth("invalid_client", 7000222)), want: held,
			renewed: true, reason: "AADSTS7000222"},
		{name: "token: 400 unauthorized_client, unknown application", token: reply(400, oauth("unauthorized_client", 700016)),
			want: held, renewed: true, reason: "AADSTS700016"},
		{name: "token: 400 temporarily_unavailable", token: reply(400, oauth("temporarily_unavailable", 90033)), want: again,
			reason: "AADSTS90033"},
		{name: "token: 404", token: status(404), want: held, reason: "SENTINEL_AUTHORITY_HOST"},
		{name: "token: 302", token: redirect(302), want: held, reason: "redirects are not followed"},
		{name: "token: 429, `Retry-After: 30`", token: status(429, "Retry-After", "30"), want: "30 s", reason: "status 429"},
		{name: "token: 503", token: status(503), want: again, reason: "status 503"},
		{name: "token: reset", token: resetAfter, want: again, reason: "reset"},
		{name: "token: no respond", token: blackHole, slow: true, want: again, reason: "in time"},
		{name: "token: 200, a web page", token: webPage, want: again, reason: "does not lead to a token endpoint"},
		{name: "token: 200 without an expiry", token: reply(200, `{"access_token":"`+tokenCanary+`"}`), want: again,
			reason: "does not lead to a token endpoint"},
		{name: "token: 200 with a line break in the token", token: reply(200, `{"access_token":"a\nb","expires_in":3600}`),
			want: again, reason: "does not lead to a token endpoint"},
		{name: "token: 200, endless", token: endless, want: again, reason: "does not lead to a token endpoint"},
	}
}

// datadogRows are the intake's responses.
func datadogRows() []row {
	refusal := func(status int) string {
		return fmt.Sprintf(`{"errors":[{"status":"%d","title":"as documented"}]}`, status)
	}
	return []row{
		{name: "202 `{}`", respond: reply(202, `{}`), want: "delivered"},
		{name: "200 `{}`", respond: reply(200, `{}`), want: "delivered"},
		{name: "202 with errors", respond: reply(202, refusal(400)), want: again, reason: "DATADOG_INTAKE_URL"},
		{name: "400 to one event of three", respond: refuses(1, reply(400, refusal(400))), want: dead, reason: "status 400"},
		{name: "401", respond: reply(401, refusal(401)), want: held, renewed: true, reason: "DATADOG_API_KEY"},
		{name: "403", respond: reply(403, refusal(403)), want: held, renewed: true, reason: "DATADOG_SITE"},
		{name: "408", respond: reply(408, refusal(408)), want: again, reason: "status 408"},
		{name: "413 to more than one event", respond: tooMany, want: "delivered"},
		{name: "429, `X-RateLimit-Reset: 60`", respond: status(429, "X-RateLimit-Reset", "60"), want: "60 s",
			reason: "status 429"},
		{name: "429, `X-RateLimit-Period: 10`", respond: status(429, "X-RateLimit-Period", "10"), want: "10 s",
			reason: "status 429"},
		{name: "429, `Retry-After: 5`, `X-RateLimit-Reset: 60`",
			respond: status(429, "Retry-After", "5", "X-RateLimit-Reset", "60"), want: "5 s", reason: "status 429"},
		{name: "503", respond: reply(503, refusal(503)), want: again, reason: "status 503"},
	}
}

// sumoRows are the HTTP source's responses.
func sumoRows() []row {
	body := func(status int, code string) string {
		return fmt.Sprintf(`{"id":"X","code":%q,"status":%d,"message":"as documented"}`, code, status)
	}
	return []row{
		{name: "200 with a code", respond: reply(200, body(200, "header.invalid")), want: "delivered"},
		{name: "400 to one event of three", respond: refuses(1, reply(400, body(400, "malformed"))), want: dead,
			reason: "code malformed"},
		{name: "401", respond: reply(401, body(401, "unauthorized")), want: held, renewed: true,
			reason: "SUMO_HTTP_SOURCE_URL"},
		{name: "403", respond: reply(403, body(403, "forbidden")), want: held, renewed: true, reason: "SUMO_HTTP_SOURCE_URL"},
		{name: "404", respond: reply(404, body(404, "notfound")), want: held, reason: "SUMO_HTTP_SOURCE_URL"},
		{name: "408", respond: reply(408, body(408, "timeout")), want: again, reason: "may have taken part"},
		{name: "413 to more than one event", respond: tooMany, want: "delivered"},
		{name: "429", respond: reply(429, body(429, "rate.limit.exceeded")), want: again, requests: 1,
			reason: "rate.limit.exceeded"},
		{name: "503", respond: reply(503, body(503, "internal.error")), want: again, reason: "internal.error"},
		{name: "504", respond: status(504), want: again, reason: "status 504"},
	}
}

// xsiamRows are the event endpoint's responses.
func xsiamRows() []row {
	return []row{
		{name: "200 `{\"error\":\"false\"}`", respond: reply(200, `{"error":"false"}`), want: "delivered"},
		{name: "202", respond: reply(202, ``), want: "delivered"},
		{name: "401", respond: reply(401, `{"error":"Unauthorized"}`), want: held, renewed: true, reason: "XSIAM_API_KEY"},
		{name: "404", respond: status(404), want: held, reason: "XSIAM_URL"},
		{name: "413 to more than one event", respond: tooMany, want: "delivered"},
		{name: "429", respond: status(429), want: again, requests: 1, reason: "status 429"},
		{name: "500: format or compression do not fit", respond: status(500), want: again, reason: "XSIAM_BODY"},
		{name: "500 to one event of three", respond: refuses(1, status(500)), want: again, last: dead, reason: "status 500"},
		{name: "502", respond: status(502), want: again, reason: "status 502"},
	}
}
