package main

import (
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

const root = "../.."

// TestMutants checks every entry: its text occurs once in its file, and the file with the defect parses.
func TestMutants(t *testing.T) {
	seen := map[string]bool{}
	all := loaded(t)
	for _, m := range all {
		if seen[m.name] {
			t.Errorf("mutant %s: the name is not unique", m.name)
		}
		seen[m.name] = true
		if m.effect == "" || m.old == m.new {
			t.Errorf("mutant %s: expected an effect and a change", m.name)
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
		if err != nil {
			t.Errorf("mutant %s: %v", m.name, err)
			continue
		}
		changed, err := m.apply(text)
		if err != nil {
			t.Error(err)
		} else if _, err := parser.ParseFile(token.NewFileSet(), m.file, changed, 0); err != nil {
			t.Errorf("mutant %s: %v", m.name, err)
		}
	}
	if len(all) < 200 {
		t.Errorf("%d mutants, expected at least 200", len(all))
	}
}

func loaded(t *testing.T) []mutant {
	t.Helper()
	all, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParse(t *testing.T) {
	const entry = "# comment\n\nmutant x\nfile f.go\neffect loses events\ntests a b\nrace\n<<<\nold\n\n===\nnew\n>>>\n"
	got, err := parse(entry, "shared/p")
	want := mutant{name: "x", file: "shared/p/f.go", effect: "loses events", tests: []string{"a", "b"}, race: true,
		old: "old\n", new: "new"}
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("parse: %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"file f.go\n", "mutant x\nfil f.go\n", "mutant x\n<<<\nold\n>>>\n",
		"mutant x\n<<<\nold\n===\n"} {
		if got, err := parse(bad, "p"); err == nil {
			t.Errorf("parse(%q): %+v, want an error", bad, got)
		}
	}
}

// TestJudge: a failing test kills a mutant; a test that does not compile gives no verdict.
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
		{"is not a test", "no such directory\n", "", exit, true},
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
	all := []mutant{{name: "x"}, {name: "y"}}
	for names, want := range map[string]int{"": 2, "y": 1, "x,y": 2} {
		if jobs, err := choose(all, names); err != nil || len(jobs) != want {
			t.Errorf("choose(%q): %d jobs, %v; want %d", names, len(jobs), err, want)
		}
	}
	if _, err := choose(all, "x,z"); err == nil {
		t.Error("choose accepts an unknown name")
	}
}

func TestSample(t *testing.T) {
	all := []mutant{{name: "a"}, {name: "b"}, {name: "c"}, {name: "d"}, {name: "e"}}
	seen := map[string]bool{}
	for seed := range 50 {
		chosen := sample(all, 2, strconv.Itoa(seed))
		if len(chosen) < 2 || len(chosen) > 3 {
			t.Fatalf("seed %d: %d of %d mutants, want every second", seed, len(chosen), len(all))
		}
		for _, m := range chosen {
			seen[m.name] = true
		}
	}
	if len(seen) != len(all) {
		t.Errorf("50 seeds choose only %v", seen)
	}
}

var update = flag.Bool("update", false, "write the number of mutants into docs/reliability.md")

// TestDocument compares the document's figures with the mutants.
func TestDocument(t *testing.T) {
	all := loaded(t)
	packages := map[string]bool{}
	for _, m := range all {
		packages[path.Dir(m.file)] = true
	}
	text := fmt.Sprintf("%d defects in %d packages, all killed.", len(all), len(packages))
	docgen.Check(t, filepath.Join(root, "docs", "reliability.md"), "mutants", text, *update)
}
