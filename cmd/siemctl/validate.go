package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/internal/samtemplate"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// level is the severity of a finding.
type level string

const (
	isError   level = "error"   // the connector or the deployment does not work
	isWarning level = "warning" // it works, possibly not as expected
	isNote    level = "note"    // something to do elsewhere
)

// finding is one result of validate.
type finding struct {
	Level level  `json:"level"`
	Where string `json:"where"`
	What  string `json:"what"`
}

type validateOptions struct {
	settings, template, parameters, events string
	parameter                              []string
}

// validation is the result of validate.
type validation struct {
	Valid    bool      `json:"valid"`
	Findings []finding `json:"findings"`
	Events   []fit     `json:"events,omitempty"`
}

func (v *validation) add(l level, where, format string, args ...any) {
	v.Findings = append(v.Findings, finding{l, where, fmt.Sprintf(format, args...)})
}

func (a *app) validateCommand() *cobra.Command {
	var o validateOptions
	c := &cobra.Command{
		Use: "validate [connector...]", Short: "Check settings, template parameters and events, without a network",
		Long: `Check, without a network:

  --settings   settings, as the connectors' functions would read them; without any of these flags, the environment
  --template   the template with its parameters, and the settings that its functions would get; --settings is then the
               content of their secret
  --events     events against OCSF (1.1 to 1.9, by metadata.version) and against each SIEM's limits and columns, as the
               connectors encode them

A name in --settings that no connector reads is an error. Errors prevent the connector from working; warnings do not;
notes name what to do elsewhere.`,
		Example: "  siemctl validate splunk --settings splunk.env\n  siemctl validate --template template.yaml " +
			"--parameter Connectors=splunk\n" +
			"  siemctl validate --events sample.jsonl",
		ValidArgsFunction: completeConnectors,
		RunE: func(_ *cobra.Command, args []string) error {
			v, err := a.validate(args, o)
			if err != nil {
				return err
			}
			return a.showValidation(v)
		},
	}
	f := c.Flags()
	f.StringVar(&o.settings, "settings", "", "`file` of settings: NAME=value lines or a JSON object")
	f.StringVar(&o.template, "template", "", "`file` of the template")
	f.StringVar(&o.parameters, "parameters", "", "`file` of template parameters: Name=value lines or a JSON object")
	f.StringArrayVar(&o.parameter, "parameter", nil, "one parameter, `Name=value`")
	f.StringVar(&o.events, "events", "", "`file` of events, one per line; - is standard input")
	return c
}

func (a *app) validate(args []string, o validateOptions) (*validation, error) {
	list, err := find(args)
	if err != nil {
		return nil, err
	}
	if o.template == "" && (o.parameters != "" || o.parameter != nil) {
		return nil, usage("--template: required with --parameters and --parameter")
	}
	source, err := a.settingsFrom(o.settings)
	if err != nil {
		return nil, err
	}
	v := &validation{Findings: []finding{}}
	for _, u := range source.unknownSettings() {
		l := isWarning
		if u.misspelled {
			l = isError
		}
		v.add(l, "settings", "%s", u)
	}
	if o.template != "" {
		if err := a.validateTemplate(v, list, source.lookup, o); err != nil {
			return nil, err
		}
	} else if o.settings != "" || o.events == "" {
		if err := validateSettings(v, list, len(args) > 0, source.lookup); err != nil {
			return nil, err
		}
	}
	if o.events != "" {
		if err := a.validateEvents(v, list, source.lookup, o); err != nil {
			return nil, err
		}
	}
	v.Valid = !slices.ContainsFunc(v.Findings, func(f finding) bool { return f.Level == isError })
	return v, nil
}

// validateSettings opens the connectors. Without names, it opens those that have a setting of their own.
func validateSettings(v *validation, list []connector, named bool, env settings.Lookup) error {
	if !named {
		list = slices.DeleteFunc(list, func(c connector) bool { return !c.isSet(env) })
	}
	if len(list) == 0 && len(v.Findings) > 0 {
		return nil // the unknown names say what is wrong
	}
	if len(list) == 0 {
		return usage("settings: expected the settings of a connector, found none; name one of %s",
			strings.Join(connectors.Names(), ", "))
	}
	for _, c := range list {
		before := len(v.Findings)
		s := settings.New(env, nil)
		c.Open(s)
		if wrong, ok := errors.AsType[*settings.Error](s.Err()); ok {
			for _, p := range wrong.Problems {
				v.add(isError, c.Name, "%s", p)
			}
		}
		for _, w := range s.Warnings() {
			v.add(isWarning, c.Name, "%s", w)
		}
		if len(v.Findings) == before {
			v.add(isNote, c.Name, "the settings are valid")
		}
	}
	return nil
}

