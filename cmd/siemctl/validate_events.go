package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/ocsf"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// fit is the result of encoding the events for one SIEM.
type fit struct {
	Connector string         `json:"connector"`
	Encoded   int            `json:"encoded"`
	Truncated int            `json:"truncated"` // of the encoded: arrive truncated
	Rejected  int            `json:"rejected"`  // would become dead letters
	Largest   int            `json:"largest_bytes"`
	Limit     int            `json:"limit_bytes"` // of one record; 0 means no limit
	Empty     map[string]int `json:"empty_columns"`

	encoder deliver.Connector
}

// fits opens the connectors with the given settings, or with the example if the settings are not valid.
func fits(list []connector, env settings.Lookup) []fit {
	var all []fit
	for _, c := range list {
		s := settings.New(env, nil)
		opened := c.Open(s)
		if s.Err() != nil {
			s = settings.New(func(name string) string { return c.Example[name] }, nil)
			opened = c.Open(s)
		}
		format := opened.Format()
		limit := format.MaxRecordBytes
		if limit == 0 && format.MaxBytes > 0 {
			limit = format.MaxBytes - len(format.Open) - len(format.Close)
		}
		all = append(all, fit{Connector: c.Name, Limit: limit, Empty: map[string]int{}, encoder: opened})
	}
	return all
}

// take encodes an event, and returns why it would become a dead letter, or "".
func (f *fit) take(e *event.Event) string {
	record, truncated, err := f.encoder.Append(nil, e)
	switch {
	case err != nil:
		f.Rejected++
		return err.Error()
	case f.Limit > 0 && len(record) > f.Limit:
		f.Rejected++
		return fmt.Sprintf("the record has %d bytes, the SIEM accepts at most %d", len(record), f.Limit)
	}
	f.Encoded++
	f.Largest = max(f.Largest, len(record))
	if truncated {
		f.Truncated++
	}
	var columns map[string]json.RawMessage
	// A record that is the event itself, or not one JSON object, has no columns.
	if !bytes.Equal(record, e.AppendCompact(nil)) && json.Unmarshal(record, &columns) == nil {
		for name, value := range columns {
			if bytes.Equal(value, []byte("null")) {
				f.Empty[name]++
			}
		}
	}
	return ""
}

// repeated counts identical findings, so that one mistake in a thousand events is one finding.
type repeated struct {
	finding
	first, count int
}

// maxEventFindings limits the findings of events that are shown.
const maxEventFindings = 200

func (a *app) validateEvents(v *validation, list []connector, env settings.Lookup, o validateOptions) error {
	v.Events = fits(list, env)
	seen := map[finding]*repeated{}
	note := func(line int, f finding) {
		if seen[f] == nil {
			seen[f] = &repeated{finding: f, first: line}
		}
		seen[f].count++
	}
	total, now := 0, a.now()
	err := a.eachEvent("--events", o.events, func(line int, body []byte, e *event.Event, wrong error) {
		total++
		for _, p := range ocsf.Check(body, now) {
			l := isWarning
			if p.Error {
				l = isError
			}
			note(line, finding{l, "event", p.Text})
		}
		if wrong != nil {
			return // ocsf.Check reported it
		}
		for i := range v.Events {
			if problem := v.Events[i].take(e); problem != "" {
				note(line, finding{isError, v.Events[i].Connector, problem})
			}
		}
	})
	if err != nil {
		return err
	}
	if total == 0 {
		return usage("--events: expected events, one per line, found none in %s", o.events)
	}
	v.addRepeated(slices.Collect(maps.Values(seen)))
	return nil
}

func (v *validation) addRepeated(list []*repeated) {
	slices.SortFunc(list, func(a, b *repeated) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.first, b.first), cmp.Compare(a.Where, b.Where),
			cmp.Compare(a.What, b.What))
	})
	for i, r := range list {
		if i == maxEventFindings {
			v.add(isNote, "event", "%s", term.Count(len(list)-i, "more finding"))
			return
		}
		where := fmt.Sprintf("line %d", r.first)
		if r.Where != "event" {
			where = r.Where + ", " + where
		}
		if r.count > 1 {
			where += fmt.Sprintf(" and %d more", r.count-1)
		}
		v.add(r.Level, where, "%s", r.What)
	}
}

func (a *app) showFits(list []fit) {
	var rows [][]term.Cell
	for _, f := range list {
		var empty []string
		for _, name := range slices.Sorted(maps.Keys(f.Empty)) {
			empty = append(empty, fmt.Sprintf("%s %d", name, f.Empty[name]))
		}
		rows = append(rows, term.Row(f.Connector, f.Encoded,
			term.Flag(f.Truncated, term.Warn, term.Number(f.Truncated)),
			term.Flag(f.Rejected, term.Bad, term.Number(f.Rejected)), f.Largest, f.Limit,
			cmp.Or(strings.Join(empty, ", "), "-")))
	}
	a.out.Table([]string{"CONNECTOR", "FIT", "TRUNCATED", "REJECTED", "LARGEST", "LIMIT", "EMPTY COLUMNS"}, rows)
}
