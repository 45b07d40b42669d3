package samtemplate

import (
	"fmt"
)

// checkRules checks the parameters against the template's Rules, as CloudFormation does before it creates resources.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/rules-section-structure.html
func (t *Template) checkRules(rules map[string]any) []error {
	var problems []error
	for _, name := range sortedKeys(rules) {
		path := "Rules." + name
		rule, _ := rules[name].(map[string]any)
		if condition, ok := rule["RuleCondition"]; ok {
			applies, err := t.holds(condition, path+".RuleCondition", nil)
			if err != nil {
				problems = append(problems, err)
			}
			if !applies {
				continue
			}
		}
		assertions, ok := rule["Assertions"].([]any)
		if !ok {
			problems = append(problems, fmt.Errorf("%s: expected a list of Assertions, found %s", path,
				describe(rule["Assertions"])))
		}
		for i, a := range assertions {
			if err := t.checkAssertion(a, fmt.Sprintf("%s.Assertions[%d]", path, i)); err != nil {
				problems = append(problems, err)
			}
		}
	}
	return problems
}

func (t *Template) checkAssertion(v any, path string) error {
	assertion, _ := v.(map[string]any)
	holds, err := t.holds(assertion["Assert"], path, nil)
	if err != nil {
		return err
	}
	if !holds {
		return fmt.Errorf("%s: %v", path, assertion["AssertDescription"])
	}
	return nil
}
