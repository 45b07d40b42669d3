// Package contrib holds ready-made content for the SIEMs: no code, and these tests, which compare it with what the
// connectors send.
package contrib

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
)

// full has a value for every field that a connector reads, and lists with two values.
const full = `{"class_uid":6003,"time":1741824000123,"severity_id":4,"activity_name":"Read",` +
	`"actor":{"user":{"uid":"user=abc","email_addr":"alice@example.com","groups":[{"uid":"g1","name":"n1"},{"uid":"g2"}]}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},"metadata":{"uid":"evt-1"},` +
	`"unmapped":{"model_id":"gpt-4o","policy_action":"redact","dlp_labels":["pii","pci"],"tokens_input":512,"tokens_output":256,"group_ids":["g3"]}}`

func TestJSONIsValid(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".json" {
			found++
			readJSON(t, path, new(any))
		}
		return err
	})
	if err != nil || found < 6 {
		t.Errorf("found %d JSON files, error %v", found, err)
	}
}

func TestSplunkNamesWhatIsSent(t *testing.T) {
	var sent struct{ Sourcetype, Index string }
	decode(t, record(t, splunk.Open, "SPLUNK_HEC_URL", "https://s", "SPLUNK_HEC_TOKEN", "t"), &sent)
	props := read(t, "splunk/arbitex_audit/default/props.conf")
	if !strings.Contains(props, "\n["+sent.Sourcetype+"]\n") {
		t.Errorf("props.conf has no stanza of the source type %q", sent.Sourcetype)
	}
	if !strings.Contains(read(t, "splunk/arbitex_audit/default/indexes.conf"), "\n["+sent.Index+"]\n") {
		t.Errorf("indexes.conf does not make the index %q", sent.Index)
	}
	// Settings' lines only: names in quotes, and the bare ones of fields without a dot.
	var used []string
	for line := range strings.Lines(props) {
		if !strings.HasPrefix(line, "FIELDALIAS-") && !strings.HasPrefix(line, "EVAL-") && !strings.HasPrefix(line, "LOOKUP-") {
			continue
		}
		_, right, _ := strings.Cut(line, "=")
		left, _, _ := strings.Cut(right, " ASNEW ")
		left, _, _ = strings.Cut(left, " OUTPUTNEW ")
		used = append(used, pathsIn(strings.ReplaceAll(left, "{}", ""))...)
	}
	compare(t, "props.conf", used, eventPaths(t))
}

func TestSentinelColumnsAreTheRowsKeys(t *testing.T) {
	row := map[string]any{}
	decode(t, record(t, sentinel.Open, "SENTINEL_TENANT_ID", "t", "SENTINEL_CLIENT_ID", "c", "SENTINEL_CLIENT_SECRET", "s",
		"SENTINEL_DCR_ENDPOINT", "https://d", "SENTINEL_DCR_RULE_ID", "dcr-1", "SENTINEL_DCR_STREAM_NAME", "Custom-A"), &row)
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
				t.Errorf("%s: %s is a %s, and the row has %v", what, c.Name, c.Type, row[c.Name])
			}
		}
		compare(t, what, names, keys(row))
	}
	for _, name := range regexp.MustCompile(`\b(?:[A-Z][a-z]+){2,}\b`).FindAllString(read(t, "sentinel/queries.kql"), -1) {
		if _, ok := row[name]; !ok && !slices.Contains([]string{"ArbitexAudit", "EventTime"}, name) {
			t.Errorf("queries.kql: there is no column %s", name)
		}
	}
}

func TestElasticMapsWhatIsRead(t *testing.T) {
	var template struct {
		IndexPatterns []string `json:"index_patterns"`
		Template      struct {
			Settings struct {
				Index struct {
					DefaultPipeline string `json:"default_pipeline"`
				}
			}
			Mappings struct{ Properties map[string]any }
		}
	}
	readJSON(t, "elastic/index-template.json", &template)
	var mapped []string
	for path, kind := range mappingPaths("", template.Template.Mappings.Properties) {
		if kind == "flattened" {
			mapped = append(mapped, under(path, eventPaths(t))...)
			continue
		}
		if !strings.HasPrefix(path, "event.") && !strings.HasPrefix(path, "user.") { // those that the pipeline makes
			mapped = append(mapped, path)
		}
	}
	compare(t, "index-template.json", mapped, append(eventPaths(t), "@timestamp"))
	var pipeline struct {
		Processors []map[string]struct {
			From string `json:"copy_from"`
		}
	}
	readJSON(t, "elastic/ingest-pipeline.json", &pipeline)
	for _, p := range pipeline.Processors {
		if from := p["set"].From; from != "" && !slices.Contains(eventPaths(t), from) {
			t.Errorf("ingest-pipeline.json: no connector reads %s", from)
		}
	}
}

