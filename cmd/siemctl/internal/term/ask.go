package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// ErrNoTerminal is returned if a question cannot be asked.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// Input reads answers.
type Input struct {
	in       io.Reader
	reader   *bufio.Reader
	asks     bool           // in is a terminal
	terminal *term.Terminal // nil before the first question; buffers what was typed ahead
}

// NewInput reads answers from a stream.
func NewInput(in io.Reader) *Input {
	return &Input{in: in, reader: bufio.NewReader(in), asks: IsTerminal(in)}
}

// Reader returns the stream.
func (i *Input) Reader() io.Reader { return i.reader }

// Interactive reports whether the input is a terminal.
func (i *Input) Interactive() bool { return i.asks }

// ErrInterrupted is returned if a question is answered with Ctrl-C or Ctrl-D.
var ErrInterrupted = errors.New("interrupted")

// Confirm asks a question and reports whether the answer is yes. It returns the context's error when the context ends.
func (i *Input) Confirm(ctx context.Context, o *Output, question string) (bool, error) {
	if !i.Interactive() {
		return false, ErrNoTerminal
	}
	fmt.Fprintf(o.Err, "%s [y/N] ", Clean(question))
	answer, err := await(ctx, func() (string, error) { return i.reader.ReadString('\n') })
	switch {
	case errors.Is(err, io.EOF): // also after "y": only Enter confirms
		fmt.Fprintln(o.Err)
		return false, ErrInterrupted
	case ctx.Err() != nil:
		fmt.Fprintln(o.Err)
		return false, ctx.Err()
	}
	word := strings.ToLower(strings.TrimSpace(answer))
	return word == "y" || word == "yes", err
}

// await reads an answer, and returns the context's error when the context ends. Nothing can end the read itself.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type line struct {
		text string
		err  error
	}
	answers := make(chan line, 1)
	go func() {
		text, err := read()
		answers <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case answer := <-answers:
		return answer.text, answer.err
	}
}

// Secret asks for a value without showing it. Echo is off before the question appears, so that pasted text is not shown
// either.
func (i *Input) Secret(ctx context.Context, o *Output, prompt string) (string, error) {
	return i.read(ctx, o, func(t *term.Terminal) (string, error) { return t.ReadPassword(prompt) })
}

// Line asks for a value and shows it.
func (i *Input) Line(ctx context.Context, o *Output, prompt string) (string, error) {
	return i.read(ctx, o, func(t *term.Terminal) (string, error) {
		t.SetPrompt(prompt)
		return t.ReadLine()
	})
}

// read puts the terminal into raw mode and reads a line. It returns the context's error when the context ends.
func (i *Input) read(ctx context.Context, o *Output, line func(*term.Terminal) (string, error)) (value string,
	err error) {
	file, ok := i.in.(*os.File)
	if !ok || !i.Interactive() {
		return "", ErrNoTerminal
	}
	if i.terminal == nil {
		i.terminal = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{file, o.Err}, "")
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(file.Fd()), before)) }()
	value, err = await(ctx, func() (string, error) { return line(i.terminal) })
	switch {
	case errors.Is(err, io.EOF):
		fmt.Fprint(o.Err, "\r\n")
		return "", ErrInterrupted
	case ctx.Err() != nil:
		fmt.Fprint(o.Err, "\r\n")
		return "", ctx.Err()
	}
	return strings.TrimSpace(value), err
}

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
