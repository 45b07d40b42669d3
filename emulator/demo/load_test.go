package demo

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/shared/connectors"
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
	if got[0].body != one || got[0].id != "1" || got[1].body != `{ "a" : 1.0 }` || got[1].wire != `{"a":1.0}` ||
		got[2].id != "" {
		t.Errorf("%+v", got)
	}
}

func TestReadMessagesRefuses(t *testing.T) {
	for name, path := range map[string]string{
		"no file": filepath.Join(t.TempDir(), "none"), "an empty file": file(t, "\n"), "a line over 1 MiB": file(t,
			strings.Repeat("x", 1<<20+100)),
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

func TestPoisonHasAnIDOfItsOwn(t *testing.T) {
	messages := []message{{id: "a"}, {id: "b"}, {id: "a"}}
	if id := poison(messages); id != "b" {
		t.Errorf("poison is %q", id)
	}
	if id := poison(append(messages, message{id: "b"})); id != "a" {
		t.Errorf("where every id comes twice, poison is %q", id)
	}
	if distinct(messages) || !distinct(messages[:2]) || !distinct([]message{{}, {}}) {
		t.Error("distinct")
	}
}

// TestReasons: what several SIEMs say is one reason, an answer that is JSON is shown as such.
func TestReasons(t *testing.T) {
	d := &demo{}
	for _, name := range []string{"splunk", "sumo", "xsiam"} {
		entry := catalog.SIEM{Connector: connectors.Connector{Name: name}}
		d.actors = append(d.actors, &actor{SIEM: &system.SIEM{SIEM: entry}})
	}
	got := d.reasons(map[string][]deadLetter{
		"sumo":   {{Error: "a", Attempts: 1}, {Error: `"{\"code\":6}"`, Attempts: 5}, {Error: `"{\"code\":6}"`, Attempts: 5}},
		"splunk": {{Error: "a", Attempts: 1}},
	})
	want := []reason{
		{text: `after 5 attempts: "{"code":6}"`, count: 2, connectors: []string{"sumo"}},
		{text: "after 1 attempt: a", count: 2, connectors: []string{"splunk", "sumo"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
