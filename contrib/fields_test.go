package contrib

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// field is a field of an event that analysts search, and the name that each SIEM's analysts use for it.
type field struct {
	paths                                                []string // in the event, the first that has a value counts
	splunk, elastic, datadog, sumo, sentinel, xsiam, cef string
}

// fields is the one table of those names. Sentinel's are the columns of the parser function, QRadar's the CEF keys
// of QRADAR_CEF_KEYS=standard.
func fields() []field {
	return []field{
		{[]string{"src_endpoint.ip"}, "src", "source.ip", "network.client.ip", "src_ip", "SrcIpAddr", "xdm.source.ipv4",
			"src"},
		{[]string{"actor.user.uid"}, "user_id", "user.id", "usr.id", "user_id", "UserId", "xdm.source.user.identifier",
			"suid"},
		{[]string{"actor.user.email_addr"}, "user", "user.email", "usr.email", "user_email", "UserEmail",
			"xdm.source.user.upn", "suser"},
		{[]string{"api.operation", "activity_name"}, "command", "event.action", "evt.name", "operation", "Operation",
			"xdm.event.operation_sub_type", ""},
		{[]string{"status_id"}, "outcome", "event.outcome", "evt.outcome", "status_id", "EventResult", "xdm.event.outcome",
			""},
		{[]string{"unmapped.model_id", "ai_model.name"}, "model_id", "gen_ai.request.model", "ai.model_id", "model_id",
			"ModelId", "xdm.target.resource.name", "cs4"},
		{[]string{"unmapped.policy_action"}, "policy_action", "arbitex.policy_action", "ai.policy_action", "policy_action",
			"PolicyAction", "xdm.observer.action", "act"},
		{[]string{"unmapped.dlp_labels"}, "dlp_labels", "arbitex.dlp_labels", "ai.dlp_labels", "dlp_labels", "DlpLabelList",
			"xdm.event.outcome_reason", "cs2"},
		{[]string{"unmapped.tokens_input", "message_context.prompt_tokens"}, "tokens_input", "gen_ai.usage.input_tokens",
			"ai.tokens_input", "tokens_input", "TokensInput", "", "cn1"},
		{[]string{"unmapped.tokens_output", "message_context.completion_tokens"}, "tokens_output",
			"gen_ai.usage.output_tokens", "ai.tokens_output", "tokens_output", "TokensOutput", "", "cn2"},
		{[]string{"actor.user.groups"}, "groups", "arbitex.group_ids", "usr.groups", "groups", "GroupIds",
			"xdm.source.user.groups", "cs3"},
		{[]string{"api.request.uid"}, "request_id", "arbitex.request_id", "http.request_id", "request_id", "RequestId",
			"xdm.session_context_id", ""},
		{[]string{"metadata.uid"}, "event_id", "event.id", "ocsf.uid", "event_id", "EventUid", "xdm.event.id", "externalId"},
		{[]string{"class_uid"}, "signature_id", "class_uid", "ocsf.class_uid", "class_uid", "ClassUid", "xdm.event.type", ""},
		{[]string{"severity_id"}, "severity", "event.severity", "ocsf_status", "severity_id", "SeverityId",
			"xdm.alert.severity", ""},
	}
}

// detections are the names that each pack gives the same seven detections.
func detections() []string {
	return []string{
		"Surge of blocked prompts by one user", "Policy bypass after blocks or redactions",
		"DLP label sent through an unusual model", "Token usage spike", "Use outside the working region",
		"Policy changed by an administrator", "Audit feed is silent",
	}
}

func TestFieldsAreThoseOfTheConnectors(t *testing.T) {
	// What connectors read and no pack needs: groups have one row, and the rest is part of the envelope.
	elsewhere := []string{"time", "@timestamp", "actor.user.groups.uid", "actor.user.groups.name", "unmapped.group_ids"}
	var named []string
	for _, f := range fields() {
		named = append(named, f.paths...)
	}
	rows := regexp.MustCompile(`\{field\w+, "([@a-z_.\[\]]+)"\}`)
	for _, m := range rows.FindAllStringSubmatch(read(t, "../shared/event/fields.go"), -1) {
		path := strings.ReplaceAll(m[1], "[]", "")
		if !slices.Contains(named, path) && !slices.Contains(elsewhere, path) {
			t.Errorf("connectors read %s, which the table of fields does not name", path)
		}
	}
}

// hasPaths requires that the text of a pack contains every path of the table of fields.
func hasPaths(t *testing.T, what, text string, skip ...string) {
	t.Helper()
	for _, f := range fields() {
		for _, path := range f.paths {
			if !slices.Contains(skip, path) && !strings.Contains(text, path) {
				t.Errorf("%s: nothing reads %s", what, path)
			}
		}
	}
}

