package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

type configureOptions struct {
	set, unset []string
	stdin      bool
}

func (a *app) configureCommand() *cobra.Command {
	var o configureOptions
	c := &cobra.Command{
		Use: "configure <connector>", Short: "Store a SIEM's credentials in the connector's secret", Args: cobra.ExactArgs(1),
		Long: `Ask for the credentials of a connector, without showing them, and store them in its secret, beside what is there. An empty
answer keeps what is there. @file reads a file, such as a certificate's; @@ stands for an @ at the beginning.

A value that the connector cannot use is refused before anything is stored. The function reads its secret at the next check,
when the SIEM refuses the old credential, or within five minutes.`,
		Example:           "  siemctl configure splunk\n  siemctl configure qradar --set QRADAR_TLS_CA_BUNDLE\n  jq -n '{DATADOG_API_KEY: env.KEY}' | siemctl configure datadog --stdin",
		ValidArgsFunction: completeConnectors,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.configure(cmd.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.set, "set", nil, "ask for this `setting` too, which may then stand in the secret instead of the template")
	f.StringSliceVar(&o.unset, "unset", nil, "take this `setting` out of the secret")
	f.BoolVar(&o.stdin, "stdin", false, "read the settings from standard input: a JSON object, or NAME=value lines")
	return c
}

func (a *app) configure(ctx context.Context, name string, o configureOptions) error {
	list, err := find([]string{name})
	if err != nil {
		return err
	}
	c := list[0]
	if err := o.check(c); err != nil {
		return err
	}
	if !o.stdin && len(o.unset) == 0 && !a.in.Interactive() {
		return usage("--stdin: is needed where nobody can be asked")
	}
	s, _, err := a.connect(ctx, []string{name})
	if err != nil {
		return err
	}
	object, err := storedSecret(ctx, s, c)
	if err != nil {
		return err
	}
	given, err := a.given(c, o, object)
	if err != nil {
		return err
	}
	return a.store(ctx, s, c, object, given, o.unset)
}

// check names every setting that the connector does not have.
func (o configureOptions) check(c connector) error {
	var unknown []string
	for _, name := range slices.Concat(o.set, o.unset) {
		if !c.reads(name) {
			unknown = append(unknown, fmt.Sprintf("%q", name))
		}
	}
	if unknown != nil {
		return usage("--set, --unset: expected settings of %s, found %s", c.Name, strings.Join(unknown, ", "))
	}
	return nil
}

// storedSecret reads the secret's object, its values as they are written.
func storedSecret(ctx context.Context, s *deployed.Stack, c connector) (map[string]json.RawMessage, error) {
	text, err := s.Secret(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	object := map[string]json.RawMessage{}
	if strings.TrimSpace(text) == "" {
		return object, nil
	}
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil { // its text may quote the secret
		return nil, fmt.Errorf("the secret of %s: expected a JSON object, it holds something else: store {} in it first", c.Name)
	}
	return object, nil
}

// given returns the settings that were entered.
func (a *app) given(c connector, o configureOptions, stored map[string]json.RawMessage) (map[string]string, error) {
	if o.stdin {
		data, err := a.readFile("--stdin", "-")
		if err != nil {
			return nil, err
		}
		values, err := parseSettings(data)
		if err != nil {
			return nil, usage("--stdin: %w", err)
		}
		for name := range values {
			if !c.reads(name) {
				return nil, usage("--stdin: expected settings of %s, found %q", c.Name, name)
			}
		}
		return values, nil
	}
	values := map[string]string{}
	if !a.in.Interactive() { // --unset alone
		return values, nil
	}
	for _, name := range c.toAsk(o.set) {
		value, err := a.askFor(name, stored[name] != nil)
		if err != nil {
			return nil, err
		}
		if value != "" {
			values[name] = value
		}
	}
	return values, nil
}

// toAsk lists the settings to ask for: the credentials, what changes with them, and those asked for by name.
func (c connector) toAsk(more []string) []string {
	var list []string
	for _, s := range c.settings() {
		if s.Secret {
			list = append(list, s.Name)
		}
	}
	list = slices.Concat(list, c.RotatesWithSecret, more)
	slices.Sort(list)
	return slices.Compact(list)
}

func (a *app) askFor(name string, isSet bool) (string, error) {
	state := "not set"
	if isSet {
		state = "set; Enter keeps it"
	}
	value, err := a.in.Secret(a.out, fmt.Sprintf("%s (%s): ", name, state))
	if err != nil {
		return "", err
	}
	switch {
	case strings.HasPrefix(value, "@@"):
		return value[1:], nil
	case strings.HasPrefix(value, "@"):
		data, err := os.ReadFile(value[1:])
		if err != nil {
			return "", usage("%s: %w", name, err)
		}
		return string(bytes.TrimSpace(data)), nil
	}
	return value, nil
}

// configured is the result of configure. It names settings and shows no value.
type configured struct {
	Connector string   `json:"connector"`
	Stored    []string `json:"stored"`
	Removed   []string `json:"removed"`
	Problems  []string `json:"problems"` // of the connector's other settings
}

func (a *app) store(ctx context.Context, s *deployed.Stack, c connector, object map[string]json.RawMessage, given map[string]string, unset []string) error {
	r := configured{Connector: c.Name, Stored: slices.Sorted(maps.Keys(given)), Removed: unset}
	for name, value := range given {
		quoted, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("writing the secret: %w", err)
		}
		object[name] = quoted
	}
	for _, name := range unset {
		delete(object, name)
	}
	if len(given)+len(unset) == 0 {
		a.out.Note("nothing was entered, nothing is changed")
		return nil
	}
	env, err := s.Environment(ctx, c.ID)
	if err != nil {
		return err
	}
	for name := range given {
		if strings.TrimSpace(env[name]) != "" {
			return usage("%s: the function's environment sets it, and wins over the secret: change the template's parameter; nothing was stored", name)
		}
	}
	problems, err := c.problemsWith(env, object)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if name, _, _ := strings.Cut(p, ":"); given[name] != "" {
			return usage("%s; nothing was stored", p)
		}
	}
	r.Problems = problems
	text, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("writing the secret: %w", err)
	}
	if err := s.PutSecret(ctx, c.ID, string(text)); err != nil {
		return err
	}
	return a.showConfigured(r)
}

// problemsWith opens the connector with what its function would have.
func (c connector) problemsWith(env map[string]string, object map[string]json.RawMessage) ([]string, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("reading the secret: %w", err)
	}
	values, err := parseObject(text)
	if err != nil {
		return nil, fmt.Errorf("the secret of %s: %w", c.Name, err)
	}
	return c.problems(func(name string) string { return env[name] }, values), nil
}

func (a *app) showConfigured(r configured) error {
	if a.out.JSON {
		if err := a.out.Object(r); err != nil {
			return err
		}
	} else {
		if len(r.Stored) > 0 {
			a.out.Line("stored %s in the secret of %s", strings.Join(r.Stored, ", "), r.Connector)
		}
		if len(r.Removed) > 0 {
			a.out.Line("removed %s from the secret of %s", strings.Join(r.Removed, ", "), r.Connector)
		}
		for _, p := range r.Problems {
			a.out.Line("%s %s", a.out.Paint(term.Warn, "still wrong:"), term.Clean(p))
		}
		a.out.Note("try it: siemctl check %s", r.Connector)
	}
	if len(r.Problems) > 0 {
		return errFound
	}
	return nil
}
