package term

import (
	"fmt"
	"strings"
)

// Progress shows the progress of long work: a bar that is drawn over itself on a terminal, otherwise a line for each
// tenth of the work, in JSON mode {"progress":"…","done":n,"total":n}.
type Progress struct {
	out   *Output
	what  string
	total int64
	shown int64 // tenths, if the output is not a terminal
	drawn bool
}

// StartProgress shows the progress of total units of work; an unknown total is 0.
func (o *Output) StartProgress(what string, total int64) *Progress {
	return &Progress{out: o, what: what, total: total, shown: -1}
}

const barWidth = 30

// Set shows the number of units that are done.
func (p *Progress) Set(done int64) {
	if !p.out.Progress || p.out.JSON {
		p.line(done)
		return
	}
	p.drawn = true
	if p.total <= 0 {
		fmt.Fprintf(p.out.Err, "\r\x1b[K%s: %s", p.what, Thousands(done))
		return
	}
	filled := int(min(done, p.total) * barWidth / p.total)
	fmt.Fprintf(p.out.Err, "\r\x1b[K%s [%s%s] %s of %s", p.what, strings.Repeat("=", filled),
		strings.Repeat(" ", barWidth-filled),
		Thousands(done), Thousands(p.total))
}

func (p *Progress) line(done int64) {
	if p.total <= 0 {
		return
	}
	if tenth := done * 10 / p.total; tenth > p.shown {
		p.shown = tenth
		if p.out.JSON {
			p.out.Event(map[string]any{"progress": p.what, "done": done, "total": p.total})
			return
		}
		fmt.Fprintf(p.out.Err, "%s: %s of %s\n", p.what, Thousands(done), Thousands(p.total))
	}
}

// Grow raises the total.
func (p *Progress) Grow(total int64) { p.total = max(p.total, total) }

// Done ends the line of the bar.
func (p *Progress) Done() {
	if p.drawn {
		fmt.Fprintln(p.out.Err)
	}
}
