// Package term writes for people and for programs: aligned tables with colour where there is a terminal, JSON where it was
// asked for, and progress on the error stream, so that what a command prints can always be piped.
package term

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Style is how a cell or a word looks on a terminal.
type Style string

// The styles. They say the same thing wherever they stand: good, needs a look, broken, less important, a heading.
const (
	Plain Style = ""
	Good  Style = "32"
	Warn  Style = "33"
	Bad   Style = "31"
	Faint Style = "2"
	Bold  Style = "1"
)

// Output is where a command writes.
type Output struct {
	Out      io.Writer // results
	Err      io.Writer // progress, questions, notes
	JSON     bool      // results as JSON
	Colour   bool      // in Out
	Progress bool      // Err is a terminal, where progress is drawn over itself
}

// New makes an Output of two streams. Colour is used only where Out is a terminal and NO_COLOR is not set, and never in
// JSON: https://no-color.org.
func New(out, err io.Writer, env func(string) string) *Output {
	plain := env("NO_COLOR") != "" || env("TERM") == "dumb"
	return &Output{Out: out, Err: err, Colour: IsTerminal(out) && !plain, Progress: IsTerminal(err) && env("TERM") != "dumb"}
}

// IsTerminal tells whether a stream is one.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
	Right bool // aligned to the right, as numbers are
}

// Text makes a plain cell.
func Text(text string) Cell { return Cell{Text: text} }

// Number makes a cell of a number.
func Number(n int64) Cell { return Cell{Text: Thousands(n), Right: true} }

// Styled makes a cell of a style.
func Styled(style Style, text string) Cell { return Cell{Text: text, Style: style} }

// Table writes a heading and rows, aligned by column. No line ends with spaces.
func (o *Output) Table(heading []string, rows [][]Cell) {
	all := make([][]Cell, 0, len(rows)+1)
	head := make([]Cell, len(heading))
	for i, text := range heading {
		head[i] = Cell{Text: text, Style: Bold}
		for _, row := range rows {
			head[i].Right = head[i].Right || i < len(row) && row[i].Right
		}
	}
	all = append(append(all, head), rows...)
	widths := make([]int, len(heading))
	for _, row := range all {
		for i := range row {
			widths[i] = max(widths[i], width(row[i].Text))
		}
	}
	for _, row := range all {
		o.row(row, widths)
	}
}

func (o *Output) row(row []Cell, widths []int) {
	var line strings.Builder
	for i, cell := range row {
		space := strings.Repeat(" ", widths[i]-width(cell.Text))
		text := o.Paint(cell.Style, Clean(cell.Text))
		switch {
		case cell.Right:
			text = space + text
		case i < len(row)-1:
			text += space
		}
		if i > 0 {
			line.WriteString("  ")
		}
		line.WriteString(text)
	}
	fmt.Fprintln(o.Out, strings.TrimRight(line.String(), " "))
}

func width(text string) int { return utf8.RuneCountInString(Clean(text)) }

// Clean makes foreign text safe to print: control characters, which could move a terminal's cursor or forge a line, become
// escapes as JSON has them, so that JSON stays what it was.
func Clean(text string) string {
	if !strings.ContainsFunc(text, unsafe) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		switch {
		case !unsafe(r):
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		}
	}
	return out.String()
}

func unsafe(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }

// Paint gives text a style, where there is colour.
func (o *Output) Paint(style Style, text string) string {
	if !o.Colour || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Line writes a line of the result.
func (o *Output) Line(format string, args ...any) { fmt.Fprintf(o.Out, format+"\n", args...) }

// Note writes a line beside the result.
func (o *Output) Note(format string, args ...any) { fmt.Fprintf(o.Err, format+"\n", args...) }

// Object writes a value as JSON, indented, HTML left alone.
func (o *Output) Object(v any) error {
	e := json.NewEncoder(o.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Thousands writes a number in groups of three digits.
func Thousands(n int64) string {
	text := fmt.Sprint(n)
	digits := len(strings.TrimPrefix(text, "-"))
	for i := 3; i < digits; i += 3 {
		cut := len(text) - i - (i/3 - 1)
		text = text[:cut] + "," + text[cut:]
	}
	return text
}

// Count writes a number with its noun, which gets an s unless the number is 1.
func Count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(n) + " " + noun + "s"
}

// Shorten cuts text to so many characters, and shows that it did.
func Shorten(text string, most int) string {
	runes := []rune(Clean(text))
	if len(runes) <= most {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:most-1]), " ") + "…"
}
