// Package eighth shows what a new connector needs. It adds a connector for a generic webhook to a copy of the tree,
// removes one entry of a list at a time, and requires that a test fails and names the file. With all entries, the tests
// pass. CONTRIBUTING.md lists the entries.
//
//	make eighth
package eighth

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

const root = "../.."

var full = flag.Bool("full", false, "run all unit tests with the connector, too")

// maxFiles is the number of existing files that a connector may touch.
const maxFiles = 9

// edit replaces old by text in a file of the repository.
type edit struct{ old, text string }

// entry is what a connector adds to an existing file.
type entry struct {
	file   string
	edits  []edit
	check  []string // arguments of go test; it fails and names the file if the entry is missing
	starts bool     // check starts the whole system if the entry is there
}

func after(old, text string) edit  { return edit{old, old + text} }
func before(old, text string) edit { return edit{old, text + old} }

func entries() []entry {
	const comma = "qradar, xsiam"
	return []entry{
		{
			file: "shared/connectors/connectors.go",
			edits: []edit{after(`RotatesWithSecret: []string{"XSIAM_API_KEY_ID"}},`,
				"\n\t\t"+`{Name: "webhook", Title: "Webhook"},`)},
			check: []string{".", "-run", "TestFunctionsHaveTheStandardFiles"},
		},
		{
			file: "functions/all/all.go",
			edits: []edit{
				after(`"github.com/arbitex/siem-connectors/functions/sumo/connector"`,
					"\n\t"+`webhook "github.com/arbitex/siem-connectors/functions/webhook/connector"`),
				before("\t\t\"xsiam\": {",
					"\t\t\"webhook\": {Open: webhook.Open, Example: map[string]string{\n"+
						"\t\t\t\"WEBHOOK_URL\": \"https://hook.example.com\", \"WEBHOOK_TOKEN\": \"example\",\n\t\t}},\n"),
			},
			check: []string{"./functions/all"},
		},
		{
			file: "template.yaml",
			edits: []edit{
				{"sumo,qradar,xsiam", "sumo,qradar,xsiam,webhook"},
				{comma + "]", comma + ", webhook]"},
				{`"5,5,5,5,5,5,5"`, `"5,5,5,5,5,5,5,5"`},
				{"[none, splunk, sentinel, elastic, datadog, sumo, " + comma + "]",
					"[none, splunk, sentinel, elastic, datadog, sumo, " + comma + ", webhook]"},
				{"qradar, xsiam, in this order", "qradar, xsiam, webhook, in this order"},
				after(`    xsiam: {Title: Cortex XSIAM, Index: "6"}`, "\n"+`    webhook: {Title: Webhook, Index: "7"}`),
				{"    - [splunk, sentinel, elastic, datadog, sumo, " + comma + "]",
					"    - [splunk, sentinel, elastic, datadog, sumo, " + comma + ", webhook]"},
				after("${Q}xsiamQueue-*", ",${Q}webhookQueue-*"),
				after("${xsiam}", "${webhook}"),
				before("                xsiam: !If [xsiamOn,", "                webhook: !If [webhookOn, !Sub ['"+
					`"${A}down","${A}dead-letters","${A}backlog","${A}expiring","${A}errors",', {A: !Sub `+
					`"arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:${AWS::StackName}-webhook-"}], ""]`+
					"\n"),
			},
			check: []string{".", "-run", "TestTemplateListsTheConnectors"},
		},
		{
			file: "emulator/siem/catalog/catalog.go",
			edits: []edit{
				after(`"github.com/arbitex/siem-connectors/emulator/siem/sumo"`,
					"\n\t"+`"github.com/arbitex/siem-connectors/emulator/siem/webhook"`),
				after(`Script: xsiamScript()},`,
					"\n\t\t"+`"webhook": {New: simulator(webhook.New), Script: []Act{{Say: "has a new token", Do: revoke}, {Say: `+
						`"stores it", Do: publish}}},`),
			},
			check: []string{"./emulator/siem/catalog"},
		},
		{
			file: "test/matrix/targets_test.go",
			edits: []edit{before("\t\t\"xsiam\": {\n", "\t\t\"webhook\": {\n"+
				"\t\t\turl: \"WEBHOOK_URL\", secret: \"WEBHOOK_TOKEN\", success: always(http.StatusOK, `{\"ok\":true}`),\n"+
				"\t\t\trefusal: `{\"error\":\"Invalid data format\"}`, records: jsonArray,\n"+
				"\t\t\trows: func() []row { return nil },\n\t\t},\n")},
			check: []string{"./test/matrix", "-run", "TestTargets"},
		},
		{
			file: "test/bench/subjects.go",
			edits: []edit{
				before("\t{\"xsiam\", \"envelope\",",
					"\t{\"webhook\", \"array\", false, 72, [2]int{1, 1}, func(s *sink) map[string]string {\n"+
						"\t\treturn map[string]string{\"WEBHOOK_URL\": s.url(\"/webhook\"), \"WEBHOOK_TOKEN\": \"token\"}\n\t}},\n"),
				before("\tcase strings.HasPrefix(path, \"/services\"):\n",
					"\tcase path == \"/webhook\":\n\t\treturn 200, `{\"ok\":true}`\n"),
			},
			check: []string{"./test/bench", "-run", "TestEveryConnectorIsMeasured"},
		},
		{
			file: "test/e2e/traits_test.go",
			edits: []edit{before("\t\"xsiam\": {\n", "\t\"webhook\": {\n"+
				"\t\trequired: []string{\"WEBHOOK_URL\", \"WEBHOOK_TOKEN\"}, credential: \"WEBHOOK_TOKEN\",\n"+
				"\t\taddress: \"WEBHOOK_URL\", reason: \"status 400\", large: whole,\n"+
				"\t\tcanary: map[string]string{\"WEBHOOK_TOKEN\": canaryToken}, sent: canaryToken,\n\t},\n")},
			check: []string{"./test/e2e"}, starts: true,
		},
		{
			file: "cmd/siemctl/age.go",
			edits: []edit{before("\tcase \"xsiam\":\n\t\treturn ageRule", "\tcase \"webhook\":\n"+
				"\t\treturn ageRule{text: \"the receiver decides which time it shows\"}, true\n")},
			check: []string{"./cmd/siemctl", "-run", "TestAgeRules"},
		},
		{
			file:  "README.md",
			edits: []edit{after("[Cortex XSIAM](docs/connectors/xsiam.md)", ", [Webhook](docs/connectors/webhook.md)")},
			check: []string{".", "-run", "TestConnectorPages"},
		},
	}
}

