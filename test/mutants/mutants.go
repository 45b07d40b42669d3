package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// mutant is one deliberate defect: the text old, which occurs once in file, becomes new.
type mutant struct {
	name     string   // unique; for `make mutants MUTANTS=name`
	file     string   // slash-separated, relative to the module
	effect   string   // the damage in production
	tests    []string // packages of which a test must fail; nil means the file's own package
	race     bool     // only the race detector finds the defect
	old, new string
}

// packages returns the folders whose tests must find the defect.
func (m *mutant) packages() []string {
	if m.tests != nil {
		return m.tests
	}
	return []string{path.Dir(m.file)}
}

// apply puts the defect into the text of its file. It is an error unless old occurs exactly once.
func (m *mutant) apply(text []byte) ([]byte, error) {
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("mutant %s: expected its text once in %s, found it %d times: %.80q", m.name, m.file, n, m.old)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}

// load reads every testdata/mutants.txt of the packages under root, in the order of their paths.
func load(root string) ([]mutant, error) {
	var all []mutant
	for _, pattern := range []string{"shared/*/testdata/mutants.txt", "functions/*/connector/testdata/mutants.txt"} {
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			dir, err := filepath.Rel(root, filepath.Dir(filepath.Dir(f)))
			if err != nil {
				return nil, err
			}
			mutants, err := parse(string(text), filepath.ToSlash(dir))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			all = append(all, mutants...)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no mutants under %s: run the command in the module's root", root)
	}
	return all, nil
}

// parse reads the mutants of one package, whose folder is dir. An entry is
//
//	mutant <name>
//	file <file of the package>
//	effect <the damage in production>
//	tests <package> …                   optional
//	race                                optional
//	<<<
//	<old text>
//	===
//	<new text>
//	>>>
//
// Other lines between entries must be empty or begin with #.
func parse(text, dir string) ([]mutant, error) {
	var all []mutant
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		word, rest, _ := strings.Cut(lines[i], " ")
		if word == "mutant" {
			all = append(all, mutant{name: rest})
			continue
		}
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d: expected an entry that begins with mutant, found %q", i+1, lines[i])
		}
		m := &all[len(all)-1]
		switch word {
		case "file":
			m.file = path.Join(dir, rest)
		case "effect":
			m.effect = rest
		case "tests":
			m.tests = strings.Fields(rest)
		case "race":
			m.race = true
		case "<<<":
			var err error
			if i, err = m.texts(lines, i+1); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("line %d: expected file, effect, tests, race or <<<, found %q", i+1, lines[i])
		}
	}
	return all, nil
}

// texts reads the old and the new text from line i on and returns the index of the closing line.
func (m *mutant) texts(lines []string, i int) (int, error) {
	start, middle := i, -1
	for ; i < len(lines); i++ {
		switch {
		case lines[i] == "===" && middle < 0:
			middle = i
		case lines[i] == ">>>" && middle >= 0:
			m.old = strings.Join(lines[start:middle], "\n")
			m.new = strings.Join(lines[middle+1:i], "\n")
			return i, nil
		}
	}
	return i, fmt.Errorf("mutant %s: expected === and >>> after line %d", m.name, start)
}
