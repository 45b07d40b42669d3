package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/search"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

type configureOptions struct {
	set, unset []string
	stdin      bool
	template   bool // --install-template
	search     bool
	explain    map[string]string // more settings to ask for, with an explanation
	preset     map[string]string // stored unless they are set
}

func (a *app) configureCommand() *cobra.Command {
	var o configureOptions
	c := &cobra.Command{
		Use: "configure <connector>", Short: "Store a SIEM's settings in a secret", Args: one("connector"),
		Long: `Ask for the settings that a connector requires, without showing credentials, and store them in its
secret. Other keys of the secret do not change. An empty answer keeps the stored value, also with
--stdin; --unset removes a value. @file reads the value from a file, for example a certificate; a
value that begins with @ is written as @@.

A value that the connector cannot use is refused before anything is stored. The function reads the secret again at the
next check, when the SIEM refuses the old credential, or within five minutes.

For elastic, --install-template also installs the ingest pipeline and the index template of contrib/elastic that fit
the server's version. It uses the API key in the environment variable ELASTIC_ADMIN_API_KEY, or else the connector's
own, and stores ELASTIC_OP_TYPE and ELASTIC_PIPELINE. On a terminal, configure offers the installation and asks for that
key, which is not stored.

With --search, the settings are your search credential for reconcile, trace and send --wait. They
are stored in another secret, named <stack>/search, which no function can read; the first call
creates it. docs/audit.md lists the settings and the least privilege for every SIEM.`,
		Example: "  siemctl configure splunk\n  siemctl configure qradar --set QRADAR_TLS_CA_BUNDLE\n" +
			"  siemctl configure datadog --stdin < datadog.env\n  siemctl configure --search splunk",
		ValidArgsFunction: completeConnectors,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.configure(cmd.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.set, "set", nil, "also ask for this `setting`, which can be a key of the secret instead of a "+
		"template parameter")
	f.StringSliceVar(&o.unset, "unset", nil, "remove this `setting` from the secret")
	f.BoolVar(&o.search, "search", false, "store your search credential, in the secret <stack>/search")
	f.BoolVar(&o.stdin, "stdin", false, "read the settings from standard input: a JSON object, or NAME=value lines")
	f.BoolVar(&o.template, "install-template", false, "install the index template and the ingest pipeline (elastic)")
	return c
}

func (a *app) configure(ctx context.Context, name string, o configureOptions) error {
	list, err := find([]string{name})
	if err != nil {
		return err
	}
	c := list[0]
	settings := c // whose settings are asked for
	if o.search {
		if len(search.Variables(c.Name)) == 0 {
			return usage("--search: siemctl cannot search %s", c.Title)
		}
		settings = searchSettings(c, func(string) string { return "" })
	}
	if err := o.check(settings); err != nil {
		return err
	}
	if !o.stdin && !o.template && len(o.unset) == 0 && !a.in.Interactive() {
		return usage("--stdin: required because standard input is not a terminal")
	}
	s, _, err := a.connect(ctx, []string{name})
	if err != nil {
		return err
	}
	v := vault{connector: c, name: "the secret of " + c.Name, next: "siemctl check " + c.Name,
		read:  func() (string, error) { return s.Secret(ctx, c.Name) },
		write: func(text string) error { return s.PutSecret(ctx, c.Name, text) }}
	if o.search {
		o.explain = searchExplanations(c.Name)
		v, err = a.searchVault(ctx, s, c)
	} else {
		v.env, err = s.Environment(ctx, c.Name)
	}
	if err != nil {
		return err
	}
	object, err := v.stored()
	if err != nil {
		return err
	}
	given, err := a.given(ctx, v.connector, o, v.env, object)
	if err != nil {
		return err
	}
	if c.Name == "elastic" && !o.search {
		if err := a.installTemplate(ctx, o, v.env, object, given); err != nil {
			return fmt.Errorf("installing the index template: %w; nothing was stored", err)
		}
	}
	return a.store(&v, object, given, o)
}

// vault is a secret, with the connector whose settings it holds.
type vault struct {
	connector
	name  string            // in messages
	next  string            // command to run after a change
	env   map[string]string // takes precedence over the secret
	read  func() (string, error)
	write func(text string) error
}

// searchVault is the secret of search credentials, which need not exist.
func (a *app) searchVault(ctx context.Context, s *deployed.Stack, c connector) (vault, error) {
	lookup, err := a.connectorSettings(ctx, s, c)
	return vault{connector: searchSettings(c, lookup), name: "the secret " + s.SearchSecret(),
		next: "siemctl send --to " + c.Name + " --generate 1 --wait",
		read: func() (string, error) {
			text, err := s.NamedSecret(ctx, s.SearchSecret())
			if errors.Is(err, deployed.ErrNoSecret) {
				err = nil
			}
			return text, err
		},
		write: func(text string) error { return s.PutSearchSecret(ctx, text) }}, err
}

// check rejects settings that the connector does not read.
func (o configureOptions) check(c connector) error {
	if o.template && o.search {
		return usage("--install-template: not valid with --search")
	}
	if o.template && c.Name != "elastic" {
		return usage("--install-template: only for elastic")
	}
	return c.rejectUnknown("--set, --unset", slices.Concat(o.set, o.unset))
}

// rejectUnknown returns an error that names every setting that the connector does not read.
func (c connector) rejectUnknown(flag string, list []string) error {
	known := slices.Clone(c.RotatesWithSecret)
	for _, s := range c.settings() {
		known = append(known, s.Name)
	}
	var unknown []string
	for _, name := range list {
		if !c.reads(name) {
			unknown = append(unknown, fmt.Sprintf("%q%s", name, suggest(name, known)))
		}
	}
	if unknown == nil {
		return nil
	}
	return usage("%s: expected settings of %s, found %s", flag, c.Name, strings.Join(unknown, ", "))
}

// stored reads the secret's object without changing its values.
func (v *vault) stored() (map[string]json.RawMessage, error) {
	text, err := v.read()
	if err != nil {
		return nil, err
	}
	object := map[string]json.RawMessage{}
	if strings.TrimSpace(text) == "" {
		return object, nil
	}
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil { // its text may quote the secret
		return nil, fmt.Errorf("%s: expected a JSON object, found something else; store {} in it first", v.name)
	}
	return object, nil
}

// given returns the settings that were entered. Empty answers are left out.
func (a *app) given(ctx context.Context, c connector, o configureOptions, env map[string]string,
	stored map[string]json.RawMessage) (map[string]string, error) {
	if o.stdin {
		data, err := a.readFile("--stdin", "-")
		if err != nil {
			return nil, err
		}
		values, err := parseSettings(data)
		if err != nil {
			return nil, usage("--stdin: %w", err)
		}
		if err := c.rejectUnknown("--stdin", slices.Sorted(maps.Keys(values))); err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if strings.TrimSpace(values[name]) == "" {
				delete(values, name)
				a.out.Note("%s: the value is empty; the stored value is kept", name)
			}
		}
		return values, nil
	}
	values := map[string]string{}
	if !a.in.Interactive() { // --unset alone
		return values, nil
	}
	for name, value := range o.preset {
		if stored[name] == nil && strings.TrimSpace(env[name]) == "" {
			values[name] = value
			a.out.Note("%s: %s", name, value)
		}
	}
	for _, q := range c.toAsk(env, slices.Concat(o.set, slices.Collect(maps.Keys(o.explain)))) {
		if _, ok := values[q.name]; ok {
			continue
		}
		q.expected = cmp.Or(o.explain[q.name], q.expected)
		value, err := a.askFor(ctx, q, stored[q.name] != nil)
		if err != nil {
			return nil, err
		}
		if value != "" {
			values[q.name] = value
		}
	}
	return values, nil
}

