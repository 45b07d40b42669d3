// Package docgen updates the generated parts of documents and compares them with what the code does. A generated part
// is between two marks; the first one names the command that updates it:
//
//	<!-- begin name: make what -->
//	<!-- end name -->
package docgen

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Replace returns the page with text between the marks of name.
func Replace(page, name, text string) (string, error) {
	head, rest, found := strings.Cut(page, "<!-- begin "+name+": ")
	command, rest, opened := strings.Cut(rest, " -->\n")
	_, tail, closed := strings.Cut(rest, "<!-- end "+name+" -->")
	if !found || !opened || !closed {
		return "", fmt.Errorf("expected the marks <!-- begin %s: … --> and <!-- end %[1]s -->", name)
	}
	return head + "<!-- begin " + name + ": " + command + " -->\n\n" + strings.TrimSpace(text) +
		"\n\n<!-- end " + name + " -->" + tail, nil
}

// Update writes text between the marks of name in the file.
func Update(path, name, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	page, err := Replace(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if page == string(old) {
		return nil
	}
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil { //nolint:gosec // the caller's own path
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// Check fails the test unless the file has text between the marks of name. With update, it writes the text instead.
func Check(t *testing.T, path, name, text string, update bool) {
	t.Helper()
	if update {
		if err := Update(path, name, text); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch page, err := Replace(string(old), name, text); {
	case err != nil:
		t.Fatalf("%s: %v", path, err)
	case page != string(old):
		t.Errorf("%s, part %q, differs from this run; check the difference, then use -update:\n%s",
			path, name, Diff(string(old), page))
	}
}

// Diff returns the lines that are in only one of the texts.
func Diff(a, b string) string {
	var out []string
	for _, pair := range [...]struct{ mark, text, other string }{{"-", a, b}, {"+", b, a}} {
		there := map[string]bool{}
		for line := range strings.SplitSeq(pair.other, "\n") {
			there[line] = true
		}
		for line := range strings.SplitSeq(pair.text, "\n") {
			if !there[line] {
				out = append(out, pair.mark+line)
			}
		}
	}
	return strings.Join(out, "\n")
}
