package ocsf

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
)

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
