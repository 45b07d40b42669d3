package main

import (
	"errors"
	"maps"
	"strings"

	"github.com/arbitex/siem-connectors/internal/samtemplate"
	"github.com/arbitex/siem-connectors/shared/settings"
)

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
	region := orElse(a.options.Region, "us-east-1")
	t, err := samtemplate.Load(o.template, samtemplate.Options{Parameters: parameters, Region: region,
		AccountID: "123456789012", StackName: a.options.Stack})
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
