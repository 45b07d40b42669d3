package cloud

import (
	"bytes"
	"io"
	"sync"
)

// Lines is a writer for Options.Logs. It copies the output, and passes on each line without the function's name.
type Lines struct {
	to   io.Writer
	each func(printed []byte)

	mu   sync.Mutex
	rest []byte
}

// NewLines returns a writer for lines of the form "function | output". each is called for one line at a time.
func NewLines(to io.Writer, each func(printed []byte)) *Lines { return &Lines{to: to, each: each} }

// Write implements io.Writer.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		_, printed, _ := bytes.Cut(line, []byte(" | "))
		l.each(printed)
		l.rest = rest
	}
	l.rest = bytes.Clone(l.rest)
	return l.to.Write(b)
}
