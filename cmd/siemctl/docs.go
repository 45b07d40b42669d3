package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// docsCommand prints the manual. It is generated from the commands themselves.
func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the manual of all commands as Markdown", Args: cobra.NoArgs,
		Example: "  siemctl docs > siemctl.md\n  siemctl docs | less",
		RunE: func(c *cobra.Command, _ []string) error {
			var manual strings.Builder
			writeManual(&manual, c.Root())
			if a.out.JSON {
				return a.out.Object(map[string]string{"manual": manual.String()})
			}
			a.out.Text(strings.TrimRight(manual.String(), "\n"))
			return nil
		},
	}
}

// writeManual writes the section of a command and those of its subcommands.
func writeManual(w *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n", c.CommandPath(), orElse(c.Long, c.Short))
	fmt.Fprintf(w, "```\n%s\n```\n\n", c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "Examples:\n\n```\n%s\n```\n\n", c.Example)
	}
	flags := c.LocalFlags()
	flags.SortFlags = true
	if text := strings.TrimRight(flags.FlagUsages(), "\n"); text != "" {
		fmt.Fprintf(w, "Flags:\n\n```\n%s\n```\n\n", text)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			writeManual(w, sub)
		}
	}
}
