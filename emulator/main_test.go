package main

import (
	"io"
	"strings"
	"testing"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestParse(t *testing.T) {
	o, err := parse(nil, environment(), io.Discard)
	if err != nil || o.Count != 1000 || o.Seed != 1 || o.Keep || len(o.SIEMs) == 0 {
		t.Errorf("defaults: %+v, %v", o, err)
	}
	o, err = parse([]string{"-count", "5"}, environment("COUNT", "7", "SEED", "9", "KEEP", "1", "EVENTS", "f", "SIEMS",
		"splunk"), io.Discard)
	if err != nil || o.Count != 5 || o.Seed != 9 || !o.Keep || o.Events != "f" || len(o.SIEMs) != 1 {
		t.Errorf("from both: %+v, %v", o, err)
	}
}

func TestParseReportsAllProblems(t *testing.T) {
	_, err := parse([]string{"word"}, environment("COUNT", "0", "SEED", "-1", "KEEP", "maybe",
		"SIEMS", "zabbix,splunk,nagios"), io.Discard)
	for _, want := range []string{"COUNT", "SEED", "KEEP", "zabbix", "nagios", "word"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
