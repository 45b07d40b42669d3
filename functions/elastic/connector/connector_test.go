package connector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var update = flag.Bool("update", false, "write the golden files anew")

// encodedKey is "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw" in base64.
const encodedKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="

// recorder simulates Elasticsearch. It sends the responses that a test configures and records requests.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func record(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body string)) *recorder {
	t.Helper()
	rec := &recorder{}
	rec.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		rec.requests, rec.bodies = append(rec.requests, r), append(rec.bodies, string(body))
		rec.mu.Unlock()
		answer(w, r, string(body))
	}))
	rec.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	rec.StartTLS()
	t.Cleanup(rec.Close)
	return rec
}

// env is a configuration that leads to the recorder, with the settings of more over it.
func (rec *recorder) env(more map[string]string) map[string]string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rec.Certificate().Raw})
	env := map[string]string{
		"ELASTIC_URL": rec.URL, "ELASTIC_API_KEY": encodedKey, "ELASTIC_TLS_CA_BUNDLE": string(ca),
		"SIEM_COMPRESSION": "none",
	}
	maps.Copy(env, more)
	return env
}

func open(t *testing.T, env map[string]string) *connector {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	c := Open(s).(*connector)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// source always gives the same connector.
type source struct{ deliver.Connector }

func (s source) Current() deliver.Connector              { return s.Connector }
func (s source) Renew(context.Context) deliver.Connector { return s.Connector }

func events(t testing.TB, bodies ...string) []*event.Event {
	var list []*event.Event
	for _, body := range bodies {
		list = append(list, connectortest.Parse(t, body))
	}
	return list
}

func named(id string) string {
	return fmt.Sprintf(`{"time":1741824000123,"metadata":{"uid":%q}}`, id)
}

func deliverAll(t *testing.T, c deliver.Connector, bodies ...string) []deliver.Outcome {
	t.Helper()
	var items []deliver.Item
	for _, e := range events(t, bodies...) {
		items = append(items, deliver.Item{Event: e})
	}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(t.Context(), source{c}, items, outcomes)
	return outcomes
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
	page, err := os.ReadFile("testdata/page.json")
	if err != nil {
		t.Fatal(err)
	}
	rec := record(t, accept)
	c := open(t, rec.env(nil))
	second := strings.Replace(string(page), `"version"`, `"uid": "evt_1", "version"`, 1)
	second = strings.Replace(second, `"class_uid"`, `"@timestamp": 1741824000123, "class_uid"`, 1)
	for _, o := range deliverAll(t, c, string(page), second) {
		if o.State != deliver.Delivered || o.Truncated {
			t.Fatalf("outcome %+v", o)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/page.golden", []byte(rec.bodies[0]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/page.golden")
	if err != nil {
		t.Fatal(err)
	}
	if rec.bodies[0] != string(want) {
		t.Errorf("sent\n%s\nwant\n%s", rec.bodies[0], want)
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
		rec.requests = nil
		if o := deliverAll(t, open(t, rec.env(test.more)), named("a")); o[0].State != deliver.Delivered {
			t.Errorf("%v: %v", test.more, o[0].Fault)
		}
		r := rec.requests[0]
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

// TestLimits fills a request to the limit of bytes, and then one byte more; the same with the limit of events.
func TestLimits(t *testing.T) {
	sized := func(c *connector, id string, size int) string { // an event whose record has that size
		event := `{"time":1741824000123,"metadata":{"uid":"` + id + `"},"x":""}`
		record, _, _ := c.Append(nil, connectortest.Parse(t, event))
		return strings.Replace(event, `"x":"`, `"x":"`+strings.Repeat("y", size-len(record)), 1)
	}
	for _, test := range []struct{ extra, requests int }{{0, 1}, {1, 2}} {
		rec := record(t, accept)
		c := open(t, rec.env(nil))
		var bodies []string
		for i := range 5 { // with the five line breaks: 5,000,000 bytes
			bodies = append(bodies, sized(c, fmt.Sprint(i), maxRequestBytes/5-1))
		}
		bodies[4] = sized(c, "4", maxRequestBytes/5-1+test.extra)
		for i, o := range deliverAll(t, c, bodies...) {
			if o.State != deliver.Delivered {
				t.Errorf("event %d: %v", i, o.Fault)
			}
		}
		if len(rec.bodies) != test.requests || test.extra == 0 && len(rec.bodies[0]) != 5_000_000 {
			t.Errorf("%d bytes more: %d requests, the first of %d bytes", test.extra, len(rec.bodies), len(rec.bodies[0]))
		}
	}
	rec := record(t, accept)
	deliverAll(t, open(t, rec.env(nil)), slices.Repeat([]string{named("a")}, 101)...)
	if len(rec.bodies) != 2 || strings.Count(rec.bodies[0], "\n") != 200 {
		t.Errorf("101 events: %d requests", len(rec.bodies))
	}
}

func FuzzAppend(f *testing.F) {
	g := ocsfgen.New(7)
	for range 5 {
		f.Add(g.Next())
	}
	f.Add([]byte(` { "time" : 0 } `))
	f.Add([]byte(`{"@timestamp":{"a":[1]},"time":1,"metadata":{"uid":"\ud800\udc00\ud800\n"}}`))
	f.Add([]byte(`{"\u0040timestamp":"x","time":253402300799999}`))
	c := Open(settings.New(func(string) string { return "" }, nil)).(*connector)
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
	c := Open(settings.New(func(string) string { return "" }, nil))
	g := ocsfgen.New(1)
	var list []*event.Event
	for range 100 {
		list = append(list, connectortest.Parse(b, string(g.Next())))
	}
	var buffer []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		buffer, _, _ = c.Append(buffer[:0], list[i%len(list)])
	}
}

const bare = "VuaCfGcBCdbkQm-e5aOx:ui2lp2axTNmsyakw9tvNnw"

// problems opens a connector and returns what is wrong with its configuration.
func problems(t *testing.T, env map[string]string) []string {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	if Open(s) == nil {
		t.Fatal("no connector")
	}
	err := s.Err()
	if err == nil {
		return nil
	}
	var list *settings.Error
	if !errors.As(err, &list) {
		t.Fatalf("%T: %v", err, err)
	}
	return list.Problems
}

func TestDefaults(t *testing.T) {
	env := map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": encodedKey}
	if p := problems(t, env); p != nil {
		t.Fatal(p)
	}
	cfg := open(t, env).cfg
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
	env := map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k", "ELASTIC_TLS_VERIFY": "false"}
	s := settings.New(func(name string) string { return env[name] }, nil)
	Open(s)
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ELASTIC_TLS_VERIFY") {
		t.Errorf("warnings %q", w)
	}
}

// TestEverythingWrongAtOnce: one error names every problem.
func TestEverythingWrongAtOnce(t *testing.T) {
	p := problems(t, map[string]string{
		"ELASTIC_URL": "http://user@h", "ELASTIC_API_KEY": " ", "ELASTIC_INDEX": "a b", "ELASTIC_OP_TYPE": "update",
		"ELASTIC_PIPELINE": "a\nb", "ELASTIC_TLS_VERIFY": "maybe", "ELASTIC_TLS_CA_BUNDLE": "/no/such/file",
		"SIEM_COMPRESSION": "zstd", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
	})
	for _, name := range []string{
		"ELASTIC_URL", "ELASTIC_API_KEY", "ELASTIC_INDEX", "ELASTIC_OP_TYPE", "ELASTIC_PIPELINE", "ELASTIC_TLS_VERIFY",
		"ELASTIC_TLS_CA_BUNDLE", "SIEM_COMPRESSION", "SIEM_REQUEST_TIMEOUT_SECONDS",
	} {
		if n := len(slices.DeleteFunc(slices.Clone(p), func(s string) bool {
			return !strings.HasPrefix(s, name+":")
		})); n != 1 {
			t.Errorf("%s is named %d times in %q", name, n, p)
		}
	}
	if len(p) != 9 {
		t.Errorf("%d problems: %q", len(p), p)
	}
	if got := problems(t, nil); len(got) != 2 || !strings.Contains(got[0]+got[1], "ELASTIC_URL") ||
		!strings.Contains(got[0]+got[1], "ELASTIC_API_KEY") {
		t.Errorf("nothing set: %q", got)
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
		p := problems(t, map[string]string{"ELASTIC_URL": "https://h", "ELASTIC_API_KEY": "k", "ELASTIC_INDEX": name})
		if (p == nil) != want {
			t.Errorf("%q: %q", name, p)
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
