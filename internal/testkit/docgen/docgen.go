// Package page keeps the parts of the documents that runs have written. Such a part stands between two marks, of which the
// first says how it is renewed:
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
	how, rest, opened := strings.Cut(rest, " -->\n")
	_, tail, closed := strings.Cut(rest, "<!-- end "+name+" -->")
	if !found || !opened || !closed {
		return "", fmt.Errorf("expected the marks <!-- begin %s: … --> and <!-- end %[1]s -->", name)
	}
	return head + "<!-- begin " + name + ": " + how + " -->\n\n" + strings.TrimSpace(text) + "\n\n<!-- end " + name + " -->" + tail, nil
}

// Update writes text between the marks of name in the file.
func Update(path, name, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	renewed, err := Replace(string(old), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if renewed == string(old) {
		return nil
	}
	if err := os.WriteFile(path, []byte(renewed), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// Check is for tests: the file must have text between the marks of name, and gets it when update says so.
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
	switch renewed, err := Replace(string(old), name, text); {
	case err != nil:
		t.Fatalf("%s: %v", path, err)
	case renewed != string(old):
		t.Errorf("%s says otherwise than this run; look at the difference, then -update writes the part %q:\n%s", path, name, difference(string(old), renewed))
	}
}

// difference lists the lines that are in one text alone.
func difference(a, b string) string {
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
