package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

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

// flagError adds the closest flag to the library's error about an unknown one.
func flagError(c *cobra.Command, err error) error {
	unknown, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return usageError{err}
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
	return usageError{fmt.Errorf("%w%s", err, suggest("--"+unknown, known))}
}
