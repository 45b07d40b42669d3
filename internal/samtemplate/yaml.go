package samtemplate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A template's values are nil, strings (every scalar as it is written, because CloudFormation has no other scalars),
// []any, map[string]any, and calls.

// call is an intrinsic function with its argument.
type call struct {
	name string // "Ref", "Fn::Sub", "Condition", …
	arg  any
}

// decode returns the sections of a template.
func decode(data []byte) map[string]any {
	var n yaml.Node
	stop(yaml.Unmarshal(data, &n))
	if n.Kind == yaml.DocumentNode {
		if sections, ok := value(n.Content[0]).(map[string]any); ok {
			return sections
		}
	}
	stop(errors.New("expected a mapping of sections (Parameters, Resources, …)"))
	return nil
}

// value turns a YAML node into a value.
func value(n *yaml.Node) any {
	if n.Kind == yaml.AliasNode {
		fail(line(n), "CloudFormation does not support YAML aliases")
	}
	plain := plainValue(n)
	name, short := strings.CutPrefix(n.Tag, "!")
	if !short || strings.HasPrefix(name, "!") { // "!!str" and its like are YAML's own
		return plain
	}
	return shortCall(name, plain)
}

func line(n *yaml.Node) string { return fmt.Sprintf("line %d", n.Line) }

func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil
		}
		return n.Value
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			list[i] = value(c)
		}
		return list
	default:
		return mapping(n)
	}
}

// mapping turns a YAML mapping into a map, or into a call if it is the long form of one.
func mapping(n *yaml.Node) any {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if _, twice := m[key.Value]; twice {
			fail(line(key), "duplicate key %q", key.Value)
		}
		if key.Value == "<<" {
			fail(line(key), "CloudFormation does not support YAML merge keys")
		}
		m[key.Value] = value(n.Content[i+1])
	}
	if len(m) == 1 {
		for name, arg := range m {
			if name == "Ref" || strings.HasPrefix(name, "Fn::") && !strings.HasPrefix(name, loopPrefix) {
				return call{name, arg}
			}
		}
	}
	return m
}

// shortCall is the call for a tag such as !Sub.
func shortCall(tag string, arg any) call {
	switch tag {
	case "Ref", "Condition":
		return call{tag, arg}
	case "GetAtt":
		if s, ok := arg.(string); ok {
			id, attribute, _ := strings.Cut(s, ".")
			arg = []any{id, attribute}
		}
	}
	return call{"Fn::" + tag, arg}
}

// describe describes a value in an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%.100q", v)
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case call:
		return "a call of " + v.name
	case map[string]any:
		return fmt.Sprintf("a mapping of %d", len(v))
	default:
		return fmt.Sprintf("%T", v)
	}
}

// sortedKeys returns the keys of a map in a fixed order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// loopPrefix begins the key of a loop.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-foreach.html
const loopPrefix = "Fn::ForEach::"

// expand returns v with every Fn::ForEach loop expanded, as the transform AWS::LanguageExtensions does. A collection is
// a list of texts, or a function whose result is one.
func (t *Template) expand(v any, path string) any {
	switch v := v.(type) {
	case call:
		return call{v.name, t.expand(v.arg, path)}
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = t.expand(item, path)
		}
		return out
	case map[string]any:
		return t.expandMapping(v, path)
	}
	return v
}

func (t *Template) expandMapping(m map[string]any, path string) map[string]any {
	out := make(map[string]any, len(m))
	var loops []string
	for _, key := range sortedKeys(m) {
		if strings.HasPrefix(key, loopPrefix) {
			loops = append(loops, key)
		} else {
			out[key] = t.expand(m[key], path+"."+key)
		}
	}
	for _, key := range loops {
		t.expandLoop(m[key], path+"."+key, out)
	}
	return out
}

// expandLoop adds the entries that one loop creates.
func (t *Template) expandLoop(v any, path string, out map[string]any) {
	parts, ok := v.([]any)
	if !ok || len(parts) != 3 {
		fail(path, "expected an identifier, a collection and a fragment, found %s", describe(v))
	}
	identifier := text(parts[0], path)
	for _, value := range texts(resolver{Template: t}.resolve(parts[1], path), path) {
		fragment := t.expand(substitute(parts[2], identifier, value), path)
		entries, ok := fragment.(map[string]any)
		if !ok {
			fail(path, "expected a mapping as the fragment, found %s", describe(fragment))
		}
		for _, name := range sortedKeys(entries) {
			if _, taken := out[name]; taken {
				fail(path, "it creates %q, which exists already", name)
			}
			out[name] = entries[name]
		}
	}
}

// substitution is the replacement of a loop's identifier by a value.
type substitution struct {
	identifier, value string
	text              *strings.Replacer
}

// substitute replaces the identifier by value where the transform does: in the keys of a loop's fragment, in the text
// of Fn::Sub, and as Ref. Any other text keeps its placeholders.
func substitute(fragment any, identifier, value string) any {
	s := substitution{identifier, value, strings.NewReplacer("${"+identifier+"}", value, "&{"+identifier+"}", value)}
	return s.in(fragment, true)
}

func (s *substitution) in(v any, fragment bool) any {
	switch v := v.(type) {
	case call:
		return s.inCall(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = s.in(item, false)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if loop, ok := item.([]any); ok && strings.HasPrefix(key, loopPrefix) && len(loop) == 3 {
				item = []any{loop[0], s.in(loop[1], false), s.in(loop[2], true)}
			} else {
				item = s.in(item, false)
			}
			if fragment {
				key = s.text.Replace(key)
			}
			out[key] = item
		}
		return out
	}
	return v
}

func (s *substitution) inCall(c call) any {
	if c.name == "Ref" && c.arg == any(s.identifier) {
		return s.value
	}
	c.arg = s.in(c.arg, false)
	if c.name != "Fn::Sub" {
		return c
	}
	switch arg := c.arg.(type) {
	case string:
		c.arg = s.text.Replace(arg)
	case []any:
		if len(arg) > 0 {
			if text, ok := arg[0].(string); ok {
				arg[0] = s.text.Replace(text)
			}
		}
	}
	return c
}

// checkLoopNames fails if two loops of the template have the same name. seen contains those found so far.
func checkLoopNames(v any, seen map[string]bool) {
	switch v := v.(type) {
	case call:
		checkLoopNames(v.arg, seen)
	case []any:
		for _, item := range v {
			checkLoopNames(item, seen)
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if strings.HasPrefix(key, loopPrefix) {
				if seen[key] {
					stop(fmt.Errorf("two loops are named %s", key))
				}
				seen[key] = true
			}
			checkLoopNames(v[key], seen)
		}
	}
}

func text(v any, path string) string {
	s, ok := v.(string)
	if !ok {
		fail(path, "expected a string, found %s", describe(v))
	}
	return s
}

func texts(v any, path string) []string {
	list, ok := v.([]any)
	if !ok {
		fail(path, "expected a list, found %s", describe(v))
	}
	out := make([]string, len(list))
	for i, item := range list {
		out[i] = text(item, fmt.Sprintf("%s[%d]", path, i))
	}
	return out
}
