package main

import (
	"context"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
	"github.com/arbitex/siem-connectors/shared/deadletter"
	"github.com/arbitex/siem-connectors/shared/event"
)

// ageRule is how a SIEM dates events that arrive late. A zero duration means no limit.
type ageRule struct {
	arrival time.Duration // older events get the time of arrival
	dropped time.Duration // older events are refused or dropped
	text    string
}

const (
	day = 24 * time.Hour
	// immediately makes a rule apply to every event that was a dead letter.
	immediately = time.Nanosecond
)

// ageRuleOf returns the rule of a connector with these settings. The second result is false for a connector without a
// rule.
func ageRuleOf(name string, setting func(string) string) (ageRule, bool) {
	switch name {
	case "splunk":
		// https://docs.splunk.com/Documentation/Splunk/latest/Admin/Indexesconf: frozenTimePeriodInSecs 188697600
		return ageRule{dropped: 188_697_600 * time.Second,
			text: "Splunk keeps the event's time; the index drops events older than its frozenTimePeriodInSecs (default " +
				"2,184 days)"}, true
	case "sentinel":
		// https://learn.microsoft.com/azure/azure-monitor/logs/log-standard-columns#timegenerated
		return ageRule{arrival: 2 * day, text: "Azure replaces a TimeGenerated older than 2 days; RawOCSF keeps the " +
			"event's time"}, true
	case "elastic":
		return ageRule{text: "Elasticsearch keeps the event's time"}, true
	case "datadog":
		// https://docs.datadoghq.com/logs/processing/pipelines/: logs dated more than 18 hours back are dropped
		if own, err := strconv.ParseBool(setting("DATADOG_EVENT_TIME")); err == nil && own {
			return ageRule{arrival: 17 * time.Hour,
				text: "entries older than 17 hours get the time of arrival; a date remapper on the event's time makes Datadog " +
					"drop entries older than 18 hours"}, true
		}
		return ageRule{arrival: immediately,
			text: "entries get the time of arrival (DATADOG_EVENT_TIME=false); a date remapper on the event's time makes " +
				"Datadog drop entries older than 18 hours"}, true
	case "sumo":
		// https://help.sumologic.com/docs/send-data/reference-information/time-reference/
		return ageRule{arrival: day, text: "Sumo Logic replaces a time more than a day away from the source's other " +
			"messages"}, true
	case "qradar":
		return ageRule{text: "the syslog header keeps the event's time; the log source type decides which time QRadar " +
			"shows"}, true
	case "xsiam":
		return ageRule{text: "a parsing rule sets _time to the event's time; without one, it is the time of arrival"}, true
	}
	return ageRule{}, false
}

// ageCount is how a SIEM dates the dead letters of a replay.
type ageCount struct {
	Connector string `json:"connector"`
	Own       int    `json:"own_time"`
	Arrival   int    `json:"arrival_time"`
	Dropped   int    `json:"refused_or_dropped"`
	Invalid   int    `json:"without_time"` // no valid event; the replay skips these
	Rule      string `json:"rule"`

	rule ageRule
}

func (c *ageCount) add(eventTime, now time.Time) {
	switch age := now.Sub(eventTime); {
	case c.rule.dropped > 0 && age > c.rule.dropped:
		c.Dropped++
	case c.rule.arrival > 0 && age > c.rule.arrival:
		c.Arrival++
	default:
		c.Own++
	}
}

// countAges reads the dead letters that a replay would send, and counts them by how their SIEM dates them.
func (a *app) countAges(ctx context.Context, s *deployed.Stack, filter deadletter.Filter, total int) (
	[]ageCount, error,
) {
	var counts []ageCount
	index := map[string]int{}
	for _, c := range allConnectors() {
		if !s.Has(c.Name) || filter.Connector != "" && filter.Connector != c.Name {
			continue
		}
		lookup, err := a.connectorSettings(ctx, s, c)
		if err != nil {
			return nil, err
		}
		rule, _ := ageRuleOf(c.Name, lookup)
		index[c.Name] = len(counts)
		counts = append(counts, ageCount{Connector: c.Name, rule: rule, Rule: rule.text})
	}
	reader, err := openReader(ctx, s)
	if err != nil {
		return nil, err
	}
	progress := a.out.StartProgress("reading dead letters", int64(total))
	defer progress.Done()
	var parser event.Parser
	now, done := a.now(), int64(0)
	_, err = reader.Each(ctx, filter, func(l *deadletter.Letter) error {
		if i, ok := index[l.Connector]; ok {
			done++
			progress.Grow(done)
			progress.Set(done)
			var e event.Event
			parser.Reset()
			if parser.Parse(l.Body, &e) != nil {
				counts[i].Invalid++
			} else {
				counts[i].add(time.UnixMilli(e.Time), now)
			}
		}
		return nil
	})
	return counts, err
}

// showAges prints the table of a dry run.
func (a *app) showAges(counts []ageCount) {
	var rows [][]term.Cell
	for _, c := range counts {
		if c.Own+c.Arrival+c.Dropped+c.Invalid == 0 {
			continue
		}
		rows = append(rows, term.Row(c.Connector, c.Own, term.Flag(c.Arrival, term.Warn, term.Number(c.Arrival)),
			term.Flag(c.Dropped, term.Bad, term.Number(c.Dropped))))
	}
	if rows == nil {
		return
	}
	a.out.Line("")
	a.out.Table([]string{"CONNECTOR", "OWN TIME", "TIME OF ARRIVAL", "REFUSED OR DROPPED"}, rows)
	for _, c := range counts {
		if c.Own+c.Arrival+c.Dropped > 0 {
			a.out.Note("%s: %s", c.Connector, c.Rule)
		}
	}
}

// noteAges warns before a confirmation of events that will not have their own time in the SIEM.
func (a *app) noteAges(counts []ageCount) {
	for _, c := range counts {
		if c.Arrival > 0 {
			a.out.Note("%s: %s will get the time of arrival: %s", c.Connector, term.Count(c.Arrival, "event"), c.Rule)
		}
		if c.Dropped > 0 {
			a.out.Note("%s: %s will be refused or dropped for their age: %s", c.Connector,
				term.Count(c.Dropped, "event"), c.Rule)
		}
	}
}
