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

// columns are those that the stream declares, in the page's order.
var columns = []string{
	"TimeGenerated", "EventId", "UserId", "UserEmail", "Operation", "ModelId", "PolicyAction", "DlpLabels",
	"TokensInput", "TokensOutput", "SeverityId", "RawOCSF",
}

var (
	errNoObject = errors.New("a row is no object")
	errPoison   = errors.New("a row does not match the stream")
)

// judge decides on one row: the event to keep, or why the whole request is refused.
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

// compare notes the columns that do not say what the event says.
func (s *Simulator) compare(values map[string]any, a siem.Accepted) {
	event, err := ocsf.Read(a.Event)
	if err != nil {
		s.Violate("RawOCSF is no event: %v", err)
		return
	}
	if !siem.OneLine(a.Event) {
		s.Violate("RawOCSF has line breaks")
	}
	want := map[string]any{"TimeGenerated": event.ISO()}
	if !a.Truncated { // of an event that did not fit, the columns cannot be compared
		labels, _ := json.Marshal(event.DLPLabels)
		want = map[string]any{
			"TimeGenerated": event.ISO(), "EventId": value(event.RequestID), "UserId": value(event.UserID), "UserEmail": value(event.UserEmail),
			"Operation": value(event.Operation), "ModelId": value(event.ModelID), "PolicyAction": value(event.PolicyAction),
			"DlpLabels": string(labels), "TokensInput": number(event.TokensInput), "TokensOutput": number(event.TokensOutput),
			"SeverityId": number(&event.Severity),
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

func value(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

func number(n *int64) any {
	if n == nil {
		return nil
	}
	return json.Number(fmt.Sprint(*n))
}

// normal writes a text that holds a JSON array of texts the way encoding/json does: escapes may be written in many ways.
func normal(v any) any {
	text, ok := v.(string)
	var labels []string
	if !ok || !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &labels) != nil {
		return v
	}
	again, _ := json.Marshal(labels)
	return string(again)
}
