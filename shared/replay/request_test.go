package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// TestReplayRefusesBadRequests: a request that is wrong, huge, deep or names what it should not is refused with the
// reason, and changes nothing.
func TestReplayRefusesBadRequests(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 1, day0)...)
	before := w.s3.Keys("")
	refuse := func(method, path, body, kind string, want int, text string) {
		t.Helper()
		status, headers, answer := w.ask(method, path, body, map[string]string{"content-type": kind})
		var f failure
		if json.Unmarshal([]byte(answer), &f) != nil || status != want || !strings.Contains(f.Error, text) ||
			len(answer) > 1000 || (status == 405) != (headers["allow"] == "GET, POST") {
			t.Errorf("%s %.60q %.60q %q: %d %.1000s %v, want %d %q", method, path, body, kind, status, answer, headers,
				want, text)
		}
	}
	for _, method := range []string{"HEAD", "OPTIONS", "DELETE", ""} {
		refuse(method, Path, "", "", 405, "method")
	}
	for _, path := range []string{
		"/", Path + "/", Path + "/..", Path + "/../../x", "/api/admin/../admin/siem/replay-dead-letter", "/" + Path,
		Path + "%2f..", "/API/admin/siem/replay-dead-letter", Path + "\x00", Path + ";x", "",
		strings.Repeat("/a", 100_000),
	} {
		refuse("POST", path, "", "", 404, "path")
	}
	for _, kind := range []string{"text/plain", ";;"} {
		refuse("POST", Path, "{}", kind, 415, "content-type")
	}
	deep := strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)
	for _, body := range []string{
		"connector=splunk", "{}{}", deep, `{"limit":` + deep + `}`, strings.Repeat(`{"limit":1,`, 5000), "\xff\xfe{",
		"\ufeff{}",
	} {
		refuse("POST", Path, body, "application/json", 415, "not JSON")
	}
	for body, text := range map[string]string{
		"[]":                              "body: expected a JSON object",
		"null":                            "body: expected a JSON object",
		`{"connectr":"splunk"}`:           `"connectr": is not known`,
		`{"Limit":1}`:                     `"Limit": is not known`,
		`{"prefix":"s3://other/"}`:        `"prefix": is not known`,
		`{"limit":1,"limit":2}`:           "limit: is given twice",
		`{"connector":"foo"}`:             "connector: expected one of splunk",
		`{"connector":1}`:                 "connector: expected",
		`{"connector":null}`:              "connector: expected",
		`{"connector":["splunk"]}`:        "connector: expected",
		`{"connector":"../../other"}`:     "connector: expected",
		`{"connector":"splunk/../x"}`:     "connector: expected",
		`{"connector":"*"}`:               "connector: expected",
		`{"connector":"splunk\u0000"}`:    "connector: expected",
		`{"connector":"unknown"}`:         "connector: dead letters of an unknown connector",
		`{"from":"yesterday"}`:            `from: expected an RFC 3339 time such as "2026-03-13T00:00:00Z", found "yesterday"`,
		`{"from":1}`:                      "from: expected",
		`{"from":"0000-00-00T00:00:00Z"}`: "from: expected",
		`{"to":"2026-03-13"}`:             "to: expected",
		`{"from":"2026-03-13T00:00:00Z","to":"2026-03-13T00:00:00Z"}`: "to: expected a time after from",
		`{"limit":0}`:                "limit: expected",
		`{"limit":-1}`:               "limit: expected",
		`{"limit":"5"}`:              "limit: expected",
		`{"limit":5.5}`:              "limit: expected",
		`{"limit":1e9}`:              "limit: expected",
		`{"dry_run":"yes"}`:          "dry_run: expected true or false",
		`{"force":1}`:                "force: expected true or false",
		`{"force":"true"}`:           "force: expected true or false",
		`{"discard":"yes"}`:          "discard: expected true or false",
		`{"discard":null}`:           "discard: expected true or false",
		`{"reason":""}`:              "reason: expected",
		`{"reason":["busy"]}`:        "reason: expected",
		`{"message_ids":[]}`:         "message_ids: expected",
		`{"message_ids":"a"}`:        "message_ids: expected",
		`{"message_ids":[1]}`:        "message_ids: expected",
		`{"message_ids":[""]}`:       "message_ids: expected",
		`{"message_ids":["a",null]}`: "message_ids: expected",
		`{"force":1,"limit":-1}`:     "force: expected true or false, found 1; limit: expected",
		`{"message_ids":["a"` + strings.Repeat(`,"a"`, maxMessageIDs) + `]}`: "message_ids: expected",
		`{"limit":` + strings.Repeat("9", 60_000) + `}`:                      "limit: expected",
		strings.Repeat(" ", maxRequest) + "{}":                               "body: expected at most",
	} {
		refuse("POST", Path, body, "", 400, text)
	}
	if after := w.s3.Keys(""); !slices.Equal(before, after) || w.count() != 0 {
		t.Errorf("a refused request has changed something: %v, then %v; %d events sent", before, after, w.count())
	}
	status, _, _ := w.ask("POST", Path, `{"dry_run":true}`,
		map[string]string{"Content-Type": "application/json; charset=utf-8"})
	if status != 200 {
		t.Errorf("a good request is answered %d", status)
	}
}

