package connector

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
)

// encodedKey is "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw" in base64.
const encodedKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="

// recorder simulates Elasticsearch. It sends the responses that a test configures and records requests.
type recorder struct {
	*connectortest.Recorder
	ca string
}

func record(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body string)) recorder {
	t.Helper()
	rec, ca := connectortest.RecordTLS(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer(w, r, string(body))
	})
	return recorder{rec, ca}
}

// bodies returns the bodies of the requests.
func (rec recorder) bodies() (all []string) {
	for _, r := range rec.Requests() {
		all = append(all, r.Text)
	}
	return all
}

// env is a configuration that leads to the recorder, with the settings of more over it.
func (rec recorder) env(more map[string]string) map[string]string {
	env := map[string]string{
		"ELASTIC_URL": rec.URL, "ELASTIC_API_KEY": encodedKey, "ELASTIC_TLS_CA_BUNDLE": rec.ca,
		"SIEM_COMPRESSION": "none",
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

// accept answers as Elasticsearch does when it takes everything.
func accept(w http.ResponseWriter, _ *http.Request, body string) {
	item := `{"index":{"status":201}}`
	if strings.HasPrefix(body, `{"create"`) {
		item = `{"create":{"status":201}}`
	}
	n := strings.Count(body, "\n") / 2
	fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, strings.Join(slices.Repeat([]string{item}, n), ","))
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
	if got := rec.bodies()[0]; got != want {
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
		{map[string]string{"ELASTIC_API_KEY": "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"}, "/_bulk", answerFilter + modern,
			encodedKey},
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

const bare = "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"

func TestDefaults(t *testing.T) {
	cfg := open(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": encodedKey}).cfg
	if cfg.index != "arbitex-audit" || cfg.pipeline != "" || cfg.create || cfg.http.Insecure || !cfg.http.Gzip ||
		cfg.http.RootCAs != nil {
		t.Errorf("%+v", cfg)
	}
}

func TestSettings(t *testing.T) {
	cfg := open(t, map[string]string{
		"ELASTIC_URL": "http://h:9200/es", "SIEM_ALLOW_HTTP": "true", "ELASTIC_API_KEY": bare,
		"ELASTIC_INDEX":    "logs-arbitex.audit-default",
		"ELASTIC_PIPELINE": "p", "ELASTIC_OP_TYPE": "CREATE", "ELASTIC_TLS_VERIFY": "false", "SIEM_COMPRESSION": "none",
	}).cfg
	if cfg.url.String() != "http://h:9200/es" || cfg.index != "logs-arbitex.audit-default" || cfg.pipeline != "p" ||
		!cfg.create {
		t.Errorf("%+v", cfg)
	}
	if !cfg.http.Insecure || cfg.http.Gzip {
		t.Errorf("http %+v", cfg.http)
	}
	if want := base64.StdEncoding.EncodeToString([]byte(bare)); cfg.key.Reveal() != want || want != encodedKey {
		t.Errorf("key %q, want %q", cfg.key.Reveal(), want)
	}
}

func TestTLSVerifyWarning(t *testing.T) {
	s := connectortest.Settings(map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k",
		"ELASTIC_TLS_VERIFY": "false"})
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ELASTIC_TLS_VERIFY") {
		t.Errorf("warnings %q", w)
	}
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

func TestKeyIsHiddenInEveryForm(t *testing.T) {
	for _, key := range []string{bare, encodedKey} {
		redactor := open(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": key}).cfg.http.Redactor
		for _, form := range []string{encodedKey, "ui2lp2axTNmsyakw9tvNnw"} {
			if got := redactor.Redact("no "+form+" known", 1000); strings.Contains(got, form) {
				t.Errorf("%s set: %s", key, got)
			}
		}
	}
}
