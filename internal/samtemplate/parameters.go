package samtemplate

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parameters returns the value of a Ref to each parameter and pseudo parameter.
func parameters(declared map[string]any, o Options) (map[string]any, error) {
	values := map[string]any{
		"AWS::Region":    o.Region,
		"AWS::AccountId": o.AccountID,
		"AWS::StackName": o.StackName,
		"AWS::StackId":   fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/local", o.Region, o.AccountID, o.StackName),
		"AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com",
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if _, ok := declared[name]; !ok {
			problems = append(problems, fmt.Errorf("parameter %s: not a parameter of the template", name))
		}
	}
	for _, name := range sortedKeys(declared) {
		v, err := parameter(declared[name], name, o.Parameters)
		if err != nil {
			problems = append(problems, fmt.Errorf("parameter %s: %w", name, err))
			continue
		}
		values[name] = v
	}
	return values, errors.Join(problems...)
}

// parameter returns the value of one parameter: a string, or a list of strings.
func parameter(declaration any, name string, overrides map[string]string) (any, error) {
	d, ok := declaration.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("expected a declaration, found %s", describe(declaration))
	}
	value, given := overrides[name]
	if !given {
		if value, given = d["Default"].(string); !given {
			return nil, errors.New("it has no default value and is not set")
		}
	}
	kind, _ := d["Type"].(string)
	var items []string
	switch {
	case kind == "String" || kind == "Number":
		return value, check(d, kind, value)
	case kind == "CommaDelimitedList" || strings.HasPrefix(kind, "List<"):
		if value != "" {
			items = strings.Split(value, ",")
		}
	default:
		return nil, fmt.Errorf("type %q is not supported", kind)
	}
	list := make([]any, len(items))
	for i, item := range items {
		item = strings.TrimSpace(item)
		if err := check(d, "String", item); err != nil {
			return nil, err
		}
		list[i] = item
	}
	return list, nil
}

// check checks a value against the constraints of its declaration.
func check(d map[string]any, kind, value string) error {
	if allowed, ok := d["AllowedValues"].([]any); ok && !slices.Contains(allowed, any(value)) {
		return fmt.Errorf("%q is not one of the allowed values %v", value, allowed)
	}
	if pattern, ok := d["AllowedPattern"].(string); ok {
		whole, err := regexp.Compile(`^(?:` + pattern + `)$`)
		if err != nil {
			return fmt.Errorf("AllowedPattern: %w", err)
		}
		if !whole.MatchString(value) {
			return fmt.Errorf("%q does not match the pattern %s", value, pattern)
		}
	}
	if kind == "Number" {
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", value)
		}
		return within(d, "MinValue", "MaxValue", number, "")
	}
	return within(d, "MinLength", "MaxLength", float64(len(value)), "length ")
}

// within checks a number against the limits of a declaration. Each limit is optional.
func within(d map[string]any, low, high string, n float64, what string) error {
	for _, bound := range []string{low, high} {
		text, ok := d[bound].(string)
		if !ok {
			continue
		}
		limit, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is not a number", bound, text)
		}
		if bound == low && n < limit || bound == high && n > limit {
			return fmt.Errorf("%s%v is outside %s %v", what, n, bound, limit)
		}
	}
	return nil
}
