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

// parameters returns what a Ref to each parameter, and to each pseudo parameter, gives.
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
			problems = append(problems, fmt.Errorf("parameter %s: the template has none of that name", name))
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
		return nil, fmt.Errorf("want a declaration, have %s", describe(declaration))
	}
	value, given := overrides[name]
	if !given {
		if value, given = d["Default"].(string); !given {
			return nil, errors.New("it has no default and was given no value")
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
		return nil, fmt.Errorf("its type %q is not known here", kind)
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

// check holds a value against its declaration's constraints.
func check(d map[string]any, kind, value string) error {
	if allowed, ok := d["AllowedValues"].([]any); ok && !slices.Contains(allowed, any(value)) {
		return fmt.Errorf("%q is none of the allowed values %v", value, allowed)
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
			return fmt.Errorf("%q is no number", value)
		}
		return within(d, "MinValue", "MaxValue", number, "")
	}
	return within(d, "MinLength", "MaxLength", float64(len(value)), "length ")
}

// within holds a number against the bounds of a declaration, each of which may be absent.
func within(d map[string]any, low, high string, n float64, what string) error {
	for _, bound := range []string{low, high} {
		text, ok := d[bound].(string)
		if !ok {
			continue
		}
		limit, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is no number", bound, text)
		}
		if bound == low && n < limit || bound == high && n > limit {
			return fmt.Errorf("%s%v is beyond its %s of %v", what, n, bound, limit)
		}
	}
	return nil
}
