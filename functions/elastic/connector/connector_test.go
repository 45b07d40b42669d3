package connector

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// encodedKey is bare in base64.
const (
	encodedKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="
	bare       = "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"
)

// recorder simulates Elasticsearch. It sends the responses that a test configures and records requests.
type recorder struct {
	*connectortest.Recorder
	ca string
}

func record(t *testing.T, answer http.HandlerFunc) recorder {
	t.Helper()
	rec, ca := connectortest.RecordTLS(t, answer)
	return recorder{rec, ca}
}

// env is a configuration that leads to the recorder, with the settings of more over it.
func (rec recorder) env(more map[string]string) map[string]string {
	env := map[string]string{
		"ELASTIC_URL": rec.URL, "ELASTIC_API_KEY": encodedKey, "ELASTIC_TLS_CA_BUNDLE": rec.ca,
	}
	maps.Copy(env, more)
	return env
}

func open(t *testing.T, env map[string]string) *connector {
	t.Helper()
	return connectortest.Read(t, env, Open).(*connector)
}

func named(id string) string {
	return fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id)
}

// answerItems answers each record of a request by its two lines.
func answerItems(item func(action, source string) (status int, err string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		lines := strings.Split(strings.TrimSuffix(connectortest.Body(r), "\n"), "\n")
		var items []string
		failed := false
		for i := 0; i+1 < len(lines); i += 2 {
			op, _, _ := strings.Cut(strings.TrimPrefix(lines[i], `{"`), `"`)
			status, err := item(lines[i], lines[i+1])
			if err != "" {
				failed = true
				err = `,"error":` + err
			}
			items = append(items, fmt.Sprintf(`{%q:{"status":%d%s}}`, op, status, err))
		}
		fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, failed, strings.Join(items, ","))
	}
}

// accept answers as Elasticsearch does when it takes everything.
var accept = answerItems(func(string, string) (int, string) { return 201, "" })

// isStream responds as a data stream does: it refuses each index action and accepts each create action.
var isStream = answerItems(func(action, _ string) (int, string) {
	if strings.HasPrefix(action, `{"create"`) {
		return 201, ""
	}
	return 400, `{"type":"illegal_argument_exception","reason":"only write ops with an op_type of create are allowed in data streams"}`
})

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"ELASTIC_URL": url, "ELASTIC_TLS_CA_BUNDLE": ca, "ELASTIC_API_KEY": encodedKey}
		},
		Secrets:  []string{encodedKey},
		MaxBytes: 5_000_000,
		Wrong: map[string]string{
			"ELASTIC_URL": "http://user@h", "ELASTIC_API_KEY": " ", "ELASTIC_INDEX": "a b", "ELASTIC_OP_TYPE": "update",
			"ELASTIC_PIPELINE": "a\nb", "ELASTIC_TLS_VERIFY": "maybe", "ELASTIC_TLS_CA_BUNDLE": "/no/such/file",
			"SIEM_COMPRESSION": "zstd", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		},
		Accept: accept,
		Refuse: answerItems(func(_, source string) (int, string) {
			if strings.Contains(source, connectortest.Bad) {
				return 400, `{"type":"document_parsing_exception","reason":"[1:2] failed to parse"}`
			}
			return 201, ""
		}),
	}
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, suite())
	t.Run("without items", func(t *testing.T) { // a whole request is refused because of one event
		s := suite()
		s.Refuse = connectortest.Status(400, `{"error":{"type":"parsing_exception","reason":"r"},"status":400}`)
		connectortest.Run(t, s)
	})
	t.Run("create", func(t *testing.T) { connectortest.Run(t, suite().With("ELASTIC_OP_TYPE", "create")) })
}

// TestPage sends the page's sample event twice, as received and once it brings an id and a "@timestamp".
func TestPage(t *testing.T) {
	const second = `{"@timestamp":1741824000123,"class_uid":6003,"time":1741824000123,"metadata":{"uid":"evt_1"}}`
	want := `{"index":{"_index":"arbitex-audit","_id":"cb09578e1d4a1b8a6da67f4b74ac2f6a"}}` + "\n" +
		`{"@timestamp":"2025-03-13T00:00:00.123Z",` + connectortest.SampleEvent[1:] + "\n" +
		`{"index":{"_index":"arbitex-audit","_id":"evt_1-` + contentHash(second) + `"}}` + "\n" + second + "\n"
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(connectortest.SampleEvent), "", "  "); err != nil {
		t.Fatal(err)
	}
	rec := record(t, accept)
	connectortest.Delivered(t, open(t, rec.env(nil)), indented.String(), second)
	if got := rec.Bodies()[0]; got != want {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}
}

