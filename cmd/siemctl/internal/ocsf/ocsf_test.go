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
		{`"class_uid":6003`, `"class_uid":4001`, "class_uid: expected 6003"},
		{`"category_uid":6`, `"category_uid":3`, "category_uid: expected 6"},
		{`600301`, `600302`, "type_uid: expected 600301"},
		{`"activity_id":1`, `"activity_id":77`, "activity_id: expected an activity of API Activity"},
		{`"severity_id":1`, `"severity_id":7`, "severity_id: expected 0 to 6 or 99, found 7"},
		{`"uid":"a"`, `"uid":""`, "metadata.uid: not present"},
		{`"1.1.0"`, `"0.9"`, "metadata.version: expected 1.1.0"},
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
