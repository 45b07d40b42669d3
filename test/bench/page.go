package main

import (
	"fmt"
	"os"
	"strings"
)

// write renews the page's parts between their marks, and draws its chart from the first table.
func (p *plan) write(tables []table, profile string) error {
	chart := strings.TrimSuffix(p.page, ".md") + ".svg"
	if err := os.WriteFile(chart, []byte(tables[0].chart()), 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(p.page)
	if err != nil {
		return err
	}
	page := string(text)
	for _, t := range tables {
		if page, err = between(page, fmt.Sprintf("batch %d", t.batch), t.markdown()); err != nil {
			return fmt.Errorf("%s: %w", p.page, err)
		}
	}
	if page, err = between(page, "profile", profile); err != nil {
		return fmt.Errorf("%s: %w", p.page, err)
	}
	return os.WriteFile(p.page, []byte(page), 0o644)
}

// between puts text between the marks of that name.
func between(page, name, text string) (string, error) {
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := strings.Cut(page, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("expected the marks %q and %q", strings.TrimSpace(begin), end)
	}
	return before + begin + text + end + after, nil
}
