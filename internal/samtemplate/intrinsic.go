package samtemplate

import (
	"fmt"
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
func (r resolver) resolve(v any, path string) (any, error) {
	switch v := v.(type) {
	case call:
		return r.call(v, path)
	case []any:
		return r.list(v, path)
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, key := range sortedKeys(v) {
			item, err := r.resolve(v[key], path+"."+key)
			if err != nil {
				return nil, err
			}
			if _, gone := item.(absent); !gone {
				out[key] = item
			}
		}
		return out, nil
	default:
		return v, nil
	}
}

func (r resolver) list(v []any, path string) (any, error) {
	out := make([]any, 0, len(v))
	for i, item := range v {
		item, err := r.resolve(item, fmt.Sprintf("%s[%d]", path, i))
		if err != nil {
			return nil, err
		}
		if _, gone := item.(absent); !gone {
			out = append(out, item)
		}
	}
	return out, nil
}

// call returns the result of one intrinsic function.
func (r resolver) call(c call, path string) (any, error) {
	path += "." + c.name
	switch c.name {
	case "Ref":
		return r.ref(c.arg, path)
	case "Fn::Sub":
		return r.sub(c.arg, path)
	case "Fn::If":
		return r.choose(c.arg, path)
	case "Fn::GetAtt", "Fn::Join", "Fn::Select", "Fn::Split":
		return r.callOfTwo(c, path)
	case "Fn::FindInMap":
		return r.findInMap(c.arg, path)
	case "Fn::Equals", "Fn::Not", "Fn::And", "Fn::Or", "Condition":
		return nil, fmt.Errorf("%s: only valid in Conditions", path)
	}
	return nil, fmt.Errorf("%s: intrinsic function not supported", path)
}

// callOfTwo returns the result of a function of two arguments whose first one is a string.
func (r resolver) callOfTwo(c call, path string) (any, error) {
	args, err := r.arguments(c.arg, path, 2)
	if err != nil {
		return nil, err
	}
	first, err := text(args[0], path)
	if err != nil {
		return nil, err
	}
	switch c.name {
	case "Fn::GetAtt":
		return r.getAtt(first, args[1], path)
	case "Fn::Join":
		return join(first, args[1], path)
	case "Fn::Select":
		return selectItem(first, args[1], path)
	default:
		return split(first, args[1], path)
	}
}

func (r resolver) ref(arg any, path string) (any, error) {
	arg, err := r.resolve(arg, path)
	if err != nil {
		return nil, err
	}
	name, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("%s: expected a name, found %s", path, describe(arg))
	}
	if name == "AWS::NoValue" {
		return absent{}, nil
	}
	if v, ok := r.parameters[name]; ok {
		return v, nil
	}
	return r.attribute(name, "", path)
}

// attribute returns an attribute that AWS assigns to a resource.
func (r resolver) attribute(id, name, path string) (any, error) {
	if r.attributes == nil {
		return nil, fmt.Errorf("%s: %q is not a parameter of the template", path, id)
	}
	if _, err := r.Type(id); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	v, err := r.attributes.Attribute(id, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func (r resolver) getAtt(id string, attribute any, path string) (any, error) {
	name, err := text(attribute, path)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("%s: expected Resource.Attribute, found %q", path, id)
	}
	return r.attribute(id, name, path)
}

// sub replaces each ${…} in a string: variables of the second argument, parameters, resources, Resource.Attribute.
func (r resolver) sub(arg any, path string) (any, error) {
	own := map[string]any{}
	if args, ok := arg.([]any); ok {
		if len(args) != 2 {
			return nil, fmt.Errorf("%s: expected a string and its variables, found a list of %d", path, len(args))
		}
		vars, err := r.resolve(args[1], path)
		if err != nil {
			return nil, err
		}
		if own, ok = vars.(map[string]any); !ok {
			return nil, fmt.Errorf("%s: expected a mapping of variables, found %s", path, describe(vars))
		}
		arg = args[0]
	}
	rest, err := text(arg, path)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(rest, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%s: ${ without }", path)
		}
		filled, err := r.variable(name, own, path)
		if err != nil {
			return nil, err
		}
		out.WriteString(filled)
		rest = tail
	}
}

// variable returns the value of one ${name} in Fn::Sub; ${!name} is a literal ${name}.
func (r resolver) variable(name string, own map[string]any, path string) (string, error) {
	if literal, ok := strings.CutPrefix(name, "!"); ok {
		return "${" + literal + "}", nil
	}
	if v, ok := own[name]; ok {
		return text(v, path+"."+name)
	}
	var v any
	var err error
	if id, attribute, dotted := strings.Cut(name, "."); dotted {
		v, err = r.attribute(id, attribute, path)
	} else {
		v, err = r.ref(name, path)
	}
	if err != nil {
		return "", err
	}
	return text(v, path+"."+name)
}

