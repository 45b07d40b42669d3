package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// TestDocumentedCommands parses the siemctl commands in the documents: every command, flag and setting exists.
func TestDocumentedCommands(t *testing.T) {
	command := regexp.MustCompile("(?:^|`|[|] |[(])(?:[.]/|build/)?siemctl ([a-z-][^`#|>]*)")
	placeholder := regexp.MustCompile("<[^>]*>")
	env := func(string) string { return "" }
	n := 0
	for _, folder := range []string{".", "docs", "docs/*", "functions/*", "contrib", "contrib/*", "cmd/siemctl"} {
		pages, err := filepath.Glob(filepath.Join("../..", folder, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			data, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				for _, m := range command.FindAllStringSubmatch(placeholder.ReplaceAllString(line, "x"), -1) {
					n++
					root := (&app{env: env, out: term.New(&bytes.Buffer{}, &bytes.Buffer{}, env)}).root()
					c, args, err := root.Find(strings.Fields(m[1]))
					if err == nil {
						err = c.ParseFlags(args)
					}
					if err != nil {
						t.Errorf("%s: siemctl %s: %v", page, m[1], err)
						continue
					}
					if list, err := find(c.Flags().Args()); c.Name() == "configure" && err == nil {
						set, _ := c.Flags().GetStringSlice("set")
						if err := list[0].rejectUnknown("--set", set); err != nil {
							t.Errorf("%s: siemctl %s: %v", page, m[1], err)
						}
					}
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("found only %d commands", n)
	}
}
