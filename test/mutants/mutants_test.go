package main

import (
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

const root = "../.."

// TestTable keeps the table true to the sources: every defect still has its place, is one, and parses.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	n := 0
	for _, s := range table() {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.file)))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range s.mutants {
			if n++; seen[m.name] {
				t.Errorf("mutant %s: there are two", m.name)
			}
			seen[m.name] = true
			if m.does == "" || m.old == m.new {
				t.Errorf("mutant %s: is no defect", m.name)
			}
			changed, err := m.apply(text)
			if err != nil {
				t.Errorf("%s: %v", s.file, err)
			} else if _, err := parser.ParseFile(token.NewFileSet(), s.file, changed, 0); err != nil {
				t.Errorf("mutant %s: %v", m.name, err)
			}
		}
	}
	if n < 100 {
		t.Errorf("%d mutants, expected at least 100", n)
	}
}

// TestJudge: a test that fails kills a mutant; a test that does not compile says nothing about it.
func TestJudge(t *testing.T) {
	exit := exec.Command("go", "tool", "no-such-tool").Run()
	if _, ok := errors.AsType[*exec.ExitError](exit); !ok {
		t.Fatal("no exit error to test with:", exit)
	}
	tests := []struct {
		name, output, killer string
		exit                 error
		unjudged             bool
	}{
		{"passes", "ok  \tx\t0.01s\n", "", nil, false},
		{"fails", "--- FAIL: TestSend (0.01s)\n    --- FAIL: TestSend/late (0.00s)\nFAIL\n", "TestSend", exit, false},
		{"fails within", "    --- FAIL: TestSend/late (0.00s)\nFAIL\n", "TestSend", exit, false},
		{"panics", "panic: index out of range\n\ngoroutine 1\nFAIL\tx\t0.1s\n", "panic", exit, false},
		{"hangs", "panic: test timed out after 1m30s\nFAIL\n", "time", exit, false},
		{"does not compile", "x.go:1:1: undefined: y\nFAIL\tx [build failed]\n", "", exit, true},
		{"is no test at all", "no such directory\n", "", exit, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if v := judge([]byte(tt.output), tt.exit); v.killer != tt.killer || (v.err != nil) != tt.unjudged {
				t.Errorf("judge: killer %q, err %v; want %q, unjudged %t", v.killer, v.err, tt.killer, tt.unjudged)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	all := []source{{file: "a.go", mutants: []mutant{{name: "x"}, {name: "y"}}}}
	for names, want := range map[string]int{"": 2, "y": 1, "x,y": 2} {
		if jobs, err := choose(all, names); err != nil || len(jobs) != want {
			t.Errorf("choose(%q): %d jobs, %v; want %d", names, len(jobs), err, want)
		}
	}
	if _, err := choose(all, "x,z"); err == nil {
		t.Error("an unknown name is not refused")
	}
}

var update = flag.Bool("update", false, "write the table's figures into docs/reliability.md")

// TestDocument keeps the document's figures true to the table.
func TestDocument(t *testing.T) {
	var rows strings.Builder
	n := 0
	for _, s := range table() {
		n += len(s.mutants)
		fmt.Fprintf(&rows, "| `%s` | %d | %s |\n", s.file, len(s.mutants), s.mutants[0].does)
	}
	text := fmt.Sprintf("%d defects, none of which survives:\n\n| file | defects | one of them |\n| --- | --- | --- |\n%s", n, rows.String())
	docgen.Check(t, filepath.Join(root, "docs", "reliability.md"), "mutants", text, *update)
}
