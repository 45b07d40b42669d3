package sentinel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// columns are the stream's columns, in the page's order.
var columns = []string{
	"TimeGenerated", "EventId", "UserId", "UserEmail", "Operation", "ModelId", "PolicyAction", "DlpLabels",
	"TokensInput", "TokensOutput", "SeverityId", "RawOCSF",
}

var (
	errNoObject = errors.New("a row is not an object")
	errPoison   = errors.New("a row does not match the stream")
)

// judge returns the event of a row, or the reason for refusing the whole request.
func (s *Simulator) judge(row json.RawMessage) (siem.Accepted, error) {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	var values map[string]any
	if row[0] != '{' || decoder.Decode(&values) != nil {
		return siem.Accepted{}, errNoObject
	}
	text, _ := values["RawOCSF"].(string)
	accepted := siem.Accepted{ID: siem.EventID([]byte(text)), Event: []byte(text), Fields: map[string]string{}}
	if id, ok := siem.Standin(accepted.Event); ok {
		accepted.ID, accepted.Truncated = id, true
	}
	if s.Poisoned(accepted.ID) {
		return siem.Accepted{}, errPoison
	}
	for name, value := range values {
		if value != nil {
			accepted.Fields[name] = fmt.Sprint(value)
		}
		if text, ok := value.(string); ok && len(text) > maxValue {
			s.Violate("%s has %d bytes, which Azure cuts to %d", name, len(text), maxValue)
		}
	}
	if got := siem.Keys(row); !slices.Equal(got, columns) {
		s.Violate("columns are %s, not %s", strings.Join(got, " "), strings.Join(columns, " "))
	}
	s.compare(values, accepted)
	return accepted, nil
}

// compare records columns that differ from the event.
func (s *Simulator) compare(values map[string]any, a siem.Accepted) {
	event, err := ocsf.Read(a.Event)
	if err != nil {
		s.Violate("RawOCSF is not an event: %v", err)
		return
	}
	if !siem.OneLine(a.Event) {
		s.Violate("RawOCSF has line breaks")
	}
	want := map[string]any{"TimeGenerated": event.ISO()}
	if !a.Truncated { // the columns of a truncated event cannot be compared
		labels, _ := json.Marshal(event.DLPLabels)
		want = map[string]any{
			"TimeGenerated": event.ISO(), "EventId": ocsf.Value(event.RequestID), "UserId": ocsf.Value(event.UserID),
			"UserEmail": ocsf.Value(event.UserEmail),
			"Operation": ocsf.Value(event.Operation), "ModelId": ocsf.Value(event.ModelID),
			"PolicyAction": ocsf.Value(event.PolicyAction),
			"DlpLabels":    string(labels), "TokensInput": ocsf.Number(event.TokensInput),
			"TokensOutput": ocsf.Number(event.TokensOutput),
			"SeverityId":   ocsf.Number(&event.Severity),
		}
	}
	for name, wanted := range want {
		got := values[name]
		if name == "DlpLabels" {
			got = normal(got)
		}
		if !reflect.DeepEqual(got, wanted) {
			s.Violate("%s is not the event's own value or not of its type (%T)", name, got)
		}
	}
}

// normal rewrites a JSON array of texts as encoding/json does, because texts can be escaped in several ways.
func normal(v any) any {
	text, ok := v.(string)
	var labels []string
	if !ok || !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &labels) != nil {
		return v
	}
	again, _ := json.Marshal(labels)
	return string(again)
}