func TestDatadogMapsWhatIsSent(t *testing.T) {
	var sent struct{ Ddsource string }
	decode(t, record(t, datadog.Open, "DATADOG_API_KEY", "k"), &sent)
	var pipeline struct {
		Filter     struct{ Query string }
		Processors []struct {
			Type, Target string
			Sources      []string
			Categories   []struct{ Filter struct{ Query string } }
		}
	}
	readJSON(t, "datadog/pipeline.json", &pipeline)
	if pipeline.Filter.Query != "source:"+sent.Ddsource {
		t.Errorf("filter %q, and the source is %q", pipeline.Filter.Query, sent.Ddsource)
	}
	var used, made []string
	for _, p := range pipeline.Processors {
		if p.Type == "date-remapper" {
			t.Error("a date remapper makes Datadog drop events older than 18 hours")
		}
		for _, c := range p.Categories {
			used = append(used, pathsIn(strings.TrimPrefix(c.Filter.Query, "@"))...)
		}
		for _, source := range p.Sources {
			if !slices.Contains(made, source) {
				used = append(used, source)
			}
		}
		made = append(made, p.Target)
	}
	compare(t, "pipeline.json", withoutStar(used), groupsAsOne(eventPaths(t)))
}

func TestSumoReadsWhatIsSent(t *testing.T) {
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
	var rule struct{ ParseExpression string }
	readJSON(t, "sumo/field-extraction-rule.json", &rule)
	from, to, _ := strings.Cut(strings.TrimPrefix(rule.ParseExpression, "json "), " as ")
	if a, b := strings.Count(from, ","), strings.Count(to, ","); a != b {
		t.Errorf("%d fields get %d names", a+1, b+1)
	}
	compare(t, "field-extraction-rule.json", pathsIn(from), groupsAsOne(eventPaths(t)))
}

func TestQRadarPropertiesFindWhatIsSent(t *testing.T) {
	want := map[string]string{
		"User Email": "alice@example.com", "User Id": `user\=abc`, "Event Time (ms)": "1741824000123", "Event Id": "evt-1",
		"Policy Action": "redact", "Action": "redact", "DLP Labels": "pii,pci", "Group Ids": "g1,g2", "Model Id": "gpt-4o",
		"Tokens Input": "512", "Tokens Output": "256",
	}
	rows := readCSV(t, "qradar/properties.csv")
	for column, mode := range map[int]string{2: "page", 3: "standard"} {
		message := string(record(t, qradar.Open, "QRADAR_SYSLOG_HOST", "q", "QRADAR_CEF_KEYS", mode))
		seen := map[string]bool{}
		for _, row := range rows {
			if row[column] == "" {
				continue
			}
			found := regexp.MustCompile(row[column]).FindStringSubmatch(message)
			switch {
			case row[0] == "Truncated":
				seen["truncated"] = true
			case found == nil || found[1] != want[row[0]]:
				t.Errorf("%s, %s: %q finds %q in %s", row[0], mode, row[column], found, message)
			default:
				seen[regexp.MustCompile(`(\w+)=`).FindStringSubmatch(row[column])[1]] = true
			}
		}
		for _, key := range regexp.MustCompile(`[ |](\w+)=`).FindAllStringSubmatch(message, -1) {
			if !seen[key[1]] && !strings.HasSuffix(key[1], "Label") {
				t.Errorf("%s: no property reads the key %s", mode, key[1])
			}
		}
	}
}

func TestQRadarMappingKnowsTheProduct(t *testing.T) {
	message := string(record(t, qradar.Open, "QRADAR_SYSLOG_HOST", "q"))
	var classes []string
	for _, row := range readCSV(t, "qradar/event-mapping.csv") {
		classes = append(classes, row[0])
		if !strings.Contains(message, "|"+row[1]+"|") {
			t.Errorf("category %q is no device product", row[1])
		}
	}
	for _, class := range []string{"6003", "2001", "3002", "3004"} {
		if !slices.Contains(classes, class) {
			t.Errorf("the platform's class %s is not mapped", class)
		}
	}
	if !strings.Contains(read(t, "qradar/log-source.md"), "`"+strings.Fields(message)[2]+"`") {
		t.Error("log-source.md: the identifier is not the HOSTNAME that is sent")
	}
}

func TestXSIAMRulesNameTheRecordsKeys(t *testing.T) {
	sent := map[string]any{}
	decode(t, record(t, xsiam.Open, "XSIAM_URL", "https://x", "XSIAM_API_KEY", "k", "XSIAM_AUTH", "token"), &sent)
	parsing, model := read(t, "xsiam/parsing-rule.xif"), read(t, "xsiam/data-model-rule.xif")
	for _, rule := range []string{parsing, model} {
		if !strings.Contains(rule, `"`+sent["_dataset"].(string)+`"`) {
			t.Errorf("no rule for the dataset %s", sent["_dataset"])
		}
	}
	var used []string
	for _, m := range regexp.MustCompile(`= (\w+)`).FindAllStringSubmatch(model, -1) {
		used = append(used, m[1])
	}
	for _, name := range used {
		if _, ok := sent[name]; !ok {
			t.Errorf("data-model-rule.xif: no record has %s", name)
		}
	}
	_, unmapped, _ := strings.Cut(model, "Without a place in XDM")
	for key := range sent {
		if !slices.Contains(used, key) && !strings.Contains(unmapped, key) && !strings.HasPrefix(key, "_") {
			t.Errorf("data-model-rule.xif: says nothing of %s", key)
		}
	}
	if !strings.Contains(parsing, `json_extract_scalar(raw_ocsf, "$.time")`) {
		t.Error("parsing-rule.xif: does not take the event's time")
	}
}
