// Package ocsf checks an event against the rules of OCSF that matter in a SIEM. Errors make an event undeliverable.
// Warnings make it hard to find or to understand. The event's metadata.version, 1.1 to 1.9, selects the schema.
//
// Schema: https://schema.ocsf.io
package ocsf

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/event"
)

// Problem is one violation of the rules.
type Problem struct {
	Error bool   `json:"error"` // the event becomes a dead letter
	Text  string `json:"text"`  // names the attribute, the value and what is expected
}

// Check returns the problems of an event, errors first.
func Check(body []byte, now time.Time) []Problem {
	var e event.Event
	if err := new(event.Parser).Parse(body, &e); err != nil {
		return []Problem{{true, err.Error()}}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var top map[string]any
	if err := decoder.Decode(&top); err != nil { // the parser accepts nothing that this decoder rejects
		return []Problem{{true, "body: expected a JSON object"}}
	}
	c := &check{top: top}
	c.time(&e, now)
	version := c.version()
	c.class(version)
	c.severity()
	c.metadata(version)
	return c.problems
}

type check struct {
	top      map[string]any
	problems []Problem
}

func (c *check) warn(format string, args ...any) {
	c.problems = append(c.problems, Problem{Text: fmt.Sprintf(format, args...)})
}

func (c *check) at(path string) any {
	var v any = c.top
	for key := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[key]
	}
	return v
}

// present warns about required attributes that are not there; an attribute of an absent object is not named.
func (c *check) present(paths []string) {
	for _, path := range paths {
		object, _, nested := strings.Cut(path, ".")
		if c.at(path) == nil && (!nested || c.at(object) != nil) {
			c.warn("%s: required by OCSF, not present", path)
		}
	}
}

// time warns about a time in another unit, and about one that is unlikely to be meant.
func (c *check) time(e *event.Event, now time.Time) {
	const year2000 = 946_684_800_000
	at := time.UnixMilli(e.Time).UTC()
	switch {
	case e.TimeConverted:
		c.warn("time: expected Unix milliseconds, found another unit; the connectors read %s", at.Format(time.RFC3339))
	case e.Time < year2000:
		c.warn("time: expected Unix milliseconds, found %d, which is %s", e.Time, at.Format(time.DateOnly))
	case at.After(now.Add(24 * time.Hour)):
		c.warn("time: expected Unix milliseconds, found %d, which is %s, in the future", e.Time, at.Format(time.DateOnly))
	}
}

func (c *check) integer(path string) (n int64, ok bool) {
	v := c.at(path)
	if v == nil {
		return 0, false
	}
	number, _ := v.(json.Number)
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		c.warn("%s: expected an integer, found %s", path, kind(v))
		return 0, false
	}
	return n, true
}

// version returns the minor version of the schema to check against: the event's, or the one that is nearest to it.
func (c *check) version() int {
	text, ok := c.at("metadata.version").(string)
	if !ok {
		return firstVersion
	}
	if version, ok := parseVersion(text); ok {
		return version
	}
	nearest := lastVersion
	if strings.HasPrefix(text, "0.") || strings.HasPrefix(text, "1.0") {
		nearest = firstVersion
	}
	c.warn("metadata.version: expected 1.%d to 1.%d, found %q; checked against 1.%d", firstVersion, lastVersion, text,
		nearest)
	return nearest
}

// class checks the class and the attributes that depend on it.
func (c *check) class(version int) {
	uid, ok := c.integer("class_uid")
	known := schema().class(uid, version)
	if !ok || known == nil {
		c.present(schema().class(baseEvent, version).required)
	}
	if !ok {
		return
	}
	if known != nil {
		c.present(known.required)
	} else {
		c.warn("class_uid: OCSF 1.%d has no class %d; the event is delivered, the attributes of its class are not checked",
			version, uid)
	}
	const perExtension, perCategory = 100_000, 1_000
	want := uid % perExtension / perCategory
	if category, ok := c.integer("category_uid"); ok && category != want {
		c.warn("category_uid: expected %d for class_uid %d, found %d", want, uid, category)
	}
	activity, ok := c.integer("activity_id")
	if !ok {
		return
	}
	if known != nil && !slices.Contains(known.activities, activity) {
		c.warn("activity_id: expected an activity of %s (OCSF 1.%d), found %d", known.name, version, activity)
	}
	if kind, ok := c.integer("type_uid"); ok && kind != uid*100+activity {
		c.warn("type_uid: expected %d (class_uid × 100 + activity_id), found %d", uid*100+activity, kind)
	}
}

