package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadMessages(t *testing.T) {
	got, err := loadMessages(Options{Events: file(t, one+"\n\n  \r\n{ \"a\" : 1.0 }\r\nno event")})
	if err != nil || len(got) != 3 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	if got[0].body != one || got[0].id != "1" || got[1].body != `{ "a" : 1.0 }` || got[1].wire != `{"a":1.0}` || got[2].id != "" {
		t.Errorf("%+v", got)
	}
}

func TestReadMessagesRefuses(t *testing.T) {
	for name, path := range map[string]string{
		"no file": filepath.Join(t.TempDir(), "none"), "an empty file": file(t, "\n"), "a line over 1 MiB": file(t, strings.Repeat("x", 1<<20+100)),
	} {
		if _, err := loadMessages(Options{Events: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGeneratedMessages(t *testing.T) {
	got, err := loadMessages(Options{Count: 20, Seed: 1})
	if err != nil || len(got) != 21 || got[10].body != broken || got[10].id != "" {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	if id := poison(got); id != got[0].id {
		t.Errorf("poison is %q", id)
	}
	if id := poison([]message{{body: broken}}); id != "" {
		t.Errorf("poison of no events is %q", id)
	}
}

func TestParseLetters(t *testing.T) {
	got, err := parseLetters(strings.NewReader(`{"connector":"splunk","error":"e","event":{"a":1},"attempts":5,"message_id":"m","replays":1}` + "\n" + `{"event":"{\"a\": 1}"}`))
	if err != nil || len(got) != 2 || got[0].body != `{"a":1}` || got[0].Attempts != 5 || got[1].body != `{"a":1}` {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"x", `{"event_base64":"?"}`, `{"attempts":"five"}`} {
		if _, err := parseLetters(strings.NewReader("{}\n" + text)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSummarize(t *testing.T) {
	got := summarize([]deadLetter{{Error: "a", Attempts: 1}, {Error: "b", Attempts: 5}, {Error: "b", Attempts: 5}})
	if len(got) != 2 || got[0] != (reason{"after 5 attempts: b", 2}) || got[1] != (reason{"after 1 attempt: a", 1}) {
		t.Errorf("%+v", got)
	}
}
