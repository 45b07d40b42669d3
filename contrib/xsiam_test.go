package contrib

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
)

const xsiamModel = "xsiam/ModelingRules/ArbitexAudit/ArbitexAudit.xif"

func TestXSIAMRulesReadTheRecordsKeys(t *testing.T) {
	sent := object{}
	decode(t, record(t, xsiam.Open, "XSIAM_URL", "https://x", "XSIAM_API_KEY", "k", "XSIAM_AUTH", "token"), &sent)
	parsing, model := read(t, "xsiam/ParsingRules/ArbitexAudit/ArbitexAudit.xif"), read(t, xsiamModel)
	for _, rule := range []string{parsing, model} {
		if !strings.Contains(rule, `"`+sent["_dataset"].(string)+`"`) {
			t.Errorf("no rule for the dataset %s", sent["_dataset"])
		}
	}
	if !strings.Contains(parsing, `json_extract_scalar(raw_ocsf, "$.time")`) {
		t.Error("the parsing rule does not take the event's time")
	}
	var schema map[string]map[string]struct{ Type string }
	readJSON(t, "xsiam/ModelingRules/ArbitexAudit/ArbitexAudit_schema.json", &schema)
	columns := schema["arbitex_audit_raw"]
	for key, value := range sent {
		if strings.HasPrefix(key, "_") {
			continue
		}
		if _, number := value.(float64); (columns[key].Type == "int") != number {
			t.Errorf("the schema has %q for %s, and the record %v", columns[key].Type, key, value)
		}
		if !regexp.MustCompile(`\b` + key + `\b`).MatchString(model) {
			t.Errorf("the modeling rule does not mention %s", key)
		}
	}
	if len(columns) != len(sent)-4 { // _time, _vendor, _product and _dataset are the platform's
		t.Errorf("the schema has %d columns, the record %d keys", len(columns), len(sent))
	}
	hasPaths(t, "the modeling rule", model, "actor.user.uid", "actor.user.email_addr", "unmapped.dlp_labels",
		"severity_id")
	hasNames(t, "the modeling rule", model, func(f field) string { return f.xsiam })
}

// The types of the XDM fields that the rule fills, of Palo Alto Networks' public XDM schema.
func TestXSIAMModelFollowsXDM(t *testing.T) {
	types := map[string]string{
		"xdm.event.id": "string", "xdm.event.type": "string", "xdm.event.operation_sub_type": "string",
		"xdm.event.outcome":        "OUTCOME",
		"xdm.event.outcome_reason": "string", "xdm.event.tags": "EVENT_TAG", "xdm.event.description": "string",
		"xdm.alert.severity":  "string",
		"xdm.observer.vendor": "string", "xdm.observer.action": "string", "xdm.source.ipv4": "string",
		"xdm.source.ipv6":            "string",
		"xdm.source.user.identifier": "string", "xdm.source.user.upn": "string", "xdm.source.user.username": "string",
		"xdm.source.user.groups": "array", "xdm.target.resource.name": "string", "xdm.target.resource.type": "string",
		"xdm.session_context_id": "string",
	}
	model := read(t, xsiamModel)
	assigned := regexp.MustCompile(`(?m)^\s+(xdm\.[a-z_.0-9]+) = (.*?)[,;]?$`).FindAllStringSubmatch(model, -1)
	if len(assigned) != len(types) {
		t.Errorf("%d assignments, want %d", len(assigned), len(types))
	}
	for _, m := range assigned {
		kind, ok := types[m[1]]
		constants := regexp.MustCompile(`XDM_CONST\.([A-Z_]+)`).FindAllStringSubmatch(m[2], -1)
		enumeration := ok && kind == strings.ToUpper(kind)
		if !ok || enumeration != (len(constants) > 0) {
			t.Errorf("%s, of type %q, gets %s", m[1], kind, m[2])
		}
		for _, c := range constants {
			if !strings.HasPrefix(c[1], kind+"_") {
				t.Errorf("%s gets a constant %s", m[1], c[1])
			}
		}
		if (kind == "array" || kind == "EVENT_TAG") && !regexp.MustCompile(`\barray(map|create)\(`).MatchString(m[2]) {
			t.Errorf("%s is an array and gets %s", m[1], m[2])
		}
	}
}

// minutes returns the length of a duration such as 20 minutes.
func minutes(text string) (n int) {
	number, unit, _ := strings.Cut(text, " ")
	n, _ = strconv.Atoi(number)
	return n * map[string]int{"minutes": 1, "hours": 60, "days": 24 * 60}[unit]
}

func TestXSIAMCorrelationRules(t *testing.T) {
	paths, err := filepath.Glob("xsiam/CorrelationRules/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var names, ids []string
	for _, path := range paths {
		text := read(t, path)
		value := func(key string) string {
			m := regexp.MustCompile(`(?m)^` + key + `: (.*)$`).FindStringSubmatch(text)
			if m == nil {
				t.Errorf("%s has no %s", path, key)
				return ""
			}
			return m[1]
		}
		names, ids = append(names, value("name")), append(ids, value("global_rule_id"))
		scheduled := value("execution_mode") == "SCHEDULED" && value("mapping_strategy") == "CUSTOM"
		if !scheduled || value("alert_name") != value("name") {
			t.Errorf("%s: not a scheduled rule with its own mapping", path)
		}
		if !regexp.MustCompile(`^SEV_0[1-5]0_(LOW|MEDIUM|HIGH|CRITICAL|INFO)$`).MatchString(value("severity")) ||
			!regexp.MustCompile(`^([1-7] days|\d+ (minutes|hours))$`).MatchString(value("search_window")) {
			t.Errorf("%s: severity %s, window %s", path, value("severity"), value("search_window"))
		}
		// The windows overlap, so that a run sees the events that arrive after the one before; the suppression is no
		// shorter, so that it does not report the others twice. A rule with a threshold may miss one event.
		_, query, _ := strings.Cut(text, "xql_query: |\n")
		window, suppression := minutes(value("search_window")), minutes(value("suppression_duration"))
		if every, ok := strings.CutPrefix(value("crontab"), "'*/"); ok && !strings.Contains(query, ">=") {
			interval := minutes(strings.Fields(every)[0] + " minutes")
			if window <= interval || suppression < window {
				t.Errorf("%s: every %v, window %v, suppression %v", path, interval, window, suppression)
			}
		}
		if !strings.HasPrefix(query, "  dataset = arbitex_audit_raw\n") {
			t.Errorf("%s: the query does not read the dataset", path)
		}
		named := strings.Split(value("suppression_fields"), ", ")
		for _, m := range regexp.MustCompile(`(?m)^  [a-z_]+: ([a-z_]+)$`).FindAllStringSubmatch(text, -1) {
			named = append(named, m[1])
		}
		for _, field := range named {
			if !regexp.MustCompile(`\b` + field + `\b`).MatchString(query) {
				t.Errorf("%s: the query has no field %s", path, field)
			}
		}
	}
	hasDetections(t, "CorrelationRules", names)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(names) {
		t.Error("two rules have one global_rule_id")
	}
}