func TestRequest(t *testing.T) {
	const modern = "&include_source_on_error=false"
	rec := record(t, accept)
	for _, test := range []struct {
		more              map[string]string
		path, query, auth string
	}{
		{nil, "/_bulk", answerFilter + modern, encodedKey},
		{map[string]string{"ELASTIC_URL": rec.URL + "/"}, "/_bulk", answerFilter + modern, encodedKey},
		{map[string]string{"ELASTIC_URL": rec.URL + "/es"}, "/es/_bulk", answerFilter + modern, encodedKey},
		{map[string]string{"ELASTIC_PIPELINE": "a&b=c d"}, "/_bulk", answerFilter + "&pipeline=a%26b%3Dc+d" + modern,
			encodedKey},
		{map[string]string{"ELASTIC_API_KEY": bare}, "/_bulk", answerFilter + modern, encodedKey},
	} {
		rec.Reset()
		connectortest.Delivered(t, open(t, rec.env(test.more)), named("a"))
		r := rec.Requests()[0]
		if r.Method != http.MethodPost || r.URL.Path != test.path || r.URL.RawQuery != test.query {
			t.Errorf("%v: %s %s ? %s, want POST %s ? %s", test.more, r.Method, r.URL.Path, r.URL.RawQuery, test.path, test.query)
		}
		if got := r.Header.Get("Authorization"); got != "ApiKey "+test.auth {
			t.Errorf("%v: Authorization %q", test.more, got)
		}
		if got := r.Header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("%v: Content-Type %q", test.more, got)
		}
	}
}