func (c *check) severity() {
	if n, ok := c.integer("severity_id"); ok && (n < 0 || n > 6) && n != 99 {
		c.warn("severity_id: expected 0 to 6 or 99, found %d", n)
	}
}

func (c *check) metadata(version int) {
	if uid, ok := c.at("metadata.uid").(string); !ok || uid == "" {
		c.warn("metadata.uid: not present; identical events become one document in Elasticsearch")
	}
	profiles, ok := c.at("metadata.profiles").([]any)
	if v := c.at("metadata.profiles"); !ok && v != nil {
		c.warn("metadata.profiles: expected an array of names, found %s", kind(v))
	}
	for _, p := range profiles {
		name, _ := p.(string)
		if !schema().hasProfile(name[strings.LastIndexByte(name, '/')+1:], version) { // linux/linux_users
			c.warn("metadata.profiles: OCSF 1.%d has no profile %q", version, p)
		}
	}
}

func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case json.Number:
		return "a number that is not an integer"
	case bool:
		return "a boolean"
	case []any:
		return "an array"
	}
	return "an object"
}

// The minor versions of OCSF 1 in the schema.
const (
	firstVersion = 1
	lastVersion  = 9
)

// baseEvent is the class of which every other one has the attributes.
const baseEvent = 0

// schemaText has one line for each profile and class, and for each range of versions in which it is the same:
//
//	profile name first last
//	class class_uid first last caption required activities
//
// The fields are separated by tabs, the attributes and activity_ids by spaces. compile.py makes it from the tags 1.1.0
// to 1.8.0 of https://github.com/ocsf/ocsf-schema, and from its development version of 1.9.0.
//
//go:embed schema.tsv
var schemaText string

// versions are the first and the last minor version of a line.
type versions struct{ first, last int }

func (v versions) has(version int) bool { return v.first <= version && version <= v.last }

// class is a class of the schema in some versions.
type class struct {
	versions
	name       string
	required   []string // attributes, and those of required objects as object.attribute
	activities []int64
}

// table is the schema.
type table struct {
	classes  map[int64][]class
	profiles map[string][]versions
}

// schema returns the table, which it reads once.
var schema = sync.OnceValue(func() *table { //nolint:gochecknoglobals // constant
	t := &table{classes: map[int64][]class{}, profiles: map[string][]versions{}}
	for line := range strings.Lines(schemaText) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		v := versions{minor(f[2]), minor(f[3])}
		if f[0] == "profile" {
			t.profiles[f[1]] = append(t.profiles[f[1]], v)
			continue
		}
		c := class{versions: v, name: f[4]}
		for path := range strings.FieldsSeq(f[5]) {
			if path != "time" { // the parser requires it
				c.required = append(c.required, path)
			}
		}
		for n := range strings.FieldsSeq(f[6]) {
			c.activities = append(c.activities, number(n))
		}
		t.classes[number(f[1])] = append(t.classes[number(f[1])], c)
	}
	return t
})

// class returns a class in a version, or nil.
func (t *table) class(uid int64, version int) *class {
	list := t.classes[uid]
	if i := slices.IndexFunc(list, func(c class) bool { return c.has(version) }); i >= 0 {
		return &list[i]
	}
	return nil
}

func (t *table) hasProfile(name string, version int) bool {
	return slices.ContainsFunc(t.profiles[name], func(v versions) bool { return v.has(version) })
}

// parseVersion reads 1.N or 1.N.anything; ok is false if the schema does not have it.
func parseVersion(text string) (version int, ok bool) {
	rest, one := strings.CutPrefix(text, "1.")
	first, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(first)
	return n, one && err == nil && firstVersion <= n && n <= lastVersion
}

// minor and number read the embedded schema, which a test reads whole.
func minor(version string) int {
	n, ok := parseVersion(version)
	if !ok {
		panic("schema.tsv: version " + version)
	}
	return n
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic("schema.tsv: " + err.Error())
	}
	return n
}