// hasNames requires that the text of a pack contains every name that the SIEM's analysts use.
func hasNames(t *testing.T, what, text string, name func(field) string) {
	t.Helper()
	for _, f := range fields() {
		if n := name(f); n != "" && !regexp.MustCompile(`\b`+regexp.QuoteMeta(n)+`\b`).MatchString(text) {
			t.Errorf("%s: nothing makes %s of %s", what, n, f.paths[0])
		}
	}
}

// hasDetections requires each of the seven detections exactly once.
func hasDetections(t *testing.T, what string, names []string) {
	t.Helper()
	for _, want := range detections() {
		count := 0
		for _, name := range names {
			if name == "Arbitex - "+want {
				count++
			}
		}
		if count != 1 {
			t.Errorf("%s: %d detections are called %q, want 1", what, count, "Arbitex - "+want)
		}
	}
	if len(names) != len(detections()) {
		t.Errorf("%s: %d detections, want %d", what, len(names), len(detections()))
	}
}

// full has a value for every field of an event that a pack uses, and lists with two values.
const full = `{"class_uid":6003,"activity_id":1,"activity_name":"Create","time":1741824000123,"severity_id":4,"status_id":1,` +
	`"actor":{"user":{"uid":"user=abc","email_addr":"alice@example.com","groups":[{"uid":"g1","name":"n1"},{"uid":"g2"}]}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},"metadata":{"uid":"evt-1","version":"1.1.0"},` +
	`"src_endpoint":{"ip":"198.51.100.7","location":{"country":"DE"}},"unmapped":{"model_id":"gpt-4o","policy_action":"redact",` +
	`"dlp_labels":["pii","pci"],"tokens_input":512,"tokens_output":256,"group_ids":["g3"]}}`

// varied are events that are hard on a SIEM: attributes of type json_t as a string and as an object, the AI
// attributes of OCSF 1.8, a malformed address, nulls, and text where OCSF wants a number.
func varied() []string {
	head := func(id string) string {
		return `{"class_uid":6003,"activity_id":1,"time":1773360000000,"severity_id":4,"status_id":2,"metadata":{"uid":"` +
			id + `","version":"1.8.0"},`
	}
	return []string{
		full,
		head("j1") + `"api":{"operation":"a","request":{"data":"text"}},"evidences":[{"data":"text"}],"enrichments":[{"data":"text"}],"supporting_data":"text"}`,
		head("j2") + `"api":{"operation":"a","request":{"data":{"k":1}}},"evidences":[{"data":{"k":[1]}}],"enrichments":[{"data":{"k":"2026-03-13"}}],"supporting_data":{"k":true}}`,
		head("ai") + `"ai_model":{"name":"model-of-1.8"},"message_context":{"prompt_tokens":1234,"completion_tokens":4321}}`,
		head("ip") + `"src_endpoint":{"ip":"012.000.22.33"},"actor":{"user":{"uid":null,"email_addr":"only@example.com"}},"unmapped":null}`,
		head("dates") + `"message":"2026-03-13","unmapped":{"a":"2026-03-13","cost":1}}`,
		head("text") + `"message":"text","unmapped":{"a":"b","cost":"free"},"status_detail":"","duration":"1s"}`,
		head("entity") + `"entity":{"uid":"pol_1","name":"Default","type":"policy"},"unmapped":{"tokens_input":1,"tokens_output":2}}`,
	}
}

// events are the varied ones, count generated ones, and those of the file that CONTENT_EVENTS names, one a line.
func events(t *testing.T, count int) []string {
	t.Helper()
	all := append(varied(), connectortest.Generated(1, count)...)
	if path := os.Getenv("CONTENT_EVENTS"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	return all
}

// record returns what a connector with these settings sends for the full event.
func record(t *testing.T, open func(*settings.Settings) deliver.Connector, pairs ...string) []byte {
	t.Helper()
	b, err := appendEvent(t, open, full, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// appendEvent returns what a connector sends for an event, or the error that makes it a dead letter.
func appendEvent(t *testing.T, open func(*settings.Settings) deliver.Connector, body string, pairs ...string) ([]byte,
	error) {
	t.Helper()
	env := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	connector := connectortest.Read(t, env, open)
	var p event.Parser
	var e event.Event
	if err := p.Parse([]byte(body), &e); err != nil {
		return nil, err
	}
	b, _, err := connector.Append(nil, &e)
	return b, err
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// readLines decodes a file of one JSON object a line.
func readLines[T any](t *testing.T, path string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(read(t, path)) {
		var one T
		decode(t, []byte(line), &one)
		all = append(all, one)
	}
	return all
}

// readCSV returns the rows without the heading.
func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(read(t, path))).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return rows[1:]
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
}
