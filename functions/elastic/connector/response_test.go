package connector

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// answered makes one request of n events to a server that answers with that status and body.
func answered(t *testing.T, n, status int, body string) error {
	t.Helper()
	return send(t, open(t, record(t, connectortest.Status(status, body)).env(nil)), n)
}

func send(t *testing.T, c *connector, n int) error {
	t.Helper()
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = named(fmt.Sprint(i))
	}
	return c.Send(t.Context(), connectortest.Batch(t, c, bodies...))
}

func partialOf(err error) *deliver.PartialError {
	var p *deliver.PartialError
	_ = errors.As(err, &p)
	return p
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	refusal := func(code string) string { return fmt.Sprintf(`{"error":{"type":%q,"reason":"r"},"status":400}`, code) }
	item := func(status int, op, more string) string {
		return fmt.Sprintf(`{"errors":%t,"items":[{%q:{"status":%d%s}}]}`, status > 299, op, status, more)
	}
	failed := func(status int, code, words string) string {
		return item(status, opIndex, fmt.Sprintf(`,"error":{"type":%q,"reason":"%s b"}`, code, words))
	}
	rows := []connectortest.Row{
		{Status: "2xx", Code: "by item", Is: 200, Body: item(201, opIndex, "")},
		{Status: "400, 422", Code: "any other", Is: 400, Body: refusal("parsing_exception")},
		{Status: "item 200, 201", Code: "–", Is: 200, Body: item(201, opIndex, "")},
		{Status: "item 201", Code: "`failure_store: used`", Is: 200, Body: item(201, opIndex, `,"failure_store":"used"`)},
		{Status: "item 409 to create", Code: "–", Is: 200, Body: item(409, opCreate,
			`,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 409 to index", Code: "–", Is: 200,
			Body: item(409, opIndex, `,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(401, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(403, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(404, "index_not_found_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(429, "es_rejected_execution_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(503, "unavailable_shards_exception", "")},
		{Status: "item 400", Code: "`illegal_argument_exception`: only write ops with an op_type of create", Is: 200,
			Body: failed(400, illegal, "only write ops with an op_type of create")},
	}
	const unusable = "`invalid_index_name_exception`, `index_closed_exception`, `index_not_found_exception`, " +
		"`validation_exception`"
	for _, r := range commonRows {
		code := "`" + r.Code + "`"
		switch {
		case r.Code == illegal:
			code += ", by its words"
		case r.Code == "":
			code = "any: " + r.Words
		case r.Status == http.StatusBadRequest && strings.Contains(unusable, code):
			code = unusable
		}
		rows = append(rows, connectortest.Row{Status: fmt.Sprintf("item or request %d", r.Status), Code: code, Is: 200,
			Body: failed(r.Status, cmp.Or(r.Code, "x"), r.Words)})
	}
	rows = append(rows, connectortest.Row{Status: "item 400", Code: "any other", Is: 200,
		Body: failed(400, "document_parsing_exception", "")})
	connectortest.ResponseTable(t, func(a *httpsend.Response) error { return classify(a, 1).err }, rows)
}

func TestRequestsRefusedAsAWhole(t *testing.T) {
	const elastic = `{"error":{"root_cause":[],"type":"%s","reason":"%s"},"status":%d}`
	for _, test := range []struct {
		status     int
		body       string
		kind       failure.Kind
		code, hint string
	}{
		{400, fmt.Sprintf(elastic, "illegal_argument_exception", "Malformed action/metadata line [3], expected START_OBJECT",
			400), failure.Rejected, "illegal_argument_exception", ""},
		{400, fmt.Sprintf(elastic, "action_request_validation_exception",
			"Validation Failed: 1: id [a] is too long, must be no longer than 512 bytes but was: 513;", 400), failure.Rejected,
			"action_request_validation_exception", ""},
		{400, fmt.Sprintf(elastic, "illegal_argument_exception", "pipeline with id [p] does not exist", 400),
			failure.Misconfigured, "illegal_argument_exception", "ELASTIC_PIPELINE"},
		{400, fmt.Sprintf(elastic, "illegal_argument_exception", "only write ops with an op_type of create are allowed", 400),
			failure.Rejected, "illegal_argument_exception", ""},
		{400, `{"error":"no handler found for uri [/a/b/c/_bulk] and method [POST]"}`, failure.Misconfigured, "",
			"ELASTIC_URL"},
		{400, `{"statusCode":400,"error":"Bad Request","message":"Request must contain a kbn-xsrf header."}`,
			failure.Misconfigured, "", "not Kibana's"},
		{400, `<html>a proxy</html>`, failure.Misconfigured, "", "ELASTIC_URL"},
		{403, `<html>a firewall</html>`, failure.Unauthorized, "", ""},
		{403, fmt.Sprintf(elastic, "cluster_block_exception", "blocked by: [FORBIDDEN/6/cluster read-only (api)];", 403),
			failure.Misconfigured, "cluster_block_exception", "cluster.blocks"},
		{401, fmt.Sprintf(elastic, "security_exception", "unable to authenticate with provided credentials", 401),
			failure.Unauthorized, "security_exception", "ELASTIC_API_KEY"},
		{403, fmt.Sprintf(elastic, "security_exception", "action [indices:data/write/bulk] is unauthorized", 403),
			failure.Unauthorized, "security_exception", "ELASTIC_API_KEY"},
		{404, `{"ok":false,"message":"Unknown resource."}`, failure.Misconfigured, "", "ELASTIC_URL"},
		{404, fmt.Sprintf(elastic, "index_not_found_exception", "no such index [a]", 404), failure.Misconfigured,
			"index_not_found_exception", "ELASTIC_INDEX"},
		{405, `{"error":"Incorrect HTTP method for uri [/_bulk]","status":405}`, failure.Misconfigured, "", "ELASTIC_URL"},
		{406, `{"error":"Content-Type header [text/plain] is not supported","status":406}`, failure.Misconfigured, "",
			"ELASTIC_URL"},
		{429, fmt.Sprintf(elastic, "es_rejected_execution_exception", "rejected execution of coordinating operation", 429),
			failure.Throttled, "es_rejected_execution_exception", ""},
		{429, fmt.Sprintf(elastic, "circuit_breaking_exception", "[parent] Data too large", 429), failure.Throttled,
			"circuit_breaking_exception", ""},
		{503, fmt.Sprintf(elastic, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master];", 503),
			failure.Transient, "cluster_block_exception", ""},
		{400, `{"error":{"type":"Quoted \u0022 Text","reason":7}}`, failure.Rejected, "", ""},
	} {
		err := answered(t, 1, test.status, test.body)
		f := failure.Of(err)
		if f == nil || f.Kind != test.kind || f.Status != test.status || f.Code != test.code {
			t.Errorf("%d %s: %v (%+v), want %v code %q", test.status, test.body, err, f, test.kind, test.code)
			continue
		}
		if !strings.Contains(f.Hint, test.hint) || (test.hint == "") != (f.Hint == "") {
			t.Errorf("%d %s: hint %q, want %q in it", test.status, test.body, f.Hint, test.hint)
		}
		if (f.Kind == failure.Unauthorized) != (f.Step == failure.Auth) {
			t.Errorf("%d: step %q", test.status, f.Step)
		}
	}
}

// TestItems judges one item among accepted ones, compact and pretty-printed.
func TestItems(t *testing.T) {
	for _, test := range []struct {
		item       string
		kind       failure.Kind
		code, hint string
		detail     string
	}{
		{`"status":400,"error":{"type":"document_parsing_exception","reason":"[1:9] failed to parse","caused_by":{"type":"x","reason":"y"}}`, failure.Rejected, "document_parsing_exception", "", `"[1:9] failed to parse: y"`},
		// Elasticsearch and OpenSearch quote keys and values of the event. These must not match words of the table.
		{`"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [a] of type [long]. Preview of field's value: 'limit of total fields'","caused_by":{"type":"x","reason":"For input string: \"limit of total fields\""}}`, failure.Rejected, "mapper_parsing_exception", "", ""},
		{`"status":400,"error":{"type":"document_parsing_exception","reason":"[1:9] failed to parse: Duplicate field 'limit of total fields'"}`, failure.Rejected, "document_parsing_exception", "", ""},
		{`"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"json_parse_exception","reason":"Duplicate field 'a'\n at [Source: (byte[])\"{\"index\":{}}\n{\"b\":1}\"; line: 1, column: 5]"}}`, failure.Rejected, "mapper_parsing_exception", "", `"failed to parse: Duplicate field 'a'"`},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"unable to parse date [pipeline with id [x]]"}`,
			failure.Rejected, "illegal_argument_exception", "", ""},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"unable to parse date [only write ops with an op_type of create]"}`, failure.Rejected, "illegal_argument_exception", "", ""},
		{`"status":400,"error":{"type":"document_parsing_exception","reason":"[1:114] failed to parse: Limit of total fields [8] has been exceeded while adding new fields [2]"}`, failure.Misconfigured, "document_parsing_exception", "total_fields", ""},
		{`"status":400,"error":{"type":"strict_dynamic_mapping_exception","reason":"r"},"failure_store":"not_enabled"`,
			failure.Rejected, "strict_dynamic_mapping_exception", "", `"r"`},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"pipeline with id [p] does not exist"}`,
			failure.Misconfigured, "illegal_argument_exception", "ELASTIC_PIPELINE", `"pipeline with id [p] does not exist"`},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"no write index is defined for alias [a]."}`,
			failure.Misconfigured, "illegal_argument_exception", "alias", `"no write index is defined for alias [a]."`},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"index request with op_type=index and no if_primary_term and if_seq_no set targeting backing indices is disallowed"}`, failure.Misconfigured, "illegal_argument_exception", "data stream", ""},
		{`"status":400,"error":{"type":"invalid_index_name_exception","reason":"Invalid index name [A], must be lowercase"}`,
			failure.Misconfigured, "invalid_index_name_exception", "ELASTIC_INDEX", ""},
		{`"status":400,"error":{"type":"index_closed_exception","reason":"closed"}`, failure.Misconfigured,
			"index_closed_exception", "closed", `"closed"`},
		{`"status":400,"error":{"type":"validation_exception","reason":"this action would add [2] shards"}`,
			failure.Misconfigured, "validation_exception", "ELASTIC_INDEX", ""},
		{`"status":400,"error":{"type":"document_parsing_exception","reason":"preview: ` + strings.Repeat("v", 600) +
			`","caused_by":{"type":"x","reason":"not a number"}}`, failure.Rejected, "document_parsing_exception", "",
			`"preview: ` + strings.Repeat("v", 247) + `…: not a number"`},
		{`"status":401,"error":{"type":"security_exception","reason":"r"}`, failure.Misconfigured, "security_exception",
			"ELASTIC_INDEX", `"r"`},
		{`"status":403,"error":{"type":"security_exception","reason":"r"}`, failure.Misconfigured, "security_exception",
			"ELASTIC_INDEX", `"r"`},
		{`"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"a","reason":"b","caused_by":{"reason":"For input string: x","type":"number_format_exception"}}}`, failure.Rejected, "mapper_parsing_exception", "", `"failed to parse: For input string: x"`},
		{`"status":400,"error":{"type":"document_parsing_exception","reason":"[1:2] failed to parse","caused_by":{"type":"illegal_argument_exception","reason":"Limit of total fields [1000] has been exceeded while adding new fields [1]"}}`, failure.Misconfigured, "document_parsing_exception", "index.mapping.total_fields.limit", ""},
		{`"status":400,"error":{"type":"illegal_argument_exception","reason":"Limit of total fields [1000] in index [a] has been exceeded"}`, failure.Misconfigured, "illegal_argument_exception", "total_fields", ""},
		{`"status":403,"error":{"type":"cluster_block_exception","reason":"r"}`, failure.Misconfigured,
			"cluster_block_exception", "index.blocks", `"r"`},
		{`"status":429,"error":{"type":"cluster_block_exception","reason":"index [a] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"}`, failure.Transient, "cluster_block_exception", "disk", ""},
		{`"status":404,"error":{"type":"index_not_found_exception","reason":"r"}`, failure.Misconfigured,
			"index_not_found_exception", "ELASTIC_INDEX", `"r"`},
		{`"status":409,"error":{"type":"version_conflict_engine_exception","reason":"r"}`, failure.Transient,
			"version_conflict_engine_exception", "", `"r"`},
		{`"status":413,"error":{"type":"x","reason":"r"}`, failure.TooLarge, "x", "", `"r"`},
		{`"status":429,"error":{"type":"es_rejected_execution_exception","reason":"r"}`, failure.Throttled,
			"es_rejected_execution_exception", "", `"r"`},
		{`"status":500,"error":{"type":"fail_processor_exception","reason":"r"}`, failure.Transient,
			"fail_processor_exception", "", `"r"`},
		{`"status":503,"error":{"type":"unavailable_shards_exception","reason":"r"}`, failure.Transient,
			"unavailable_shards_exception", "", `"r"`},
		{`"status":400,"error":"MapperParsingException[r]"`, failure.Misconfigured, "", "", `"MapperParsingException[r]"`},
		{`"status":400,"error":{"type":"Not A Type","reason":null}`, failure.Rejected, "", "", ""},
		{`"status":400`, failure.Misconfigured, "", "", ""},
		{`"status":201,"error":{"type":"x","reason":"an error that is none"}`, failure.Transient, "x", "",
			`"an error that is none"`},
	} {
		for _, layout := range []string{
			`{"errors":true,"items":[{"index":{"status":201}},{"index":{%s}},{"index":{"status":200}}]}`,
			`{"errors":false,"items":[{"index":{"status":201}},{"index":{%s}},{"index":{"status":200}}]}`,
			"{\n  \"took\" : 3,\n  \"errors\" : true,\n  \"items\" : [\n {\n\"index\" : {\n\"_id\" : \"1\",\n\"status\" : 201 " +
				"} }, {\"index\" :\t{ %s } }, { \"index\" : { \"status\":201, \"_shards\":{\"failed\":0} } }\n ]\n}\n",
		} {
			err := answered(t, 3, 200, fmt.Sprintf(layout, test.item))
			p := partialOf(err)
			if p == nil || len(p.Results) != 3 || p.Results[0] != nil || p.Results[2] != nil {
				t.Errorf("%s: %v", test.item, err)
				continue
			}
			f := failure.Of(p.Results[1])
			if f.Kind != test.kind || f.Code != test.code || test.detail != "" && f.Detail != test.detail {
				t.Errorf("%s: %v %+v, want %v", test.item, f, f, test.kind)
			}
			if !strings.Contains(f.Hint, test.hint) || (test.hint == "") != (f.Hint == "") {
				t.Errorf("%s: hint %q", test.item, f.Hint)
			}
		}
	}
}

