package samtemplate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// absent is the value of Ref AWS::NoValue: the property or list item is removed.
type absent struct{}

// resolver resolves the values of one resource.
type resolver struct {
	*Template
	attributes Attributes // nil where CloudFormation allows no reference to a resource (conditions)
}

// resolve returns v with every intrinsic function replaced by its result. Errors begin with path.
func (r resolver) resolve(v any, path string) any {
	switch v := v.(type) {
	case call:
		return r.call(v, path+"."+v.name)
	case []any:
		out := make([]any, 0, len(v))
		for i, item := range v {
			if item = r.resolve(item, fmt.Sprintf("%s[%d]", path, i)); item != any(absent{}) {
				out = append(out, item)
			}
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range sortedKeys(v) {
			if item := r.resolve(v[key], path+"."+key); item != any(absent{}) {
				out[key] = item
			}
		}
		return out
	default:
		return v
	}
}

// call returns the result of one intrinsic function.
func (r resolver) call(c call, path string) any {
	switch c.name {
	case "Ref":
		return r.ref(r.resolve(c.arg, path), path)
	case "Fn::Sub":
		return r.sub(c.arg, path)
	case "Fn::If":
		return r.choose(c.arg, path)
	case "Fn::GetAtt":
		id, name := r.two(c.arg, path)
		if name == "" {
			fail(path, "expected Resource.Attribute, found %q", id)
		}
		return r.attribute(id, text(name, path), path)
	case "Fn::Join":
		separator, list := r.two(c.arg, path)
		return strings.Join(texts(list, path), separator)
	case "Fn::Split":
		separator, joined := r.two(c.arg, path)
		var out []any
		for part := range strings.SplitSeq(text(joined, path), separator) {
			out = append(out, part)
		}
		return out
	case "Fn::Select":
		return r.selected(c.arg, path)
	case "Fn::FindInMap":
		return r.findInMap(c.arg, path)
	case "Fn::Equals", "Fn::Not", "Fn::And", "Fn::Or", "Condition":
		fail(path, "only valid in Conditions")
	}
	fail(path, "intrinsic function not supported")
	return nil
}

func (r resolver) ref(arg any, path string) any {
	name, ok := arg.(string)
	if !ok {
		fail(path, "expected a name, found %s", describe(arg))
	}
	if name == "AWS::NoValue" {
		return absent{}
	}
	if v, ok := r.parameters[name]; ok {
		return v
	}
	return r.attribute(name, "", path)
}

// attribute returns an attribute that AWS assigns to a resource.
func (r resolver) attribute(id, name, path string) any {
	if r.attributes == nil {
		fail(path, "%q is not a parameter of the template", id)
	}
	_, err := r.Type(id)
	var v string
	if err == nil {
		v, err = r.attributes.Attribute(id, name)
	}
	if err != nil {
		fail(path, "%w", err)
	}
	return v
}

var placeholder = regexp.MustCompile(`\$\{[^}]*\}?`)

// sub replaces each ${…} in a string: variables of the second argument, parameters, resources, Resource.Attribute.
func (r resolver) sub(arg any, path string) any {
	own := map[string]any{}
	if args, ok := arg.([]any); ok {
		if len(args) != 2 {
			fail(path, "expected a string and its variables, found a list of %d", len(args))
		}
		vars := r.resolve(args[1], path)
		if own, ok = vars.(map[string]any); !ok {
			fail(path, "expected a mapping of variables, found %s", describe(vars))
		}
		arg = args[0]
	}
	return placeholder.ReplaceAllStringFunc(text(arg, path), func(found string) string {
		name, closed := strings.CutSuffix(strings.TrimPrefix(found, "${"), "}")
		if !closed {
			fail(path, "${ without }")
		}
		return r.variable(name, own, path)
	})
}

// variable returns the value of one ${name} in Fn::Sub; ${!name} is a literal ${name}.
func (r resolver) variable(name string, own map[string]any, path string) string {
	if literal, ok := strings.CutPrefix(name, "!"); ok {
		return "${" + literal + "}"
	}
	v, ok := own[name]
	if !ok {
		if id, attribute, dotted := strings.Cut(name, "."); dotted {
			v = r.attribute(id, attribute, path)
		} else {
			v = r.ref(name, path)
		}
	}
	return text(v, path+"."+name)
}

func (r resolver) choose(arg any, path string) any {
	args, ok := arg.([]any)
	if !ok || len(args) != 3 {
		fail(path, "expected a condition and two values, found %s", describe(arg))
	}
	if r.condition(text(args[0], path), path, nil) {
		return r.resolve(args[1], path)
	}
	return r.resolve(args[2], path)
}

func (r resolver) selected(arg any, path string) any {
	index, v := r.two(arg, path)
	items, ok := v.([]any)
	if !ok {
		fail(path, "expected a list, found %s", describe(v))
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(items) {
		fail(path, "a list of %d items has no item %q", len(items), index)
	}
	return items[i]
}

// findInMap returns the value of a mapping, or the default that the transform AWS::LanguageExtensions adds.
func (r resolver) findInMap(arg any, path string) any {
	keys, fallback := arg, any(nil)
	if args, ok := arg.([]any); ok && len(args) == 4 {
		last, _ := args[3].(map[string]any)
		keys, fallback = args[:3], last["DefaultValue"]
	}
	args := r.arguments(keys, path, 3)
	var found any = r.mappings
	for _, key := range args {
		level, _ := found.(map[string]any)
		if found = level[text(key, path)]; found == nil && fallback != nil {
			return r.resolve(fallback, path)
		}
		if found == nil {
			fail(path, "Mappings does not contain %v", args)
		}
	}
	return found
}

// arguments resolves the arguments of a function with exactly n arguments.
func (r resolver) arguments(arg any, path string, n int) []any {
	v := r.resolve(arg, path)
	args, ok := v.([]any)
	if !ok || len(args) != n {
		fail(path, "expected %d arguments, found %s", n, describe(v))
	}
	return args
}

// two resolves the arguments of a function of two arguments whose first one is a string.
func (r resolver) two(arg any, path string) (string, any) {
	args := r.arguments(arg, path, 2)
	return text(args[0], path), args[1]
}

// condition evaluates a condition of the template, to which the value at path refers. busy contains the conditions that
// are being evaluated: a condition that depends on itself is an error.
func (t *Template) condition(name, path string, busy []string) bool {
	definition, ok := t.conditions[name]
	if !ok {
		fail(path, "%q is not a condition of the template", name)
	}
	path = "Conditions." + name
	if slices.Contains(busy, name) {
		fail(path, "the condition depends on itself")
	}
	return t.holds(definition, path, append(busy, name))
}

// holds evaluates one condition function. It evaluates all operands of Not, And and Or, so that an error in any of them
// is found.
func (t *Template) holds(v any, path string, busy []string) bool {
	if m, ok := v.(map[string]any); ok && len(m) == 1 && m["Condition"] != nil {
		v = call{"Condition", m["Condition"]} // the long form; elsewhere "Condition" is an ordinary key
	}
	c, ok := v.(call)
	if !ok {
		fail(path, "expected a condition function, found %s", describe(v))
	}
	path += "." + c.name
	switch c.name {
	case "Condition":
		return t.condition(text(c.arg, path), path, busy)
	case "Fn::Equals":
		left, right := resolver{Template: t}.two(c.arg, path)
		return left == text(right, path)
	case "Fn::Not":
		return !t.operands(c.arg, path, busy, 1, 1)[0]
	case "Fn::And":
		return !slices.Contains(t.operands(c.arg, path, busy, 2, 10), false)
	case "Fn::Or":
		return slices.Contains(t.operands(c.arg, path, busy, 2, 10), true)
	}
	fail(path, "condition function not supported")
	return false
}

// operands evaluates a list of conditions.
func (t *Template) operands(arg any, path string, busy []string, least, most int) []bool {
	list, ok := arg.([]any)
	if !ok || len(list) < least || len(list) > most {
		fail(path, "expected a list of %d to %d conditions, found %s", least, most, describe(arg))
	}
	results := make([]bool, len(list))
	for i, operand := range list {
		results[i] = t.holds(operand, fmt.Sprintf("%s[%d]", path, i), busy)
	}
	return results
}
