package main

import (
	"bytes"
	"fmt"
	"path"
)

// source is a file with the defects that are put into it, one at a time.
type source struct {
	file    string
	tests   []string // packages one of whose tests must fail; nil is the file's own
	mutants []mutant
}

// mutant is one deliberate defect: old, which stands in the file once, becomes new.
type mutant struct {
	name     string // for `make mutants MUTANTS=name`
	does     string // what goes wrong for whoever runs it
	old, new string
	race     bool // only the race detector can see it
}

// table is all of them.
func table() []source {
	var all []source
	for _, part := range [][]source{deliverMutants(), intakeMutants(), hostMutants(), sendMutants(), syslogMutants(), eventMutants(), deadLetterMutants(), replayMutants(), answerMutants(), otherAnswerMutants()} {
		all = append(all, part...)
	}
	return all
}

// packages are the packages whose tests are run, by their folder.
func (s *source) packages() []string {
	if s.tests != nil {
		return s.tests
	}
	return []string{path.Dir(s.file)}
}

// apply puts the defect into the text of its file. A text that is not there exactly once is an error: the table is old.
func (m *mutant) apply(text []byte) ([]byte, error) {
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("mutant %s: expected its text once in the file, found it %d times: %.80q", m.name, n, m.old)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}