func TestEighthConnector(t *testing.T) {
	list := entries()
	if len(list) > maxFiles {
		t.Errorf("a connector touches %d files, want at most %d", len(list), maxFiles)
	}
	table := read(t, filepath.Join(root, "CONTRIBUTING.md"))
	for _, e := range list {
		if !strings.Contains(table, "`"+e.file+"`") {
			t.Errorf("CONTRIBUTING.md does not name %s", e.file)
		}
	}
	dir := t.TempDir()
	copyTree(t, dir)
	addFiles(t, dir)
	for _, e := range list {
		e.apply(t, dir)
	}
	run(t, dir, "go", "vet", "./...")
	for _, e := range list {
		if !e.starts {
			run(t, dir, "go", append([]string{"test"}, e.check...)...)
		}
	}
	run(t, dir, "go", "test", "./functions/webhook/...", "./emulator/siem/webhook", "./cmd/siemctl",
		"./internal/samtemplate")
	run(t, dir, "go", "test", "./test/bench", "-run", "TestRequests|TestAnswerOutlivesItsBuffers")
	run(t, dir, "make", "-s", "build")
	run(t, dir, "go", "test", "./test/matrix", "-run", "TestMatrix/cells/.*/.*/webhook$")
	run(t, dir, "go", "test", "./test/simulation", "-seeds", "30")
	if *full {
		run(t, dir, "make", "-s", "unit")
		run(t, dir, "go", "test", "./test/e2e", "-run", "Test(Check|Array|BadBodies|Canary)/webhook$")
	}
	for _, e := range list {
		t.Run("without "+e.file, func(t *testing.T) {
			path := filepath.Join(dir, filepath.FromSlash(e.file))
			with := read(t, path)
			write(t, path, read(t, filepath.Join(root, filepath.FromSlash(e.file))))
			defer write(t, path, with)
			out, err := command(dir, "go", append([]string{"test"}, e.check...)...)
			if err == nil || !strings.Contains(out, e.file) || strings.Contains(out, "[build failed]") {
				t.Errorf("want a failure that names %s, got %v:\n%.3000s", e.file, err, out)
			}
		})
	}
}

// copyTree copies the files of the repository.
func copyTree(t *testing.T, dir string) {
	t.Helper()
	out, err := command(root, "git", "ls-files", "--cached", "--others", "--exclude-standard")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name := range strings.Lines(out) {
		name = strings.TrimSpace(name)
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, but not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(data))
	}
	run(t, dir, "git", "init", "-q")
	run(t, dir, "git", "add", ".")
}

// addFiles adds the connector's new files.
func addFiles(t *testing.T, dir string) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/webhook.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		write(t, filepath.Join(dir, filepath.FromSlash(f.Name)), string(f.Data))
	}
}

func (e *entry) apply(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(e.file))
	text := read(t, path)
	for _, c := range e.edits {
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s no longer contains %q", e.file, c.old)
		}
		text = strings.Replace(text, c.old, c.text, 1)
	}
	write(t, path, text)
}

func command(dir, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	t.Logf("%s %s", name, strings.Join(args, " "))
	if out, err := command(dir, name, args...); err != nil {
		lines := strings.Split(out, "\n")
		t.Fatalf("%s %s: %v:\n%s", name, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if slices.Contains([]string{"", ".sh"}, filepath.Ext(path)) {
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