// question is a setting to ask for.
type question struct {
	name     string
	expected string // description of the value, may be empty
	secret   bool   // the answer is not shown
}

// toAsk lists the settings to ask for: those that the connector requires, the credentials, the settings that rotate
// with them, and more. A required setting that the function's environment sets is not asked for.
func (c connector) toAsk(env map[string]string, more []string) []question {
	expected := map[string]string{}
	for _, problem := range c.problems(func(string) string { return "" }, nil) {
		name, text, _ := strings.Cut(problem, ": expected ")
		expected[name] = strings.TrimSuffix(strings.TrimSuffix(text, ", is not set"), " (a key of the secret SIEM_SECRET_ID)")
	}
	var list []question
	for _, s := range c.settings() {
		inEnvironment := strings.TrimSpace(env[s.Name]) != ""
		if s.Secret || s.Required && !inEnvironment || slices.Contains(c.RotatesWithSecret, s.Name) ||
			slices.Contains(more, s.Name) {
			list = append(list, question{s.Name, expected[s.Name], s.Secret})
		}
	}
	for _, name := range slices.Concat(c.RotatesWithSecret, more) { // the connector reads some only with other settings
		if !slices.ContainsFunc(list, func(q question) bool { return q.name == name }) {
			list = append(list, question{name: name})
		}
	}
	slices.SortFunc(list, func(a, b question) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(list, func(a, b question) bool { return a.name == b.name })
}

func (a *app) askFor(ctx context.Context, q question, isSet bool) (string, error) {
	name, state := q.name, "not set"
	if isSet {
		state = "set; Enter keeps it"
	}
	if q.expected != "" {
		a.out.Note("%s is %s", name, q.expected)
	}
	ask := a.in.Line
	if q.secret {
		ask = a.in.Secret
	}
	value, err := ask(ctx, a.out, fmt.Sprintf("%s (%s): ", name, state))
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

// configured is the result of configure. It contains names of settings and no values.
type configured struct {
	Connector string   `json:"connector"`
	Stored    []string `json:"stored"`
	Removed   []string `json:"removed"`
	Problems  []string `json:"problems"` // that were there before
}

func (a *app) store(v *vault, object map[string]json.RawMessage, given map[string]string, o configureOptions) error {
	if len(given)+len(o.unset) == 0 {
		a.out.Note("no value was entered; nothing was changed")
		if o.stdin { // a script that sets a value did not do so
			return errProblems
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if strings.TrimSpace(v.env[name]) != "" {
			return usage("%s: the function's environment sets it, which takes precedence over the secret; change the "+
				"template's parameter. Nothing was stored", name)
		}
	}
	before, err := v.problemsWith(object)
	if err != nil {
		return err
	}
	for name, value := range given {
		quoted, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("writing the secret: %w", err)
		}
		object[name] = quoted
	}
	for _, name := range o.unset {
		delete(object, name)
	}
	after, err := v.problemsWith(object)
	if err != nil {
		return err
	}
	if refused := newProblems(before, after, given, o.unset); refused != nil {
		return usage("%s; nothing was stored", strings.Join(refused, "; "))
	}
	text, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("writing the secret: %w", err)
	}
	if err := v.write(string(text)); err != nil {
		return err
	}
	return a.showConfigured(v, configured{Connector: v.Name, Stored: slices.Sorted(maps.Keys(given)), Removed: o.unset,
		Problems: after})
}

// newProblems returns the problems that the given values cause: those that name a given value, and those that were not
// there before, except that a removed setting is missing.
func newProblems(before, after []string, given map[string]string, unset []string) []string {
	var list []string
	for _, problem := range after {
		name, _, _ := strings.Cut(problem, ":")
		_, isGiven := given[name]
		if isGiven || !slices.Contains(before, problem) && !slices.Contains(unset, name) {
			list = append(list, problem)
		}
	}
	return list
}

// problemsWith returns the problems of the settings that apply if the secret holds an object.
func (v *vault) problemsWith(object map[string]json.RawMessage) ([]string, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("reading the secret: %w", err)
	}
	values, err := parseObject(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.name, err)
	}
	return v.problems(func(name string) string { return v.env[name] }, values), nil
}

func (a *app) showConfigured(v *vault, r configured) error {
	return a.result(r, len(r.Problems) > 0, func() {
		if len(r.Stored) > 0 {
			a.out.Line("stored %s in %s", strings.Join(r.Stored, ", "), v.name)
		}
		if len(r.Removed) > 0 {
			a.out.Line("removed %s from %s", strings.Join(r.Removed, ", "), v.name)
		}
		for _, p := range r.Problems {
			a.out.Line("%s %s", a.out.Paint(term.Warn, "problem:"), p)
		}
		a.out.Note("next: %s", v.next)
	})
}
