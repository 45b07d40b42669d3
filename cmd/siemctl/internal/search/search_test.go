package search

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// searcherOf makes the searcher of a connector for a fake SIEM. Every credential is the word secret.
func searcherOf(t *testing.T, connector string, handler http.Handler, waits *[]time.Duration) Searcher {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	env := func(name string) string {
		switch {
		case name == "SIEM_ALLOW_HTTP":
			return "true"
		case strings.HasSuffix(name, "_SEARCH_URL"):
			return server.URL
		case strings.Contains(name, "_SEARCH_") && !strings.HasSuffix(name, "_CA_BUNDLE") && !strings.HasSuffix(name,
			"_HOST"):
			return "secret"
		}
		return ""
	}
	s, err := Open(connector, settings.New(env, nil), Options{
		Function: func(string) string { return "" },
		Wait: func(ctx context.Context, d time.Duration) error {
			*waits = append(*waits, d)
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// all asks for everything; Elastic is asked for one id.
func all() Query {
	from := time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)
	return Query{From: from, To: from.Add(time.Hour), Each: func(yield func(string, uint64) bool) { yield("id", 1) }}
}

// TestIncomplete: a response that is not complete is an error, never a smaller result.
func TestIncomplete(t *testing.T) {
	const line = `{"preview":false,"result":{"_raw":"{\"time\":1773360000000}"}}`
	for _, c := range []struct {
		connector, name string
		bodies          []string // the responses in their order, the last one again and again
		want            string
	}{
		{"splunk", "ended early", []string{line}, "before its last result"},
		{"splunk", "cut", []string{line + `{"preview":false,"result":{"_raw":"{`}, "unexpected EOF"},
		{"splunk", "a peer failed", []string{`{"messages":[{"type":"WARN","text":"Search peer has failed"}]}` + line},
			"Search peer"},
		{"splunk", "not JSON", []string{"<html>"}, "invalid character"},
		{"elastic", "a shard failed", []string{`{"id":"p"}`,
			`{"_shards":{"failed":1},"hits":{"total":{"value":0},"hits":[]}}`},
			"1 shards failed"},
		{"elastic", "timed out", []string{`{"id":"p"}`, `{"timed_out":true,"hits":{"total":{"value":0},"hits":[]}}`},
			"timed out"},
		{"elastic", "fewer hits", []string{`{"id":"p"}`, `{"hits":{"total":{"value":2},"hits":[{"_id":"a","_source":{}}]}}`},
			"1 of 2 hits"},
		{"elastic", "cut", []string{`{"id":"p"}`, `{"hits":{"total":{"value":1},"hits":[{"_id":"a"`}, "unexpected EOF"},
		{"sentinel", "partial", []string{`{"tables":[{"columns":[],"rows":[]}],"error":{"code":"PartialError"}}`},
			"PartialError"},
		{"sentinel", "no table", []string{`{}`}, "no table"},
		{"sentinel", "other columns", []string{`{"tables":[{"columns":[{"name":"A"}],"rows":[["x"]]}]}`}, "without Hash"},
		{"datadog", "timeout", []string{`{"data":[],"meta":{"status":"timeout"}}`}, `status "timeout"`},
		{"datadog", "warning", []string{`{"data":[],"meta":{"status":"done","warnings":[{"code":"unknown_index"}]}}`},
			"unknown_index"},
		{"datadog", "no progress", []string{`{"data":[],"meta":{"status":"done","page":{"after":"a"}}}`}, "does not advance"},
		{"sumo", "cancelled", []string{`{"id":"j"}`, `{"state":"CANCELLED","messageCount":0}`}, "cancelled"},
		{"sumo", "warning", []string{`{"id":"j"}`,
			`{"state":"DONE GATHERING RESULTS","messageCount":0,"pendingWarnings":["w"]}`},
			"not complete"},
		{"sumo", "fewer messages", []string{`{"id":"j"}`, `{"state":"DONE GATHERING RESULTS","messageCount":2}`,
			`{"messages":[]}`},
			"0 of 2 messages"},
		{"qradar", "failed", []string{`{"search_id":"s"}`, `{"status":"ERROR"}`}, "ERROR"},
		{"qradar", "fewer records", []string{`{"search_id":"s"}`, `{"status":"COMPLETED","record_count":2}`, `{"events":[]}`},
			"0 of 2 records"},
		{"xsiam", "failed", []string{`{"reply":"q"}`, `{"reply":{"status":"FAIL"}}`}, `"FAIL"`},
		{"xsiam", "fewer results", []string{`{"reply":"q"}`,
			`{"reply":{"status":"SUCCESS","number_of_results":2,"results":{"data":[]}}}`}, "0 of 2 results"},
		{"xsiam", "a short stream", []string{`{"reply":"q"}`,
			`{"reply":{"status":"SUCCESS","number_of_results":2,"results":{"stream_id":"s"}}}`, `{"raw_ocsf":"x"}`},
			"1 of 2 results"},
	} {
		var waits []time.Duration
		n := 0
		s := searcherOf(t, c.connector, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, c.bodies[min(n, len(c.bodies)-1)])
			n++
		}), &waits)
		if err := s.Search(t.Context(), all(), func(receipts.Found) {}); err == nil || !strings.Contains(err.Error(),
			c.want) {
			t.Errorf("%s, %s: %v, want %s", c.connector, c.name, err, c.want)
		}
	}
}

