// Package ocsf reads the fields of an event that the connectors put into columns, for simulators to compare. It uses
// encoding/json and shares no code with the connectors, so that both cannot have the same mistake.
package ocsf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Event holds the fields. A nil pointer is an absent field; lists are never nil.
type Event struct {
	Time            int64 // Unix milliseconds
	Class, Severity int64

	UserID, UserEmail, RequestID, Operation, ModelID, PolicyAction, SourceAddress *string
	Groups, DLPLabels                                                             []string
	TokensInput, TokensOutput                                                     *int64
}

// Read reads an event. A field of the wrong type counts as absent. Only an event without a time is an error.
func Read(raw []byte) (Event, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var top map[string]any
	if err := decoder.Decode(&top); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	at := integer(top["time"])
	if at == nil {
		return Event{}, fmt.Errorf("reading an event: no time")
	}
	e := Event{
		Time: milliseconds(*at), Class: orZero(integer(top["class_uid"])), Severity: orZero(integer(top["severity_id"])),
		UserID: text(find(top, "actor", "user", "uid")), UserEmail: text(find(top, "actor", "user", "email_addr")),
		RequestID: text(find(top, "api", "request", "uid")), Operation: text(find(top, "api", "operation")),
		PolicyAction: text(find(top, "unmapped", "policy_action")), DLPLabels: texts(find(top, "unmapped", "dlp_labels")),
		SourceAddress: text(find(top, "src_endpoint", "ip")),
		ModelID:       cmp.Or(text(find(top, "unmapped", "model_id")), text(find(top, "ai_model", "name"))),
		TokensInput: cmp.Or(integer(find(top, "unmapped", "tokens_input")),
			integer(find(top, "message_context", "prompt_tokens"))),
		TokensOutput: cmp.Or(integer(find(top, "unmapped", "tokens_output")),
			integer(find(top, "message_context", "completion_tokens"))),
	}
	e.Operation = cmp.Or(e.Operation, text(top["activity_name"]))
	if e.Groups = groups(find(top, "actor", "user", "groups")); len(e.Groups) == 0 {
		e.Groups = texts(find(top, "unmapped", "group_ids"))
	}
	return e, nil
}

// milliseconds converts a time whose magnitude, for the years 1990 to 2100, can only be seconds, micro- or nanoseconds.
func milliseconds(n int64) int64 {
	const from, to = 631152000, 4102444800 // 1990 and 2100, in seconds
	switch {
	case from <= n && n < to:
		return n * 1000
	case from*1e6 <= n && n < to*1e6:
		return n / 1000
	case from*1e9 <= n && n < to*1e9:
		return n / 1e6
	}
	return n
}

// ISO returns the event's time as ISO 8601 in UTC with milliseconds.
func (e *Event) ISO() string { return time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z") }

// Caption returns OCSF's caption of the severity in lower case.
func (e *Event) Caption() string {
	captions := [...]string{"unknown", "informational", "low", "medium", "high", "critical", "fatal"}
	if e.Severity < 0 || int(e.Severity) >= len(captions) {
		return "other"
	}
	return captions[e.Severity]
}

func find(v any, path ...string) any {
	for _, key := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[key]
	}
	return v
}

func text(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

func integer(v any) *int64 {
	number, ok := v.(json.Number)
	if !ok {
		return nil
	}
	digits, fraction, _ := strings.Cut(number.String(), ".")
	if strings.Trim(fraction, "0") != "" {
		return nil
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// Row is a row of a table with one column for the event's own bytes.
type Row struct {
	siem.Accepted

	Values map[string]any // by column; numbers are json.Number
}

// ReadRow reads a row, and records columns that differ from those wanted. ok reports whether the row is an object.
func ReadRow(j *siem.Journal, row json.RawMessage, event string, columns []string) (r Row, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	if decoder.Decode(&r.Values) != nil || r.Values == nil {
		return r, false
	}
	raw, _ := r.Values[event].(string)
	r.ID, r.Event, r.Fields = siem.EventID([]byte(raw)), []byte(raw), map[string]string{}
	if id, ok := siem.Standin(r.Event); ok {
		r.ID, r.Truncated = id, true
	}
	for name, value := range r.Values {
		if value != nil {
			r.Fields[name] = fmt.Sprint(value)
		}
	}
	j.CheckKeys(row, "columns", columns)
	if !siem.OneLine(r.Event) {
		j.Violate("%s has line breaks", event)
	}
	return r, true
}

// Compare records the columns that are not as encoding/json writes the wanted values.
func (r *Row) Compare(j *siem.Journal, want map[string]any) {
	for name, wanted := range want {
		got, _ := json.Marshal(r.Values[name]) // it was decoded
		if own, _ := json.Marshal(wanted); !bytes.Equal(got, own) {
			j.Violate("%s is not the event's own value or not of its type (%T)", name, r.Values[name])
		}
	}
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func texts(v any) []string {
	list := []string{}
	elements, _ := v.([]any)
	for _, element := range elements {
		if s := text(element); s != nil {
			list = append(list, *s)
		}
	}
	return list
}

func groups(v any) []string {
	list := []string{}
	elements, _ := v.([]any)
	for _, element := range elements {
		if uid := text(find(element, "uid")); uid != nil {
			list = append(list, *uid)
		} else if name := text(find(element, "name")); name != nil {
			list = append(list, *name)
		}
	}
	return list
}
