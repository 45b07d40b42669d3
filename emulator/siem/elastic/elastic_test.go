package elastic_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
)

type cluster struct {
	*siemtest.Client
	t *testing.T
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	s := siemtest.Start(t, elastic.New, siem.Options{})
	return cluster{siemtest.NewClient(t, s, "/_bulk", map[string]string{
		"Authorization": "ApiKey " + s.Secret()["ELASTIC_API_KEY"], "Content-Type": "application/x-ndjson"}), t}
}

func client(t *testing.T) *siemtest.Client { return newCluster(t).Client }

type answer struct {
	Errors bool
	Items  []map[string]struct {
		Status       int
		Error        struct{ Type, Reason string }
		FailureStore string `json:"failure_store"`
	}
}

// bulk posts lines and returns the items' statuses with their error types.
func (c cluster) bulk(lines ...string) string {
	c.t.Helper()
	status, text := c.Post(withHashes(strings.Join(lines, "\n")) + "\n")
	var a answer
	if err := json.Unmarshal([]byte(text), &a); status != 200 || err != nil {
		c.t.Fatalf("%d %s", status, text)
	}
	var out []string
	for _, item := range a.Items {
		for _, result := range item {
			out = append(out, strings.TrimSpace(fmt.Sprint(result.Status, " ", result.Error.Type, result.FailureStore)))
		}
	}
	if a.Errors != strings.Contains(strings.Join(out, ""), "exception") {
		c.t.Errorf("errors is %t of %q", a.Errors, out)
	}
	return strings.Join(out, ", ")
}

// added is the key that the connector adds to an event.
var added = regexp.MustCompile(`^\{"@timestamp":"[^"]*",`)

// withHashes adds the hash of the event to each _id that is the event's id.
func withHashes(body string) string {
	lines := strings.Split(body, "\n")
	for n := 0; n+1 < len(lines); n += 2 {
		event := added.ReplaceAllString(lines[n+1], "{")
		if id := siem.OwnID([]byte(event)); id != "" {
			lines[n] = strings.Replace(lines[n], `"_id":"`+id+`"`, `"_id":"`+id+"-"+siem.ContentHash([]byte(event))[:16]+`"`, 1)
		}
	}
	return strings.Join(lines, "\n")
}

func action(op, index, id string) string {
	return fmt.Sprintf(`{"%s":{"_index":"%s","_id":"%s"}}`, op, index, id)
}

func document(id string) string {
	return fmt.Sprintf(`{"@timestamp":"2025-03-13T00:00:00.123Z","time":1741824000123,"metadata":{"uid":"%s"}}`, id)
}

func index(id string) string { return action("index", "arbitex-audit", id) + "\n" + document(id) }

func TestRefusesTheRequest(t *testing.T) {
	good, nothing := index("a")+"\n", "\n{}\n"
	refuse := siemtest.Refuses(t, client)
	refuse("no key", siemtest.Header("Authorization", ""), good, 401, "missing authentication")
	refuse("another scheme", siemtest.Header("Authorization", "Bearer x"), good, 401, "unable to authenticate")
	refuse("a key not encoded", siemtest.Header("Authorization", "ApiKey a:b"), good, 401, "unable to authenticate")
	refuse("another key", siemtest.Header("Authorization", "ApiKey YTpi"), good, 401, "unable to authenticate")
	refuse("a rotated key", siemtest.Rotate, good, 401, "invalidated")
	refuse("no such path", siemtest.Path("/a/b/_bulk"), good, 400, "no handler found")
	refuse("get", siemtest.Method(http.MethodGet), "", 405, "Incorrect HTTP method")
	refuse("no body", nil, "", 400, "request body is required")
	refuse("a content type", siemtest.Header("Content-Type", "text/plain"), good, 406, "Content-Type")
	refuse("a parameter", siemtest.Query("?pipelines=x"), good, 400, "unrecognized parameter")
	refuse("not gzip", siemtest.Header("Content-Encoding", "gzip"), good, 400, "Content-Encoding")
	refuse("no line break at the end", nil, index("a"), 400, "terminated by a newline")
	refuse("no action", nil, document("a")+"\n", 400, "Malformed action/metadata line [1]")
	refuse("broken action", nil, index("a")+"\n{"+nothing, 400, "Malformed action/metadata line [3]")
	refuse("another action", nil, `{"insert":{}}`+nothing, 400, "found [insert]")
	refuse("an array as action", nil, `{"index":[]}`+nothing, 400, "expected START_OBJECT")
	refuse("a parameter of an action", nil, `{"index":{"_type":"x"}}`+nothing, 400, "unknown parameter [_type]")
	refuse("no index", nil, `{"index":{}}`+nothing, 400, "index is missing")
	refuse("no source", nil, action("index", "a", "b")+"\n", 400, "source is missing")
	refuse("only white space", nil, " \n", 400, "no requests added")
	refuse("too long an id", nil, index(strings.Repeat("x", 513))+"\n", 400, "no longer than 512 bytes but was: 513")
	refuse("too large", nil, strings.Repeat("x", 100<<20+1), 413, "")
}

