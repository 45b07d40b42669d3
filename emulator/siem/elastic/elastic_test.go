package elastic_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

type cluster struct {
	*elastic.Simulator
	t       *testing.T
	client  *http.Client
	headers map[string]string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := siemtest.Start(t, elastic.New, siem.Options{})
	return &cluster{
		Simulator: s, t: t,
		client: siemtest.Client(s),
		headers: map[string]string{"Authorization": "ApiKey " + s.Secret()["ELASTIC_API_KEY"],
			"Content-Type": "application/x-ndjson"},
	}
}

func (c *cluster) do(method, path, body string) (int, string) {
	c.t.Helper()
	return siemtest.Do(c.t, c.client, method, c.Settings()["ELASTIC_URL"]+path, body, c.headers)
}

type answer struct {
	Errors bool
	Items  []map[string]struct {
		Status       int
		Error        struct{ Type, Reason string }
		FailureStore string `json:"failure_store"`
	}
}

// bulk posts lines and returns the items' statuses with their error types.
func (c *cluster) bulk(lines ...string) string {
	c.t.Helper()
	status, text := c.do(http.MethodPost, "/_bulk", withHashes(strings.Join(lines, "\n"))+"\n")
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

func TestTakesTheWireFormat(t *testing.T) {
	c := newCluster(t)
	g := ocsfgen.New(1)
	var lines, events []string
	for range 50 {
		raw := string(g.Next())
		var e struct {
			Time     int64
			Metadata struct{ UID string }
		}
		if err := json.Unmarshal([]byte(raw), &e); err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z")
		events = append(events, raw)
		lines = append(lines, action("index", "arbitex-audit", e.Metadata.UID), `{"@timestamp":"`+at+`",`+raw[1:])
	}
	c.bulk(lines...)
	accepted := c.Accepted()
	if len(accepted) != 50 {
		t.Fatalf("accepted %d: %s", len(accepted), c.Stats().LastProblem)
	}
	for i, a := range accepted {
		if string(a.Event) != events[i] || a.ID != siem.EventID(a.Event) || a.Fields["op"] != "index" {
			t.Errorf("event %d was kept as %+v", i, a)
		}
	}
	if v := c.Stats().Violations; len(v) > 0 {
		t.Errorf("violations %q", v)
	}
}

func TestRefusesTheRequest(t *testing.T) {
	good := index("a") + "\n"
	for _, test := range []struct {
		name         string
		spoil        func(*cluster)
		method, path string
		body         string
		status       int
		reason       string
	}{
		{"no key", func(c *cluster) { delete(c.headers, "Authorization") }, "POST", "/_bulk", good, 401,
			"missing authentication"},
		{"another scheme", func(c *cluster) { c.headers["Authorization"] = "Bearer x" }, "POST", "/_bulk", good, 401,
			"unable to authenticate"},
		{"a key not encoded", func(c *cluster) { c.headers["Authorization"] = "ApiKey a:b" }, "POST", "/_bulk", good, 401,
			"unable to authenticate"},
		{"another key", func(c *cluster) { c.headers["Authorization"] = "ApiKey YTpi" }, "POST", "/_bulk", good, 401,
			"unable to authenticate"},
		{"a rotated key", func(c *cluster) { c.Rotate() }, "POST", "/_bulk", good, 401, "invalidated"},
		{"no such path", nil, "POST", "/a/b/_bulk", good, 400, "no handler found"},
		{"get", nil, "GET", "/_bulk", "", 405, "Incorrect HTTP method"},
		{"no body", nil, "POST", "/_bulk", "", 400, "request body is required"},
		{"a content type", func(c *cluster) { c.headers["Content-Type"] = "text/plain" }, "POST", "/_bulk", good, 406,
			"Content-Type"},
		{"a parameter", nil, "POST", "/_bulk?pipelines=x", good, 400, "unrecognized parameter"},
		{"not gzip", func(c *cluster) { c.headers["Content-Encoding"] = "gzip" }, "POST", "/_bulk", good, 400,
			"Content-Encoding"},
		{"no line break at the end", nil, "POST", "/_bulk", index("a"), 400, "terminated by a newline"},
		{"no action", nil, "POST", "/_bulk", document("a") + "\n", 400, "Malformed action/metadata line [1]"},
		{"broken action", nil, "POST", "/_bulk", index("a") + "\n{\n{}\n", 400, "Malformed action/metadata line [3]"},
		{"another action", nil, "POST", "/_bulk", `{"insert":{}}` + "\n{}\n", 400, "found [insert]"},
		{"an array as action", nil, "POST", "/_bulk", `{"index":[]}` + "\n{}\n", 400, "expected START_OBJECT"},
		{"a parameter of an action", nil, "POST", "/_bulk", `{"index":{"_type":"x"}}` + "\n{}\n", 400,
			"unknown parameter [_type]"},
		{"no index", nil, "POST", "/_bulk", `{"index":{}}` + "\n{}\n", 400, "index is missing"},
		{"no source", nil, "POST", "/_bulk", action("index", "a", "b") + "\n", 400, "source is missing"},
		{"only white space", nil, "POST", "/_bulk", " \n", 400, "no requests added"},
		{"too long an id", nil, "POST", "/_bulk", index(strings.Repeat("x", 513)) + "\n", 400,
			"no longer than 512 bytes but was: 513"},
		{"too large", nil, "POST", "/_bulk", strings.Repeat("x", 100<<20+1), 413, ""},
	} {
		c := newCluster(t)
		if test.spoil != nil {
			test.spoil(c)
		}
		status, text := c.do(test.method, test.path, test.body)
		if status != test.status || !strings.Contains(text, test.reason) || len(c.Accepted()) != 0 {
			t.Errorf("%s: %d %s, accepted %d; want %d %s", test.name, status, text, len(c.Accepted()), test.status, test.reason)
		}
		if failures := c.Stats().AuthFailures; (failures == 1) != (status == 401) {
			t.Errorf("%s: %d authentication failures", test.name, failures)
		}
	}
}

func TestJudgesItemByItem(t *testing.T) {
	const parsing = "400 document_parsing_exception"
	for _, test := range []struct{ name, bad, want string }{
		{"not json", action("index", "arbitex-audit", "x") + "\n{", parsing},
		{"null", action("index", "arbitex-audit", "x") + "\nnull", parsing},
		{"not utf-8", action("index", "arbitex-audit", "x") + "\n{\"a\":\"\xff\"}", parsing},
		{"a key twice", action("index", "arbitex-audit", "x") + "\n" + `{"time":1,"a":[{"b":1,"c":{},"b":2}]}`, parsing},
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
	if _, text := c.do(http.MethodPost, "/_bulk", body); !strings.Contains(text, `"result":"updated"`) {
		t.Errorf("%s", text)
	}
	if got := c.Accepted(); len(got) != 2 || got[0].Fields["result"] != "created" ||
		got[1].Fields["result"] != "replaced" {
		t.Errorf("%+v", got)
	}
}

func TestPipelines(t *testing.T) {
	for name, want := range map[string]int{"arbitex": 201, "other": 400} {
		c := newCluster(t)
		_, text := c.do("POST", "/_bulk?pipeline="+name, index("a")+"\n")
		if !strings.Contains(text, fmt.Sprintf(`"status":%d`, want)) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestProcessorsFail: a processor of the pipeline refuses the poisoned document, and nothing without a pipeline.
func TestProcessorsFail(t *testing.T) {
	for code, want := range map[string]string{
		"script": `"caused_by":{"reason":"Cannot invoke \"Object.getClass()\" because \"callArgs[0]\" is null",` +
			`"type":"null_pointer_exception"},"reason":"runtime error","type":"script_exception"`,
		"date": `"caused_by":{"reason":"For input string: \"soon\"","type":"illegal_argument_exception"},` +
			`"reason":"unable to parse date [soon]","type":"illegal_argument_exception"`,
	} {
		c := newCluster(t)
		c.Inject(siem.PoisonEvent("b"))
		c.Inject(siem.Fault{Kind: siem.Product, Code: code})
		_, text := c.do("POST", "/_bulk?pipeline=arbitex", index("a")+"\n"+index("b")+"\n")
		if !strings.Contains(text, want) || len(c.Accepted()) != 1 {
			t.Errorf("%s: accepted %d: %s", code, len(c.Accepted()), text)
		}
		if got := c.bulk(index("b")); got != "400 document_parsing_exception" {
			t.Errorf("%s, without a pipeline: %s", code, got)
		}
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
	if status, text := c.do("POST", "/_bulk", index("a")+"\n"); status != 200 || json.Valid([]byte(text)) ||
		len(c.Accepted()) != 1 {
		t.Errorf("cut: %d %s", status, text)
	}
}

func TestFilterPath(t *testing.T) {
	for filter, want := range map[string]string{
		"errors":         `{"errors":true}`,
		"items.*.status": `{"items":[{"index":{"status":201}},{"index":{"status":400}}]}`,
		"errors,items.*.error.type,items.*.failure_store": `{"errors":true,"items":[{"index":{"error":` +
			`{"type":"document_parsing_exception"}}}]}`,
		"nothing": `{}`,
	} {
		c := newCluster(t)
		if _, text := c.do("POST", "/_bulk?filter_path="+filter, index("a")+"\n"+action("index", "arbitex-audit", "b")+
			"\n{\n"); text != want {
			t.Errorf("%s: %s", filter, text)
		}
	}
	c := newCluster(t)
	if _, text := c.do("POST", "/_bulk?pretty&filter_path=errors", index("a")+
		"\n"); text != "{\n  \"errors\" : false\n}\n" {
		t.Errorf("pretty: %q", text)
	}
	if _, text := c.do("POST", "/_bulk?filter_path=items", "x\n"); !strings.Contains(text, "Malformed") {
		t.Errorf("an error is filtered: %s", text)
	}
}

func TestSchemeInAnyCase(t *testing.T) {
	c := newCluster(t)
	c.headers["Authorization"] = "apikey " + c.Secret()["ELASTIC_API_KEY"]
	if got := c.bulk(index("a")); got != "201" {
		t.Errorf("%s", got)
	}
}

func TestAnswersTheCheck(t *testing.T) {
	c := newCluster(t)
	if status, text := c.do("GET", "/_security/_authenticate", ""); status != 200 ||
		!strings.Contains(text, `"authentication_type":"api_key"`) {
		t.Errorf("%d %s", status, text)
	}
	const question = `{"index":[{"names":["arbitex-audit","other"],"privileges":["create_doc","delete"]}]}`
	want := `"index":{"arbitex-audit":{"create_doc":true,"delete":false},"other":{"create_doc":false,"delete":false}}`
	if status, text := c.do("POST", "/_security/user/_has_privileges", question); status != 200 ||
		!strings.Contains(text, want) || !strings.Contains(text, `"has_all_requested":false`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := c.do("POST", "/_security/user/_has_privileges", "x"); status != 400 {
		t.Errorf("no question: %d", status)
	}
	if status, text := c.do("GET", "/", ""); status != 200 || !strings.Contains(text, "You Know, for Search") {
		t.Errorf("%d %s", status, text)
	}
}

// TestViolations sends what Elasticsearch takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := index("a")
	for name, body := range map[string]string{
		"spaces in an action": strings.Replace(good, `{"index":`, `{ "index":`, 1),
		"order in an action":  `{"index":{"_id":"a","_index":"arbitex-audit"}}` + "\n" + document("a"),
		"another _id":         action("index", "arbitex-audit", "b") + "\n" + document("a"),
		"an _id of its own": action("index", "arbitex-audit", "b") + "\n" + strings.Replace(document("a"), `"uid":"a"`,
			`"x":1`, 1),
		"no timestamp":      action("index", "arbitex-audit", "a") + "\n" + `{"time":1741824000123,"metadata":{"uid":"a"}}`,
		"no time":           action("index", "arbitex-audit", "a") + "\n" + `{"metadata":{"uid":"a"}}`,
		"a carriage return": good + "\r",
		"an empty line":     good + "\n",
		"too many events":   strings.TrimSuffix(strings.Repeat(good+"\n", 101), "\n"),
		"too many bytes": action("index", "arbitex-audit", "a") + "\n" + strings.Replace(document("a"), `"time"`,
			`"x":"`+strings.Repeat("y", 5_000_000)+`","time"`, 1),
	} {
		c := newCluster(t)
		c.bulk(body)
		if s := c.Stats(); s.Accepted == 0 || len(s.Violations) == 0 {
			t.Errorf("%s: accepted %d, violations %q (%s)", name, s.Accepted, s.Violations, s.LastProblem)
		}
	}
	c := newCluster(t)
	c.headers["Content-Type"] = "application/json"
	c.do("POST", "/arbitex-audit/_bulk", withHashes(good)+"\n")
	if v := c.Stats().Violations; len(v) != 2 || c.Stats().Accepted != 1 {
		t.Errorf("content type and path: %q", v)
	}
}

// TestTimeInMicroseconds: the event keeps its time in microseconds, and the document's @timestamp is the same moment.
func TestTimeInMicroseconds(t *testing.T) {
	c := newCluster(t)
	const event = `{"time":1741824000123456,"metadata":{"uid":"a"}}`
	c.bulk(action("index", "arbitex-audit", "a"), `{"@timestamp":"2025-03-13T00:00:00.123Z",`+event[1:])
	accepted := c.Accepted()
	if len(accepted) != 1 || string(accepted[0].Event) != event || len(c.Stats().Violations) != 0 {
		t.Errorf("accepted %+v, violations %q", accepted, c.Stats().Violations)
	}
}

// TestLimitsOfTheIndex: an index without room for more fields, or on a full disk, refuses every document.
func TestLimitsOfTheIndex(t *testing.T) {
	c := newCluster(t)
	c.Inject(siem.Fault{Kind: siem.Product, Code: "total fields", Name: "f"})
	_, text := c.do(http.MethodPost, "/_bulk", index("a")+"\n")
	if !strings.Contains(text, `"caused_by":{"reason":"Limit of total fields [1000] has been exceeded`) ||
		!strings.Contains(text, `"status":400`) {
		t.Errorf("total fields: %s", text)
	}
	c.Inject(siem.Fault{Kind: siem.Heal, Name: "f"})
	c.Inject(siem.Fault{Kind: siem.Product, Code: "flood stage"})
	if got := c.bulk(index("a")); got != "429 cluster_block_exception" {
		t.Errorf("flood stage: %s", got)
	}
}

// TestResultTellsAnUpdate: a document that is stored again is an update.
func TestResultTellsAnUpdate(t *testing.T) {
	c := newCluster(t)
	for _, want := range []string{`"result":"created"`, `"result":"updated"`} {
		if _, text := c.do(http.MethodPost, "/_bulk", index("a")+"\n"); !strings.Contains(text, want) {
			t.Errorf("%s, want %s", text, want)
		}
	}
}

// TestIDsContainTheContent: the wire format's _id is the event's id and the start of its content hash.
func TestIDsContainTheContent(t *testing.T) {
	c := newCluster(t)
	event := `{"time":1741824000123,"metadata":{"uid":"u"}}`
	hash := siem.ContentHash([]byte(event))
	for _, id := range []string{"u-" + hash[:16], "u-" + hash[1:17]} {
		c.bulk(action("index", "arbitex-audit", id), `{"@timestamp":"2025-03-13T00:00:00.123Z",`+event[1:])
		if wrong := id != "u-"+hash[:16]; wrong != (len(c.Stats().Violations) > 0) {
			t.Errorf("_id %s: violations %q", id, c.Stats().Violations)
		}
	}
	if id := c.Accepted()[0].ID; id != "u" {
		t.Errorf("the event's id is %q", id)
	}
}
