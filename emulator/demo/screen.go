package demo

// The rules of the demo's output:
//
//   - A line of the log stays where it was written. It begins with the seconds since the start.
//   - The table is a block below the log. A terminal redraws it in place. Elsewhere, the line of a SIEM is printed
//     after a change, at most once a second (ten seconds with more than two SIEMs).
//   - Colour only repeats what the text states. Only the log scrolls.

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// ScreenChoice is the format of the output. The zero value is plain lines without colour.
type ScreenChoice struct {
	Redraw bool
	Color  bool
	Width  func() int // columns; nil = 100
}

// DetectScreen returns the format for a file: a terminal gets a table in place, and colour unless NO_COLOR is set or
// TERM is "dumb".
func DetectScreen(f *os.File) ScreenChoice {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return ScreenChoice{Width: func() int { return fileWidth }}
	}
	smart := os.Getenv("TERM") != "dumb"
	return ScreenChoice{
		Redraw: smart, Color: smart && os.Getenv("NO_COLOR") == "",
		Width: func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width < 40 {
				return defaultWidth
			}
			return width
		},
	}
}

// Columns of a terminal of unknown width, and of other files.
const (
	defaultWidth = 100
	fileWidth    = 200
)

// The styles are SGR parameters.
type style string

const (
	plain  style = ""
	strong style = "1"
	faint  style = "2"
	good   style = "32"
	bad    style = "31"
	warned style = "33"
)

// row is a line of the table. Key identifies it, so that plain output can detect a change.
type row struct {
	key   string
	text  string
	style style
	// passing reports whether plain output omits the row.
	passing bool
}

type screen struct {
	mu     sync.Mutex
	out    io.Writer
	choice ScreenChoice
	now    func() time.Time
	began  time.Time
	rows   []row // the block as drawn
	shown  map[string]string
	last   time.Time
}

func newScreen(out io.Writer, choice ScreenChoice) *screen {
	if choice.Width == nil {
		choice.Width = func() int { return defaultWidth }
	}
	return &screen{out: out, choice: choice, now: time.Now, began: time.Now(), shown: map[string]string{}}
}

// title writes a heading.
func (s *screen) title(text string) { s.lines(strong, "", text, "") }

// say writes a line of the log.
func (s *screen) say(st style, format string, args ...any) {
	now := fmt.Sprintf("%6.1f s  ", s.now().Sub(s.began).Seconds())
	s.lines(st, s.wrap(now, storyIndent, fmt.Sprintf(format, args...))...)
}

// storyIndent is as wide as the time of a log line.
const storyIndent = "          "

// prose writes a text in lines with an indent.
func (s *screen) prose(st style, indent, text string) { s.lines(st, s.wrap(indent, indent, text)...) }

// paragraph returns a text after a head, in at most n lines.
func (s *screen) paragraph(head string, most int, text string) []string {
	lines := s.wrap(head, strings.Repeat(" ", utf8.RuneCountInString(head)), text)
	if len(lines) > most {
		lines = lines[:most]
		lines[most-1] += " …"
	}
	for i := range lines { // a word that is longer than a line
		lines[i] = cut(lines[i], s.choice.Width()-1)
	}
	return lines
}

// wrap breaks a text between words into lines, which begin with first and then.
func (s *screen) wrap(first, then, text string) (lines []string) {
	width, line := s.choice.Width()-1, first
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines, line = append(lines, line), then+word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// lines writes lines above the block.
func (s *screen) lines(st style, lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	s.erase(&out)
	for _, line := range lines {
		out.WriteString(s.paint(st, line) + "\n")
	}
	s.draw(&out)
	_, _ = io.WriteString(s.out, out.String())
}

// table redraws the block.
func (s *screen) table(rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	if s.choice.Redraw {
		s.erase(&out)
		s.rows = rows
		s.draw(&out)
	} else {
		s.changes(&out, rows)
	}
	_, _ = io.WriteString(s.out, out.String())
}

// changes writes the rows that have changed, at a limited rate, and the heading once.
func (s *screen) changes(out *strings.Builder, rows []row) {
	pause := time.Second
	if len(rows) > 4 {
		pause = 10 * time.Second
	}
	if s.now().Sub(s.last) < pause {
		return
	}
	for _, r := range rows {
		if r.text == "" || r.passing || s.shown[r.key] == r.text {
			continue
		}
		s.shown[r.key] = r.text
		s.last = s.now()
		fmt.Fprintf(out, "%6.1f s  %s\n", s.now().Sub(s.began).Seconds(), strings.TrimRight(r.text, " "))
	}
}

// finish removes the block.
func (s *screen) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	s.erase(&out)
	s.rows = nil
	clear(s.shown) // the next table is complete
	s.last = time.Time{}
	_, _ = io.WriteString(s.out, out.String())
}

func (s *screen) erase(out *strings.Builder) {
	if len(s.rows) > 0 {
		fmt.Fprintf(out, "\x1b[%dA\r\x1b[J", len(s.rows))
	}
}

func (s *screen) draw(out *strings.Builder) {
	width := s.choice.Width()
	for _, r := range s.rows {
		out.WriteString(s.paint(r.style, cut(r.text, width-1)) + "\n")
	}
}

func (s *screen) paint(st style, text string) string {
	if !s.choice.Color || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// progress is a writer of whole lines of progress, one or more at a time.
type progress struct{ *screen }

func (p progress) Write(lines []byte) (int, error) {
	for line := range strings.SplitSeq(strings.TrimSpace(string(lines)), "\n") {
		p.say(faint, "%s", line)
	}
	return len(lines), nil
}

// cut shortens a text to n characters.
func cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// number writes 1234567 as 1,234,567.
func number(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// count writes "1 event" or "2 events".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return number(n) + " " + thing + "s"
}
