package samtemplate

import (
	"fmt"
	"strings"
)

// loopPrefix begins the key of a loop.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-foreach.html
const loopPrefix = "Fn::ForEach::"

// expand returns v with every Fn::ForEach loop expanded, as the transform AWS::LanguageExtensions does. A collection is
// a list of texts or a Ref to a list parameter.
func expand(v any, parameters map[string]any, path string) (any, error) {
	switch v := v.(type) {
	case call:
		arg, err := expand(v.arg, parameters, path)
		return call{v.name, arg}, err
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = expand(item, parameters, path); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return expandMapping(v, parameters, path)
	}
	return v, nil
}

func expandMapping(m, parameters map[string]any, path string) (any, error) {
	out := make(map[string]any, len(m))
	for _, key := range sortedKeys(m) {
		at := path + "." + key
		if !strings.HasPrefix(key, loopPrefix) {
			item, err := expand(m[key], parameters, at)
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
		items, err := expandLoop(m[key], parameters, at)
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
func expandLoop(v any, parameters map[string]any, path string) (map[string]any, error) {
	parts, ok := v.([]any)
	if !ok || len(parts) != 3 {
		return nil, fmt.Errorf("%s: expected an identifier, a collection and a fragment, found %s", path, describe(v))
	}
	identifier, err := text(parts[0], path)
	if err != nil {
		return nil, err
	}
	values, err := collection(parts[1], parameters, path)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, value := range values {
		fragment, err := expand(substitute(parts[2], identifier, value), parameters, path)
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

func collection(v any, parameters map[string]any, path string) ([]string, error) {
	if c, ok := v.(call); ok && c.name == "Ref" {
		name, err := text(c.arg, path)
		if err != nil {
			return nil, err
		}
		v = parameters[name]
	}
	return texts(v, path)
}

// substitute replaces the identifier by value: ${Identifier} and &{Identifier} in keys and texts, and Ref of it.
func substitute(v any, identifier, value string) any {
	replace := strings.NewReplacer("${"+identifier+"}", value, "&{"+identifier+"}", value).Replace
	switch v := v.(type) {
	case string:
		return replace(v)
	case call:
		if v.name == "Ref" && v.arg == any(identifier) {
			return value
		}
		return call{v.name, substitute(v.arg, identifier, value)}
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = substitute(item, identifier, value)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[replace(key)] = substitute(item, identifier, value)
		}
		return out
	}
	return v
}