func TestJudgesItemByItem(t *testing.T) {
	const parsing = "400 document_parsing_exception"
	for _, test := range []struct{ name, bad, want string }{
		{"not json", action("index", "arbitex-audit", "x") + "\n{", parsing},
		{"null", action("index", "arbitex-audit", "x") + "\nnull", parsing},
		{"not utf-8", action("index", "arbitex-audit", "x") + "\n{\"a\":\"\xff\"}", parsing},
		{"a key twice", action("index", "arbitex-audit", "x") + "\n" + `{"time":1,"a":[{"b":1e999,"c":{},"b":2}]}`, parsing},
		{"poisoned", index("poison"), parsing},
		{"a name in upper case", action("index", "Arbitex", "x") + "\n" + document("x"), "400 invalid_index_name_exception"},
		{"a backing index", action("index", ".ds-arbitex-2025.03.13-000001", "x") + "\n" + document("x"),
			"400 illegal_argument_exception"},
		{"a foreign index", action("index", "other", "x") + "\n" + document("x"), "403 security_exception"},
		{"index into a data stream", action("index", "logs-arbitex-default", "x") + "\n" + document("x"),
			"400 illegal_argument_exception"},
		{"no timestamp in a data stream", action("create", "logs-arbitex-default", "x") + "\n" + `{"time":1}`, parsing},
		{"there already", action("create", "arbitex-audit", "a") + "\n" + document("a"),
			"409 version_conflict_engine_exception"},
	} {
		c := newCluster(t)
		c.Inject(siem.PoisonEvent("poison"))
		if got := c.bulk(index("a"), test.bad, index("b")); got != "201, "+test.want+", 201" {
			t.Errorf("%s: %s", test.name, got)
		}
		if got := c.Accepted(); len(got) != 2 || got[1].ID != "b" || len(c.Stats().Violations) != 0 {
			t.Errorf("%s: accepted %d, violations %q", test.name, len(got), c.Stats().Violations)
		}
	}
}

// TestStoresOnce sends one event four times.
func TestStoresOnce(t *testing.T) {
	c := newCluster(t)
	create := action("create", "arbitex-audit", "a") + "\n" + document("a")
	if got := c.bulk(index("a"), index("a"), create,
		index("a")); got != "201, 200, 409 version_conflict_engine_exception, 200" {
		t.Errorf("%s", got)
	}
	if got := c.bulk(action("create", "logs-arbitex-default", "a"), document("a")); got != "201" ||
		len(c.Accepted()) != 2 {
		t.Errorf("%s, accepted %d", got, len(c.Accepted()))
	}
}

// TestReplaces sends two different documents with one _id.
func TestReplaces(t *testing.T) {
	c := newCluster(t)
	body := index("a") + "\n" + strings.Replace(index("a"), `"time"`, `"x":1,"time"`, 1) + "\n"
	if _, text := c.Post(body); !strings.Contains(text, `"result":"updated"`) {
		t.Errorf("%s", text)
	}
	if got := c.Accepted(); len(got) != 2 || got[0].Fields["result"] != "created" ||
		got[1].Fields["result"] != "replaced" {
		t.Errorf("%+v", got)
	}
}

