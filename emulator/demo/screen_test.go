package demo

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

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
	w := s.progress()
	for _, part := range []string{"making", " the venv\n\nstar", "ting\nunfinished"} {
		if n, err := io.WriteString(w, part); n != len(part) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if want := "   0.0 s  making the venv\n   0.0 s  starting\n"; out.String() != want {
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
