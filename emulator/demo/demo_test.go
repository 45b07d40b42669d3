package demo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// violator is a SIEM that took what the wire format forbids.
type violator struct{ siem.Simulator }

func (violator) Stats() siem.Stats { return siem.Stats{Violations: []string{"no channel"}} }

func TestComplainNamesViolationsAndAlteredEvents(t *testing.T) {
	s, out, _ := testScreen(ScreenChoice{})
	l := books(one)
	took(l, `{"metadata":{"uid":"1"},"n":1.5}`)
	splunk := &system.SIEM{SIEM: catalog.SIEM{Connector: connectors.Connector{Name: "splunk"}}, Simulator: violator{}}
	d := &demo{stage: stage{screen: s}, actors: []*actor{{SIEM: splunk, ledger: l}}}
	if d.complain() {
		t.Error("a violation was not reported")
	}
	for _, want := range []string{"splunk: no channel", "never enqueued", `\"n\":1.5`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not say %q", out.String(), want)
		}
	}
}

// reader is a SIEM that reads one more event each time it is asked.
type reader struct {
	siem.Simulator
	unread, read []siem.Accepted
}

func (r *reader) Accepted() []siem.Accepted {
	if len(r.unread) > 0 {
		r.read, r.unread = append(r.read, r.unread[0]), r.unread[1:]
	}
	return r.read
}