func (r resolver) choose(arg any, path string) (any, error) {
	args, ok := arg.([]any)
	if !ok || len(args) != 3 {
		return nil, fmt.Errorf("%s: expected a condition and two values, found %s", path, describe(arg))
	}
	name, err := text(args[0], path)
	if err != nil {
		return nil, err
	}
	holds, err := r.condition(name, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if holds {
		return r.resolve(args[1], path)
	}
	return r.resolve(args[2], path)
}

func join(separator string, list any, path string) (any, error) {
	items, err := texts(list, path)
	if err != nil {
		return nil, err
	}
	return strings.Join(items, separator), nil
}

func split(separator string, joined any, path string) (any, error) {
	source, err := text(joined, path)
	if err != nil {
		return nil, err
	}
	var out []any
	for part := range strings.SplitSeq(source, separator) {
		out = append(out, part)
	}
	return out, nil
}

func selectItem(index string, list any, path string) (any, error) {
	items, ok := list.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: expected a list, found %s", path, describe(list))
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(items) {
		return nil, fmt.Errorf("%s: a list of %d items has no item %q", path, len(items), index)
	}
	return items[i], nil
}

// findInMap returns the value of a mapping, or the default that the transform AWS::LanguageExtensions adds.
func (r resolver) findInMap(arg any, path string) (any, error) {
	keys, fallback := arg, any(nil)
	if args, ok := arg.([]any); ok && len(args) == 4 {
		last, _ := args[3].(map[string]any)
		keys, fallback = args[:3], last["DefaultValue"]
	}
	args, err := r.arguments(keys, path, 3)
	if err != nil {
		return nil, err
	}
	var found any = r.mappings
	for _, key := range args {
		name, err := text(key, path)
		if err != nil {
			return nil, err
		}
		level, _ := found.(map[string]any)
		if found = level[name]; found == nil && fallback != nil {
			return r.resolve(fallback, path)
		}
		if found == nil {
			return nil, fmt.Errorf("%s: Mappings does not contain %v", path, args)
		}
	}
	return found, nil
}

// arguments resolves the arguments of a function with exactly n arguments.
func (r resolver) arguments(arg any, path string, n int) ([]any, error) {
	v, err := r.resolve(arg, path)
	if err != nil {
		return nil, err
	}
	args, ok := v.([]any)
	if !ok || len(args) != n {
		return nil, fmt.Errorf("%s: expected %d arguments, found %s", path, n, describe(v))
	}
	return args, nil
}

// condition evaluates a condition of the template. busy contains the conditions that are being evaluated: a condition
// that depends on itself is an error.
func (t *Template) condition(name string, busy []string) (bool, error) {
	definition, ok := t.conditions[name]
	if !ok {
		return false, fmt.Errorf("%q is not a condition of the template", name)
	}
	path := "Conditions." + name
	if slices.Contains(busy, name) {
		return false, fmt.Errorf("%s: the condition depends on itself", path)
	}
	return t.holds(definition, path, append(busy, name))
}

// holds evaluates one condition function.
func (t *Template) holds(v any, path string, busy []string) (bool, error) {
	if m, ok := v.(map[string]any); ok && len(m) == 1 && m["Condition"] != nil {
		v = call{"Condition", m["Condition"]} // the long form; elsewhere "Condition" is an ordinary key
	}
	c, ok := v.(call)
	if !ok {
		return false, fmt.Errorf("%s: expected a condition function, found %s", path, describe(v))
	}
	path += "." + c.name
	switch c.name {
	case "Condition":
		name, err := text(c.arg, path)
		if err != nil {
			return false, err
		}
		return t.condition(name, busy)
	case "Fn::Equals":
		return t.equals(c.arg, path)
	case "Fn::Not", "Fn::And", "Fn::Or":
		return t.combine(c, path, busy)
	}
	return false, fmt.Errorf("%s: condition function not supported", path)
}

func (t *Template) equals(arg any, path string) (bool, error) {
	args, err := resolver{Template: t}.arguments(arg, path, 2)
	if err != nil {
		return false, err
	}
	left, err := text(args[0], path)
	if err != nil {
		return false, err
	}
	right, err := text(args[1], path)
	return left == right, err
}

// combine evaluates all operands of Not, And and Or, so that an error in any of them is found.
func (t *Template) combine(c call, path string, busy []string) (bool, error) {
	operands, ok := c.arg.([]any)
	least, most := 2, 10
	if c.name == "Fn::Not" {
		least, most = 1, 1
	}
	if !ok || len(operands) < least || len(operands) > most {
		return false, fmt.Errorf("%s: expected a list of %d to %d conditions, found %s", path, least, most, describe(c.arg))
	}
	all, some := true, false
	for i, operand := range operands {
		holds, err := t.holds(operand, fmt.Sprintf("%s[%d]", path, i), busy)
		if err != nil {
			return false, err
		}
		all, some = all && holds, some || holds
	}
	switch c.name {
	case "Fn::And":
		return all, nil
	case "Fn::Or":
		return some, nil
	default:
		return !some, nil
	}
}
