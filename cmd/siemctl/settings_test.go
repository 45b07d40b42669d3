package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParseSettings(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"": {}, "# c\n\nA=1\nexport B='x y'\n C = \"a\\nb\" \r\nD=\"open\nE==\nF=a'b'": {"A": "1", "B": "x y", "C": "a\nb", "D": `"open`, "E": "=", "F": "a'b'"},
		` {"A":"x","B":true,"C":12,"D":null} `: {"A": "x", "B": "true", "C": "12"},
	} {
		got, err := parseSettings([]byte(text))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"A=1\nhunter2": "line 2: expected NAME=value", "a b=hunter2": "line 1", "=hunter2": "line 1", `{"A":"hunter2"`: "not valid JSON", `{"A":["hunter2"]}`: "A: expected strings",
	} {
		_, err := parseSettings([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestAskForCredentials verifies that configure asks for a credential of every connector, and for what rotates with it.
func TestAskForCredentials(t *testing.T) {
	for _, c := range allConnectors() {
		asked := c.toAsk(nil)
		if len(asked) == 0 {
			t.Errorf("%s has no credential to ask for", c.Name)
		}
		for _, name := range c.RotatesWithSecret {
			if !slices.Contains(asked, name) || len(asked) < 2 {
				t.Errorf("%s: want %s and a credential, asks for %v", c.Name, name, asked)
			}
		}
	}
}
