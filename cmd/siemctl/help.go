package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docsCommand prints the manual. It is generated from the commands themselves.
func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the manual of all commands as Markdown", Args: cobra.NoArgs,
		Example: "  siemctl docs > siemctl.md\n  siemctl docs | less",
		RunE: func(c *cobra.Command, _ []string) error {
			var manual strings.Builder
			writeManual(&manual, c.Root())
			return a.result(map[string]string{"manual": manual.String()}, false, func() {
				a.out.Text(strings.TrimRight(manual.String(), "\n"))
			})
		},
	}
}

// writeManual writes the section of a command and those of its subcommands.
func writeManual(w *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(w, "## %s\n\n%s\n\n", c.CommandPath(), cmp.Or(c.Long, c.Short))
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

// closest returns the known name that is most likely meant, "" if none is close.
func closest(name string, known []string) string {
	best, bestDistance := "", max(2, len(name)/5)+1
	folded := strings.ToLower(name)
	for _, k := range known {
		other := strings.ToLower(k)
		if len(name) >= 3 && strings.HasPrefix(other, folded) || len(k) >= 3 && strings.HasPrefix(folded, other) {
			return k
		}
		if d := distance(folded, other); d < bestDistance && d < len(name) {
			best, bestDistance = k, d
		}
	}
	return best
}

// suggest returns the closest known name as the end of an error message, "" if none is close.
func suggest(name string, known []string) string {
	if k := closest(name, known); k != "" {
		return fmt.Sprintf(" (did you mean %q?)", k)
	}
	return ""
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// noCommand rejects the arguments of a command that only groups others.
func noCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(append(known, sub.Name()), sub.Aliases...)
		}
	}
	return usage("unknown command %q for %q%s", args[0], c.CommandPath(), suggest(args[0], known))
}

// flagError adds the closest flag to the library's error about an unknown one, and what a flag expects to its error
// about a value.
func flagError(c *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		expected := map[string]string{"int": "a whole number", "int64": "a whole number", "uint64": "a whole number",
			"float64": "a number", "duration": "a duration such as 30s or 5m", "bool": "true or false"}
		if what := expected[invalid.GetFlag().Value.Type()]; what != "" {
			return usage("--%s: expected %s, found %q", invalid.GetFlag().Name, what, invalid.GetValue())
		}
	}
	unknown, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return usageError{err}
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return usageError{fmt.Errorf("%w%s", err, suggest("--"+unknown, known))}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of siemctl", Args: cobra.NoArgs,
		Example: "  siemctl version",
		Long:    "Print the version of siemctl. The stack's output Version names the version of the functions.",
		RunE: func(*cobra.Command, []string) error {
			version := builtVersion()
			return a.result(map[string]string{"version": version}, false, func() { a.out.Line("%s", version) })
		},
	}
}
