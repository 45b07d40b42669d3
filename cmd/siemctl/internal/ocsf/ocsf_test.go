package ocsf

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
)

var now = time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)

// TestGeneratedEventsAreGood: events that are valid by the schema have nothing wrong with them.
func TestGeneratedEventsAreGood(t *testing.T) {
	g := ocsfgen.New(7)
	for range 400 {
		e := g.Next()
		if problems := Check(e, now); len(problems) > 0 {
			t.Fatalf("%s\n%+v", e[:min(len(e), 600)], problems)
		}
	}
}

func TestProblems(t *testing.T) {
	const good = `{"time":1773360000000,"class_uid":6003,"category_uid":6,"activity_id":1,"type_uid":600301,"severity_id":1,` +
		`"metadata":{"uid":"a","version":"1.1.0","product":{"name":"p"}},"actor":{},"api":{"operation":"o"},"src_endpoint":{}}`
	if problems := Check([]byte(good), now); problems != nil {
		t.Fatalf("%+v", problems)
	}
	for _, c := range []struct{ old, new, want string }{
		{`1773360000000`, `1773360000`, "time: expected Unix milliseconds, found another unit; the connectors read " +
			"2026-03-13T00:00:00Z"},
		{`1773360000000`, `1900000000000`, "in the future"},
		{`"class_uid":6003`, `"class_uid":"6003"`, "class_uid: expected an integer, found a string"},
		{`"class_uid":6003`, `"class_uid":9999`, "class_uid: OCSF 1.1 has no class 9999"},
		{`"class_uid":6003`, `"class_uid":3002`, "user: required by OCSF"},
		{`"class_uid":6003`, `"class_uid":201001`, "category_uid: expected 1 for class_uid 201001"},
		{`"version":"1.1.0"`, `"version":"1.1.0","profiles":["cloud","nope"]`, `OCSF 1.1 has no profile "nope"`},
		{`"version":"1.1.0"`, `"version":"1.1.0","profiles":["ai_operation"]`, `OCSF 1.1 has no profile "ai_operation"`},
		{`"version":"1.1.0"`, `"version":"1.1.0","profiles":"cloud"`, "metadata.profiles: expected an array of names"},
		{`"category_uid":6`, `"category_uid":3`, "category_uid: expected 6"},
		{`600301`, `600302`, "type_uid: expected 600301"},
		{`"activity_id":1`, `"activity_id":77`, "activity_id: expected an activity of API Activity"},
		{`"severity_id":1`, `"severity_id":7`, "severity_id: expected 0 to 6 or 99, found 7"},
		{`"uid":"a"`, `"uid":""`, "metadata.uid: not present"},
		{`"1.1.0"`, `"0.9"`, `metadata.version: expected 1.1 to 1.9, found "0.9"; checked against 1.1`},
		{`"1.1.0"`, `"1.10.0"`, `metadata.version: expected 1.1 to 1.9, found "1.10.0"; checked against 1.9`},
		{`"operation":"o"`, `"x":1`, "api.operation: required by OCSF"},
		{`"severity_id":1,`, ``, "severity_id: required by OCSF"},
	} {
		problems := Check([]byte(strings.Replace(good, c.old, c.new, 1)), now)
		found := false
		for _, p := range problems {
			found = found || !p.Error && strings.Contains(p.Text, c.want)
		}
		if !found {
			t.Errorf("%s: %+v, want %q", c.new, problems, c.want)
		}
	}
	for _, bad := range []string{"", "[]", "{", `{"a":1}`, `{"time":"x"}`, "{\"time\":1,\"a\":\"\xff\"}"} {
		if problems := Check([]byte(bad), now); len(problems) != 1 || !problems[0].Error {
			t.Errorf("%q: %+v", bad, problems)
		}
	}
}

// TestVersions: the event's version selects the schema.
func TestVersions(t *testing.T) {
	event := func(version, class, activity, profile string) string {
		return `{"time":1773360000000,"class_uid":` + class + `,"category_uid":3,"activity_id":` + activity + `,"type_uid":` +
			class + "0" + activity + `,"severity_id":1,"user":{},"entity":{},"metadata":{"uid":"a","version":"` + version +
			`","product":{},"profiles":["` + profile + `"]}}`
	}
	for _, c := range []struct{ version, class, activity, profile, want string }{
		{"1.1.0", "3002", "6", "cloud", "activity_id: expected an activity of Authentication (OCSF 1.1), found 6"},
		{"1.2.0", "3002", "6", "cloud", ""},
		{"1.2.0", "3004", "9", "cloud", "activity_id: expected an activity of Entity Management (OCSF 1.2), found 9"},
		{"1.3.0", "3004", "9", "cloud", ""},
		{"1.7.0", "3002", "1", "ai_operation", `metadata.profiles: OCSF 1.7 has no profile "ai_operation"`},
		{"1.8.0", "3002", "1", "ai_operation", ""},
		{"1.9.0-dev", "3002", "1", "record_integrity", ""},
		{"1.1.0", "3002", "1", "linux/linux_users", ""},
	} {
		problems := Check([]byte(event(c.version, c.class, c.activity, c.profile)), now)
		if c.want == "" && problems != nil || c.want != "" && (len(problems) != 1 || problems[0].Text != c.want) {
			t.Errorf("%+v: %+v", c, problems)
		}
	}
}

// TestSchema reads the whole table: every version has the base event and the platform's classes.
func TestSchema(t *testing.T) {
	for version := firstVersion; version <= lastVersion; version++ {
		for _, uid := range []int64{baseEvent, 2001, 3002, 3004, 6003} {
			if c := schema().class(uid, version); c == nil || len(c.required) < 8 {
				t.Errorf("1.%d: class %d: %+v", version, uid, c)
			}
		}
	}
	if n := len(schema().classes); n < 80 {
		t.Errorf("%d classes", n)
	}
}
