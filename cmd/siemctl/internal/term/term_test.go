package term

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	o := &Output{Out: &out}
	rows := [][]Cell{{Text("splunk"), Number(1234567), Styled(Bad, "down")}, {Text("é"), Number(0), Text("")}}
	o.Table([]string{"CONNECTOR", "EVENTS", "STATE"}, rows)
	want := "CONNECTOR     EVENTS  STATE\nsplunk     1,234,567  down\né                  0\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	o.Colour = true
	o.Table([]string{"STATE"}, [][]Cell{{Styled(Bad, "down")}})
	if !strings.Contains(out.String(), "\x1b[31mdown\x1b[0m") {
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

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -999: "-999", -123456: "-123,456", -1000: "-1,000"} {
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
	if !strings.Contains(out.String(), "] 1 of 4") || !strings.Contains(out.String(), "] 8 of 8") || strings.Count(out.String(), "\n") != 1 {
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
		t.Error("a file is no terminal")
	}
	if o := New(&bytes.Buffer{}, &bytes.Buffer{}, none); o.Colour || o.Progress {
		t.Error("a buffer is no terminal")
	}
	in := NewInput(strings.NewReader("yes\n"))
	if _, err := in.Confirm(&Output{}, "sure?"); err == nil {
		t.Error("asked without a terminal")
	}
	if _, err := in.Secret(&Output{}, "token: "); err == nil {
		t.Error("asked for a secret without a terminal")
	}
}
