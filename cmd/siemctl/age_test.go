package main

import (
	"testing"
	"time"
)

func noSetting(string) string { return "" }

// TestAgeRules: every connector has a rule, and the limits are those of the SIEM.
func TestAgeRules(t *testing.T) {
	for _, c := range allConnectors() {
		if rule, ok := ageRuleOf(c.Name, noSetting); !ok || rule.text == "" {
			t.Errorf("cmd/siemctl/age.go: %s has no rule", c.Name)
		}
	}
	eventTime := func(name string) string { return map[string]string{"DATADOG_EVENT_TIME": "true"}[name] }
	for _, c := range []struct {
		name    string
		setting func(string) string
		age     time.Duration
		want    ageCount
	}{
		{"splunk", noSetting, 2000 * day, ageCount{Own: 1}},
		{"splunk", noSetting, 2185 * day, ageCount{Dropped: 1}},
		{"sentinel", noSetting, 47 * time.Hour, ageCount{Own: 1}},
		{"sentinel", noSetting, 49 * time.Hour, ageCount{Arrival: 1}},
		{"elastic", noSetting, 5000 * day, ageCount{Own: 1}},
		{"datadog", noSetting, time.Minute, ageCount{Arrival: 1}},
		{"datadog", eventTime, 16 * time.Hour, ageCount{Own: 1}},
		{"datadog", eventTime, 18 * time.Hour, ageCount{Arrival: 1}},
		{"sumo", noSetting, 23 * time.Hour, ageCount{Own: 1}},
		{"sumo", noSetting, 25 * time.Hour, ageCount{Arrival: 1}},
		{"qradar", noSetting, 5000 * day, ageCount{Own: 1}},
	} {
		rule, _ := ageRuleOf(c.name, c.setting)
		got := ageCount{rule: rule}
		now := time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC)
		got.add(now.Add(-c.age), now)
		got.rule = ageRule{}
		if got != c.want {
			t.Errorf("%s, %s old: %+v, want %+v", c.name, c.age, got, c.want)
		}
	}
}
