package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is one table of the report.
type table struct {
	title string
	head  []string
	rows  [][]string
	note  string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
		if n, ok := c.(int); ok {
			row[i] = number(n)
		}
	}
	t.rows = append(t.rows, row)
}

// number returns a number with commas between thousands.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// print prints the report to a terminal.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.conditions)
	for _, t := range r.tables {
		fmt.Fprintf(out, "\n%s\n\n", t.title)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.head}, t.rows...) {
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		_ = w.Flush() // a terminal's errors cannot be told to it
		if t.note != "" {
			fmt.Fprintf(out, "\n%s\n", t.note)
		}
	}
	fmt.Fprintln(out)
}

// markdown writes the digest for a page.
func (r *report) markdown() string {
	lines := append([]string{r.conditions + "\n"}, r.digest...)
	if err := r.verdict(); err != nil {
		lines = append(lines, "**What was promised did not hold: "+strings.ReplaceAll(err.Error(), "\n", "; ")+".**")
	}
	return strings.Join(lines, "\n- ")
}
