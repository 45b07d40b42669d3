package repo

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/connectors"
)

// TestDocsLinkToWhatExists: links between files of the repository, and to sections, lead somewhere.
func TestDocsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range files(t) {
		if path.Ext(name) != ".md" || strings.HasPrefix(name, "functions/") && !strings.HasSuffix(name, "README.md") {
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

// TestConnectorPagesNameParameters: each connector has a page, and what it tells to set can be set.
func TestConnectorPagesNameParameters(t *testing.T) {
	tmpl := readTemplate(t)
	parameters, outputs := tmpl.root.get("Parameters").pairs(), tmpl.root.get("Outputs").pairs()
	for _, c := range connectors.All() {
		page := readText(t, "docs/connectors/"+c.Name+".md")
		assigned := regexp.MustCompile(`(?m)(?:^|["`+"`"+`])([A-Z][A-Za-z]+)=`).FindAllStringSubmatch(page, -1)
		if len(assigned) < 3 {
			t.Errorf("%s: sets only %v", c.Name, assigned)
		}
		for _, m := range assigned {
			if parameters[m[1]] == nil {
				t.Errorf("docs/connectors/%s.md: the template has no parameter %s", c.Name, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`("+c.ID+"[A-Za-z]+(?:Arn|Url|Name)|[A-Z][A-Za-z]+PolicyArn)`").FindAllStringSubmatch(page, -1) {
			if outputs[m[1]] == nil && parameters[m[1]] == nil {
				t.Errorf("docs/connectors/%s.md: the template has no output %s", c.Name, m[1])
			}
		}
		secret := tmpl.properties(c.ID + "Secret").text("Description")
		for _, name := range variables.FindAllString(secret, -1) {
			if !strings.Contains(page, name) {
				t.Errorf("docs/connectors/%s.md: says nothing of %s, which the secret holds", c.Name, name)
			}
		}
	}
}

// sectionsOf are the anchors of a page's headings, as GitHub makes them.
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