func TestAppend(t *testing.T) {
	const longest = 495 // bytes of a uid, with 17 for the hash
	long := strings.Repeat("ä", longest/2) + "a"
	hashed := func(uid, event string) string { return `"` + uid + `-` + contentHash(event) + `"` }
	hash := func(event string) string { return `"` + string(connectortest.Parse(t, event).AppendHashID(nil)) + `"` }
	const time = `"@timestamp":"2025-03-13T00:00:00.123Z",`
	const escapes, escaped = `{"time":1741824000123,"metadata":{"uid":"\u0061\n\"\ud800"}}`, `"a\n\"` + "\ufffd"
	manyEscapes := `{"time":1741824000123,"metadata":{"uid":"` + strings.Repeat(`\u00e4`, longest/2) + `a"}}`
	for _, test := range []struct{ name, event, id, source string }{
		{"an id", named("a"), `"a-625f3e759e502d65"`, `{` + time + `"time":1741824000123,"metadata":{"uid":"a"}}`},
		{"no id", `{"time":1741824000123}`, `"6ec96b708e0ece988b6622aafa30e55e"`, `{` + time + `"time":1741824000123}`},
		{"an empty id", named(""), hash(named("")), ``},
		{"white space", " {\n \"time\" : 1741824000123, \"metadata\":{\"uid\":\"a\"} }\n", `"a-625f3e759e502d65"`,
			`{` + time + `"time":1741824000123,"metadata":{"uid":"a"}}`},
		{"another event of that id", `{"time":1741824000124,"metadata":{"uid":"a"}}`,
			hashed("a", `{"time":1741824000124,"metadata":{"uid":"a"}}`), ``},
		{"a timestamp", `{"time":1741824000123,"@timestamp":null,"metadata":{"uid":"a"}}`, ``,
			`{"time":1741824000123,"@timestamp":null,"metadata":{"uid":"a"}}`},
		{"a timestamp below", `{"time":1741824000123,"metadata":{"uid":"a","@timestamp":1}}`, ``, `{` + time +
			`"time":1741824000123,"metadata":{"uid":"a","@timestamp":1}}`},
		{"an id with escapes", escapes, escaped + "-" + contentHash(escapes) + `"`, `{` + time + escapes[1:]},
		{"the longest id", named(long), hashed(long, named(long)), `{` + time + named(long)[1:]},
		{"the longest id, escaped", manyEscapes, hashed(long, manyEscapes), ``},
		{"too long an id", named(long + "a"), hash(named(long + "a")), `{` + time + named(long + "a")[1:]},
	} {
		c := open(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k", "ELASTIC_INDEX": "logs-ä"})
		for _, op := range []string{"index", "create"} {
			record, truncated, err := c.Append([]byte("before"), connectortest.Parse(t, test.event))
			action, source, _ := strings.Cut(strings.TrimPrefix(string(record), "before"), "\n")
			if err != nil || truncated {
				t.Fatalf("%s: truncated %t, %v", test.name, truncated, err)
			}
			if want := `{"` + op + `":{"_index":"logs-ä","_id":` + test.id + `}}`; test.id != "" && action != want {
				t.Errorf("%s: action %s, want %s", test.name, action, want)
			}
			if test.source != "" && source != test.source {
				t.Errorf("%s: source %s, want %s", test.name, source, test.source)
			}
			if id := actionID(t, action, op); len(id) > maxIDBytes || id == "" {
				t.Errorf("%s: _id of %d bytes", test.name, len(id))
			}
			c.stream.Store(true)
		}
	}
}

// contentHash is the first 16 hex digits of the SHA-256 of a compact event.
func contentHash(event string) string {
	sum := sha256.Sum256([]byte(event))
	return hex.EncodeToString(sum[:8])
}

// actionID returns the _id of an action line, which must be nothing but one action.
func actionID(t *testing.T, line, op string) string {
	t.Helper()
	var action map[string]struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	if err := json.Unmarshal([]byte(line), &action); err != nil || len(action) != 1 {
		t.Fatalf("action line %q: %v", line, err)
	}
	return action[op].ID
}

func FuzzAppend(f *testing.F) {
	for _, e := range connectortest.Generated(7, 5) {
		f.Add([]byte(e))
	}
	f.Add([]byte(` { "time" : 0 } `))
	f.Add([]byte(`{"@timestamp":{"a":[1]},"time":1,"metadata":{"uid":"\ud800\udc00\ud800\n"}}`))
	f.Add([]byte(`{"\u0040timestamp":"x","time":253402300799999}`))
	c := Open(connectortest.Settings(nil)).(*connector)
	f.Fuzz(func(t *testing.T, body []byte) {
		var e event.Event
		if new(event.Parser).Parse(body, &e) != nil {
			return
		}
		record, _, err := c.Append(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(record), "\n")
		if len(lines) != 2 {
			t.Fatalf("%d lines in %q", len(lines), record)
		}
		if id := actionID(t, lines[0], "index"); id == "" || len(id) > maxIDBytes {
			t.Fatalf("_id %q", id)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, body); err != nil {
			t.Fatal(err)
		}
		source := lines[1]
		if !e.HasTimestamp {
			source = "{" + strings.TrimPrefix(source, `{"@timestamp":"`+string(e.AppendTime(nil))+`",`)
		}
		if source != want.String() || !json.Valid([]byte(lines[1])) {
			t.Fatalf("source %s of %s", lines[1], body)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, Open(connectortest.Settings(nil)))
}

func TestTLSVerify(t *testing.T) {
	s := connectortest.Settings(map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k",
		"ELASTIC_TLS_VERIFY": "false"})
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ELASTIC_TLS_VERIFY") {
		t.Errorf("warnings %q", w)
	}
	connectortest.Delivered(t, open(t, record(t, accept).env(map[string]string{"ELASTIC_TLS_VERIFY": "false",
		"ELASTIC_TLS_CA_BUNDLE": ""})), named("a"))
}

func TestIndexNames(t *testing.T) {
	for name, want := range map[string]bool{
		"arbitex-audit": true, "logs-arbitex.audit-default": true, "Alias": true, ".hidden": true,
		"größe": true, "a+b": true,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false, strings.Repeat("ä", 128): false, ".": false,
		"..": false,
		"-a": false, "_a": false, "+a": false, "a b": false, "a,b": false, "a#b": false, "a:b": false, "a*": false,
		"a?":  false,
		`a"b`: false, "a/b": false, `a\b`: false, "<a>": false, "a|b": false,
	} {
		s := connectortest.Settings(map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k",
			"ELASTIC_INDEX": name})
		if Open(s); (s.Err() == nil) != want {
			t.Errorf("%q: %v", name, s.Err())
		}
	}
}