// isSet reports whether a setting that only this connector reads has a value.
func (c connector) isSet(env settings.Lookup) bool {
	return slices.ContainsFunc(c.settings(), func(s settings.Setting) bool {
		return strings.HasPrefix(s.Name, c.Variable("")) && strings.TrimSpace(env(s.Name)) != ""
	})
}

func (a *app) showValidation(v *validation) error {
	return a.result(v, !v.Valid, func() { a.showFindings(v) })
}

func (a *app) showFindings(v *validation) {
	var rows [][]term.Cell
	for _, f := range v.Findings {
		style := term.Faint
		switch f.Level {
		case isError:
			style = term.Bad
		case isWarning:
			style = term.Warn
		case isNote:
		}
		rows = append(rows, term.Row(term.Styled(style, string(f.Level)), f.Where, f.What))
	}
	if len(rows) > 0 {
		a.out.Table([]string{"LEVEL", "WHERE", "WHAT"}, rows)
	}
	if len(v.Events) > 0 {
		if len(rows) > 0 {
			a.out.Line("")
		}
		a.showFits(v.Events)
	}
}

// offline returns placeholders for the attributes that AWS assigns to resources.
type offline struct{}

// Attribute implements samtemplate.Attributes.
func (offline) Attribute(id, name string) (string, error) {
	if name == "" {
		return "https://made-by-aws.example.com/" + id, nil
	}
	return "arn:aws:made-by-aws:" + id + ":" + name, nil
}

// validateTemplate loads the template with its parameters, and opens each deployed connector with the environment of
// its function.
func (a *app) validateTemplate(v *validation, list []connector, secret settings.Lookup, o validateOptions) error {
	parameters, err := a.parametersOf(o)
	if err != nil {
		return err
	}
	region := cmp.Or(a.options.Region, "us-east-1")
	t, err := samtemplate.Load(o.template, samtemplate.Options{Parameters: parameters, Region: region,
		AccountID: "123456789012", StackName: a.options.Stack})
	if unreadable, ok := errors.AsType[*fs.PathError](err); ok {
		return usage("--template: %w", unreadable)
	}
	if err != nil {
		for _, problem := range splitErrors(err) {
			v.add(isError, "template", "%s", problem)
		}
		return nil
	}
	v.add(isNote, "template", "the parameters are valid")
	for _, c := range list {
		if _, err := t.Type(c.Name + "Function"); err != nil {
			continue
		}
		f, err := t.Function(c.Name+"Function", offline{})
		if err != nil {
			v.add(isError, c.Name, "%s", err)
			continue
		}
		c.validateFunction(v, f.Environment, secret)
	}
	return nil
}

// validateFunction checks a function's settings. Required settings that are not in its environment must be keys of the
// secret.
func (c connector) validateFunction(v *validation, env map[string]string, secret settings.Lookup) {
	values := map[string]string{}
	for _, s := range c.settings() {
		if value := secret(s.Name); value != "" {
			values[s.Name] = value
		}
	}
	for _, p := range c.problems(func(name string) string { return env[name] }, values) {
		l := isError
		if strings.Contains(p, "is not set") {
			l, p = isNote, p+"; it must be a key of the connector's secret"
		}
		v.add(l, c.Name, "%s", p)
	}
	if env["SIEM_QUEUE_URL"] == "" || env["SIEM_DEAD_LETTER_QUEUE_URL"] == "" || env["SIEM_SECRET_ID"] == "" {
		v.add(isError, c.Name, "the template does not set SIEM_QUEUE_URL, SIEM_DEAD_LETTER_QUEUE_URL or SIEM_SECRET_ID")
	}
}

// parametersOf reads the parameters of the file and of the flags. Flags take precedence.
func (a *app) parametersOf(o validateOptions) (map[string]string, error) {
	parameters := map[string]string{}
	if o.parameters != "" {
		data, err := a.readFile("--parameters", o.parameters)
		if err != nil {
			return nil, err
		}
		values, err := parseSettings(data)
		if err != nil {
			return nil, usage("--parameters %s: %w", o.parameters, err)
		}
		maps.Copy(parameters, values)
	}
	for _, p := range o.parameter {
		name, value, ok := strings.Cut(p, "=")
		if !ok || !isName(name) {
			return nil, usage("--parameter: expected Name=value, found %q", p)
		}
		parameters[name] = value
	}
	return parameters, nil
}

// splitErrors returns the errors that an error joins.
func splitErrors(err error) []string {
	if many, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		var list []string
		for _, e := range many.Unwrap() {
			list = append(list, e.Error())
		}
		return list
	}
	return []string{err.Error()}
}