func TestCatchUpWaitsForUnreadEvents(t *testing.T) {
	late := &reader{unread: []siem.Accepted{{Event: []byte(one)}, {Event: []byte(two)}}}
	qradar := &system.SIEM{SIEM: catalog.SIEM{Connector: connectors.Connector{Name: "qradar"}}, Simulator: late}
	a := &actor{SIEM: qradar, ledger: books(one, two, three)}
	d := &demo{actors: []*actor{a}}
	letters := []deadLetter{letter(t, `{"event":`+three+`}`)}
	d.catchUp(t.Context(), map[string][]deadLetter{"qradar": letters})
	if got, want := a.ledger.balance(letters), (balance{enqueued: 3, delivered: 2, pending: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func took(l *ledger, events ...string) {
	for _, event := range events {
		l.accept(siem.Accepted{ID: siem.EventID([]byte(event)), Event: []byte(event)})
	}
}

// letter reads a dead letter from the rest of a record.
func letter(t *testing.T, rest string) deadLetter {
	t.Helper()
	var r deadletter.Record
	line := `{"timestamp":"2026-03-13T00:00:00Z","connector":"splunk",` + strings.TrimPrefix(rest, "{")
	if err := deadletter.ParseLine([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	return newDeadLetter(&r)
}

const (
	one   = `{"metadata":{"uid":"1"},"n":1.50}`
	two   = `{"metadata":{"uid":"2"}}`
	three = `{"metadata":{"uid":"3"}}`
)

func books(bodies ...string) *ledger {
	l := newLedger(catalog.SIEM{})
	for _, body := range bodies {
		l.enqueue(newMessage([]byte(body)))
	}
	return l
}

func TestBalance(t *testing.T) {
	for _, test := range []struct {
		name    string
		bodies  []string
		took    []string
		letters []string
		want    balance
		adds    bool
	}{
		{"all arrived", []string{one, two}, []string{two, one}, nil, balance{enqueued: 2, delivered: 2}, true},
		{"white space goes", []string{" {\"metadata\": {\"uid\":\"2\"} }"}, []string{two}, nil,
			balance{enqueued: 1, delivered: 1}, true},
		{"one is lost", []string{one, two}, []string{one}, nil, balance{enqueued: 2, delivered: 1, lost: 1}, false},
		{"one is dead", []string{one, two}, []string{one}, []string{`{"event":` + two + `}`},
			balance{enqueued: 2, delivered: 1, pending: 1}, true},
		{"an invalid event is dead", []string{one, broken}, []string{one}, []string{`{"event":"` + broken + `"}`},
			balance{enqueued: 2, delivered: 1, pending: 1}, true},
		{"invalid UTF-8 is dead", []string{"\xff"}, nil, []string{`{"event_base64":"/w=="}`},
			balance{enqueued: 1, pending: 1}, true},
		{"one came twice", []string{one}, []string{one, one}, nil, balance{enqueued: 1, delivered: 1, duplicates: 1}, true},
		{"one was sent twice", []string{one, one}, []string{one, one}, nil, balance{enqueued: 2, delivered: 2}, true},
		{"one of two equal events is lost", []string{one, one}, []string{one}, nil,
			balance{enqueued: 2, delivered: 1, lost: 1}, false},
		{"arrived and dead", []string{one}, []string{one}, []string{`{"event":` + one + `}`},
			balance{enqueued: 1, delivered: 1, duplicates: 1}, true},
		{"a number was printed anew", []string{one}, []string{`{"metadata":{"uid":"1"},"n":1.5}`}, nil,
			balance{enqueued: 1, lost: 1, altered: 1}, false},
		{"white space was put in", []string{two}, []string{`{"metadata": {"uid":"2"}}`}, nil, balance{enqueued: 1, lost: 1,
			altered: 1}, false},
		{"a dead letter of nothing", []string{one}, []string{one}, []string{`{"event":` + three + `}`},
			balance{enqueued: 1, delivered: 1, altered: 1}, false},
	} {
		l := books(test.bodies...)
		took(l, test.took...)
		var letters []deadLetter
		for _, line := range test.letters {
			letters = append(letters, letter(t, line))
		}
		if got := l.balance(letters); got != test.want || got.adds() != test.adds {
			t.Errorf("%s: %+v adds up %v, want %+v", test.name, got, got.adds(), test.want)
		}
	}
}

func TestBalanceOfAStandIn(t *testing.T) {
	l := books(one, two)
	took(l, one)
	l.accept(siem.Accepted{ID: "2", Truncated: true, Event: []byte(`{"truncated":true}`)})
	want := balance{enqueued: 2, delivered: 2, truncated: 1}
	if got := l.balance(nil); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestBalanceByKey(t *testing.T) {
	l := newLedger(catalog.SIEM{
		Key:  func(event []byte) string { return "key of " + siem.EventID(event) },
		Took: func(a siem.Accepted) string { return "key of " + a.ID },
	})
	l.enqueue(newMessage([]byte(one)))
	l.enqueue(newMessage([]byte(two)))
	l.accept(siem.Accepted{ID: "1"})
	want := balance{enqueued: 2, delivered: 1, pending: 1}
	if got := l.balance([]deadLetter{letter(t, `{"event":`+two+`}`)}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestBalanceOfOneIDForTwoEvents is Elasticsearch's way: the second event is taken, and is there instead of the first.
func TestBalanceOfOneIDForTwoEvents(t *testing.T) {
	l := books(one, two)
	took(l, one)
	l.accept(siem.Accepted{ID: "1", Event: []byte(two), Fields: map[string]string{"result": "replaced"}})
	sum := balance{enqueued: 1}
	sum.add(l.balance(nil))
	if want := (balance{enqueued: 3, delivered: 2, replaced: 1}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
}

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

func TestMetersReadWhatFunctionsPrint(t *testing.T) {
	m := newMeters()
	for range 2 {
		var line bytes.Buffer
		telemetry.Write(&line, time.Now(), "siem", "splunk", telemetry.Value{Name: "Received", Number: 100},
			telemetry.Value{Name: "Drained", Number: 40}, telemetry.Value{Name: "Replayed", Number: 10})
		m.read(line.Bytes())
		m.read([]byte("words"))
	}
	if received, dead := m.sum("splunk", "Received"), m.dead("splunk"); received != 200 || dead != 60 {
		t.Errorf("received %d, dead %d, want 200 and 60", received, dead)
	}
}

// TestSteadyCountsWarmFullBatchesInWhichNothingFails: each of the other batches would make it an hour.
func TestSteadyCountsWarmFullBatchesInWhichNothingFails(t *testing.T) {
	m := newMeters()
	batch := func(events int) []byte { return []byte(`{"Records":[` + strings.Repeat("{},", events-1) + "{}]}") }
	fine := []byte(`{"batchItemFailures":[]}`)
	see := func(events int, r runtimeapi.Result) { m.observe("F", batch(events), r) }
	for _, cpu := range []time.Duration{3 * time.Millisecond, 5 * time.Millisecond, 4 * time.Millisecond} {
		if got := m.steady("F"); got != 0 {
			t.Errorf("too few batches give %s", got)
		}
		see(fullBatch, runtimeapi.Result{CPU: cpu, Payload: fine})
	}
	for range 4 {
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: fine, Init: 1})
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"1"}]}`)})
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: fine, Error: &runtimeapi.Error{}})
		see(fullBatch-1, runtimeapi.Result{CPU: time.Hour, Payload: fine})
		see(fullBatch, runtimeapi.Result{Payload: fine}) // a system that does not tell
	}
	if got, want := m.steady("F"), 4*time.Millisecond*1000/fullBatch; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if m.start() != time.Hour {
		t.Errorf("a process's start takes %s", m.start())
	}
}

type clock struct{ time time.Time }

func testScreen(choice ScreenChoice) (*screen, *strings.Builder, *clock) {
	var out strings.Builder
	s := newScreen(&out, choice)
	c := &clock{s.began}
	s.now = func() time.Time { return c.time }
	return s, &out, c
}

func TestPlainOutputPrintsWhatChanged(t *testing.T) {
	s, out, c := testScreen(ScreenChoice{})
	rows := func(n int) []row {
		return []row{{key: "space"}, {key: "head", text: "head"}, {key: "a", text: fmt.Sprint("a ", n)}}
	}
	c.time = c.time.Add(time.Second)
	s.table(rows(1))
	c.time = c.time.Add(time.Second)
	s.table(rows(1)) // nothing new
	s.table(rows(2))
	s.table(rows(3)) // too soon
	c.time = c.time.Add(time.Second)
	s.table(rows(4))
	s.say(good, "done")
	want := "   1.0 s  head\n   1.0 s  a 1\n   2.0 s  a 2\n   3.0 s  a 4\n   3.0 s  done\n"
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

func TestTerminalRedrawsUnderTheStory(t *testing.T) {
	s, out, _ := testScreen(ScreenChoice{Redraw: true, Color: true, Width: func() int { return 10 }})
	s.table([]row{{key: "a", text: "0123456789abc"}, {key: "b", text: "b", style: good}})
	out.Reset()
	s.lines(faint, "story")
	if want := "\x1b[2A\r\x1b[J\x1b[2mstory\x1b[0m\n01234567…\n\x1b[32mb\x1b[0m\n"; out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
	out.Reset()
	s.finish()
	s.finish()
	if want := "\x1b[2A\r\x1b[J"; out.String() != want {
		t.Errorf("finishing wrote %q, want %q", out.String(), want)
	}
}

func TestProgressWritesLines(t *testing.T) {
	s, out, _ := testScreen(ScreenChoice{})
	for _, text := range []string{"making the venv\n", "starting\nmoto\n"} {
		if n, err := io.WriteString(progress{s}, text); n != len(text) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if want := "   0.0 s  making the venv\n   0.0 s  starting\n   0.0 s  moto\n"; out.String() != want {
		t.Errorf("printed %q", out.String())
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234: "-1,234", 1234567: "1,234,567",
		-100: "-100"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "-", 1500 * time.Microsecond: "1.5 ms",
		40 * time.Millisecond: "40 ms", 1234 * time.Millisecond: "1.2 s"} {
		if got := short(d); got != want {
			t.Errorf("short(%s) = %s", d, got)
		}
	}
	if got := count(1, "event") + count(2000, "event"); got != "1 event2,000 events" {
		t.Error(got)
	}
	if got := refusals(map[string]int{"503": 2, "503 code 9": 1, "no answer": 1}); got != "503 ×3, no answer ×1" {
		t.Error(got)
	}
	if got := refusals(map[string]int{"item 400 a": 1, "item 400 b": 1,
		"certificate": 1}); got != "certificate ×1, item 400 ×2" {
		t.Error(got)
	}
	if got := median([]time.Duration{3, 1, 2}); got != 2 {
		t.Error(got)
	}
}

func TestSettled(t *testing.T) {
	quiet := standing{enqueued: 3, delivered: 3}
	if s := (state{standings: []standing{quiet}}); !s.settled() {
		t.Errorf("%+v is not settled", s)
	}
	for _, s := range []state{{standings: []standing{quiet, {waiting: 1}}}, {standings: []standing{{inFlight: 1}}},
		{draining: 1}} {
		if s.settled() {
			t.Errorf("%+v is settled", s)
		}
	}
}

func TestTextIsBrokenBetweenWords(t *testing.T) {
	s, out, _ := testScreen(ScreenChoice{Width: func() int { return 21 }})
	s.say(plain, "it is a story of two lines")
	s.prose(plain, "  ", "prose that takes up two")
	want := "   0.0 s  it is a\n          story of\n          two lines\n  prose that takes\n  up two\n"
	if out.String() != want {
		t.Errorf("wrote\n%swant\n%s", out.String(), want)
	}
	got := s.paragraph("head: ", 2, "one-word-that-is-too-long and more than two lines hold")
	if len(got) != 2 || got[0] != "head: one-word-that…" || utf8.RuneCountInString(got[1]) > 20 ||
		!strings.HasSuffix(got[1], "…") {
		t.Errorf("%q", got)
	}
}

// TestPlainOutputLeavesOutPassingRows: rows that disappear within a second are not written to a file.
func TestPlainOutputLeavesOutPassingRows(t *testing.T) {
	s, out, c := testScreen(ScreenChoice{})
	c.time = c.time.Add(time.Minute)
	s.table([]row{{key: "a", text: "stays"}, {key: "b", text: "goes", passing: true}})
	if want := "  60.0 s  stays\n"; out.String() != want {
		t.Errorf("printed %q", out.String())
	}
}
