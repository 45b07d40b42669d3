package deadletter

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/jsonscan"
)

var day0 = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

func goldenRecords() []Record {
	at := time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC)
	return []Record{
		{Time: at, Connector: "splunk", Error: `status 503: "busy"`, Body: []byte("{ \"time\" : 1,\n\"a\":\"x y\"}"),
			Attempts: 5, MessageID: "m1"},
		{Time: at.Add(7 * time.Millisecond), Connector: "elastic", Error: "no object", Body: []byte(`[1, 2]`), Attempts: 1,
			MessageID: "m2", Replays: 2},
		{Time: at, Connector: "unknown", Error: "two\nlines", Body: []byte("a \xff b"), MessageID: "m3"},
		{Time: at, Connector: "sumo", Body: nil, MessageID: "m4"},
	}
}

func TestLineGolden(t *testing.T) {
	var got []byte
	for _, r := range goldenRecords() {
		got = r.AppendLine(got)
	}
	want, err := os.ReadFile("testdata/lines.golden")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("lines are\n%swant\n%s", got, want)
	}
}

func TestLineRoundTrip(t *testing.T) {
	for _, want := range goldenRecords() {
		var got Record
		if err := ParseLine(want.AppendLine(nil), &got); err != nil {
			t.Fatal(err)
		}
		if got.Object {
			want.Body = jsonscan.AppendCompact(nil, want.Body)
		}
		want.Object = got.Object
		want.Body, got.Body = append([]byte{}, want.Body...), append([]byte{}, got.Body...)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, want %+v", got, want)
		}
	}
}

