package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/dlq"
	"github.com/arbitex/siem-connectors/shared/deadletter"
)

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
	}
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
		if !own && !slices.Contains(foreign, key) {
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
		if status, _, body := w.ask(t.Context(), "POST", path, "", nil); status != 404 || len(body) > 1000 {
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
		status, _, answer := w.ask(t.Context(), "POST", Path, body, map[string]string{"content-type": "application/json"})
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