func TestFaultsOnDemand(t *testing.T) {
	for code, want := range map[string]string{
		"data-stream":    "400 illegal_argument_exception, 400 illegal_argument_exception, 400 illegal_argument_exception",
		"failure-store":  "201 used, 201, 201",
		"item 429":       "201, 429 es_rejected_execution_exception, 201",
		"item 503":       "201, 503 unavailable_shards_exception, 201",
		"item 403":       "403 cluster_block_exception, 403 cluster_block_exception, 403 cluster_block_exception",
		"item 404":       "404 index_not_found_exception, 404 index_not_found_exception, 404 index_not_found_exception",
		"pretty":         "201, 201, 201",
		"closed index":   "400 index_closed_exception, 400 index_closed_exception, 400 index_closed_exception",
		"no write index": "400 illegal_argument_exception, 400 illegal_argument_exception, 400 illegal_argument_exception",
		"shard limit":    "400 validation_exception, 400 validation_exception, 400 validation_exception",
	} {
		c := newCluster(t)
		c.Inject(siem.Fault{Kind: siem.Product, Code: code, Times: 1})
		if got := c.bulk(index("a"), index("b"), index("c")); got != want {
			t.Errorf("%s: %s", code, got)
		}
		if got := c.bulk(index("d")); got != "201" {
			t.Errorf("after %s: %s", code, got)
		}
	}
	c := newCluster(t)
	c.Inject(siem.Fault{Kind: siem.Product, Code: "cut", Times: 1})
	if status, text := c.Post(index("a") + "\n"); status != 200 || json.Valid([]byte(text)) ||
		len(c.Accepted()) != 1 {
		t.Errorf("cut: %d %s", status, text)
	}
}

// TestResponses: "a" is valid, and "poison" is poisoned.
func TestResponses(t *testing.T) {
	a, poison, broken := index("a")+"\n", index("poison")+"\n", action("index", "arbitex-audit", "b")+"\n{\n"
	for _, test := range []struct {
		name, product, query, body, want string
		accepted                         int
	}{
		{"again", "", "", a + a, `"result":"updated"`, 1},
		{"pipeline", "", "?pipeline=arbitex", a, `"status":201`, 1},
		{"another pipeline", "", "?pipeline=other", a, `"status":400`, 0},
		{"processor script", "script", "?pipeline=arbitex", a + poison, `"caused_by":{"reason":"Cannot invoke ` +
			`\"Object.getClass()\" because \"callArgs[0]\" is null","type":"null_pointer_exception"},` +
			`"reason":"runtime error","type":"script_exception"`, 1},
		{"processor date", "date", "?pipeline=arbitex", a + poison, `"caused_by":{"reason":"For input string: \"soon\"",` +
			`"type":"illegal_argument_exception"},"reason":"unable to parse date [soon]","type":"illegal_argument_exception"`,
			1},
		{"no pipeline: script", "script", "", poison, "document_parsing_exception", 0},
		{"no pipeline: date", "date", "", poison, "document_parsing_exception", 0},
		{"no room for more fields", "total fields", "", a, `"caused_by":{"reason":"Limit of total fields [1000] has been`, 0},
		{"a full disk", "flood stage", "", a, `"status":429`, 0},
		{"filter errors", "", "?filter_path=errors", a + broken, `{"errors":true}`, 1},
		{"filter items", "", "?filter_path=items.*.status", a + broken,
			`{"items":[{"index":{"status":201}},{"index":{"status":400}}]}`, 1},
		{"filter both", "", "?filter_path=errors,items.*.error.type,items.*.failure_store", a + broken,
			`{"errors":true,"items":[{"index":{"error":{"type":"document_parsing_exception"}}}]}`, 1},
		{"filter all", "", "?filter_path=nothing", a, `{}`, 1},
		{"pretty", "", "?pretty&filter_path=errors", a, "{\n  \"errors\" : false\n}\n", 1},
		{"an error is not filtered", "", "?filter_path=items", "x\n", "Malformed", 0},
	} {
		c := newCluster(t)
		c.Inject(siem.PoisonEvent("poison"))
		siemtest.Product(test.product)(c.Client)
		c.Query = test.query
		if _, text := c.Post(test.body); !strings.Contains(text, test.want) || len(c.Accepted()) != test.accepted {
			t.Errorf("%s: accepted %d: %s, want %s", test.name, len(c.Accepted()), text, test.want)
		}
	}
}

