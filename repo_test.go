// Package repo holds tests of the repository itself: the files that every connector has, its resources in
// template.yaml, the links of the documents, and text that no committed file may contain.
package repo

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// otherFunctions are the functions that are not connectors.
var otherFunctions = []string{"deadletter", "guard", "replay"}

func TestFunctionsHaveTheStandardFiles(t *testing.T) {
	var want []string
	known := []string{"all"}
	for _, name := range otherFunctions {
		want = append(want, "functions/"+name+"/main.go")
		known = append(known, name)
	}
	for _, c := range connectors.All() {
		known = append(known, c.Name)
		for _, name := range []string{"main.go", "connector/connector.go"} {
			want = append(want, "functions/"+c.Name+"/"+name)
		}
	}
	for _, name := range want {
		if info, err := os.Stat(filepath.FromSlash(name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: missing or empty", name)
		}
	}
	folders, err := os.ReadDir("functions")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if !slices.Contains(known, f.Name()) {
			t.Errorf("functions/%s: not in shared/connectors/connectors.go, and not one of the other functions", f.Name())
		}
	}
}

func TestPackagesHaveOneDocComment(t *testing.T) {
	docs := map[string][]string{}
	for _, name := range sources(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		folder := path.Dir(name)
		file := parse(t, name, parser.PackageClauseOnly|parser.ParseComments)
		files := docs[folder]
		if file.Doc != nil {
			files = append(files, path.Base(name))
		}
		docs[folder] = files
	}
	if len(docs) == 0 {
		t.Fatal("found no package")
	}
	for folder, files := range docs {
		if len(files) != 1 {
			t.Errorf("%s: want one package doc comment, have %d %v", folder, len(files), files)
		}
	}
}

// TestReferenceListsTheSharedSettings compares the tables of the pages below with the variables that shared/ reads.
func TestReferenceListsTheSharedSettings(t *testing.T) {
	var documented []string
	for _, page := range []string{"docs/reference.md", "docs/dead-letters.md", "docs/guard.md"} {
		documented = append(documented, firstColumn(t, page)...)
	}
	common := regexp.MustCompile(`^(SIEM|AWS|GUARD|REPLAY|HTTPS|NO|LOG)_[A-Z_]*[A-Z]$`)
	read := 0
	for _, name := range variablesInCode(t, "shared/", common) {
		if read++; !slices.Contains(documented, name) && !strings.HasPrefix(name, "AWS_LAMBDA_") { // set by Lambda
			t.Errorf("%s: read by the code, and not in a settings table", name)
		}
	}
	if read < 20 {
		t.Errorf("found only %d variables", read)
	}
}

func TestCommittedFilesNameNoMachine(t *testing.T) {
	// Put together from parts, or this file would find itself.
	absolute := regexp.MustCompile(`(?m)(^|[\s"'` + "`" + `(=:])/(` +
		strings.Join([]string{"work", "root", "home", "Users", "farm"}, "|") + `)/\w`)
	outside := regexp.MustCompile(`\.\./` + `shared/(contract|facts|style|data|spec|tools|hooks)`)
	for _, name := range committed(t) {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet in git
		}
		if err != nil {
			t.Error(err)
		}
		for _, r := range []*regexp.Regexp{absolute, outside} {
			if found := r.Find(data); found != nil && name != ".ci/run" {
				t.Errorf("%s: mentions a path of one machine: %q", name, found)
			}
		}
	}
}

// variables finds names of environment variables.
var variables = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b`)

// firstColumn lists the variables in the first column of a page's tables.
func firstColumn(t *testing.T, page string) []string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Error(err)
		return nil
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.TrimSpace(cells[0]) == "" {
			names = append(names, variables.FindAllString(cells[1], -1)...)
		}
	}
	return names
}

// variablesInCode lists the strings in the sources of a folder that match.
func variablesInCode(t *testing.T, folder string, match *regexp.Regexp) []string {
	t.Helper()
	var names []string
	for _, name := range sources(t) {
		if !strings.HasPrefix(name, folder) || strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(parse(t, name, 0), func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if value, err := strconv.Unquote(literal.Value); err == nil && match.MatchString(value) {
				names = append(names, value)
			}
			return true
		})
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// sources lists the Go files of this module, by paths from its root.
func sources(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(files(t), func(name string) bool { return !strings.HasSuffix(name, ".go") })
}

// files lists the files that are not the output of a build, by paths from the root.
func files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"build", "dist", ".git", ".aws-sam"}, name) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func parse(t *testing.T, name string, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// committed lists the files that git keeps or would keep; outside a repository, all of them.
func committed(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return files(t)
	}
	return strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
}

// TestDocsLinkToWhatExists: links between files of the repository, and to sections, lead somewhere.
func TestDocsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range files(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(readText(t, name), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target, section, _ := strings.Cut(m[1], "#")
			target = path.Join(path.Dir(name), target)
			if strings.HasPrefix(m[1], "#") {
				target = name
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[1])
				continue
			}
			if section != "" && !slices.Contains(sectionsOf(readText(t, target), "#+"), section) {
				t.Errorf("%s: %s has no section %s", name, target, section)
			}
		}
	}
}

// TestConnectorPages checks that each connector has a page, that README.md links to it, and that it names the
// commands that install and configure the connector.
func TestConnectorPages(t *testing.T) {
	readme := readText(t, "README.md")
	for _, c := range connectors.All() {
		if !strings.Contains(readme, "(docs/connectors/"+c.Name+".md)") {
			t.Errorf("README.md: does not link to docs/connectors/%s.md", c.Name)
		}
		page := readText(t, "docs/connectors/"+c.Name+".md")
		for _, command := range []string{"siemctl init ", "siemctl configure "} {
			if !strings.Contains(page, command+c.Name) {
				t.Errorf("docs/connectors/%s.md: does not name `%s%s`", c.Name, command, c.Name)
			}
		}
	}
}

// TestMetricsTable compares the table of metrics with the names in the code.
func TestMetricsTable(t *testing.T) {
	_, table, _ := strings.Cut(readText(t, "docs/reference.md"), "\n## Metrics\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var documented, written []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(table, -1) {
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, m[1])
		}
	}
	for _, name := range writtenMetrics(t) {
		if name != strings.ToUpper(name) { // not an environment variable
			written = append(written, name)
		}
	}
	slices.Sort(documented)
	slices.Sort(written)
	if written = slices.Compact(written); !slices.Equal(documented, written) {
		t.Errorf("docs/reference.md: metrics %v, want %v", documented, written)
	}
}

// sectionsOf returns the anchors that GitHub gives a page's headings of a level: "##", or "#+" for all.
func sectionsOf(page, level string) []string {
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^`+level+` (.+)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(m[1]), "")
		sections = append(sections, strings.ReplaceAll(name, " ", "-"))
	}
	return sections
}

func readText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// maxColumns is the maximum length of a line of prose. Tables, code, links and generated parts may be longer.
const maxColumns = 120

func TestDocumentsHaveShortLines(t *testing.T) {
	for _, name := range committed(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		code, generated := false, false
		for i, line := range strings.Split(readText(t, name), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
			}
			generated = (generated || strings.HasPrefix(line, "<!-- begin ")) && !strings.HasPrefix(line, "<!-- end ")
			table := strings.HasPrefix(strings.TrimSpace(line), "|")
			if code || generated || table || strings.Contains(line, "](") || strings.Contains(line, "://") {
				continue
			}
			if n := utf8.RuneCountInString(line); n > maxColumns {
				t.Errorf("%s:%d: %d columns, want at most %d", name, i+1, n, maxColumns)
			}
		}
	}
}