// cluster responds to the two requests of the check. Tests change one of the responses.
type cluster struct {
	whoStatus, mayStatus int
	who, may             string
}

func (c cluster) answer(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.RequestURI() {
	case "GET /_security/_authenticate":
		w.WriteHeader(c.whoStatus)
		io.WriteString(w, c.who)
	case "POST /_security/user/_has_privileges":
		w.WriteHeader(c.mayStatus)
		io.WriteString(w, c.may)
	default:
		w.WriteHeader(400)
	}
}

func may(createDoc, create, index bool) string {
	return fmt.Sprintf(`{"username":"u","has_all_requested":%t,"cluster":{},"index":{"arbitex-audit":`+
		`{"create_doc":%t,"create":%t,"index":%t}},"application":{}}`, createDoc && create && index, createDoc, create,
		index)
}

func TestCheck(t *testing.T) {
	good := cluster{whoStatus: 200, mayStatus: 200, who: `{"username":"u","authentication_type":"api_key"}`,
		may: may(true, true, true)}
	for _, test := range []struct {
		name string
		op   string
		edit func(*cluster)
		kind failure.Kind
		step failure.Step
		hint string // "" is success
	}{
		{"all privileges", "index", func(*cluster) {}, 0, "", ""},
		{"all, and nothing more said", "index", func(c *cluster) { c.may = `{"has_all_requested":true}` }, 0, "", ""},
		{"create", "index", func(c *cluster) { c.may = may(true, true, false) }, 0, "", ""},
		{"create_doc for a data stream", "create", func(c *cluster) { c.may = may(true, false, false) }, 0, "", ""},
		{"create_doc for an index", "index", func(c *cluster) { c.may = may(true, false, false) }, failure.Unauthorized,
			failure.Auth, "ELASTIC_OP_TYPE=create"},
		{"none", "create", func(c *cluster) { c.may = may(false, false, false) }, failure.Unauthorized, failure.Auth,
			"create_doc"},
		{"privileges are not an object", "index", func(c *cluster) { c.may = `[]` }, failure.Misconfigured, failure.Request,
			"ELASTIC_URL"},
		{"privileges refused", "index", func(c *cluster) {
			c.mayStatus, c.may = 403, `{"error":{"type":"security_exception"}}`
		}, failure.Unauthorized, failure.Auth, "ELASTIC_API_KEY"},
		{"key refused", "index", func(c *cluster) {
			c.whoStatus, c.who = 401, `{"error":{"type":"security_exception","reason":"`+encodedKey+`"}}`
		}, failure.Unauthorized, failure.Auth, "ELASTIC_API_KEY"},
		{"not Elasticsearch", "index", func(c *cluster) { c.whoStatus, c.who = 404, `` }, failure.Misconfigured,
			failure.Request, "ELASTIC_URL"},
		{"a page", "index", func(c *cluster) { c.who = `<html>` }, failure.Misconfigured, failure.Request, "ELASTIC_URL"},
		{"redirect", "index", func(c *cluster) { c.whoStatus = 302 }, failure.Misconfigured, failure.Request,
			"ELASTIC_URL"},
		{"busy", "index", func(c *cluster) { c.whoStatus = 503 }, failure.Transient, failure.Request, "-"},
	} {
		simulated := good
		test.edit(&simulated)
		rec := record(t, simulated.answer)
		f := failure.Of(open(t, rec.env(map[string]string{"ELASTIC_OP_TYPE": test.op})).Check(t.Context()))
		if (f == nil) != (test.hint == "") {
			t.Errorf("%s: %v", test.name, f)
			continue
		}
		sent := rec.Requests()
		if sent[0].Header.Get("Authorization") != "ApiKey "+encodedKey {
			t.Errorf("%s: the key was not sent", test.name)
		}
		if f == nil {
			const question = `{"index":[{"names":["arbitex-audit"],"privileges":["create_doc","create","index"]}]}`
			if len(sent) != 2 || sent[1].Text != question || sent[1].Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d requests, asked %s", test.name, len(sent), sent[1].Text)
			}
			continue
		}
		if f.Kind != test.kind || f.Step != test.step || test.hint != "-" && !strings.Contains(f.Hint, test.hint) {
			t.Errorf("%s: %v at %q, hint %q", test.name, f.Kind, f.Step, f.Hint)
		}
		if strings.Contains(f.Error(), encodedKey) {
			t.Errorf("%s: the key is in %v", test.name, f)
		}
	}
}

