package deadletter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestDrainNamesOnlyItsOwnKeys: nothing a message says chooses where in the bucket it is written.
func TestDrainNamesOnlyItsOwnKeys(t *testing.T) {
	w := newWorld(t)
	hostile := []string{"../../other", "splunk/../../x", "SPLUNK", "splunk\x00", "splunk/date=1999-01-01/x.jsonl", "..", "/", "connector=splunk", strings.Repeat("a", 5000)}
	var all []letter
	for i, name := range hostile {
		l := sentLetter(name, fmt.Sprint("../../", i), day0)
		l.id = "../../../" + l.id + "\n"
		l.attributes["failed_at"] = "2026-03-13T00:00:00Z/../.."
		all = append(all, l)
	}
	if failed := w.drain(all...); len(failed) > 0 {
		t.Fatalf("given back: %q", failed)
	}
	for _, key := range w.s3.Keys("") {
		if !strings.HasPrefix(key, testPrefix+"pending/connector=unknown/date=") || strings.Contains(key, "..") {
			t.Errorf("written to %q", key)
		}
	}
	if got := strings.Count(string(w.s3.Body(w.wantKeys("pending/", 1)[0])), "\n"); got != len(hostile) {
		t.Errorf("%d lines, want %d", got, len(hostile))
	}
}

// TestReplayTouchesOnlyItsOwnKeys: what stands beside the dead letters, or among them under another name, is not read, not
// sent, not moved, not deleted.
func TestReplayTouchesOnlyItsOwnKeys(t *testing.T) {
	w := newWorld(t)
	record := Record{Time: day0, Connector: "splunk", Error: "x", Body: []byte(`{"time":1}`), MessageID: "m"}
	line := record.AppendLine(nil)
	foreign := []string{
		"deadly/pending/connector=splunk/date=2026-03-13/a.jsonl", // a prefix that begins alike
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
	w.drain(letters("splunk", "a", 2, day0)...)
	if a := w.replay(""); a.Replayed != 2 || a.Remaining != 0 || a.Skipped != 0 {
		t.Errorf("answer %+v, want the two of its own put back", a)
	}
	if n := w.sqs.Count(); n != 2 {
		t.Errorf("%d events were sent, want 2", n)
	}
	for _, key := range foreign {
		if string(w.s3.Body(key)) != string(line) {
			t.Errorf("%q was touched", key)
		}
	}
	for _, key := range w.s3.Keys("") {
		own := strings.HasPrefix(key, testPrefix+"replayed/connector=splunk/") || strings.HasPrefix(key, testPrefix+"ledger/connector=splunk/")
		if !own && !slices.Contains(foreign, key) {
			t.Errorf("%q was written", key)
		}
	}
}

// TestReplayOfHostileRequests: a request that is huge, deep or names what it should not is refused, and changes nothing.
func TestReplayOfHostileRequests(t *testing.T) {
	w := newWorld(t)
	w.drain(letters("splunk", "a", 2, day0)...)
	before := w.s3.Keys("")
	paths := []string{
		replayPath + "/", replayPath + "/..", replayPath + "/../../x", "/api/admin/../admin/siem/replay-dead-letter", "//api/admin/siem/replay-dead-letter",
		"/api/admin/siem/replay-dead-letter%2f..", "/API/admin/siem/replay-dead-letter", replayPath + "\x00", replayPath + ";x", "", strings.Repeat("/a", 100_000),
	}
	for _, path := range paths {
		if status, _, body := w.ask(t.Context(), "POST", path, "", nil); status != 404 || len(body) > 1000 {
			t.Errorf("path %.60q: %d %.200s", path, status, body)
		}
	}
	deep := strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000)
	bodies := []string{
		`{"connector":"../../other"}`, `{"connector":"splunk/../x"}`, `{"connector":"*"}`, `{"connector":["splunk"]}`, `{"connector":"splunk\u0000"}`,
		`{"prefix":"s3://other/"}`, `{"path":"../"}`, `{"force":"true"}`, `{"limit":1e9}`, `{"limit":-1}`, `{"from":"0000-00-00T00:00:00Z"}`,
		deep, `{"limit":` + deep + `}`, `{"limit":` + strings.Repeat("9", 60_000) + `}`, `{"a":"` + strings.Repeat("x", 5<<20) + `"}`,
		strings.Repeat(`{"limit":1,`, 5000), "\xff\xfe{", "\ufeff{}",
	}
	for _, body := range bodies {
		status, _, answer := w.ask(t.Context(), "POST", replayPath, body, map[string]string{"content-type": "application/json"})
		var f failure
		if status != 400 && status != 415 || json.Unmarshal([]byte(answer), &f) != nil || f.Error == "" || len(answer) > 4000 {
			t.Errorf("body %.60q: %d %.200s", body, status, answer)
		}
	}
	if after := w.s3.Keys(""); !slices.Equal(before, after) || w.sqs.Count() != 0 {
		t.Errorf("a refused request has changed something: %d objects, then %d; %d events sent", len(before), len(after), w.sqs.Count())
	}
}