func TestParseLineRefuses(t *testing.T) {
	const good = `{"timestamp":"2026-03-13T00:00:00Z","connector":"splunk","event":{},"replays":1}`
	var r Record
	if err := ParseLine([]byte(good), &r); err != nil || !r.Object || r.Replays != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for line, want := range map[string]string{
		"":                                       "one JSON object",
		"x":                                      "one JSON object",
		"[]":                                     "one JSON object",
		"{":                                      "one JSON object",
		good + "x":                               "one JSON object",
		`{"a":1,}`:                               "one JSON object",
		`{"a" 1}`:                                "one JSON object",
		`{"a":1 "b":2}`:                          "one JSON object",
		"{\"a\":\"\xff\"}":                       "UTF-8",
		`{}`:                                     "timestamp: is missing",
		strings.Replace(good, "2026", "20x6", 1): "timestamp: expected RFC 3339",
		strings.Replace(good, `"2026-03-13T00:00:00Z"`, "5", 1):      "timestamp: expected a string",
		strings.Replace(good, `"splunk"`, "null", 1):                 "connector: expected a string",
		strings.Replace(good, `:{}`, ":1", 1):                        "event: expected a string",
		strings.Replace(good, `"event":{}`, `"event_base64":"*"`, 1): "event_base64: expected base64",
		strings.Replace(good, `"event":{},`, ``, 1):                  "event: is missing",
		strings.Replace(good, `"replays":1`, `"replays":-1`, 1):      "replays: expected an integer",
		strings.Replace(good, `"replays":1`, `"replays":"1"`, 1):     "replays: expected an integer",
		strings.Replace(good, `"replays":1`, `"attempts":1.5`, 1):    "attempts: expected an integer",
		strings.Replace(good, `:{}`, ":null", 1):                     "event: expected a string",
		strings.Replace(good, `"replays":1`, `"attempts":1e300`, 1):  "attempts: expected an integer",
		`{"timestamp":null,"connector":"splunk","event":{}}`:         "timestamp: expected a string",
	} {
		if err := ParseLine([]byte(line), &r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// TestParseLineAccepts: what other tools and operators write.
func TestParseLineAccepts(t *testing.T) {
	for line, want := range map[string]Record{
		`{"timestamp":"2026-03-13T10:00:00Z","connector":"splunk","event":{"a":1},"attempts":5.0,"error":null,"message_id":"m","replays":1e0}`:  {Attempts: 5, MessageID: "m", Replays: 1},
		"\uFEFF" + `{"timestamp":"2026-03-13T10:00:00Z","connector":"splunk","event":{"a":1},"attempts":null,"replays":null,"message_id":null}`: {},
		` { "event" : {"a":1} , "x": [null], "connector":"splunk","event_base64":null,"timestamp":"2026-03-13T11:00:00+01:00" } `:               {},
	} {
		want.Time, want.Connector, want.Object, want.Body = day0, "splunk", true, []byte(`{"a":1}`)
		var got Record
		if err := ParseLine([]byte(line), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}
}

// TestDepth: the record's own level does not count, so that every event that is accepted can be read back.
func TestDepth(t *testing.T) {
	for depth, object := range map[int]bool{jsonscan.MaxDepth: true, jsonscan.MaxDepth + 1: false} {
		body := `{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
		r := Record{Time: day0, Connector: "splunk", Body: []byte(body)}
		var got Record
		if err := ParseLine(r.AppendLine(nil), &got); err != nil || got.Object != object || string(got.Body) != body {
			t.Errorf("depth %d: an object is %v, %v", depth, got.Object, err)
		}
	}
}

func TestIDs(t *testing.T) {
	id := func(r Record, place string) ID { return r.ID(place) }
	a := Record{MessageID: "a", Object: true, Body: []byte(`{"x":1}`)}
	spaced, other := a, a
	spaced.Body, other.Body = []byte(`{ "x" : 1 }`), []byte(`{"x":2}`)
	if id(a, "1") != id(spaced, "2") || id(a, "1") == id(other, "1") {
		t.Error("ids with a message id")
	}
	a.MessageID = ""
	if id(a, "1") == id(a, "2") {
		t.Error("ids without a message id")
	}
	if NewID([]byte("ab"), []byte("c")) == NewID([]byte("a"), []byte("bc")) {
		t.Error("the borders of parts do not count")
	}
}

// FuzzParseLine: nothing makes the parser panic, and what it reads it can write and read again.
func FuzzParseLine(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(bytes.TrimSpace(r.AppendLine(nil)))
	}
	f.Add([]byte(`{"timestamp":"2026-03-13T00:00:00.5+02:00","connector":"\ud800","event":{"a":[]},"event_base64":"/w==","x":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Record
		if ParseLine(line, &r) != nil {
			return
		}
		if r.Object && !isObject(r.Body) {
			t.Fatalf("event %q is said to be an object", r.Body)
		}
		if !utf8.ValidString(r.Connector + r.Error + r.MessageID) {
			t.Fatal("texts are not UTF-8")
		}
		again := r.AppendLine(nil)
		if bytes.Count(again, []byte("\n")) != 1 {
			t.Fatalf("%q is not one line", again)
		}
		var r2 Record
		if err := ParseLine(again, &r2); err != nil {
			t.Fatalf("%q: %v", again, err)
		}
		if r2.MessageID != r.MessageID || r2.Replays != r.Replays || !r2.Time.Equal(r.Time) {
			t.Fatalf("%+v became %+v", r, r2)
		}
	})
}

// FuzzRecord: every body can be kept in a line and had back, an object without the white space between its tokens.
func FuzzRecord(f *testing.F) {
	for _, r := range goldenRecords() {
		f.Add(r.Body, r.Error, r.MessageID)
	}
	f.Fuzz(func(t *testing.T, body []byte, reason, id string) {
		r := Record{Time: day0, Connector: "splunk", Body: body, Error: Bound(reason, 4096), MessageID: Bound(id, 100)}
		var got Record
		line := r.AppendLine(nil)
		if err := ParseLine(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := body
		if text := bytes.TrimPrefix(body, byteOrderMark); isObject(text) {
			want = jsonscan.AppendCompact(nil, text)
		}
		if !bytes.Equal(got.Body, want) || got.Error != r.Error || got.MessageID != r.MessageID {
			t.Fatalf("%+v became %+v", r, got)
		}
	})
}
