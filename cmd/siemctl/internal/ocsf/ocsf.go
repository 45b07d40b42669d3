// Package ocsf checks an event against the rules of OCSF that matter in a SIEM. Errors make an event undeliverable.
// Warnings make it hard to find or to understand. The event's metadata.version, 1.1 to 1.9, selects the schema.
//
// Schema: https://schema.ocsf.io
package ocsf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
