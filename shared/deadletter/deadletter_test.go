package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestNamesAreReadBack(t *testing.T) {
	key := ObjectName("splunk", []string{"b", "a"}, 300, day0, day0.Add(time.Hour))
	if key != ObjectName("splunk", []string{"a", "b"}, 300, day0, day0.Add(time.Hour)) {
		t.Error("the order of the ids changes the name")
	}
	if o, ok := parseObject(key, 300); !ok || o.Lines != 2 || o.Oldest != day0.UnixMilli() ||
		o.Newest != day0.Add(time.Hour).UnixMilli() {
		t.Errorf("%s is read as %+v", key, o)
	}
	name := key[strings.LastIndexByte(key, '/')+1:]
	for key, size := range map[string]int64{
		"connector=splunk/date=2026-03-13/mine.jsonl": 300,
		key: 299, // rewritten
		"connector=splunk/date=2026-03-14/" + name:                                   300, // another day than its name says
		"connector=splunk/date=2026-03-13/" + strings.Replace(name, "-n2", "-n0", 1): 300,
		"connector=splunk/date=2026-03-13/x" + name:                                  300,
	} {
		o, ok := parseObject(key, size)
		if !ok || o.Lines != -1 || o.Newest != math.MaxInt64 ||
			time.UnixMilli(o.Oldest).UTC().Format(time.DateOnly) != key[22:32] {
			t.Errorf("%s is read as %+v, %v", key, o, ok)
		}
	}
	if o, ok := parseObject("connector=unknown/date=2026-03-13/"+name, 300); !ok || o.Lines != 2 {
		t.Errorf("unknown is read as %+v, %v", o, ok)
	}
	for _, key := range []string{
		"", "connector=foo/date=2026-03-13/a.jsonl", "connector=splunk/date=2026-13-13/a.jsonl",
		"connector=splunk/date=2026-03-13/a/b.jsonl",
		"connector=splunk/date=2026-03-13/a.txt", name,
	} {
		if o, ok := parseObject(key, 300); ok {
			t.Errorf("%s is read as %+v", key, o)
		}
	}
}

func TestLocations(t *testing.T) {
	for path, want := range map[string]string{"s3://bucket": "", "s3://bucket/": "", "s3://bucket/a/b/": "a/b/",
		"s3://b.c-d/x": "x/", "s3://bucket/a+ b": "a+ b/"} {
		if b, err := newBucket(path, nil); err != nil || b.Prefix != want {
			t.Errorf("%s: %+v, %v, want the prefix %q", path, b, err, want)
		}
	}
	for _, path := range []string{"bucket/x", "s3://", "s3://B/x", "s3:///x", "s3://bucket/a//b", "s3://bucket/../b",
		"https://bucket/x", "s3://bucket/" + strings.Repeat("x", 600)} {
		s := settings.New(func(string) string { return path }, nil)
		if _, err := OpenBucket(s, nil, &fakeaws.S3{}); err == nil {
			t.Errorf("%s: is accepted", path)
		}
	}
}

// TestPanicsAreErrors: a panic's own value is not shown.
func TestPanicsAreErrors(t *testing.T) {
	errs := Each(3, func(i int) error {
		if i == 1 {
			panic("secret-canary")
		}
		return nil
	})
	if errs[0] != nil || errs[1] == nil || strings.Contains(errs[1].Error(), "secret-canary") || errs[2] != nil {
		t.Errorf("%v", errs)
	}
}

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

