package term

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	o := &Output{Out: &out}
	rows := [][]Cell{Row("splunk", 1234567, Styled(Bad, "down")), Row("é", int64(0), "")}
	o.Table([]string{"CONNECTOR", "EVENTS", "STATE"}, rows)
	want := "CONNECTOR     EVENTS  STATE\nsplunk     1,234,567  down\né                  0\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	o.Colour = true
	o.Table([]string{"STATE"}, [][]Cell{Row(Flag(1, Bad, Approx(12_345)))})
	if !strings.Contains(out.String(), "\x1b[31m12.3k\x1b[0m") {
		t.Errorf("no colour in %q", out.String())
	}
}

func TestCleanForeignText(t *testing.T) {
	for text, want := range map[string]string{
		"plain é ✓": "plain é ✓", "a\x1b[2Jb": `a\u001b[2Jb`, "a\nb\tc": `a\nb\tc`, "a\u202eb\x7f": `a\u202eb\u007f`,
		"a\xffb": `a\ufffdb`, "\U000e0001": `\udb40\udc01`,
	} {
		if got := Clean(text); got != want {
			t.Errorf("Clean(%q) = %q, want %q", text, got, want)
		}
	}
	if got := Shorten("a\nbcdef", 5); got != `a\nb…` {
		t.Errorf("truncated to %q", got)
	}
}

// TestNothingUnsafeReachesATerminal covers every way of writing foreign text. A pipe gets the bytes as they are.
func TestNothingUnsafeReachesATerminal(t *testing.T) {
	const foreign = "a\u009b31mb\u0085c\x7fd\u202ee\x1b[2Jf\u2066g"
	var out, notes bytes.Buffer
	o := &Output{Out: &out, Err: &notes, Terminal: true}
	o.Line("%s %s %v", foreign, o.Paint(Bad, foreign), errors.New(foreign))
	o.Note("%s", foreign)
	o.Text(foreign)
	o.Table([]string{"A"}, [][]Cell{Row(foreign)})
	if err := o.Object(map[string]string{foreign: foreign}); err != nil {
		t.Fatal(err)
	}
	out.Write(o.Foreign([]byte(foreign)))
	o.JSON = true
	o.Note("%s", foreign)
	o.StartProgress(foreign, 1).Set(1)
	for _, text := range []string{out.String(), notes.String()} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("unsafe character at %d in %q", i, text)
		}
	}
	var value map[string]string
	out.Reset()
	if err := o.Object(map[string]string{"k": foreign}); err != nil || json.Unmarshal(out.Bytes(), &value) != nil ||
		value["k"] != foreign {
		t.Errorf("JSON has another value: %v, %q", err, value)
	}
	o.Terminal = false
	if got := o.Foreign([]byte(foreign)); string(got) != foreign {
		t.Errorf("a pipe gets %q", got)
	}
}

// TestWidth verifies that a table fits the width where it is known.
func TestWidth(t *testing.T) {
	var out bytes.Buffer
	o := New(&out, &out, func(name string) string { return map[string]string{"COLUMNS": "40"}[name] })
	rows := [][]Cell{Row("splunk", strings.Repeat("long ", 20))}
	o.Table([]string{"CONNECTOR", "ERROR"}, rows)
	for line := range strings.SplitSeq(out.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 40 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if !strings.Contains(out.String(), "…") {
		t.Errorf("not cut: %q", out.String())
	}
	out.Reset()
	rows = [][]Cell{
		Row("2026-03-13", 12, "9f6f4f57-0d5c-4b1c-8c61", Styled(Bad, strings.Repeat("long ", 20))),
		Row("2026-03-14", 1, "m", ""),
	}
	o.Table([]string{"TIME", "ATTEMPTS", "ID", "ERROR"}, rows)
	want := "2026-03-13\n  attempts 12\n  id 9f6f4f57-0d5c-4b1c-8c61\n  error long long long long long long l…\n" +
		"2026-03-14\n  attempts 1, id m\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	for n, want := range map[int64]string{0: "0", 9999: "9,999", 10_000: "10.0k", 99_949: "99.9k", 99_950: "100k",
		999_499: "999k", 999_500: "1.0M", 1_234_567: "1.2M"} {
		if got := Approximate(n); got != want {
			t.Errorf("Approximate(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestConfirmEndsWithTheContext: Ctrl-C ends the question although nothing is typed.
func TestConfirmEndsWithTheContext(t *testing.T) {
	read, write := io.Pipe()
	defer write.Close()
	in := NewInput(read)
	in.asks = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sure, err := in.Confirm(ctx, &Output{Err: io.Discard}, "sure?"); sure || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", sure, err)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -999: "-999",
		-123456: "-123,456", -1000: "-1,000"} {
		if got := Thousands(n); got != want {
			t.Errorf("Thousands(%d) = %q, want %q", n, got, want)
		}
	}
	if Count(1, "event") != "1 event" || Count(1000, "event") != "1,000 events" {
		t.Error("Count")
	}
}

// TestProgress: drawn over itself on a terminal, a line every tenth elsewhere.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	o := &Output{Err: &out}
	p := o.StartProgress("sending", 100)
	for i := range int64(101) {
		p.Set(i)
	}
	p.Done()
	if got := strings.Count(out.String(), "\n"); got != 11 || strings.Contains(out.String(), "\r") {
		t.Errorf("%d lines: %q", got, out.String())
	}
	out.Reset()
	o.Progress = true
	p = o.StartProgress("sending", 4)
	p.Set(1)
	p.Grow(8)
	p.Set(8)
	p.Done()
	if !strings.Contains(out.String(), "] 1 of 4") || !strings.Contains(out.String(), "] 8 of 8") ||
		strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%q", out.String())
	}
}

func TestNoColour(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	none := func(string) string { return "" }
	if o := New(file, file, none); o.Colour || o.Progress {
		t.Error("a file counts as a terminal")
	}
	if o := New(&bytes.Buffer{}, &bytes.Buffer{}, none); o.Colour || o.Progress {
		t.Error("a buffer counts as a terminal")
	}
	in := NewInput(strings.NewReader("yes\n"))
	if _, err := in.Confirm(t.Context(), &Output{}, "sure?"); err == nil {
		t.Error("asked without a terminal")
	}
	if _, err := in.Secret(t.Context(), &Output{}, "token: "); err == nil {
		t.Error("asked for a secret without a terminal")
	}
}
