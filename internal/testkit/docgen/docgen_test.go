package docgen

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRenew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const before = "# Title\n\n<!-- begin a: make a -->\nold\n<!-- end a -->\n\n<!-- begin b: make b -->\n<!-- end b " +
		"-->\ntail\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ name, text string }{{"b", "new b\n"}, {"a", "\nnew a"}, {"a", "new a\n\n"}} {
		if err := Update(path, part.name, part.text); err != nil {
			t.Fatal(err)
		}
	}
	const want = "# Title\n\n<!-- begin a: make a -->\n\nnew a\n\n<!-- end a -->\n\n<!-- begin b: make b -->\n\nnew " +
		"b\n\n<!-- end b -->\ntail\n"
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%q, %v, want\n%q", got, err, want)
	}
	Check(t, path, "a", "new a", false)
	if err := Update(path, "c", "text"); err == nil {
		t.Error("a part that is not there was written")
	}
}
