package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// write renews the page's parts between their marks, and draws its chart from the first table.
func (p *plan) write(tables []table, profile string) error {
	chart := strings.TrimSuffix(p.page, ".md") + ".svg"
	if err := os.WriteFile(chart, []byte(tables[0].chart()), 0o644); err != nil {
		return err
	}
	for _, t := range tables {
		if err := docgen.Update(p.page, fmt.Sprintf("batch %d", t.batch), t.markdown()); err != nil {
			return err
		}
	}
	return docgen.Update(p.page, "profile", profile)
}
