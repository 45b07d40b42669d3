package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/functions/all"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// connector is a connector with what the tool does with it.
type connector struct{ all.Connector }

func allConnectors() []connector {
	var list []connector
	for _, c := range all.Connectors() {
		list = append(list, connector{c})
	}
	return list
}

// find returns the connectors with these names in the list's order; without names, all of them.
func find(wanted []string) ([]connector, error) {
	known := connectors.Names()
	var unknown []string
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("%q%s", name, suggest(name, known)))
		}
	}
	if unknown != nil {
		return nil, usage("connector: expected one of %s, found %s", strings.Join(known, ", "), strings.Join(unknown, ", "))
	}
	return slices.DeleteFunc(allConnectors(), func(c connector) bool {
		return len(wanted) > 0 && !slices.Contains(wanted, c.Name)
	}), nil
}

// connect returns the stack and the named connectors; without names, all that the stack has deployed. A named connector
// that is not deployed is an error.
func (a *app) connect(ctx context.Context, wanted []string) (*deployed.Stack, []connector, error) {
	list, err := find(wanted)
	if err != nil {
		return nil, nil, err
	}
	s, err := deployed.Connect(ctx, a.options)
	if err != nil {
		return nil, nil, err
	}
	var here []connector
	for _, c := range list {
		if s.Has(c.Name) {
			here = append(here, c)
		} else if len(wanted) > 0 {
			return nil, nil, usage("connector: %s is not deployed in the stack %q (parameter Connectors)", c.Name, s.Name)
		}
	}
	if len(here) == 0 {
		return nil, nil, usage("the stack %q has no connector deployed: set the parameter Connectors", s.Name)
	}
	return s, here, nil
}

// completeConnectors offers the connectors' names to the shell.
func completeConnectors(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return connectors.Names(), cobra.ShellCompDirectiveNoFileComp
}

// settings lists the settings that the connector reads, optional ones included.
func (c connector) settings() []settings.Setting {
	s := settings.New(func(string) string { return "" }, nil)
	c.Open(s)
	return s.Declared()
}

// reads reports whether the connector reads a setting.
func (c connector) reads(name string) bool {
	return slices.ContainsFunc(c.settings(), func(s settings.Setting) bool { return s.Name == name }) ||
		slices.Contains(c.RotatesWithSecret, name)
}

// problems opens the connector and returns its configuration problems. Each begins with the setting's name.
func (c connector) problems(env settings.Lookup, secret map[string]string) []string {
	s := settings.New(env, secret)
	c.Open(s)
	if wrong, ok := errors.AsType[*settings.Error](s.Err()); ok {
		return wrong.Problems
	}
	return nil
}
