package contrib

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestSumoSourceKeepsEventsApart(t *testing.T) {
	var source struct {
		Source struct {
			MessagePerRequest          bool
			MultilineProcessingEnabled bool
			DefaultDateFormats         []struct{ Format, Locator string }
		}
	}
	readJSON(t, "sumo/http-source.json", &source)
	locator := regexp.MustCompile(strings.ReplaceAll(source.Source.DefaultDateFormats[0].Locator, `\"`, `"`))
	if found := locator.FindStringSubmatch(full); found == nil || found[1] != "1741824000123" {
		t.Errorf("locator %s finds %q in %s", locator, found, full)
	}
	if source.Source.MessagePerRequest || source.Source.MultilineProcessingEnabled {
		t.Error("the source joins events")
	}
}

// sumoNames are the names that the field extraction rule gives to paths.
func sumoNames(t *testing.T) []string {
	t.Helper()
	var rule struct{ ParseExpression string }
	readJSON(t, "sumo/field-extraction-rule.json", &rule)
	from, to, _ := strings.Cut(strings.TrimPrefix(rule.ParseExpression, "json "), " as ")
	names := strings.Split(strings.TrimSuffix(to, " nodrop"), ", ")
	if paths := strings.Split(from, ", "); len(paths) != len(names) {
		t.Errorf("%d fields get %d names", len(paths), len(names))
	}
	hasPaths(t, "field-extraction-rule.json", from)
	return names
}

func TestSumoRuleMakesTheFields(t *testing.T) {
	names := sumoNames(t)
	for _, f := range fields() {
		if !slices.Contains(names, f.sumo) {
			t.Errorf("field-extraction-rule.json makes no field %s", f.sumo)
		}
	}
}

func TestSumoContentFollowsTheFormat(t *testing.T) {
	type query struct{ QueryString, QueryType string }
	var folder struct {
		Type     string
		Children []struct {
			Type, Name string
			Search     struct {
				QueryText, DefaultTimeRange string
				ByReceiptTime               bool
			}
			SearchSchedule struct {
				CronExpression string
				Threshold      struct {
					ThresholdType, Operator string
					Count                   int
				}
				Notification struct{ TaskType string }
			}
			Layout struct{ LayoutStructures []struct{ Key string } }
			Panels []struct {
				Key, Title, VisualSettings string
				Queries                    []query
			}
		}
	}
	readJSON(t, "sumo/content.json", &folder)
	if folder.Type != "FolderSyncDefinition" {
		t.Errorf("type %q", folder.Type)
	}
	source := "_sourceCategory=arbitex/audit"
	var names, queries []string
	for _, c := range folder.Children {
		switch c.Type {
		case "SavedSearchWithScheduleSyncDefinition":
			names, queries = append(names, c.Name), append(queries, c.Search.QueryText)
			s := c.SearchSchedule
			cron := regexp.MustCompile(`^0 0(/15)? \* \* \* \? \*$`)
			threshold := s.Threshold.ThresholdType + " " + s.Threshold.Operator
			if !cron.MatchString(s.CronExpression) || s.Notification.TaskType == "" ||
				!slices.Contains([]string{"group gt", "message eq"}, threshold) {
				t.Errorf("%s: schedule %+v", c.Name, s)
			}
			// A window as long as the interval, by the event's time, never has an event that arrives after it. A search
			// with a threshold of its own may miss one event; a search for single events may not.
			single := !strings.Contains(c.Search.QueryText, ">=")
			if single && c.Search.DefaultTimeRange == "-15m" && !c.Search.ByReceiptTime {
				t.Errorf("%s: misses events that arrive after the window of their time", c.Name)
			}
		case "DashboardV2SyncDefinition":
			for i, p := range c.Panels {
				if c.Layout.LayoutStructures[i].Key != p.Key {
					t.Errorf("panel %s has the layout of %s", p.Key, c.Layout.LayoutStructures[i].Key)
				}
				var settings struct{ General struct{ Mode, Type string } }
				decode(t, []byte(p.VisualSettings), &settings)
				if settings.General.Type == "" {
					t.Errorf("panel %s has no type", p.Key)
				}
				for _, q := range p.Queries {
					queries = append(queries, q.QueryString)
				}
			}
		default:
			t.Errorf("%s: unknown type %s", c.Name, c.Type)
		}
	}
	hasDetections(t, "content.json", names)
	known := sumoNames(t)
	for _, q := range queries {
		if !strings.HasPrefix(q, source) {
			t.Errorf("not a search of %s: %s", source, q)
		}
		if strings.Contains(q, "count_distinct(event_id)") {
			t.Errorf("counts the events without metadata.uid as one: %s", q)
		}
		// Fields that the search expression or a where reads, before the query names its own.
		reads := regexp.MustCompile(`(?:^| |\()([a-z_]+)(?:=| in | != | matches )`)
		for _, m := range reads.FindAllStringSubmatch(strings.TrimPrefix(q, source), -1) {
			own := regexp.MustCompile(`as ` + m[1] + `\b|parse regex field=`).MatchString(q)
			if !own && !slices.Contains(known, m[1]) {
				t.Errorf("no field %s: %s", m[1], q)
			}
		}
	}
}
