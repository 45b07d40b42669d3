package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
)

func TestParseSettings(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"": {}, "# c\n\nA=1\nexport B='x y'\n C = \"a\\nb\" \r\nD=\"open\nE==\nF=a'b'": {"A": "1", "B": "x y", "C": "a\nb",
			"D": `"open`, "E": "=", "F": "a'b'"},
		` {"A":"x","B":true,"C":12,"D":null} `: {"A": "x", "B": "true", "C": "12"},
	} {
		got, err := parseSettings([]byte(text))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"A=1\nhunter2": "line 2: expected NAME=value", "a b=hunter2": "line 1", "=hunter2": "line 1",
		`{"A":"hunter2"`: "not valid JSON", `{"A":["hunter2"]}`: "A: expected strings",
	} {
		_, err := parseSettings([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestAskForSettings verifies that the answers to configure's questions are all that a connector needs, and that each
// credential, and what rotates with it, is among them.
func TestAskForSettings(t *testing.T) {
	list := allConnectors()
	for _, c := range list {
		list = append(list, searchSettings(c, func(string) string { return "" }))
	}
	for _, c := range list {
		asked := map[string]question{}
		for _, q := range c.toAsk(nil, nil) {
			asked[q.name] = q
		}
		for _, problem := range c.problems(func(string) string { return "" }, nil) {
			name, _, _ := strings.Cut(problem, ":")
			if q, ok := asked[name]; !ok || !strings.Contains(problem, q.expected) || q.expected == "" {
				t.Errorf("%s: want a question for %q, have %+v", c.Name, problem, q)
			}
		}
		for _, s := range c.settings() {
			if q := asked[s.Name]; s.Secret && (q.name == "" || !q.secret) {
				t.Errorf("%s: want a hidden question for %s, have %+v", c.Name, s.Name, q)
			}
		}
		for _, name := range c.RotatesWithSecret {
			if _, ok := asked[name]; !ok {
				t.Errorf("%s: does not ask for %s", c.Name, name)
			}
		}
	}
	var names []string
	env := map[string]string{"SPLUNK_HEC_URL": "https://splunk.example.com"}
	for _, q := range list[0].toAsk(env, []string{"SIEM_HOST"}) {
		names = append(names, q.name)
	}
	if want := []string{"SIEM_HOST", "SPLUNK_HEC_TOKEN"}; !slices.Equal(names, want) {
		t.Errorf("with the URL in the environment: asks for %v, want %v", names, want)
	}
}

// TestNewProblems: a value is refused also if the problem that it causes names another setting.
func TestNewProblems(t *testing.T) {
	list, err := find([]string{"qradar"})
	if err != nil {
		t.Fatal(err)
	}
	c := list[0]
	env := func(name string) string { return c.Example[name] }
	before := c.problems(env, nil)
	given := map[string]string{"QRADAR_TLS_CLIENT_KEY": "no key"}
	after := c.problems(env, given)
	if refused := newProblems(before, after, given, nil); len(refused) == 0 {
		t.Errorf("a key that is not a key is stored; problems: %v", after)
	}
	for _, x := range []struct {
		before, after []string
		given, unset  string
		want          int
	}{
		{[]string{"A: is not set"}, []string{"A: is not set"}, "B", "", 0}, // another setting is still missing
		{[]string{"A: wrong"}, []string{"A: wrong"}, "A", "", 1},           // one wrong value replaces another
		{nil, []string{"A: is not set"}, "", "A", 0},                       // removed on purpose
		{nil, []string{"B: does not fit A"}, "", "A", 1},
	} {
		if got := newProblems(x.before, x.after, map[string]string{x.given: "x"}, []string{x.unset}); len(got) != x.want {
			t.Errorf("%+v: refused %v", x, got)
		}
	}
}

// TestHostSettings verifies that siemctl knows every setting that the shared code reads by name.
func TestHostSettings(t *testing.T) {
	known := hostSettings()
	for _, c := range allConnectors() {
		for _, s := range c.settings() {
			known = append(known, s.Name)
		}
	}
	// Only the drain, the replay and the guard read these.
	known = append(known, "SIEM_DEAD_LETTER_PATH", "SIEM_QUEUE_RETENTION_DAYS")
	name := regexp.MustCompile(`"(SIEM_[A-Z_]+[A-Z]|LOG_LEVEL|HTTPS_PROXY|NO_PROXY|SSL_CERT_[A-Z]+)"`)
	found := 0
	err := filepath.WalkDir("../../shared", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range name.FindAllSubmatch(text, -1) {
			found++
			if !slices.Contains(known, string(m[1])) {
				t.Errorf("%s reads %s: add it to hostSettings in cmd/siemctl/connector.go", path, m[1])
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%v, %d settings found", err, found)
	}
}

// TestDocumentedCommands parses the siemctl commands in the documents: every command, flag and setting exists.
func TestDocumentedCommands(t *testing.T) {
	command := regexp.MustCompile("(?:^|`|[|] |[(])(?:[.]/|build/)?siemctl ([a-z-][^`#|>]*)")
	placeholder := regexp.MustCompile("<[^>]*>")
	env := func(string) string { return "" }
	n := 0
	for _, folder := range []string{".", "docs", "docs/*", "functions/*", "contrib", "contrib/*", "cmd/siemctl"} {
		pages, err := filepath.Glob(filepath.Join("../..", folder, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			data, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				for _, m := range command.FindAllStringSubmatch(placeholder.ReplaceAllString(line, "x"), -1) {
					n++
					root := (&app{env: env, out: term.New(&bytes.Buffer{}, &bytes.Buffer{}, env)}).root()
					c, args, err := root.Find(strings.Fields(m[1]))
					if err == nil {
						err = c.ParseFlags(args)
					}
					if err != nil {
						t.Errorf("%s: siemctl %s: %v", page, m[1], err)
						continue
					}
					if list, err := find(c.Flags().Args()); c.Name() == "configure" && err == nil {
						set, _ := c.Flags().GetStringSlice("set")
						if err := list[0].rejectUnknown("--set", set); err != nil {
							t.Errorf("%s: siemctl %s: %v", page, m[1], err)
						}
					}
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("found only %d commands", n)
	}
}

// TestFits: an event that a SIEM does not accept whole is reported, by the limit of each SIEM.
func TestFits(t *testing.T) {
	var e event.Event
	body := fmt.Appendf(nil, `{"time":1773360000000,"class_uid":6003,"metadata":{"uid":"a"},"raw":"%s"}`,
		strings.Repeat("x", 1_040_000))
	if err := new(event.Parser).Parse(body, &e); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	all := fits(allConnectors(), func(string) string { return "" })
	for i := range all {
		f := &all[i]
		problem := f.take(&e)
		got[f.Connector] = fmt.Sprintf("%d fit, %d truncated, %d rejected", f.Encoded, f.Truncated, f.Rejected)
		if (problem != "") != (f.Rejected == 1) || f.Rejected == 1 && !strings.Contains(problem, "1000000") {
			t.Errorf("%s: %q", f.Connector, problem)
		}
	}
	const whole, short, dead = "1 fit, 0 truncated, 0 rejected", "1 fit, 1 truncated, 0 rejected",
		"0 fit, 0 truncated, 1 rejected"
	for name, want := range map[string]string{
		"splunk": whole, "sentinel": short, "elastic": whole, "datadog": short, "sumo": dead, "qradar": whole, "xsiam": whole,
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if empty := all[1].Empty; empty["ModelId"] != 1 || empty["TimeGenerated"] != 0 {
		t.Errorf("sentinel's empty columns: %v", empty)
	}
}

func TestGroups(t *testing.T) {
	g := deadLetterGroups{}
	for i, reason := range []string{
		`status 400, code 6: "Invalid data format"; hint`, `status 400, code 6: "Other words"`, "connection refused", "",
	} {
		g.add(&deadletter.Letter{Record: deadletter.Record{Connector: "splunk", Error: reason,
			Time: time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC).Add(time.Duration(i) * 20 * time.Minute)}})
	}
	var got []string
	for _, group := range g.list() {
		got = append(got, fmt.Sprintf("%s %s %d", group.Hour.Format("15h"), group.Reason, group.Count))
	}
	want := []string{"11h (none given) 1", "10h status 400, code 6 2", "10h connection refused 1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
