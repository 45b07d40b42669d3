package siem

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event holds the fields of an event that the connectors put into columns, for simulators to compare. A nil pointer is
// an absent field; lists are never nil.
type Event struct {
	Time            int64 // Unix milliseconds
	Class, Severity int64

	UserID, UserEmail, RequestID, Operation, ModelID, PolicyAction, SourceAddress *string
	Groups, DLPLabels                                                             []string
	TokensInput, TokensOutput                                                     *int64
}

// ReadEvent reads an event. A field of the wrong type counts as absent. Only an event without a time is an error.
func ReadEvent(raw []byte) (Event, error) {
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
		Time: milliseconds(*at), Class: orZero(integer(top["class_uid"])),
		Severity: orZero(integer(top["severity_id"])),
		UserID:   text(find(top, "actor", "user", "uid")), UserEmail: text(find(top, "actor", "user", "email_addr")),
		RequestID: text(find(top, "api", "request", "uid")), Operation: text(find(top, "api", "operation")),
		PolicyAction:  text(find(top, "unmapped", "policy_action")),
		DLPLabels:     texts(find(top, "unmapped", "dlp_labels")),
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
	Accepted

	Values map[string]any // by column; numbers are json.Number
}

// ReadRow reads a row, and records columns that differ from those wanted. ok reports whether the row is an object.
func (j *Journal) ReadRow(row json.RawMessage, event string, columns []string) (r Row, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	if decoder.Decode(&r.Values) != nil || r.Values == nil {
		return r, false
	}
	raw, _ := r.Values[event].(string)
	r.ID, r.Event, r.Fields = EventID([]byte(raw)), []byte(raw), map[string]string{}
	if id, ok := Standin(r.Event); ok {
		r.ID, r.Truncated = id, true
	}
	for name, value := range r.Values {
		if value != nil {
			r.Fields[name] = fmt.Sprint(value)
		}
	}
	j.CheckKeys(row, "columns", columns)
	if !OneLine(r.Event) {
		j.Violate("%s has line breaks", event)
	}
	return r, true
}

// Compare records the columns that are not as encoding/json writes the wanted values.
func (r *Row) Compare(j *Journal, want map[string]any) {
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

// EventID returns the id of an event: metadata.uid, else the first 32 hex digits of the SHA-256 of the event without
// the white space between its tokens.
func EventID(event []byte) string {
	if uid := OwnID(event); uid != "" {
		return uid
	}
	return ContentHash(event)[:32]
}

// OwnID returns the event's metadata.uid, "" if it has none.
func OwnID(event []byte) string {
	var e struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	var metadata struct {
		UID json.RawMessage `json:"uid"`
	}
	var uid string
	_ = json.Unmarshal(event, &e)
	_ = json.Unmarshal(e.Metadata, &metadata)
	_ = json.Unmarshal(metadata.UID, &uid)
	return uid
}

// ContentHash returns the SHA-256, in hex, of an event without the white space between its tokens.
func ContentHash(event []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, event) != nil {
		compact.Reset()
		compact.Write(event)
	}
	sum := sha256.Sum256(compact.Bytes())
	return hex.EncodeToString(sum[:])
}

// OneLine reports whether an event contains no line break.
func OneLine(event []byte) bool { return !bytes.ContainsAny(event, "\r\n") }

// Standin reports whether event is the replacement for an event that exceeds its field, and returns that event's id.
func Standin(event []byte) (id string, ok bool) {
	var s struct {
		Truncated bool   `json:"truncated"`
		Bytes     *int64 `json:"bytes"`
		SHA256    string `json:"sha256"`
	}
	if json.Unmarshal(event, &s) != nil || !s.Truncated || s.Bytes == nil || len(s.SHA256) != 64 {
		return "", false
	}
	if uid := OwnID(event); uid != "" {
		return uid, true
	}
	return s.SHA256[:32], true
}

// Array returns a compact JSON array of these elements.
func Array(elements []json.RawMessage) string {
	texts := make([]string, len(elements))
	for i, e := range elements {
		texts[i] = string(e)
	}
	return "[" + strings.Join(texts, ",") + "]"
}

// Keys returns the keys of an object in their order, including duplicates.
func Keys(object json.RawMessage) []string {
	decoder := json.NewDecoder(bytes.NewReader(object))
	_, _ = decoder.Token()
	var out []string
	for decoder.More() {
		key, _ := decoder.Token()
		out = append(out, fmt.Sprint(key))
		var skip json.RawMessage
		if decoder.Decode(&skip) != nil {
			break
		}
	}
	return out
}
