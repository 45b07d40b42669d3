package contrib

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
)

func TestDatadogPipelineMakesTheFields(t *testing.T) {
	var sent struct{ Ddsource string }
	decode(t, record(t, datadog.Open, "DATADOG_API_KEY", "k"), &sent)
	var pipeline struct {
		Filter     struct{ Query string }
		Processors []struct {
			Type, Target string
			Sources      []string
		}
	}
	readJSON(t, "datadog/pipeline.json", &pipeline)
	if pipeline.Filter.Query != "source:"+sent.Ddsource {
		t.Errorf("filter %q, and the source is %q", pipeline.Filter.Query, sent.Ddsource)
	}
	for _, p := range pipeline.Processors {
		if p.Type == "date-remapper" {
			t.Error("with a date remapper Datadog rejects events older than 18 hours")
		}
		// The content groups by usr.id, and an event may have an e-mail address only.
		if p.Target == "usr.id" && !slices.Equal(p.Sources, []string{"actor.user.uid", "actor.user.email_addr"}) {
			t.Errorf("usr.id has the sources %q", p.Sources)
		}
	}
	text := read(t, "datadog/pipeline.json")
	hasPaths(t, "pipeline.json", text)
	hasNames(t, "pipeline.json", text, func(f field) string { return f.datadog })
}

func TestDatadogContentUsesThePipelinesAttributes(t *testing.T) {
	made := []string{"entity.type", "activity_id", "network.client.geoip.country.iso_code", "ai.tokens_total"}
	for _, f := range fields() {
		made = append(append(made, f.datadog), f.paths...)
	}
	for _, path := range []string{"datadog/dashboard.json", "datadog/monitors.json", "datadog/security-rules.json"} {
		for _, m := range regexp.MustCompile(`@([a-z_]+(?:\.[a-z_]+)*)`).FindAllStringSubmatch(read(t, path), -1) {
			if name := m[1]; !slices.Contains(made, name) {
				t.Errorf("%s: no event has the attribute %s", path, name)
			}
		}
	}
}

func TestDatadogDetections(t *testing.T) {
	var monitors, rules []struct {
		Name, Query, Type string
		Options           struct{ Thresholds struct{ Critical float64 } }
	}
	readJSON(t, "datadog/monitors.json", &monitors)
	readJSON(t, "datadog/security-rules.json", &rules)
	var names []string
	for _, m := range monitors {
		names = append(names, m.Name)
		// Datadog refuses a monitor whose query ends in another value than its critical threshold.
		end := regexp.MustCompile(`(>=|>|<) (\d+)$`).FindStringSubmatch(m.Query)
		if end == nil || end[2] != strings.TrimSuffix(asJSON(t, m.Options.Thresholds.Critical), ".0") {
			t.Errorf("%s: the threshold %v is not that of the query %s", m.Name, m.Options.Thresholds.Critical, m.Query)
		}
	}
	for _, r := range rules {
		names = append(names, r.Name)
	}
	hasDetections(t, "monitors.json and security-rules.json", names)
}
