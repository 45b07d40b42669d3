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

// patience bounds one run of the tests, because a defect may make them hang.
const patience = time.Minute

// verdict is the result of one mutant.
type verdict struct {
	killer string // the test that failed, "" when the mutant survived
	took   time.Duration
	err    error // the mutant is unusable: its text is missing, or it does not compile
	output []byte
}

// lab applies mutants to the module at root. It does not change the sources: the go command reads the changed file
// through an overlay (`go help build`).
type lab struct {
	root, scratch string
}

// try tests one mutant.
func (l *lab) try(ctx context.Context, m *mutant) verdict {
	start := time.Now()
	overlay, err := l.overlay(m)
	if err != nil {
		return verdict{err: err}
	}
	v := l.test(ctx, m.packages(), m.race, "-overlay="+overlay)
	v.took = time.Since(start)
	return v
}

// overlay writes the changed file and the overlay file that names it.
func (l *lab) overlay(m *mutant) (string, error) {
	original := filepath.Join(l.root, filepath.FromSlash(m.file))
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if text, err = m.apply(text); err != nil {
		return "", err
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
	args := append([]string{"test", "-count=1", "-vet=off", "-failfast", "-p=1", "-timeout=" + patience.String(),
		"-skip=InBoundedMemory$"}, flags...)
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

// judge classifies the output of `go test`.
func judge(output []byte, err error) verdict {
	v := verdict{output: output}
	_, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case !failed || notBuilt.Match(output):
		v.err = fmt.Errorf("no verdict: %w: %.2000s", err, bytes.TrimSpace(output))
	case ranOut.Match(output):
		v.killer = "time"
	case failedTest.Match(output):
		names := failedTest.FindAllSubmatch(output, -1)
		v.killer = strings.SplitN(string(names[0][1]), "/", 2)[0]
	case bytes.Contains(output, []byte("panic: ")), bytes.Contains(output, []byte("fatal error: ")):
		v.killer = "panic"
	default:
		v.err = fmt.Errorf("no verdict: %w: %.2000s", err, bytes.TrimSpace(output))
	}
	return v
}
