// Package term writes results for people (tables, colour) and for programs (JSON). Results go to one stream, progress,
// questions and notes to another, so that the output of a command can always be piped.
//
// Text that comes from elsewhere (events, errors of a SIEM, names) never reaches a terminal with control characters or
// bidirectional controls in it: such characters could move the cursor or forge a line.
package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Style is how a cell or a word looks on a terminal.
type Style string

// The styles have one meaning everywhere: good, needs a look, broken, less important, a heading.
const (
	Plain Style = ""
	Good  Style = "32"
	Warn  Style = "33"
	Bad   Style = "31"
	Faint Style = "2"
	Bold  Style = "1"
)

// DefaultWidth is assumed where the width is not known, in columns.
const DefaultWidth = 80

// Output is where a command writes.
type Output struct {
	Out      io.Writer // results
	Err      io.Writer // progress, questions, notes
	JSON     bool      // results and notes as JSON
	Colour   bool      // in Out
	Terminal bool      // Out is a terminal
	Progress bool      // Err is a terminal, where progress is drawn over itself
	Width    int       // of Out, in columns; 0 if not known
}

// New makes an Output of two streams. Colour is used only if Out is a terminal and NO_COLOR is not set, and never in
// JSON: https://no-color.org. COLUMNS overrides the terminal's width.
func New(out, err io.Writer, env func(string) string) *Output {
	plain := env("NO_COLOR") != "" || env("TERM") == "dumb"
	o := &Output{Out: &results{to: out}, Err: err, Terminal: IsTerminal(out),
		Progress: IsTerminal(err) && env("TERM") != "dumb"}
	o.Colour = o.Terminal && !plain
	if f, ok := out.(*os.File); ok && o.Terminal {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			o.Width = width
		}
	}
	if n, err := strconv.Atoi(env("COLUMNS")); err == nil && n > 0 {
		o.Width = n
	}
	return o
}

// results remembers the first error of a stream.
type results struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (r *results) Write(data []byte) (int, error) {
	n, err := r.to.Write(data)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// Failed returns the first error of writing results, such as that of a full disk. Only an Output of New knows it.
func (o *Output) Failed() error {
	if r, ok := o.Out.(*results); ok {
		return r.err
	}
	return nil
}

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Columns is the width to lay out for: that of the terminal, or DefaultWidth.
func (o *Output) Columns() int {
	if o.Width > 0 {
		return o.Width
	}
	return DefaultWidth
}

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
	Right bool // aligned to the right, as numbers are
}

// Row makes a row of texts, numbers and cells.
func Row(values ...any) []Cell {
	row := make([]Cell, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case Cell:
			row[i] = v
		case int:
			row[i] = Number(v)
		case int64:
			row[i] = Number(v)
		default:
			row[i] = Cell{Text: fmt.Sprint(v)}
		}
	}
	return row
}

// Number makes a cell of a number.
func Number[N int | int64](n N) Cell { return Right(Thousands(n)) }

// Approx makes a cell of a number in at most five characters.
func Approx[N int | int64](n N) Cell { return Right(Approximate(n)) }

// Right makes a cell that is aligned to the right.
func Right(text string) Cell { return Cell{Text: text, Right: true} }

// Styled makes a cell of a style.
func Styled(style Style, text string) Cell { return Cell{Text: text, Style: style} }

// Flag gives a number's cell a style unless the number is 0.
func Flag[N int | int64](n N, style Style, cell Cell) Cell {
	if n != 0 {
		cell.Style = style
	}
	return cell
}

// minLastColumn is the width below which a table's last column is not cut.
const minLastColumn = 20

// Table writes a heading and rows, aligned by column. No line ends with spaces. If the width is known, the text of the
// last column is cut to fit; if that is not enough, each row becomes a block of lines.
func (o *Output) Table(heading []string, rows [][]Cell) { o.TableWithin(o.Width, heading, rows) }

// TableWithin is Table for a width in columns; 0 means any width.
func (o *Output) TableWithin(columns int, heading []string, rows [][]Cell) {
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
	last, room := len(widths)-1, columns
	for _, w := range widths[:last] {
		room -= w + 2
	}
	if columns > 0 && !head[last].Right {
		widths[last] = min(widths[last], max(room, minLastColumn))
	}
	if columns > 0 && widths[last] > room {
		for _, row := range rows {
			o.block(columns, heading, row)
		}
		return
	}
	for _, row := range all {
		o.row(row, widths)
	}
}