// TestLineGolden: a record is written as one line, and read as it was.
func TestLineGolden(t *testing.T) {
	var got []byte
	for _, r := range goldenRecords() {
		var read Record
		if err := ParseLine(r.AppendLine(nil), &read); err != nil {
			t.Fatal(err)
		}
		if read.Object {
			r.Body = jsonscan.AppendCompact(nil, r.Body)
		}
		r.Object, r.Body, read.Body = read.Object, append([]byte{}, r.Body...), append([]byte{}, read.Body...)
		if !reflect.DeepEqual(read, r) {
			t.Errorf("read %+v, want %+v", read, r)
		}
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
		strings.Replace(good, `"splunk"`, "null", 1):                 "connector: is missing",
		strings.Replace(good, `:{}`, ":1", 1):                        "event: expected a string",
		strings.Replace(good, `"event":{}`, `"event_base64":"*"`, 1): "event_base64: expected base64",
		strings.Replace(good, `"event":{},`, ``, 1):                  "event: is missing",
		strings.Replace(good, `"replays":1`, `"replays":-1`, 1):      "replays: expected an integer",
		strings.Replace(good, `"replays":1`, `"replays":"1"`, 1):     "replays: expected an integer",
		strings.Replace(good, `"replays":1`, `"attempts":1.5`, 1):    "attempts: expected an integer",
		strings.Replace(good, `:{}`, ":null", 1):                     "event: is missing",
		strings.Replace(good, `"replays":1`, `"attempts":1e300`, 1):  "attempts: expected an integer",
		`{"timestamp":null,"connector":"splunk","event":{}}`:         "timestamp: is missing",
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

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func line(when, connector, reason, id string) string {
	r := Record{Time: at(when), Connector: connector, Error: reason, Body: []byte(`{"time":1}`), MessageID: id}
	return string(r.AppendLine(nil))
}

// key is the key of an object of dead letters.
func key(folder, connector, date, name string) string {
	return "dead/" + folder + "connector=" + connector + "/date=" + date + "/" + name
}

func TestEachChooses(t *testing.T) {
	b, store := fakeBucket()
	for key, body := range map[string]string{
		key(PendingFolder, "splunk", "2026-03-13", "a.jsonl"): line("2026-03-13T10:00:00Z", "splunk",
			"status 400", "1") + "no line\n\n" + line("2026-03-14T00:30:00Z", "splunk", "status 503", "2"),
		key(PendingFolder, "sumo", "2026-03-14", "b.jsonl"):  line("2026-03-14T10:00:00Z", "sumo", "Status 400", "3"),
		key(PendingFolder, "sumo", "2026-03-14", "notes"):    "not ours",
		key(ReplayedFolder, "sumo", "2026-03-14", "c.jsonl"): line("2026-03-14T10:00:00Z", "sumo", "status 400", "4"),
	} {
		store.Put(key, []byte(body))
	}
	reader := &Reader{*b}
	for _, c := range []struct {
		filter Filter
		want   string
		broken int
	}{
		{Filter{}, "1 2 3", 1},
		{Filter{Connector: "sumo"}, "3", 0},
		{Filter{Reason: "tatus 400"}, "1 3", 1},
		{Filter{From: at("2026-03-14T00:00:00Z")}, "2 3", 1},
		{Filter{To: at("2026-03-14T00:00:00Z")}, "1", 1},
		{Filter{From: at("2026-03-13T10:00:00Z"), To: at("2026-03-14T10:00:00Z")}, "1 2", 1},
		{Filter{MessageIDs: []string{"3", "x"}}, "3", 1},
		{Filter{MessageIDs: []string{"4"}}, "", 1},
	} {
		var got []string
		broken, err := reader.Each(t.Context(), c.filter, func(l *Letter) error {
			got = append(got, l.MessageID)
			return nil
		})
		slices.Sort(got)
		if strings.Join(got, " ") != c.want || broken != c.broken || err != nil {
			t.Errorf("%+v: %v, %d broken, %v; want %s, %d broken", c.filter, got, broken, err, c.want, c.broken)
		}
	}
}

// TestMoved: only the objects that can hold a record since From are read, each with the time at which it was moved.
func TestMoved(t *testing.T) {
	b, store := fakeBucket()
	reader := &Reader{*b}
	put := func(folder, connector, date, id, failed, moved string) {
		store.Now = func() time.Time { return at(moved) }
		store.Put(key(folder, connector, date, id+".jsonl"), []byte(line(failed, connector, "status 400", id)))
	}
	put(ReplayedFolder, "splunk", "2026-03-13", "same-day", "2026-03-13T10:00:00Z", "2026-03-14T12:00:00Z")
	put(ReplayedFolder, "splunk", "2026-03-01", "waited-for-the-drain", "2026-03-13T10:00:00Z", "2026-03-14T12:00:00Z")
	put(ReplayedFolder, "splunk", "2026-03-13", "failed-before", "2026-03-13T07:00:00Z", "2026-03-14T12:00:00Z")
	put(ReplayedFolder, "splunk", "2026-02-20", "old-date", "2026-03-13T10:00:00Z", "2026-03-14T12:00:00Z")
	put(ReplayedFolder, "splunk", "2026-03-10", "moved-before", "2026-03-13T10:00:00Z", "2026-03-12T12:00:00Z")
	put(ReplayedFolder, "sumo", "2026-03-13", "other", "2026-03-13T10:00:00Z", "2026-03-14T12:00:00Z")
	put(PendingFolder, "splunk", "2026-03-13", "pending", "2026-03-13T10:00:00Z", "2026-03-14T12:00:00Z")
	put(DiscardedFolder, "splunk", "2026-03-13", "discarded", "2026-03-13T10:00:00Z", "2026-03-14T13:00:00Z")
	var opened atomic.Int32
	store.Hook = func(operation, _ string, after bool) error {
		if operation == "GetObject" && after {
			opened.Add(1)
		}
		return nil
	}
	for folder, want := range map[string]string{
		ReplayedFolder:  "same-day 12:00 waited-for-the-drain 12:00",
		DiscardedFolder: "discarded 13:00",
	} {
		var got []string
		f := Filter{Connector: "splunk", From: at("2026-03-13T08:00:00Z")}
		_, err := reader.Moved(t.Context(), folder, f, func(l *Letter) error {
			got = append(got, l.MessageID+l.Moved.Format(" 15:04"))
			return nil
		})
		slices.Sort(got)
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("%s: %v, %v; want %s", folder, got, err, want)
		}
	}
	if n := opened.Load(); n != 4 {
		t.Errorf("%d objects were opened, want 4", n)
	}
}

func TestEachStops(t *testing.T) {
	b, store := fakeBucket()
	for i := range 40 {
		store.Put(key(PendingFolder, "splunk", "2026-03-13", fmt.Sprint(i, ".jsonl")),
			[]byte(line("2026-03-13T10:00:00Z", "splunk", "x", fmt.Sprint(i))))
	}
	reader := &Reader{*b}
	taken := 0
	if _, err := reader.Each(t.Context(), Filter{}, func(*Letter) error { taken++; return SkipAll }); err != nil ||
		taken == 0 || taken > width {
		t.Errorf("%d taken, %v", taken, err)
	}
	broke := errors.New("disk full")
	if _, err := reader.Each(t.Context(), Filter{}, func(*Letter) error { return broke }); !errors.Is(err, broke) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reader.Each(ctx, Filter{}, func(*Letter) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := NewReader(nil, "bucket/x"); err == nil {
		t.Error("a path that is none was taken")
	}
}