// TestSetupErrors: an error of the setup is reported at once, with the setting at fault.
func TestSetupErrors(t *testing.T) {
	plain, secure := httptest.NewServer(nil), httptest.NewTLSServer(nil)
	defer plain.Close()
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	for url, want := range map[string]string{
		strings.Replace(plain.URL, "http:", "https:", 1): "the scheme and the port in SPLUNK_SEARCH_URL",
		secure.URL: "set SPLUNK_SEARCH_CA_BUNDLE to the CA",
	} {
		env := map[string]string{"SPLUNK_SEARCH_URL": url, "SPLUNK_SEARCH_TOKEN": "secret"}
		s, err := Open("splunk", settings.New(func(string) string { return "" }, env), Options{
			Function: func(string) string { return "" },
			Wait:     func(context.Context, time.Duration) error { return errors.New("waited") },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Search(t.Context(), all(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestLimits: a 429 is repeated after the time that the SIEM states; a refused credential is not, and no error contains
// it.
func TestLimits(t *testing.T) {
	for _, connector := range connectors.Names() {
		var waits []time.Duration
		s := searcherOf(t, connector, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(map[bool]string{true: "X-RateLimit-Reset", false: "Retry-After"}[connector == "datadog"], "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}), &waits)
		err := s.Search(t.Context(), all(), func(receipts.Found) {})
		if err == nil || !strings.Contains(err.Error(), "429") || len(waits) != maxTries-1 || waits[0] != 7*time.Second {
			t.Errorf("%s: %v after %v", connector, err, waits)
		}
		waits = nil
		s = searcherOf(t, connector, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "denied: %s %s %s", r.Header, r.URL, body) // a SIEM that shows the request
		}), &waits)
		err = s.Search(t.Context(), all(), func(receipts.Found) {})
		if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") ||
			strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("secret:secret"))) || waits != nil {
			t.Errorf("%s: %v after %v", connector, err, waits)
		}
	}
}

// TestRedirect: a redirect is not followed.
func TestRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter,
		*http.Request) {
		t.Error("followed a redirect")
	}))
	defer other.Close()
	for _, connector := range connectors.Names() {
		var waits []time.Duration
		s := searcherOf(t, connector, http.RedirectHandler(other.URL, http.StatusMovedPermanently), &waits)
		err := s.Search(t.Context(), all(), func(receipts.Found) {})
		if err == nil || !strings.Contains(err.Error(), "301") {
			t.Errorf("%s: %v", connector, err)
		}
	}
}

// TestStreams: a result is taken before the next one has arrived.
func TestStreams(t *testing.T) {
	r, w := io.Pipe()
	taken := make(chan string)
	done := make(chan error)
	go func() {
		done <- readExport(r, func(f receipts.Found) { taken <- f.ID })
	}()
	for i := range 3 {
		line := fmt.Sprintf(`{"preview":false,"lastrow":%v,"result":{"_raw":`+
			`"{\"time\":1773360000000,\"metadata\":{\"uid\":\"id-%d\"}}"}}`+"\n",
			i == 2, i)
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		if id := <-taken; id != fmt.Sprint("id-", i) {
			t.Errorf("took %s", id)
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRead: what is read of an event as a SIEM holds it.
func TestRead(t *testing.T) {
	hashOf := func(text string) uint64 {
		sum := sha256.Sum256([]byte(text))
		hash, _ := receipts.Hash(hex.EncodeToString(sum[:8]))
		return hash
	}
	const small = `{"time":1773360000000,"metadata":{"uid":"a"}}`
	const bare = `{"time":1773360000000}`
	long := `{"time":1773360000000,"metadata":{"uid":"` + strings.Repeat("x", 65) + `"}}`
	hash32 := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:16])
	}
	sum := sha256.Sum256([]byte(small))
	for _, c := range []struct {
		name, text string
		want       receipts.Found
		ok         bool
	}{
		{"event", small, receipts.Found{ID: "a", Hash: hashOf(small), Whole: true, Copies: 1}, true},
		{"with white space", " " + strings.ReplaceAll(small, ":", " : ") + "\n",
			receipts.Found{ID: "a", Hash: hashOf(small), Whole: true, Copies: 1}, true},
		{"without an id", bare, receipts.Found{ID: hash32(bare), Hash: hashOf(bare), Whole: true, Copies: 1}, true},
		{"with a long id", long, receipts.Found{ID: hash32(long), Hash: hashOf(long), Whole: true, Copies: 1}, true},
		{"cut", small[:len(small)-1], receipts.Found{ID: "a", Hash: hashOf(small[:len(small)-1]), Whole: true, Copies: 1},
			true},
		{"cut before the id", small[:30], receipts.Found{}, false},
		{"no event", "hello", receipts.Found{}, false},
		{"replaced", fmt.Sprintf(`{"truncated":true,"bytes":9,"sha256":"%x","class_uid":1,"time":1,"metadata":{"uid":"a"}}`,
			sum),
			receipts.Found{ID: "a", Hash: hashOf(small), Copies: 1}, true},
	} {
		var r reader
		if got, ok := r.read([]byte(c.text)); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, ok, c.want)
		}
	}
}

