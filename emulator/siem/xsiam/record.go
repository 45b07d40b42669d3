package xsiam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// fields are the keys of a record, in the page's order.
var fields = []string{
	"_time", "_vendor", "_product", "_dataset", "log_type", "event_id", "user_id", "user_email", "operation", "model_id",
	"policy_action", "dlp_labels", "tokens_input", "tokens_output", "severity", "raw_ocsf",
}

// judge returns the event of a record, or the reason for refusing the whole request.
func (s *Simulator) judge(record json.RawMessage) (siem.Accepted, string) {
	decoder := json.NewDecoder(bytes.NewReader(record))
	decoder.UseNumber()
	var values map[string]any
	if decoder.Decode(&values) != nil || values == nil {
		return siem.Accepted{}, "a record is not an object"
	}
	raw, _ := values["raw_ocsf"].(string)
	accepted := siem.Accepted{ID: siem.EventID([]byte(raw)), Event: []byte(raw), Fields: map[string]string{}}
	if s.Poisoned(accepted.ID) {
		return siem.Accepted{}, "poisoned"
	}
	for name, value := range values {
		if value != nil {
			accepted.Fields[name] = fmt.Sprint(value)
		}
	}
	if got := siem.Keys(record); !slices.Equal(got, fields) {
		s.Violate("fields are %s, not %s", strings.Join(got, " "), strings.Join(fields, " "))
	}
	s.compare(values, accepted)
	return accepted, ""
}

// compare records fields that differ from the event.
func (s *Simulator) compare(values map[string]any, a siem.Accepted) {
	event, err := ocsf.Read(a.Event)
	if err != nil {
		s.Violate("raw_ocsf is not an event: %v", err)
		return
	}
	if !siem.OneLine(a.Event) {
		s.Violate("raw_ocsf has line breaks")
	}
	labels := make([]any, len(event.DLPLabels))
	for i, label := range event.DLPLabels {
		labels[i] = label
	}
	for name, want := range map[string]any{
		"_time": event.ISO(), "_vendor": "Arbitex", "_product": "ArbitexPlatform", "event_id": ocsf.Value(event.RequestID),
		"user_id": ocsf.Value(event.UserID), "user_email": ocsf.Value(event.UserEmail),
		"operation": ocsf.Value(event.Operation),
		"model_id":  ocsf.Value(event.ModelID), "policy_action": ocsf.Value(event.PolicyAction), "dlp_labels": labels,
		"tokens_input": ocsf.Number(event.TokensInput), "tokens_output": ocsf.Number(event.TokensOutput),
		"severity": caption(event.Severity),
	} {
		if got := values[name]; !reflect.DeepEqual(got, want) {
			s.Violate("%s is not the event's own value or not of its type (%T)", name, got)
		}
	}
	for _, name := range []string{"_dataset", "log_type"} {
		if text, _ := values[name].(string); text == "" {
			s.Violate("%s is empty", name)
		}
	}
}

// caption returns OCSF's caption of a severity_id.
func caption(id int64) string {
	word, ok := map[int64]string{
		0: "unknown", 1: "informational", 2: "low", 3: "medium", 4: "high", 5: "critical", 6: "fatal",
	}[id]
	if !ok {
		return "other"
	}
	return word
}
