package samtemplate

import (
	"fmt"
	"slices"
)

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
