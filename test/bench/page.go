package main

import (
	"fmt"

	"github.com/arbitex/siem-connectors/internal/testkit/docgen"
)

// write updates the generated parts of the page.
func (p *plan) write(tables []table) error {
	for _, t := range tables {
		if err := docgen.Update(p.page, fmt.Sprintf("batch %d", t.batch), t.markdown()); err != nil {
			return err
		}
	}
	return nil
}