func TestSchemeInAnyCase(t *testing.T) {
	c := newCluster(t)
	c.Headers["Authorization"] = "apikey " + c.Secret()["ELASTIC_API_KEY"]
	if got := c.bulk(index("a")); got != "201" {
		t.Errorf("%s", got)
	}
}

func TestAnswersTheCheck(t *testing.T) {
	c := newCluster(t)
	if status, text := c.Do("GET", "/_security/_authenticate", ""); status != 200 ||
		!strings.Contains(text, `"authentication_type":"api_key"`) {
		t.Errorf("%d %s", status, text)
	}
	const question = `{"index":[{"names":["arbitex-audit","other"],"privileges":["create_doc","delete"]}]}`
	want := `"index":{"arbitex-audit":{"create_doc":true,"delete":false},"other":{"create_doc":false,"delete":false}}`
	if status, text := c.Do("POST", "/_security/user/_has_privileges", question); status != 200 ||
		!strings.Contains(text, want) || !strings.Contains(text, `"has_all_requested":false`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := c.Do("POST", "/_security/user/_has_privileges", "x"); status != 400 {
		t.Errorf("no question: %d", status)
	}
	if status, text := c.Do("GET", "/", ""); status != 200 || !strings.Contains(text, "You Know, for Search") {
		t.Errorf("%d %s", status, text)
	}
}

// TestViolations sends what Elasticsearch takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := index("a")
	bodies := map[string]string{
		"spaces in an action": strings.Replace(good, `{"index":`, `{ "index":`, 1),
		"order in an action":  `{"index":{"_id":"a","_index":"arbitex-audit"}}` + "\n" + document("a"),
		"another _id":         action("index", "arbitex-audit", "b") + "\n" + document("a"),
		"an _id of its own": action("index", "arbitex-audit", "b") + "\n" + strings.Replace(document("a"), `"uid":"a"`,
			`"x":1`, 1),
		"another hash":      action("index", "arbitex-audit", "a-0123456789abcdef") + "\n" + document("a"),
		"no timestamp":      action("index", "arbitex-audit", "a") + "\n" + `{"time":1741824000123,"metadata":{"uid":"a"}}`,
		"no time":           action("index", "arbitex-audit", "a") + "\n" + `{"metadata":{"uid":"a"}}`,
		"a carriage return": good + "\r",
		"an empty line":     good + "\n",
		"too many events":   strings.TrimSuffix(strings.Repeat(good+"\n", 101), "\n"),
		"too many bytes": action("index", "arbitex-audit", "a") + "\n" + strings.Replace(document("a"), `"time"`,
			`"x":"`+strings.Repeat("y", 5_000_000)+`","time"`, 1),
	}
	for name, body := range bodies {
		bodies[name] = withHashes(body) + "\n"
	}
	siemtest.Violates(t, client, withHashes(good)+"\n", bodies, map[string]siemtest.Change{
		"content type":         siemtest.Header("Content-Type", "application/json"),
		"the index in the url": siemtest.Path("/arbitex-audit/_bulk"),
	})
	// The event keeps its time in microseconds, and the document's @timestamp is the same moment.
	micro := strings.Replace(good, "1741824000123", "1741824000123456", 1)
	siemtest.Violates(t, client, withHashes(micro)+"\n", nil, nil)
}