// TestCheckWithoutSecurityAPI: OpenSearch and Elasticsearch without security show only that the key may send a bulk
// request. An empty one writes nothing.
func TestCheckWithoutSecurityAPI(t *testing.T) {
	for _, test := range []struct {
		status int
		bulk   string
		kind   failure.Kind
		hint   string // "" is success
	}{
		{400, `{"error":{"root_cause":[{"type":"parse_exception","reason":"request body is required"}],` +
			`"type":"parse_exception","reason":"request body is required"},"status":400}`, 0, ""},
		{400, `{"error":"no handler found for uri [/_bulk] and method [POST]"}`, failure.Misconfigured, "-"},
		{400, `{"error":{"type":"illegal_argument_exception","reason":"x"},"status":400}`, failure.Rejected, "-"},
		{401, `Unauthorized`, failure.Unauthorized, "ELASTIC_API_KEY"},
		{403, `{"error":{"type":"security_exception","reason":"no permissions for [indices:data/write/bulk]"},` +
			`"status":403}`, failure.Unauthorized, "ELASTIC_API_KEY"},
		{200, `{}`, failure.Misconfigured, "ELASTIC_URL"},
		{503, ``, failure.Transient, "-"},
	} {
		for missing, text := range map[int]string{
			http.StatusBadRequest:       `{"error":"no handler found for uri [/_security/_authenticate] and method [GET]"}`,
			http.StatusMethodNotAllowed: `{"error":"Incorrect HTTP method for uri [/_security/_authenticate]","status":405}`,
		} {
			rec := record(t, func(w http.ResponseWriter, r *http.Request) {
				status, body := missing, text
				if r.Method+" "+r.URL.RequestURI() == "POST /_bulk" {
					status, body = test.status, test.bulk
				}
				w.WriteHeader(status)
				io.WriteString(w, body)
			})
			f := failure.Of(open(t, rec.env(nil)).Check(t.Context()))
			sent := rec.Requests()
			if len(sent) != 2 || sent[1].Text != "" || sent[1].Header.Get("Authorization") != "ApiKey "+encodedKey {
				t.Errorf("%d: sent %+v, want an empty bulk request with the key", test.status, sent)
			}
			if (f == nil) != (test.hint == "") || f != nil && (f.Kind != test.kind || f.Status != test.status ||
				test.hint != "-" && !strings.Contains(f.Hint, test.hint)) {
				t.Errorf("%d %s: %v", test.status, test.bulk, f)
			}
		}
	}
}

func TestNote(t *testing.T) {
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{200, `{".ds-arbitex-audit-2026.03.13-000001":{"settings":{"index":{"mode":"logsdb"}}}}`, "synthetic"},
		{200, `{"a":{"settings":{"index":{"mapping":{"source":{"mode":"synthetic"}}}}}}`, "synthetic"},
		{200, `{"a":{"settings":{"index":{"mode":"logsdb","mapping":{"source":{"mode":"stored"}}}}}}`, ""},
		{200, `{"a":{"settings":{"index":{}}}}`, ""},
		{200, `{}`, ""},
		{403, `{"error":{"type":"security_exception","reason":"r"},"status":403}`, ""},
		{404, `<html>`, ""},
	} {
		rec := record(t, connectortest.Status(test.status, test.body))
		if note := open(t, rec.env(nil)).Note(t.Context()).Text; (note == "") != (test.want == "") ||
			!strings.Contains(note, test.want) {
			t.Errorf("%d %s: %q, want %q", test.status, test.body, note, test.want)
		}
		if r := rec.Requests()[0]; r.Method != http.MethodGet || r.URL.Path != "/arbitex-audit/_settings" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}
}
