package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// patience bounds one run of the tests: a defect that makes them hang is found, too.
const patience = time.Minute

// verdict is what the tests made of a mutant.
type verdict struct {
	killer string // the test that failed, "" when the mutant survived
	took   time.Duration
	err    error // it could not be judged: its text is not there, or it does not compile
	output []byte
}

// lab applies mutants to the module at root. The sources are not touched: the go command reads the changed file through an
// overlay (`go help build`).
type lab struct {
	root, scratch string
}

// try judges one mutant.
func (l *lab) try(ctx context.Context, s *source, m *mutant) verdict {
	start := time.Now()
	overlay, err := l.overlay(s, m)
	if err != nil {
		return verdict{err: err}
	}
	v := l.test(ctx, s.packages(), m.race, "-overlay="+overlay)
	v.took = time.Since(start)
	return v
}

// overlay writes the changed file, and the file that tells the go command of it.
func (l *lab) overlay(s *source, m *mutant) (string, error) {
	original := filepath.Join(l.root, filepath.FromSlash(s.file))
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if text, err = m.apply(text); err != nil {
		return "", fmt.Errorf("%s: %w", s.file, err)
	}
	changed := filepath.Join(l.scratch, m.name+".go")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(l.scratch, m.name+".json")
	return overlay, errors.Join(os.WriteFile(changed, text, 0o600), os.WriteFile(overlay, replace, 0o600))
}

// test runs the tests of packages.
func (l *lab) test(ctx context.Context, packages []string, race bool, flags ...string) verdict {
	args := append([]string{"test", "-count=1", "-vet=off", "-failfast", "-p=1", "-timeout=" + patience.String(), "-skip=InBoundedMemory$"}, flags...)
	if race {
		args = append(args, "-race")
	}
	for _, p := range packages {
		args = append(args, "./"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = l.root
	output, err := cmd.CombinedOutput()
	return judge(output, err)
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	notBuilt   = regexp.MustCompile(`\[(build|setup) failed\]`)
	ranOut     = regexp.MustCompile(`panic: test timed out`)
)

// judge reads what `go test` has to say.
func judge(output []byte, err error) verdict {
	v := verdict{output: output}
	_, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case !failed || notBuilt.Match(output):
		v.err = fmt.Errorf("not judged: %w: %.2000s", err, bytes.TrimSpace(output))
	case ranOut.Match(output):
		v.killer = "time"
	case failedTest.Match(output):
		names := failedTest.FindAllSubmatch(output, -1)
		v.killer = strings.SplitN(string(names[0][1]), "/", 2)[0]
	case bytes.Contains(output, []byte("panic: ")), bytes.Contains(output, []byte("fatal error: ")):
		v.killer = "panic"
	default:
		v.err = fmt.Errorf("not judged: %w: %.2000s", err, bytes.TrimSpace(output))
	}
	return v
}
