package term

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// ErrNoTerminal is returned where an answer is needed and nobody is there to give it.
var ErrNoTerminal = errors.New("standard input is no terminal")

// Input is where answers come from.
type Input struct {
	in      io.Reader
	reader  *bufio.Reader
	secrets *term.Terminal // nil before the first one; it keeps what was typed ahead
}

// NewInput reads answers from a stream.
func NewInput(in io.Reader) *Input { return &Input{in: in, reader: bufio.NewReader(in)} }

// Reader is the stream.
func (i *Input) Reader() io.Reader { return i.reader }

// Interactive tells whether somebody is there to answer.
func (i *Input) Interactive() bool { return IsTerminal(i.in) }

// Confirm asks a question that is to be answered with yes. Anything else is no.
func (i *Input) Confirm(o *Output, question string) (bool, error) {
	if !i.Interactive() {
		return false, ErrNoTerminal
	}
	fmt.Fprintf(o.Err, "%s [y/N] ", question)
	answer, err := i.reader.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// ErrGivenUp is returned when a question is answered with Ctrl-C or Ctrl-D.
var ErrGivenUp = errors.New("given up")

// Secret asks for a value that is not shown while it is typed: from before the question on, since one who pastes is fast.
func (i *Input) Secret(o *Output, prompt string) (value string, err error) {
	file, ok := i.in.(*os.File)
	if !ok || !i.Interactive() {
		return "", ErrNoTerminal
	}
	if i.secrets == nil {
		i.secrets = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{file, o.Err}, "")
	}
	before, err := term.MakeRaw(int(file.Fd()))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(int(file.Fd()), before)) }()
	if value, err = i.secrets.ReadPassword(prompt); errors.Is(err, io.EOF) {
		fmt.Fprint(o.Err, "\r\n")
		return "", ErrGivenUp
	}
	return strings.TrimSpace(value), err
}
