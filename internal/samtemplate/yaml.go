package samtemplate

import (
	"cmp"
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

// document is a decoded template.
type document struct {
	fields map[string]any
	node   *yaml.Node
}

func decode(data []byte) (document, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil {
		return document{}, err
	}
	if n.Kind != yaml.DocumentNode || n.Content[0].Kind != yaml.MappingNode {
		return document{}, fmt.Errorf("expected a mapping of sections (Parameters, Resources, …)")
	}
	v, err := value(n.Content[0])
	if err != nil {
		return document{}, err
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return document{}, fmt.Errorf("expected a mapping of sections, found %s", describe(v))
	}
	return document{fields, n.Content[0]}, nil
}

// section returns a section of the document, empty if it is missing.
func (d document) section(name string) map[string]any {
	m, _ := d.fields[name].(map[string]any)
	return m
}

// keys returns the keys of a section in the order of the file.
func (d document) keys(section string) []string {
	var keys []string
	for i := 0; i < len(d.node.Content); i += 2 {
		if d.node.Content[i].Value != section {
			continue
		}
		for j := 0; j < len(d.node.Content[i+1].Content); j += 2 {
			keys = append(keys, d.node.Content[i+1].Content[j].Value)
		}
	}
	return keys
}

// value turns a YAML node into a value.
func value(n *yaml.Node) (any, error) {
	if n.Kind == yaml.AliasNode {
		return nil, fmt.Errorf("line %d: CloudFormation does not support YAML aliases", n.Line)
	}
	plain, err := plainValue(n)
	if err != nil {
		return nil, err
	}
	name, short := strings.CutPrefix(n.Tag, "!")
	if !short || strings.HasPrefix(name, "!") { // "!!str" and its like are YAML's own
		return plain, nil
	}
	return shortCall(name, plain), nil
}

func plainValue(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, nil
		}
		return n.Value, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, c := range n.Content {
			var err error
			if list[i], err = value(c); err != nil {
				return nil, err
			}
		}
		return list, nil
	default:
		return mapping(n)
	}
}

// mapping turns a YAML mapping into a map, or into a call if it is the long form of one.
func mapping(n *yaml.Node) (any, error) {
	m := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if _, twice := m[key.Value]; twice {
			return nil, fmt.Errorf("line %d: duplicate key %q", key.Line, key.Value)
		}
		if key.Value == "<<" {
			return nil, fmt.Errorf("line %d: CloudFormation does not support YAML merge keys", key.Line)
		}
		v, err := value(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		m[key.Value] = v
	}
	if len(m) == 1 {
		for name, arg := range m {
			if name == "Ref" || strings.HasPrefix(name, "Fn::") && !strings.HasPrefix(name, loopPrefix) {
				return call{name, arg}, nil
			}
		}
	}
	return m, nil
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
func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func byText(a, b error) int { return cmp.Compare(a.Error(), b.Error()) }

// loopPrefix begins the key of a loop.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-foreach.html
const loopPrefix = "Fn::ForEach::"

// expand returns v with every Fn::ForEach loop expanded, as the transform AWS::LanguageExtensions does. A collection is
// a list of texts, or a function whose result is one.
func (t *Template) expand(v any, path string) (any, error) {
	switch v := v.(type) {
	case call:
		arg, err := t.expand(v.arg, path)
		return call{v.name, arg}, err
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = t.expand(item, path); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return t.expandMapping(v, path)
	}
	return v, nil
}

func (t *Template) expandMapping(m map[string]any, path string) (any, error) {
	out := make(map[string]any, len(m))
	for _, key := range sortedKeys(m) {
		at := path + "." + key
		if !strings.HasPrefix(key, loopPrefix) {
			item, err := t.expand(m[key], at)
			if err != nil {
				return nil, err
			}
			out[key] = item
		}
	}
	for _, key := range sortedKeys(m) {
		at := path + "." + key
		if !strings.HasPrefix(key, loopPrefix) {
			continue
		}
		items, err := t.expandLoop(m[key], at)
		if err != nil {
			return nil, err
		}
		for name, item := range items {
			if _, taken := out[name]; taken {
				return nil, fmt.Errorf("%s: it creates %q, which exists already", at, name)
			}
			out[name] = item
		}
	}
	return out, nil
}

// expandLoop returns the entries that one loop creates.
func (t *Template) expandLoop(v any, path string) (map[string]any, error) {
	parts, ok := v.([]any)
	if !ok || len(parts) != 3 {
		return nil, fmt.Errorf("%s: expected an identifier, a collection and a fragment, found %s", path, describe(v))
	}
	identifier, err := text(parts[0], path)
	if err != nil {
		return nil, err
	}
	collection, err := resolver{Template: t}.resolve(parts[1], path)
	if err != nil {
		return nil, err
	}
	values, err := texts(collection, path)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, value := range values {
		fragment, err := t.expand(substitute(parts[2], identifier, value, true), path)
		if err != nil {
			return nil, err
		}
		entries, ok := fragment.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: expected a mapping as the fragment, found %s", path, describe(fragment))
		}
		for name, entry := range entries {
			if _, taken := out[name]; taken {
				return nil, fmt.Errorf("%s: two iterations create %q", path, name)
			}
			out[name] = entry
		}
	}
	return out, nil
}

// substitute replaces the identifier by value where the transform does: in the keys of a loop's fragment, in the text
// of Fn::Sub, and as Ref. Any other text keeps its placeholders.
func substitute(v any, identifier, value string, fragment bool) any {
	replace := strings.NewReplacer("${"+identifier+"}", value, "&{"+identifier+"}", value).Replace
	switch v := v.(type) {
	case call:
		if v.name == "Ref" && v.arg == any(identifier) {
			return value
		}
		arg := substitute(v.arg, identifier, value, false)
		if v.name == "Fn::Sub" {
			switch arg := arg.(type) {
			case string:
				return call{v.name, replace(arg)}
			case []any:
				if s, ok := arg[0].(string); ok {
					arg[0] = replace(s)
				}
			}
		}
		return call{v.name, arg}
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = substitute(item, identifier, value, false)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if loop, ok := item.([]any); ok && strings.HasPrefix(key, loopPrefix) && len(loop) == 3 {
				item = []any{loop[0], substitute(loop[1], identifier, value, false),
					substitute(loop[2], identifier, value, true)}
			} else {
				item = substitute(item, identifier, value, false)
			}
			if fragment {
				key = replace(key)
			}
			out[key] = item
		}
		return out
	}
	return v
}

// checkLoopNames returns an error if two loops of the template have the same name. seen contains those found so far.
func checkLoopNames(v any, seen map[string]bool) error {
	switch v := v.(type) {
	case call:
		return checkLoopNames(v.arg, seen)
	case []any:
		for _, item := range v {
			if err := checkLoopNames(item, seen); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if strings.HasPrefix(key, loopPrefix) {
				if seen[key] {
					return fmt.Errorf("two loops are named %s", key)
				}
				seen[key] = true
			}
			if err := checkLoopNames(v[key], seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func text(v any, path string) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s: expected a string, found %s", path, describe(v))
	}
	return s, nil
}

func texts(v any, path string) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: expected a list, found %s", path, describe(v))
	}
	out := make([]string, len(list))
	for i, item := range list {
		var err error
		if out[i], err = text(item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
