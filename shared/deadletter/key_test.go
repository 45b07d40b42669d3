package deadletter

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestNamesAreReadBack(t *testing.T) {
	key := ObjectName("splunk", []string{"b", "a"}, 300, day0, day0.Add(time.Hour))
	if key != ObjectName("splunk", []string{"a", "b"}, 300, day0, day0.Add(time.Hour)) {
		t.Error("the order of the ids changes the name")
	}
	if o, ok := parseObject(key, 300); !ok || o.Lines != 2 || o.Oldest != day0.UnixMilli() ||
		o.Newest != day0.Add(time.Hour).UnixMilli() {
		t.Errorf("%s is read as %+v", key, o)
	}
	name := key[strings.LastIndexByte(key, '/')+1:]
	for key, size := range map[string]int64{
		"connector=splunk/date=2026-03-13/mine.jsonl": 300,
		key: 299, // rewritten
		"connector=splunk/date=2026-03-14/" + name:                                   300, // another day than its name says
		"connector=splunk/date=2026-03-13/" + strings.Replace(name, "-n2", "-n0", 1): 300,
		"connector=splunk/date=2026-03-13/x" + name:                                  300,
	} {
		o, ok := parseObject(key, size)
		if !ok || o.Lines != -1 || o.Newest != math.MaxInt64 ||
			time.UnixMilli(o.Oldest).UTC().Format(time.DateOnly) != key[22:32] {
			t.Errorf("%s is read as %+v, %v", key, o, ok)
		}
	}
	if o, ok := parseObject("connector=unknown/date=2026-03-13/"+name, 300); !ok || o.Lines != 2 {
		t.Errorf("unknown is read as %+v, %v", o, ok)
	}
	for _, key := range []string{
		"", "connector=foo/date=2026-03-13/a.jsonl", "connector=splunk/date=2026-13-13/a.jsonl",
		"connector=splunk/date=2026-03-13/a/b.jsonl",
		"connector=splunk/date=2026-03-13/a.txt", name,
	} {
		if o, ok := parseObject(key, 300); ok {
			t.Errorf("%s is read as %+v", key, o)
		}
	}
}

func TestLocations(t *testing.T) {
	for path, want := range map[string]string{"s3://bucket": "", "s3://bucket/": "", "s3://bucket/a/b/": "a/b/",
		"s3://b.c-d/x": "x/", "s3://bucket/a+ b": "a+ b/"} {
		if l, err := ParseLocation(path); err != nil || l.Prefix != want {
			t.Errorf("%s: %v, %v, want the prefix %q", path, l, err, want)
		}
	}
	for _, path := range []string{"bucket/x", "s3://", "s3://B/x", "s3:///x", "s3://bucket/a//b", "s3://bucket/../b",
		"https://bucket/x", "s3://bucket/" + strings.Repeat("x", 600)} {
		s := settings.New(func(string) string { return path }, nil)
		if ReadLocation(s); s.Err() == nil {
			t.Errorf("%s: is accepted", path)
		}
	}
}

// TestPanicsAreErrors: a panic's own value is not shown.
func TestPanicsAreErrors(t *testing.T) {
	err := Guard(func() error { panic("secret-canary") })
	if err == nil || strings.Contains(err.Error(), "secret-canary") {
		t.Errorf("%v", err)
	}
	if err := Guard(func() error { return nil }); err != nil {
		t.Error(err)
	}
}
