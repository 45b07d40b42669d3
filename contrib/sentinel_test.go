package contrib

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
)

func sentinelRow(t *testing.T) object {
	t.Helper()
	row := object{}
	decode(t, record(t, sentinel.Open, "SENTINEL_TENANT_ID", "t", "SENTINEL_CLIENT_ID", "c", "SENTINEL_CLIENT_SECRET", "s",
		"SENTINEL_DCR_ENDPOINT", "https://d", "SENTINEL_DCR_RULE_ID", "dcr-1", "SENTINEL_DCR_STREAM_NAME", "Custom-A"), &row)
	return row
}

func TestSentinelColumnsAreTheRowsKeys(t *testing.T) {
	row := sentinelRow(t)
	type column struct{ Name, Type string }
	var deployment struct {
		Resources []struct {
			Properties struct {
				Schema             struct{ Columns []column }
				StreamDeclarations map[string]struct{ Columns []column }
			}
		}
	}
	readJSON(t, "sentinel/azuredeploy.json", &deployment)
	table := deployment.Resources[0].Properties.Schema.Columns
	stream := deployment.Resources[1].Properties.StreamDeclarations["Custom-ArbitexAudit_CL"].Columns
	for what, columns := range map[string][]column{"table": table, "stream": stream} {
		var names []string
		for _, c := range columns {
			names = append(names, c.Name)
			_, number := row[c.Name].(float64)
			if number != (c.Type == "long") {
				t.Errorf("%s: %s is of type %s, and the row has %v", what, c.Name, c.Type, row[c.Name])
			}
		}
		slices.Sort(names)
		if want := slices.Sorted(maps.Keys(row)); !slices.Equal(names, want) {
			t.Errorf("%s: the columns are %v, the row's keys %v", what, names, want)
		}
	}
}

// content is what the tests read of content.json.
type content struct {
	Variables struct {
		Workbook struct {
			Items []struct{ Content struct{ Query string } }
		}
	}
	Resources []struct {
		Type, Kind, Name string
		Scope            string
		DependsOn        []string
		Properties       struct {
			DisplayName, Query, FunctionAlias            string
			QueryFrequency, QueryPeriod                  string
			Severity, TriggerOperator, Serialized        string
			Enabled                                      any
			Tactics                                      []string
			EntityMappings                               []struct{ FieldMappings []struct{ ColumnName string } }
			SuppressionDuration, SerializedData          string
			CustomDetails                                map[string]string
			IncidentConfiguration, EventGroupingSettings object
		}
	}
}

func TestSentinelParserMakesTheFields(t *testing.T) {
	parser := read(t, "sentinel/parser.kql")
	hasPaths(t, "parser.kql", parser)
	hasNames(t, "parser.kql", parser, func(f field) string { return f.sentinel })
	var c content
	readJSON(t, "sentinel/content.json", &c)
	first := c.Resources[0]
	function := first.Properties
	if !strings.HasSuffix(first.Type, "savedSearches") || function.FunctionAlias != "ArbitexAudit" ||
		function.Query != parser {
		t.Error("content.json: its first resource is not the function ArbitexAudit with the text of parser.kql")
	}
}

func TestSentinelRulesFollowTheFormat(t *testing.T) {
	var c content
	readJSON(t, "sentinel/content.json", &c)
	var names []string
	duration := regexp.MustCompile(`^P(T\d+[HM]|\d+D)$`)
	tactics := []string{"InitialAccess", "Persistence", "DefenseEvasion", "Exfiltration", "Impact"}
	for _, r := range c.Resources {
		if r.Type != "Microsoft.SecurityInsights/alertRules" {
			continue
		}
		p := r.Properties
		names = append(names, p.DisplayName)
		guid := regexp.MustCompile(`^[0-9a-f-]{36}$`)
		if r.Kind != "Scheduled" || len(r.DependsOn) != 1 || r.Scope == "" || !guid.MatchString(r.Name) {
			t.Errorf("%s: kind %q, name %q, depends on %v", p.DisplayName, r.Kind, r.Name, r.DependsOn)
		}
		for _, d := range []string{p.QueryFrequency, p.QueryPeriod, p.SuppressionDuration} {
			if !duration.MatchString(d) {
				t.Errorf("%s: the duration %q", p.DisplayName, d)
			}
		}
		// Sentinel's limit: a period of two days or more runs once an hour at most.
		if strings.HasSuffix(p.QueryPeriod, "D") && strings.HasSuffix(p.QueryFrequency, "M") {
			t.Errorf("%s: too often for %s", p.DisplayName, p.QueryPeriod)
		}
		if !slices.Contains([]string{"High", "Medium", "Low", "Informational"}, p.Severity) ||
			p.TriggerOperator != "GreaterThan" {
			t.Errorf("%s: severity %q, operator %q", p.DisplayName, p.Severity, p.TriggerOperator)
		}
		for _, tactic := range p.Tactics {
			if !slices.Contains(tactics, tactic) {
				t.Errorf("%s: unknown tactic %s", p.DisplayName, tactic)
			}
		}
		for _, e := range p.EntityMappings {
			for _, m := range e.FieldMappings {
				if !strings.Contains(p.Query, m.ColumnName) {
					t.Errorf("%s: the query has no column %s", p.DisplayName, m.ColumnName)
				}
			}
		}
	}
	hasDetections(t, "content.json", names)
	if len(c.Variables.Workbook.Items) < 8 {
		t.Errorf("the workbook has %d items", len(c.Variables.Workbook.Items))
	}
}
