// Package ocsf checks an event against the rules of OCSF 1.1 that matter in a SIEM. Errors make an event undeliverable.
// Warnings make it hard to find or to understand. The package knows the four classes that the platform sends, and the
// attributes that all classes share.
//
// Schema: https://schema.ocsf.io/1.1.0/
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

// class is a class of the schema.
type class struct {
	name       string
	required   []string
	activities []int64
}

// required in every class.
var base = [...]string{"activity_id", "category_uid", "class_uid", "metadata", "metadata.product", "metadata.version",
	"severity_id", "type_uid"}

// The activities and required attributes of the classes that the platform sends.
var classes = map[int64]class{
	6003: {"API Activity", []string{"actor", "api", "api.operation", "src_endpoint"}, []int64{0, 1, 2, 3, 4, 99}},
	2001: {"Security Finding", []string{"finding", "finding.title", "finding.uid", "state_id"}, []int64{0, 1, 2, 3, 99}},
	3002: {"Authentication", []string{"user"}, []int64{0, 1, 2, 3, 4, 5, 6, 99}},
	3004: {"Entity Management", []string{"entity"}, []int64{0, 1, 2, 3, 4, 99}},
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
	c.present(base[:])
	c.class()
	c.severity()
	c.metadata()
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

func (c *check) present(paths []string) {
	for _, path := range paths {
		if c.at(path) == nil {
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

// class checks the class and the attributes that depend on it.
func (c *check) class() {
	uid, ok := c.integer("class_uid")
	if !ok {
		return
	}
	known, isKnown := classes[uid]
	if isKnown {
		c.present(known.required)
	} else {
		c.warn("class_uid: expected 6003, 2001, 3002 or 3004, found %d; the event is delivered, its attributes are not "+
			"checked", uid)
	}
	if category, ok := c.integer("category_uid"); ok && category != uid/1000 {
		c.warn("category_uid: expected %d for class_uid %d, found %d", uid/1000, uid, category)
	}
	activity, ok := c.integer("activity_id")
	if !ok {
		return
	}
	if isKnown && !slices.Contains(known.activities, activity) {
		c.warn("activity_id: expected an activity of %s, found %d", known.name, activity)
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

func (c *check) metadata() {
	if uid, ok := c.at("metadata.uid").(string); !ok || uid == "" {
		c.warn("metadata.uid: not present; identical events become one document in Elasticsearch")
	}
	if version, ok := c.at("metadata.version").(string); ok && !strings.HasPrefix(version, "1.") {
		c.warn("metadata.version: expected 1.1.0, found %q", version)
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