func TestAccepted(t *testing.T) {
	for name, body := range map[string]string{
		"compact": `{"errors":false,"items":[{"index":{"status":201}},{"index":{"status":200}}]}`,
		"pretty": "{\n  \"took\": 1,\n  \"errors\" : false ,\n  \"items\" : [ {\"index\" : { \"_index\":\"a\", " +
			"\"status\" : 201 }}, {\"index\":{\"status\":201}} ]\n}\n",
		"create":        `{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":201}}]}`,
		"there already": `{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: version conflict, document already exists"}}}]}`,
		"no errors":     `{"items":[{"index":{"status":201}},{"index":{"status":200}}]}`,
		"false alarm":   `{"errors":true,"items":[{"index":{"status":201}},{"index":{"status":200}}]}`,
		"null error":    `{"errors":false,"items":[{"index":{"status":201,"error":null}},{"index":{"status":201}}]}`,
	} {
		if err := answered(t, 2, 200, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	recorded, err := os.ReadFile("testdata/pretty.json")
	if err != nil {
		t.Fatal(err)
	}
	p := partialOf(answered(t, 3, 200, string(recorded)))
	if p == nil || p.Results[0] != nil || p.Results[2] != nil ||
		failure.Of(p.Results[1]).Code != "document_parsing_exception" {
		t.Errorf("pretty.json: %+v", p)
	}
}

// TestNotUnderstood lists responses for two events that have a success status and are not a success.
func TestNotUnderstood(t *testing.T) {
	const good = `{"index":{"status":201}}`
	for name, body := range map[string]string{
		"nothing":                   ``,
		"an empty object":           `{}`,
		"a page":                    `<html>"errors":false</html>`,
		"an array":                  `[]`,
		"no items":                  `{"errors":false}`,
		"half":                      `{"errors":false,"items":[` + good + `,` + good,
		"more behind it":            `{"errors":false,"items":[` + good + `,` + good + `]}{}`,
		"too few":                   `{"errors":false,"items":[` + good + `]}`,
		"too many":                  `{"errors":false,"items":[` + good + `,` + good + `,` + good + `]}`,
		"errors is a false word":    `{"errors":falsy,"items":[` + good + `,` + good + `]}`,
		"items twice":               `{"errors":false,"items":[` + good + `],"items":[` + good + `]}`,
		"an item without a status":  `{"errors":false,"items":[` + good + `,{"index":{}}]}`,
		"a status as text":          `{"errors":false,"items":[` + good + `,{"index":{"status":"201"}}]}`,
		"a status with a fraction":  `{"errors":false,"items":[` + good + `,{"index":{"status":201.0}}]}`,
		"a status out of range":     `{"errors":false,"items":[` + good + `,{"index":{"status":100}}]}`,
		"a huge status":             `{"errors":true,"items":[` + good + `,{"index":{"status":99999999999999999999}}]}`,
		"an item of another action": `{"errors":false,"items":[` + good + `,{"delete":{"status":200}}]}`,
		"an item of two actions": `{"errors":false,"items":[` + good +
			`,{"index":{"status":201},"create":{"status":201}}]}`,
		"an empty item":              `{"errors":false,"items":[` + good + `,{}]}`,
		"an item that is null":       `{"errors":false,"items":[` + good + `,null]}`,
		"a failure store as a count": `{"errors":false,"items":[` + good + `,{"index":{"status":201,"failure_store":1}}]}`,
	} {
		f := failure.Of(answered(t, 2, 200, body))
		if f == nil || f.Kind != failure.Transient || f.Status != 200 || f.Hint == "" {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestResponseLongerThanIsRead(t *testing.T) {
	pad := strings.Repeat(" ", maxAnswerBytes)
	if f := failure.Of(answered(t, 1, 200, `{"errors":false,"items":[{"index":{"status":201}}]}`+pad)); f == nil ||
		f.Kind != failure.Transient {
		t.Errorf("%+v", f)
	}
	item := `{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"` + strings.Repeat("r",
		30_000) + `"}}}`
	items := strings.TrimSuffix(strings.Repeat(item+",", maxRequestEvents), ",")
	p := partialOf(answered(t, maxRequestEvents, 200, `{"errors":true,"items":[`+items+`]}`))
	if p == nil || len(p.Results) != maxRequestEvents {
		t.Fatal("the answer to a full request with long reasons was not read")
	}
	if detail := failure.Of(p.Results[7]).Detail; len(detail) > 2*failure.MaxQuote {
		t.Errorf("the detail has %d bytes", len(detail))
	}
}

// TestSecretIsRedacted: an item's reason echoes the key, and a part of it. The server gets one of both forms.
func TestSecretIsRedacted(t *testing.T) {
	rec := record(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"errors":true,"items":[{"index":{"status":400,"error":{"type":"x","reason":"%s ui2lp2axTNmsyakw9tvNnw"}}}]}`,
			r.Header.Get("Authorization"))
	})
	for _, key := range []string{encodedKey, bare} {
		err := send(t, open(t, rec.env(map[string]string{"ELASTIC_API_KEY": key})), 1)
		if text := fmt.Sprintf("%v %+v", err, failure.Of(err)); err == nil || strings.Contains(text, encodedKey) ||
			strings.Contains(text, "ui2lp2ax") {
			t.Errorf("%s", text)
		}
	}
}

// TestReplaced: an event that replaces a document on its first attempt was enqueued twice.
func TestReplaced(t *testing.T) {
	rec := record(t, connectortest.Status(200,
		`{"errors":false,"items":[{"index":{"status":201,"result":"created"}},{"index":{"status":200,"result":"updated"}}]}`))
	for first, want := range map[bool]int{true: 1, false: 0} {
		items := []deliver.Item{{Event: connectortest.Parse(t, named("a")), First: !first},
			{Event: connectortest.Parse(t, named("b")), First: first}}
		outcomes := make([]deliver.Outcome, 2)
		report := deliver.Deliver(t.Context(), &connectortest.Source{Connector: open(t, rec.env(nil))}, items, outcomes)
		if len(report.Warnings) != want || outcomes[1].State != deliver.Delivered {
			t.Errorf("first attempt %t: warnings %q, %v", first, report.Warnings, outcomes[1].Fault)
		}
	}
}

// TestLongResponse: refused events that a response quotes until it is too long to be read do not fail their neighbours.
func TestLongResponse(t *testing.T) {
	quoted := strings.Repeat("x", maxAnswerBytes/2)
	rec := record(t, func(w http.ResponseWriter, r *http.Request) {
		var items []string
		for line := range strings.SplitSeq(connectortest.Body(r), "\n") {
			switch {
			case strings.Contains(line, connectortest.Bad):
				items = append(items, `{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"`+quoted+`"}}}`)
			case strings.Contains(line, `"time"`):
				items = append(items, `{"index":{"status":201,"result":"created"}}`)
			}
		}
		fmt.Fprintf(w, `{"errors":true,"items":[%s]}`, strings.Join(items, ","))
	})
	bad := connectortest.Event(1, connectortest.Bad)
	got := connectortest.Deliver(t, open(t, rec.env(nil)), bad, connectortest.Event(2, "a"), bad,
		connectortest.Event(3, "b"))
	connectortest.CheckOutcomes(t, "a long response", got, "rejected", "delivered", "rejected", "delivered")
}

// TestDataStream finds out what the index is, once, and loses no event over it.
func TestDataStream(t *testing.T) {
	rec := record(t, isStream)
	c := open(t, rec.env(nil))
	for range 2 {
		connectortest.Delivered(t, c, named("a"), named("b"), named("c"))
	}
	if sent := rec.Bodies(); len(sent) != 3 || !strings.HasPrefix(sent[0], `{"index"`) || !strings.HasPrefix(sent[1],
		`{"create"`) || strings.Count(sent[1], `{"create"`) != 3 {
		t.Errorf("%d requests: %q", len(sent), sent)
	}
	rec.Reset()
	connectortest.Deliver(t, open(t, rec.env(map[string]string{"ELASTIC_OP_TYPE": "create"})), named("a"))
	if n := len(rec.Requests()); n != 1 {
		t.Errorf("with ELASTIC_OP_TYPE=create: %d requests", n)
	}
}

// TestParameters: servers that do not know a parameter get it once, and a data stream that was found is required.
func TestParameters(t *testing.T) {
	oldServer := false
	unknown := connectortest.Status(400, `{"error":{"root_cause":[],"type":"illegal_argument_exception","reason":"request [/_bulk] contains unrecognized parameter: [include_source_on_error]"},"status":400}`)
	rec := record(t, func(w http.ResponseWriter, r *http.Request) {
		if oldServer && r.URL.Query().Has("include_source_on_error") {
			unknown(w, r)
			return
		}
		isStream(w, r)
	})
	queries := func() (all []string) {
		for _, r := range rec.Requests() {
			_, query, _ := strings.Cut(r.URL.RawQuery, answerFilter)
			all = append(all, query)
		}
		return all
	}
	for name, want := range map[string][]string{
		"old": {"&include_source_on_error=false", "", "", ""},
		"new": {"&include_source_on_error=false", "&include_source_on_error=false&require_data_stream=true",
			"&include_source_on_error=false&require_data_stream=true"},
	} {
		oldServer = name == "old"
		rec.Reset()
		c := open(t, rec.env(nil))
		for range 2 {
			connectortest.Delivered(t, c, named("a"), named("b"))
		}
		if got := queries(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestDataStreamConcurrently has several invocations find out at once.
func TestDataStreamConcurrently(t *testing.T) {
	c := open(t, record(t, isStream).env(nil))
	var invocations sync.WaitGroup
	for i := range 8 {
		invocations.Go(func() {
			outcomes := connectortest.Deliver(t, c, named(fmt.Sprint("a", i)), named(fmt.Sprint("b", i)))
			connectortest.CheckOutcomes(t, "one of eight", outcomes, "delivered")
		})
	}
	invocations.Wait()
}

// TestCreateRefusedAsIndex: the SIEM refuses the create action and requests a create action.
func TestCreateRefusedAsIndex(t *testing.T) {
	const body = `{"errors":true,"items":[{"create":{"status":400,"error":{"type":"illegal_argument_exception","reason":"only write ops with an op_type of create are allowed in data streams"}}}]}`
	p := partialOf(answered(t, 1, 200, body))
	if p == nil || failure.Of(p.Results[0]).Kind != failure.Rejected {
		t.Errorf("%+v", p)
	}
}

func TestWarnings(t *testing.T) {
	for want, respond := range map[string]http.HandlerFunc{
		"failure store": connectortest.Status(200,
			`{"errors":false,"items":[{"index":{"status":201,"failure_store":"used"}},{"index":{"status":201}}]}`),
		"is a data stream": isStream,
	} {
		c := open(t, record(t, respond).env(nil))
		b := connectortest.Batch(t, c, named("a"), named("b"))
		_ = c.Send(t.Context(), b)
		if w := b.Warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
			t.Errorf("%s: %q", want, w)
		}
	}
}

func FuzzClassify(f *testing.F) {
	template := connectortest.Response(f, 200, nil, "")
	f.Add([]byte(`{"errors":false,"items":[{"index":{"status":201}}]}`), uint8(1))
	f.Add([]byte(`{"errors":true,"items":[{"create":{"status":409,"error":{"type":"a","reason":"b"}}},{"index":{"status":400,"error":"x"}}]}`), uint8(2))
	f.Add([]byte(`{"took":1,"errors" : true ,"items":[ {"index":{"status":201,"failure_store":"used","x":[1,{"a":null}]}} ]}`), uint8(1))
	f.Add([]byte(`{"error":{"type":"a","reason":"b\ud800"},"status":400}`), uint8(3))
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		a := *template
		a.Body = body
		_ = readRefusal(&a)
		p := result{of: int(n), response: &a}
		understood := readItems(body, &p)
		want, valid := reference(body)
		if understood && (!valid || len(want) != p.seen) {
			t.Fatalf("understood %d items in %q, reference %v", p.seen, body, want)
		}
		if !understood || p.seen != int(n) {
			return
		}
		for i, status := range want {
			accepted := p.results == nil || p.results[i] == nil
			if accepted && (status < 200 || status > 299) && status != 409 {
				t.Fatalf("item %d of status %v is accepted in %q", i, status, body)
			}
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	a := connectortest.Response(b, 200, nil, `{"errors":false,"items":[`+
		strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, 100), ",")+`]}`)
	b.ReportAllocs()
	for b.Loop() {
		if r := classify(a, 100); r.err != nil {
			b.Fatal(r.err)
		}
	}
}

// reference reads the item statuses of a response with the standard library. It decodes into maps, because struct
// fields match names without regard to case.
func reference(body []byte) (statuses []float64, valid bool) {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil {
		return nil, false
	}
	items, valid := answer["items"].([]any)
	for _, item := range items {
		results, _ := item.(map[string]any)
		for _, result := range results {
			fields, _ := result.(map[string]any)
			status, _ := fields["status"].(float64)
			statuses = append(statuses, status)
		}
	}
	return statuses, valid
}