// block writes the first cell of a row, then the others with their headings, on as many lines as they need.
func (o *Output) block(columns int, heading []string, row []Cell) {
	const indent = "  "
	fmt.Fprintln(o.Out, o.Paint(Bold, Shorten(row[0].Text, columns)))
	used := 0
	for i, cell := range row[1:] {
		if cell.Text == "" {
			continue
		}
		name := strings.ToLower(heading[i+1]) + " "
		text := Shorten(cell.Text, max(columns-len(indent)-len(name), minLastColumn))
		wide := len(name) + utf8.RuneCountInString(text)
		before := ", "
		switch {
		case used == 0:
			before = indent
		case used+len(before)+wide > columns:
			before, used = "\n"+indent, 0
		}
		fmt.Fprint(o.Out, before, name, o.Paint(cell.Style, text))
		used += wide + len(indent) // which is as long as a comma with a space
	}
	fmt.Fprintln(o.Out)
}

func (o *Output) row(row []Cell, widths []int) {
	var line strings.Builder
	for i, cell := range row {
		text := Clean(cell.Text)
		if utf8.RuneCountInString(text) > widths[i] {
			text = Shorten(text, widths[i])
		}
		space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
		text = string(o.Paint(cell.Style, text))
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

// Clean escapes the characters that must not reach a terminal, in JSON's notation, so that JSON keeps its value.
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

// CleanLines is Clean for text of several lines.
func CleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Painted is text that is safe to print: it may contain the escape sequences of a style.
type Painted string

// Paint gives text a style, where there is colour.
func (o *Output) Paint(style Style, text string) Painted {
	text = Clean(text)
	if !o.Colour || style == Plain || text == "" {
		return Painted(text)
	}
	return Painted("\x1b[" + string(style) + "m" + text + "\x1b[0m")
}

// Line writes a line of the result. Arguments that are text are cleaned.
func (o *Output) Line(format string, args ...any) { fmt.Fprintf(o.Out, format+"\n", clean(args)...) }

// Text writes lines of foreign text as the result.
func (o *Output) Text(text string) { fmt.Fprintln(o.Out, CleanLines(text)) }

// Note writes a line beside the result, in JSON mode as {"note":"…"}. Arguments that are text are cleaned.
func (o *Output) Note(format string, args ...any) {
	if o.JSON {
		o.Event(map[string]string{"note": strings.TrimSpace(fmt.Sprintf(format, args...))})
		return
	}
	fmt.Fprintf(o.Err, format+"\n", clean(args)...)
}

// Event writes a value as one line of JSON beside the result.
func (o *Output) Event(v any) {
	if text, err := marshal(v, ""); err == nil {
		fmt.Fprintf(o.Err, "%s\n", Clean(strings.TrimSpace(text)))
	}
}

func clean(args []any) []any {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case Painted:
			safe[i] = string(v)
		case string:
			safe[i] = Clean(v)
		case error:
			safe[i] = Clean(v.Error())
		default:
			safe[i] = v
		}
	}
	return safe
}

// Object writes a value as indented JSON. HTML characters are left as they are; unsafe characters are escaped, which
// does not change the value.
func (o *Output) Object(v any) error {
	text, err := marshal(v, "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(o.Out, CleanLines(text))
	return err
}

func marshal(v any, indent string) (string, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return text.String(), err
}

// Foreign returns a line of foreign text as it may be written to Out: unchanged for a pipe or a file, cleaned for a
// terminal.
func (o *Output) Foreign(line []byte) []byte {
	if !o.Terminal {
		return line
	}
	return []byte(Clean(string(line)))
}

// Thousands writes a number in groups of three digits.
func Thousands[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	digits := len(strings.TrimPrefix(text, "-"))
	for i := 3; i < digits; i += 3 {
		cut := len(text) - i - (i/3 - 1)
		text = text[:cut] + "," + text[cut:]
	}
	return text
}

// Approximate writes a number in at most five characters, such as 9,999, 12.3k or 1.2M.
func Approximate[N int | int64](n N) string {
	if n < 10_000 {
		return Thousands(n)
	}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	if value < 99.95 {
		return fmt.Sprintf("%.1f%c", value, units[unit])
	}
	return fmt.Sprintf("%.0f%c", value, units[unit])
}

const units = " kMGTPE"

// Count writes a number with its noun, which gets an s unless the number is 1.
func Count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(n) + " " + noun + "s"
}

// Shorten cuts text to a number of characters, with an ellipsis at the end.
func Shorten(text string, most int) string {
	runes := []rune(Clean(text))
	if len(runes) <= most {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:most-1]), " ") + "…"
}
