package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// one requires exactly one argument.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usage("%s: expected one, found none", what)
		case 1:
			return nil
		}
		return usage("%s: expected one, found %d arguments", what, len(args))
	}
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

// addLibraryCommands adds help and completion. The library's own accept any argument.
func addLibraryCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = helpTopic
		case "completion":
			c.Args, c.RunE = noCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// helpTopic rejects the arguments of help that do not name a command.
func helpTopic(c *cobra.Command, args []string) error {
	found, rest, err := c.Root().Find(args)
	if err != nil || len(rest) == 0 {
		return err
	}
	return noCommand(found, rest)
}

// flagError adds the closest flag to the library's error about an unknown one, and what a flag expects to its error
// about a value.
func flagError(c *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		expected := map[string]string{"int": "a whole number", "int64": "a whole number",
			"uint64": "a whole number of at least 0", "float64": "a number", "duration": "a duration such as 30s or 5m",
			"bool": "true or false"}
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
