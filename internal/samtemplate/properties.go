package samtemplate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// properties reads the resolved properties of a resource. It collects all problems.
type properties struct {
	values   map[string]any
	path     string
	problems *[]error
}

func (p properties) fail(name string, format string, args ...any) {
	*p.problems = append(*p.problems, fmt.Errorf("%s.%s: "+format, append([]any{p.path, name}, args...)...))
}

// only rejects every property that is not one of the names. what describes the resource in errors.
func (p properties) only(what string, names ...string) {
	known := "," + strings.Join(names, ",") + ","
	for _, name := range sortedKeys(p.values) {
		if !strings.Contains(known, ","+name+",") {
			p.fail(name, "this property of a %s is not supported", what)
		}
	}
}

func (p properties) has(name string) bool { _, ok := p.values[name]; return ok }

func (p properties) text(name, otherwise string) string {
	v, ok := p.values[name]
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		p.fail(name, "expected a string, found %s", describe(v))
	}
	return s
}

func (p properties) number(name string, otherwise int) int {
	if !p.has(name) {
		return otherwise
	}
	n, err := strconv.Atoi(p.text(name, ""))
	if err != nil {
		p.fail(name, "expected an integer, found %s", describe(p.values[name]))
	}
	return n
}

func (p properties) flag(name string, otherwise bool) bool {
	switch s := p.text(name, strconv.FormatBool(otherwise)); strings.ToLower(s) {
	case "true":
		return true
	case "false":
		return false
	default:
		p.fail(name, "expected true or false, found %q", s)
		return false
	}
}

// under returns the properties of a nested mapping, empty if it is missing.
func (p properties) under(name string) properties {
	nested := properties{path: p.path + "." + name, problems: p.problems}
	v, ok := p.values[name]
	if !ok {
		return nested
	}
	if nested.values, ok = v.(map[string]any); !ok {
		p.fail(name, "expected a mapping, found %s", describe(v))
	}
	return nested
}

// json returns a property as an attribute of an SQS queue: a string unchanged, anything else as JSON.
func (p properties) json(name string) string {
	if s, ok := p.values[name].(string); ok {
		return s
	}
	data, err := json.Marshal(p.values[name])
	if err != nil {
		p.fail(name, "writing it as JSON: %w", err)
	}
	return string(data)
}

// read resolves a resource's properties and passes them to f. If names are given, it resolves only these.
func (t *Template) read(id, kind string, a Attributes, names []string, f func(properties)) error {
	actual, err := t.Type(id)
	if err != nil {
		return err
	}
	if actual != kind {
		return fmt.Errorf("%s: expected a resource of type %s, found %s", id, kind, actual)
	}
	own, ok := t.resources[id].properties.(map[string]any)
	if !ok && t.resources[id].properties != nil {
		return fmt.Errorf("%s.Properties: expected a mapping, found %s", id, describe(t.resources[id].properties))
	}
	if kind == TypeFunction {
		own = merge(t.globals, own)
	}
	if names != nil {
		own = pick(own, names)
	}
	path := id + ".Properties"
	v, err := resolver{t, a}.resolve(own, path)
	if err != nil {
		return err
	}
	values, _ := v.(map[string]any)
	var problems []error
	f(properties{values, path, &problems})
	return errors.Join(problems...)
}

// pick returns m with the named keys only.
func pick(m map[string]any, names []string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if v, ok := m[name]; ok {
			out[name] = v
		}
	}
	return out
}

// merge combines the Globals with a resource's own properties as SAM does: mappings by key, lists by concatenation.
// https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html
func merge(global, own map[string]any) map[string]any {
	out := make(map[string]any, len(global)+len(own))
	maps.Copy(out, global)
	for k, v := range own {
		switch v := v.(type) {
		case map[string]any:
			if g, ok := out[k].(map[string]any); ok {
				out[k] = merge(g, v)
				continue
			}
		case []any:
			if g, ok := out[k].([]any); ok {
				out[k] = append(append([]any{}, g...), v...)
				continue
			}
		}
		out[k] = v
	}
	return out
}
