package contrib

import (
	"encoding/csv"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// record is what a connector with these settings makes of the full event.
func record(t *testing.T, open func(*settings.Settings) deliver.Connector, pairs ...string) []byte {
	t.Helper()
	env := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	s := settings.New(func(name string) string { return env[name] }, nil)
	connector := open(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	var p event.Parser
	var e event.Event
	if err := p.Parse([]byte(full), &e); err != nil {
		t.Fatal(err)
	}
	b, truncated, err := connector.Append(nil, &e)
	if err != nil || truncated {
		t.Fatalf("truncated %v, error %v", truncated, err)
	}
	return b
}

// eventPaths are the places in an event that connectors read, as shared/event lists them, lists without their brackets.
func eventPaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, m := range regexp.MustCompile(`\{field\w+, "([a-z_.\[\]]+)"\}`).FindAllStringSubmatch(read(t, "../shared/event/fields.go"), -1) {
		if path := strings.ReplaceAll(m[1], "[]", ""); path != "actor.user.groups" {
			paths = append(paths, path)
		}
	}
	if len(paths) < 15 {
		t.Fatalf("found only %v in shared/event/fields.go", paths)
	}
	return paths
}

// groupsAsOne is for products that take a list of objects as one value.
func groupsAsOne(paths []string) []string {
	paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasPrefix(p, "actor.user.groups.") })
	return append(paths, "actor.user.groups")
}

func under(prefix string, paths []string) []string {
	return slices.DeleteFunc(paths, func(p string) bool { return !strings.HasPrefix(p, prefix+".") })
}

func withoutStar(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return n == "*" })
}

// pathsIn finds the names of fields in a line of somebody's language.
func pathsIn(line string) []string {
	var found []string
	for _, word := range regexp.MustCompile(`[a-z_]+(?:\.[a-z_]+)*`).FindAllString(line, -1) {
		if !slices.Contains([]string{"coalesce", "arbitex_severity", "rbitex", "latform"}, word) {
			found = append(found, word)
		}
	}
	return found
}

// mappingPaths are the leaves of an Elasticsearch mapping, with their types.
func mappingPaths(prefix string, properties map[string]any) map[string]string {
	paths := map[string]string{}
	for name, p := range properties {
		field, _ := p.(map[string]any)
		if nested, ok := field["properties"].(map[string]any); ok {
			maps.Copy(paths, mappingPaths(prefix+name+".", nested))
			continue
		}
		paths[prefix+name], _ = field["type"].(string)
	}
	return paths
}

// compare wants the same names on both sides, however often.
func compare(t *testing.T, what string, have, want []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("%s: %s is sent, and not there", what, name)
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			t.Errorf("%s: %s is there, and never sent", what, name)
		}
	}
}

func keys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

// readCSV gives the rows without the heading.
func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(read(t, path))).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return rows[1:]
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}
