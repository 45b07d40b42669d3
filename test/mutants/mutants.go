// Command mutants tests the tests. It applies the deliberate defects of every package's testdata/mutants.txt, one at a
// time, and runs the package's tests. It fails if no test fails for a defect, if a defect does not compile, or if the
// text that a defect replaces has changed.
//
//	go run ./test/mutants             all mutants
//	go run ./test/mutants -every 10   a tenth; the commit decides which one
//	go run ./test/mutants name,name   these, with the output of their tests
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// atOnce is the number of mutants tested at a time.
const atOnce = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	every := flag.Int("every", 1, "test one of so many mutants")
	flag.Parse()
	if err := run(ctx, strings.Join(flag.Args(), ","), max(1, *every), os.Stdout); err != nil {
		log.Fatalln("mutants:", err)
	}
}

func run(ctx context.Context, names string, every int, out io.Writer) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a leftover temporary folder does no harm
	all, err := load(root)
	if err != nil {
		return err
	}
	jobs, err := choose(all, names)
	if err != nil {
		return err
	}
	if names == "" {
		jobs = sample(jobs, every, commit(ctx))
	}
	l := &lab{root: root, scratch: scratch}
	if err := l.healthy(ctx, jobs); err != nil {
		return err
	}
	r := &results{out: out, verbose: names != "", of: len(jobs)}
	l.all(ctx, jobs, r)
	return errors.Join(ctx.Err(), r.err())
}

// choose returns the mutants that names lists, or all if names is empty.
func choose(all []mutant, names string) ([]mutant, error) {
	if names == "" {
		return all, nil
	}
	wanted := strings.Split(names, ",")
	chosen := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !slices.Contains(wanted, m.name) })
	if len(chosen) < len(wanted) {
		return nil, fmt.Errorf("expected names of mutants, found %q", names)
	}
	return chosen, nil
}

// sample returns every n-th mutant. The seed decides where it begins, so that successive commits test all mutants.
func sample(all []mutant, n int, seed string) []mutant {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(seed))
	var chosen []mutant
	for i := int(sum.Sum32() % uint32(n)); i < len(all); i += n {
		chosen = append(chosen, all[i])
	}
	return chosen
}

// commit returns the hash of the commit, or "" outside a repository.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// healthy runs the tests once without a defect. If they fail by themselves, every mutant would seem to be found.
func (l *lab) healthy(ctx context.Context, mutants []mutant) error {
	var packages []string
	for _, m := range mutants {
		packages = append(packages, m.packages()...)
	}
	slices.Sort(packages)
	v := l.test(ctx, slices.Compact(packages), false)
	if v.err != nil {
		return v.err
	}
	if v.killer != "" {
		return fmt.Errorf("%s fails without any defect:\n%s", v.killer, v.output)
	}
	return nil
}

// all tests the mutants, atOnce at a time.
func (l *lab) all(ctx context.Context, mutants []mutant, r *results) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, m := range mutants {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			r.add(m, l.try(ctx, &m))
			return nil
		})
	}
	_ = g.Wait() // the errors are in r
}

// results prints each verdict and collects the failures.
type results struct {
	out     io.Writer
	verbose bool
	of      int

	mu        sync.Mutex
	done      int
	survivors []string
	errors    []error
}

func (r *results) add(m mutant, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	end := "killed by " + v.killer
	switch {
	case v.err != nil:
		end = "ERROR: " + v.err.Error()
		r.errors = append(r.errors, fmt.Errorf("%s: %w", m.name, v.err))
	case v.killer == "":
		end = "SURVIVES"
		r.survivors = append(r.survivors, m.name)
	}
	_, _ = fmt.Fprintf(r.out, "%3d/%d %5.1fs  %-45s %-28s %s\n", r.done, r.of,
		v.took.Round(100*time.Millisecond).Seconds(), m.file, m.name, end)
	if r.verbose {
		_, _ = fmt.Fprintf(r.out, "%s\n", v.output)
	}
}

// err reports surviving and unusable mutants.
func (r *results) err() error {
	errs := slices.Clone(r.errors)
	if len(r.survivors) > 0 {
		names := strings.Join(r.survivors, ", ")
		errs = append(errs, fmt.Errorf("%d of %d survive: %s", len(r.survivors), r.done, names))
	} else if len(errs) == 0 {
		_, _ = fmt.Fprintf(r.out, "%d mutants, all killed\n", r.done)
	}
	return errors.Join(errs...)
}

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
	files := os.DirFS(root)
	for _, pattern := range []string{"shared/*/testdata/mutants.txt", "functions/*/connector/testdata/mutants.txt"} {
		names, err := fs.Glob(files, pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, err
			}
			mutants, err := parse(string(text), path.Dir(path.Dir(name)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
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
