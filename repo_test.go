// Package repo holds no code, only the repository's own rules as tests: what every connector's folder has, what stands in
// template.yaml for it, and what no committed file may mention.
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
)

// connector is one of the seven, by its folder and by what its logical ids in the template begin with.
type connector struct{ folder, id string }

// prefix is what the names of the connector's own variables begin with.
func (c connector) prefix() string { return strings.ToUpper(c.folder) + "_" }

var connectors = []connector{
	{"splunk", "Splunk"},
	{"sentinel", "Sentinel"},
	{"elastic", "Elastic"},
	{"datadog", "Datadog"},
	{"sumo", "Sumo"},
	{"qradar", "QRadar"},
	{"xsiam", "XSIAM"},
}

func TestFunctionsHaveTheStandardFiles(t *testing.T) {
	want := []string{"functions/deadletter/main.go", "functions/replay/main.go"}
	known := []string{"deadletter", "replay"}
	for _, c := range connectors {
		known = append(known, c.folder)
		for _, name := range []string{"main.go", "README.md", "connector/connector.go", "connector/config.go", "connector/response.go"} {
			if c.folder == "qradar" && name == "connector/response.go" {
				continue // syslog answers nothing
			}
			want = append(want, "functions/"+c.folder+"/"+name)
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
			t.Errorf("functions/%s: not in this test's list of functions", f.Name())
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

func TestReadmesListTheSettingsThatTheCodeReads(t *testing.T) {
	for _, c := range connectors {
		t.Run(c.folder, func(t *testing.T) {
			documented, read := documentedSettings(t, c), settingsInCode(t, c)
			if len(read) == 0 {
				t.Errorf("functions/%s/connector: no variable that begins with %s is read", c.folder, c.prefix())
			}
			for _, name := range read {
				if !slices.Contains(documented, name) {
					t.Errorf("%s: read by the code, and not in the settings table of the README", name)
				}
			}
			for _, name := range documented {
				if !slices.Contains(read, name) {
					t.Errorf("%s: in the README's settings table, and not read by the code", name)
				}
			}
		})
	}
}

func TestSettingsCanBeSetInTheTemplate(t *testing.T) {
	tmpl := readTemplate(t)
	for _, c := range connectors {
		t.Run(c.folder, func(t *testing.T) {
			names := documentedSettings(t, c)
			if len(names) == 0 {
				t.Errorf("functions/%s/README.md: no settings table", c.folder)
			}
			environment := tmpl.environment(c.id + "Function")
			secret := tmpl.properties(c.id + "Secret").text("Description")
			for _, name := range names {
				_, plain := environment[name]
				hidden := slices.Contains(variables.FindAllString(secret, -1), name)
				if plain == hidden {
					t.Errorf("%s: want it in the environment of %[2]sFunction or named by %[2]sSecret's description, and not in both", name, c.id)
				}
			}
			for name := range environment {
				if strings.HasPrefix(name, c.prefix()) && !slices.Contains(names, name) {
					t.Errorf("%s: in the template, and not in the README's settings table", name)
				}
			}
		})
	}
}

func TestCommittedFilesNameNoMachine(t *testing.T) {
	// Put together from parts, or this file would find itself.
	absolute := regexp.MustCompile(`(?m)(^|[\s"'` + "`" + `(=:])/(` + strings.Join([]string{"work", "root", "home", "Users", "farm"}, "|") + `)/\w`)
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

// documentedSettings lists the connector's own variables in the first column of its README's tables.
func documentedSettings(t *testing.T, c connector) []string {
	t.Helper()
	data, err := os.ReadFile("functions/" + c.folder + "/README.md")
	if err != nil {
		t.Error(err)
		return nil
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.TrimSpace(cells[0]) != "" {
			continue
		}
		for _, name := range variables.FindAllString(cells[1], -1) {
			if strings.HasPrefix(name, c.prefix()) {
				names = append(names, name)
			}
		}
	}
	return names
}

// settingsInCode lists the connector's own variables that its sources name as a string.
func settingsInCode(t *testing.T, c connector) []string {
	t.Helper()
	var names []string
	for _, name := range sources(t) {
		if !strings.HasPrefix(name, "functions/"+c.folder+"/connector/") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(parse(t, name, 0), func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			value, err := strconv.Unquote(literal.Value)
			if err == nil && strings.HasPrefix(value, c.prefix()) && variables.FindString(value) == value {
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

// files lists what is no output of a build, by paths from the root.
func files(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"build", ".git", ".aws-sam"}, name) {
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
