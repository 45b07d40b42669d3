// Package ocsf reads from an event what the connectors put into columns, for simulators to compare. It uses encoding/json
// and shares no code with the connectors, so that a connector and its judge cannot share a mistake.
package ocsf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Event is what the connectors read. A nil pointer is an absent field; lists are never nil.
type Event struct {
	Time            int64 // Unix milliseconds
	Class, Severity int64

	UserID, UserEmail, RequestID, Operation, ModelID, PolicyAction *string
	Groups, DLPLabels                                              []string
	TokensInput, TokensOutput                                      *int64
}

// Read reads an event. A field of the wrong type counts as absent; only an event without a time is an error.
func Read(raw []byte) (Event, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var top map[string]any
	if err := decoder.Decode(&top); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	at := integer(find(top, "time"))
	if at == nil {
		return Event{}, fmt.Errorf("reading an event: no time")
	}
	e := Event{
		Time: milliseconds(*at), Class: orZero(integer(top["class_uid"])), Severity: orZero(integer(top["severity_id"])),
		UserID: text(find(top, "actor", "user", "uid")), UserEmail: text(find(top, "actor", "user", "email_addr")),
		RequestID: text(find(top, "api", "request", "uid")), Operation: text(find(top, "api", "operation")),
		ModelID: text(find(top, "unmapped", "model_id")), PolicyAction: text(find(top, "unmapped", "policy_action")),
		DLPLabels:   texts(find(top, "unmapped", "dlp_labels")),
		TokensInput: integer(find(top, "unmapped", "tokens_input")), TokensOutput: integer(find(top, "unmapped", "tokens_output")),
	}
	if e.Operation == nil {
		e.Operation = text(top["activity_name"])
	}
	if e.Groups = groups(find(top, "actor", "user", "groups")); len(e.Groups) == 0 {
		e.Groups = texts(find(top, "unmapped", "group_ids"))
	}
	return e, nil
}

// milliseconds takes a time beyond the year 9999 for micro- or nanoseconds.
func milliseconds(n int64) int64 {
	const year9999 = 253402300799999
	for n > year9999 {
		n /= 1000
	}
	return n
}

// ISO is the event's time as ISO 8601 in UTC with milliseconds.
func (e *Event) ISO() string { return time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z") }

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
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		return nil
	}
	return &n
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
