package repo

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

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
			if section != "" && !slices.Contains(sectionsOf(readText(t, target)), section) {
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

// sectionsOf returns the anchors that GitHub gives a page's headings.
func sectionsOf(page string) []string {
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
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
