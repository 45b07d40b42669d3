package contrib

import (
	"regexp"
	"slices"
	"strings"
	"testing"
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
