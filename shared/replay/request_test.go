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

func TestReplayAnswersEveryBadRequest(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 1, day0)...)
	for _, c := range []struct {
		name, method, path, body, kind string
		status                         int
		text                           string
	}{
		{"other path", "POST", "/", "", "", 404, "path"},
		{"slash at the end", "POST", Path + "/", "", "", 404, "path"},
		{"head", "HEAD", Path, "", "", 405, "method"},
		{"options", "OPTIONS", Path, "", "", 405, "method"},
		{"delete", "DELETE", Path, "", "", 405, "method"},
		{"no method", "", Path, "", "", 405, "method"},
		{"text", "POST", Path, "{}", "text/plain", 415, "content-type"},
		{"broken content type", "POST", Path, "{}", ";;", 415, "content-type"},
		{"not JSON", "POST", Path, "connector=splunk", "", 415, "not JSON"},
		{"two values", "POST", Path, "{}{}", "", 415, "not JSON"},
		{"array", "POST", Path, "[]", "application/json", 400, "body: expected a JSON object"},
		{"null", "POST", Path, "null", "", 400, "body: expected a JSON object"},
		{"unknown key", "POST", Path, `{"connectr":"splunk"}`, "", 400, `"connectr": is not known`},
		{"another case", "POST", Path, `{"Limit":1}`, "", 400, `"Limit": is not known`},
		{"twice", "POST", Path, `{"limit":1,"limit":2}`, "", 400, "twice"},
		{"unknown connector", "POST", Path, `{"connector":"foo"}`, "", 400, `connector: expected one of splunk`},
		{"connector's type", "POST", Path, `{"connector":1}`, "", 400, "connector: expected"},
		{"null connector", "POST", Path, `{"connector":null}`, "", 400, "connector: expected"},
		{"from", "POST", Path, `{"from":"yesterday"}`, "", 400,
			`from: expected an RFC 3339 time such as "2026-03-13T00:00:00Z", found "yesterday"`},
		{"from's type", "POST", Path, `{"from":1}`, "", 400, "from: expected"},
		{"to", "POST", Path, `{"to":"2026-03-13"}`, "", 400, "to: expected"},
		{"to before from", "POST", Path, `{"from":"2026-03-13T00:00:00Z","to":"2026-03-13T00:00:00Z"}`, "", 400,
			"to: expected a time after from"},
		{"limit 0", "POST", Path, `{"limit":0}`, "", 400, "limit: expected"},
		{"limit's type", "POST", Path, `{"limit":"5"}`, "", 400, "limit: expected"},
		{"limit's fraction", "POST", Path, `{"limit":5.5}`, "", 400, "limit: expected"},
		{"dry_run", "POST", Path, `{"dry_run":"yes"}`, "", 400, "dry_run: expected true or false"},
		{"force", "POST", Path, `{"force":1}`, "", 400, "force: expected true or false"},
		{"empty reason", "POST", Path, `{"reason":""}`, "", 400, "reason: expected"},
		{"reason's type", "POST", Path, `{"reason":["busy"]}`, "", 400, "reason: expected"},
		{"no message ids", "POST", Path, `{"message_ids":[]}`, "", 400, "message_ids: expected"},
		{"message ids' type", "POST", Path, `{"message_ids":[1]}`, "", 400, "message_ids: expected"},
		{"null message id", "POST", Path, `{"message_ids":["a",null]}`, "", 400, "message_ids: expected"},
		{"too many message ids", "POST", Path, `{"message_ids":["a"` + strings.Repeat(`,"a"`, maxMessageIDs) + `]}`, "", 400,
			"message_ids: expected"},
		{"discard", "POST", Path, `{"discard":"yes"}`, "", 400, "discard: expected true or false"},
		{"unknown connector's replay", "POST", Path, `{"connector":"unknown"}`, "", 400,
			"connector: dead letters of an unknown connector"},
		{"two at once", "POST", Path, `{"force":1,"limit":-1}`, "", 400, "limit: expected"},
		{"too long", "POST", Path, strings.Repeat(" ", maxRequest) + "{}", "", 400, "body: expected at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := map[string]string{}
			if c.kind != "" {
				headers["content-type"] = c.kind
			}
			status, got, body := w.ask(c.method, c.path, c.body, headers)
			var f failure
			if err := json.Unmarshal([]byte(body), &f); err != nil || status != c.status || !strings.Contains(f.Error, c.text) {
				t.Errorf("answer %d %s, want %d %q", status, body, c.status, c.text)
			}
			if status == 405 && got["allow"] != "GET, POST" {
				t.Errorf("allow is %q", got["allow"])
			}
		})
	}
	status, _, _ := w.ask("POST", Path, `{"dry_run":true}`,
		map[string]string{"Content-Type": "application/json; charset=utf-8"})
	if status != 200 {
		t.Errorf("a good request is answered %d", status)
	}
	if w.count() != 0 {
		t.Error("a bad request has put something back")
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

// TestReplayOfHostileRequests: a request that is huge, deep or names what it should not is refused, and changes
// nothing.
func TestReplayOfHostileRequests(t *testing.T) {
	w := newWorld(t)
	w.drain(dlq.Letters("splunk", "a", 2, day0)...)
	before := w.s3.Keys("")
	paths := []string{
		Path + "/", Path + "/..", Path + "/../../x", "/api/admin/../admin/siem/replay-dead-letter",
		"//api/admin/siem/replay-dead-letter",
		"/api/admin/siem/replay-dead-letter%2f..", "/API/admin/siem/replay-dead-letter", Path + "\x00", Path + ";x", "",
		strings.Repeat("/a", 100_000),
	}
	for _, path := range paths {
		if status, _, body := w.ask("POST", path, "", nil); status != 404 || len(body) > 1000 {
			t.Errorf("path %.60q: %d %.200s", path, status, body)
		}
	}
	deep := strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)
	bodies := []string{
		`{"connector":"../../other"}`, `{"connector":"splunk/../x"}`, `{"connector":"*"}`, `{"connector":["splunk"]}`,
		`{"connector":"splunk\u0000"}`,
		`{"prefix":"s3://other/"}`, `{"path":"../"}`, `{"force":"true"}`, `{"limit":1e9}`, `{"limit":-1}`,
		`{"from":"0000-00-00T00:00:00Z"}`,
		`{"reason":""}`, `{"message_ids":[]}`, `{"message_ids":[""]}`, `{"message_ids":"a"}`, `{"discard":null}`,
		`{"connector":"unknown"}`,
		deep, `{"limit":` + deep + `}`, `{"limit":` + strings.Repeat("9", 60_000) + `}`, `{"a":"` + strings.Repeat("x",
			5<<20) + `"}`,
		strings.Repeat(`{"limit":1,`, 5000), "\xff\xfe{", "\ufeff{}",
	}
	for _, body := range bodies {
		status, _, answer := w.ask("POST", Path, body, map[string]string{"content-type": "application/json"})
		var f failure
		if status != 400 && status != 415 || json.Unmarshal([]byte(answer), &f) != nil || f.Error == "" ||
			len(answer) > 4000 {
			t.Errorf("body %.60q: %d %.200s", body, status, answer)
		}
	}
	if after := w.s3.Keys(""); !slices.Equal(before, after) || w.count() != 0 {
		t.Errorf("a refused request has changed something: %d objects, then %d; %d events sent", len(before), len(after),
			w.count())
	}
}