// TestCEF: the event id in a CEF message.
func TestCEF(t *testing.T) {
	for message, want := range map[string]string{
		"<134>1 - h a - m - CEF:0|v|p|1|1|n|3|rt=1 externalId=abc suser=u": "abc",
		"CEF:0|v|p|1|1|n|3|rt=1 externalId=a b suser=u":                    "a b",
		`CEF:0|v|p|1|1|n|3|rt=1 externalId=a\=b\\ cs1Label=x cs1=y`:        `a=b\`,
		"CEF:0|v|p|1|1|n|3|rt=1 externalId=last\n":                         "last",
		"CEF:0|v|p|1|1|n|3|rt=1 suser=u":                                   "",
		"externalId=x":                                                     "",
	} {
		if got, ok := readCEF([]byte(message)); got.ID != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", message, got.ID, ok, want)
		}
	}
	one, _ := CEFHash([]byte("<134>1 CEF:0|x"))
	two, _ := CEFHash([]byte("<13>1 relay CEF:0|x\n"))
	if other, _ := CEFHash([]byte("CEF:0|y")); one != two || one == other {
		t.Error("the hash is not that of the CEF alone")
	}
}

// TestDatadogAttributes: an event that Datadog has parsed into attributes is found by its id.
func TestDatadogAttributes(t *testing.T) {
	var waits []time.Duration
	s := searcherOf(t, "datadog", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":[{"attributes":{"message":"text","attributes":{"metadata":{"uid":"a"},"time":1}}},`+
			`{"attributes":{"attributes":{"x":1}}}],"meta":{"status":"done"}}`)
	}), &waits)
	var found []receipts.Found
	if err := s.Search(t.Context(), all(), func(f receipts.Found) { found = append(found, f) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, []receipts.Found{{ID: "a", Copies: 1}}) {
		t.Errorf("%+v", found)
	}
}

// TestMissingSettings: every missing setting is named at once.
func TestMissingSettings(t *testing.T) {
	for connector, names := range map[string][]string{
		"splunk": {"SPLUNK_SEARCH_URL", "SPLUNK_SEARCH_TOKEN"}, "elastic": {"ELASTIC_SEARCH_URL", "ELASTIC_SEARCH_API_KEY"},
		"sentinel": {"SENTINEL_SEARCH_WORKSPACE_ID", "SENTINEL_SEARCH_TOKEN"},
		"datadog":  {"DATADOG_SEARCH_API_KEY", "DATADOG_SEARCH_APP_KEY"},
		"sumo":     {"SUMO_SEARCH_URL", "SUMO_SEARCH_ACCESS_ID", "SUMO_SEARCH_ACCESS_KEY"},
		"qradar":   {"QRADAR_SEARCH_URL", "QRADAR_SEARCH_TOKEN"},
		"xsiam":    {"XSIAM_SEARCH_URL", "XSIAM_SEARCH_API_KEY", "XSIAM_SEARCH_API_KEY_ID"},
	} {
		none := func(string) string { return "" }
		_, err := Open(connector, settings.New(none, nil), Options{Function: none})
		for _, name := range names {
			if err == nil || !strings.Contains(err.Error(), name+": expected") {
				t.Errorf("%s: %s is not named: %v", connector, name, err)
			}
		}
		if Configured(connector, none) || !Configured(connector,
			func(name string) string { return map[string]string{names[0]: "x"}[name] }) {
			t.Errorf("%s: configured is wrong", connector)
		}
	}
}