func TestReplayReadsEveryEvent(t *testing.T) {
	w := newWorld(t)
	const post = `{"rawPath":"` + Path + `","requestContext":{"http":{"method":"POST"}}`
	for payload, want := range map[string]int{
		`x`:    400,
		`null`: 404,
		`{}`:   404,
		post + `,"body":"!","isBase64Encoded":true}`:                        400,
		post + `,"body":"eyJkcnlfcnVuIjp0cnVlfQ==","isBase64Encoded":true}`: 200,
		post + `,"body":null}`:                                              200,
		post + `,"rawQueryString":"dry_run=true"}`:                          400,
		`{"version":"2.0","requestContext":{"http":{"method":"POST","path":"` + Path +
			`"}},"body":"{\"dry_run\":true}"}`: 200,
	} {
		if status, _, body := w.invoke([]byte(payload)); status != want {
			t.Errorf("%s: %d %s, want %d", payload, status, body, want)
		}
	}
}

func TestPanicIsAnsweredWithoutDetails(t *testing.T) {
	w := newWorld(t)
	w.s3.Hook = func(string, string, bool) error { panic("secret-canary") }
	status, _, body := w.ask("GET", Path, "", nil)
	if status != http.StatusInternalServerError || body != `{"error":"internal"}` {
		t.Errorf("answer %d %s", status, body)
	}
	if strings.Contains(w.out.String(), "secret-canary") || !strings.Contains(w.out.String(), "stack") {
		t.Errorf("log is %s", w.out.String())
	}
}

// FuzzRequest: whatever the body, there is a request within its bounds or a refusal that says why.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{``, `{}`,
		`{"connector":"splunk","from":"2026-03-13T00:00:00Z","to":"2026-03-14T00:00:00+01:00","limit":5,"dry_run":true,` +
			`"force":false}`, `{"limit":1e3}`, `[{}]`, `{"a":{"b":[1]}}`} {
		f.Add(s, "application/json", false)
	}
	f.Add("e30=", "", true)
	f.Fuzz(func(t *testing.T, body, kind string, encoded bool) {
		var c call
		c.Body, c.IsBase64Encoded, c.Headers = body, encoded, map[string]string{"content-type": kind}
		r, err := c.request()
		if refused, ok := errors.AsType[*refusal](err); ok {
			if refused.status != 400 && refused.status != 415 || refused.text == "" || len(refused.text) > 3000 {
				t.Fatalf("refusal %+v", refused)
			}
			return
		}
		if r.limit < 1 || r.limit > maxLimit || len(r.MessageIDs) > maxMessageIDs || !r.To.IsZero() && !r.From.Before(r.To) {
			t.Fatalf("request %+v", r)
		}
	})
}

// TestReplayTouchesOnlyItsOwnKeys: objects outside the dead letters' prefixes, or inside them with another name, are
// not read, sent, moved or deleted.
func TestReplayTouchesOnlyItsOwnKeys(t *testing.T) {
	w := newWorld(t)
	record := deadletter.Record{Time: day0, Connector: "splunk", Error: "x", Body: []byte(`{"time":1}`), MessageID: "m"}
	line := record.AppendLine(nil)
	foreign := []string{
		"deadly/pending/connector=splunk/date=2026-03-13/a.jsonl", // a prefix with the same beginning
		"pending/connector=splunk/date=2026-03-13/a.jsonl",        // no prefix
		testPrefix + "pending/connector=splunk/date=2026-03-13/../../../../other.jsonl",
		testPrefix + "pending/connector=splunk/date=2026-03-13/a/b.jsonl",
		testPrefix + "pending/connector=../date=2026-03-13/a.jsonl",
		testPrefix + "pending/connector=evil/date=2026-03-13/a.jsonl",
		testPrefix + "pending/connector=splunk/date=2026-13-45/a.jsonl",
		testPrefix + "pending/connector=splunk/a.jsonl",
		testPrefix + "pending//connector=splunk/date=2026-03-13/a.jsonl",
		testPrefix + "pending/connector=splunk/date=2026-03-13/a.jsonl.tmp",
		testPrefix + "pending/connector=splunk/date=2026-03-13/\n.txt",
		testPrefix + "pending/connector=splunk/date=2026-03-13/a.json",
		testPrefix + "pending/connector=splunk/date=2026-03-13/a.jsonl.gz",
		testPrefix + "pending/connector=splunk/date=2026-03-13/a.JSONL",
	}
	w.s3.Put(pendingKey("2026-03-13", ""), nil) // the S3 console's folder
	for _, key := range foreign {
		w.s3.Put(key, line)
	}
	w.drain(dlq.Letters("splunk", "a", 2, day0)...)
	inPending := len(foreign) - 2
	w.want("", fmt.Sprintf("2 replayed, %d skipped, 0 remaining", inPending), "the first is pending/")
	w.wantSent(2, 2)
	for _, key := range foreign {
		if string(w.s3.Body(key)) != string(line) {
			t.Errorf("%q was touched", key)
		}
	}
	for _, key := range w.s3.Keys("") {
		own := strings.HasPrefix(key, testPrefix+"replayed/connector=splunk/") ||
			strings.HasPrefix(key, testPrefix+"progress/connector=splunk/")
		if !own && !slices.Contains(foreign, key) && !strings.HasSuffix(key, "/") {
			t.Errorf("%q was written", key)
		}
	}
}
