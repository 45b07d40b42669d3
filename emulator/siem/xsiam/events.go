package xsiam

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	switch {
	case strings.HasPrefix(r.URL.Path, xqlPath):
		return s.search(r)
	case r.URL.Path != eventPath:
		return refuse(http.StatusNotFound, "not found", "")
	case r.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "method not allowed", "")
	}
	if why := s.authorize(r); why != "" {
		return refuse(http.StatusUnauthorized, "Failed to validate authentication detail", why)
	}
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "Request entity too large", "")
	case r.Problem != nil:
		return s.unprocessable("the body cannot be read")
	case (r.Encoding == "gzip") != s.mode.Gzip:
		return s.unprocessable("the compression does not match the endpoint")
	}
	s.judgeRequest(r)
	records, why := s.records(r.Body)
	if why != "" {
		return s.unprocessable(why)
	}
	return s.take(records, len(r.Body))
}

func refuse(status int, text, why string) siem.Answer {
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json"},
		Body: `{"error":"` + text + `"}`, Detail: text + ": " + why,
	}
}

// unprocessable returns the refusal of invalid content, which depends on the kind of endpoint.
func (s *Simulator) unprocessable(why string) siem.Answer {
	if s.mode.Body == "ndjson" {
		return refuse(http.StatusInternalServerError, "failed to process the request", why)
	}
	return refuse(http.StatusBadRequest, "malformed event", why)
}

// records returns the records of a body.
func (s *Simulator) records(body []byte) (records []json.RawMessage, why string) {
	if s.mode.Body == "ndjson" {
		return s.lines(body)
	}
	var envelope struct {
		Events *[]json.RawMessage `json:"events"`
	}
	if json.Unmarshal(body, &envelope) != nil || envelope.Events == nil {
		return nil, "the body is not an envelope with events"
	}
	records = *envelope.Events
	parts := make([][]byte, len(records))
	for i, r := range records {
		parts[i] = r
	}
	if want := `{"events":[` + string(bytes.Join(parts, []byte(","))) + `]}`; string(body) != want {
		s.Violate("the envelope is not compact, or contains more than events")
	}
	return records, ""
}

// lines reads one record per line.
func (s *Simulator) lines(body []byte) (records []json.RawMessage, why string) {
	if len(body) == 0 {
		return nil, "there is no record"
	}
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if len(bytes.TrimSpace(line)) == 0 {
			s.Violate("there is an empty line")
			continue
		}
		if !json.Valid(line) {
			return nil, "a line is not JSON"
		}
		records = append(records, line)
	}
	return records, ""
}

// take accepts all records, or none.
func (s *Simulator) take(records []json.RawMessage, size int) siem.Answer {
	events := make([]siem.Accepted, len(records))
	for i, r := range records {
		if len(r) > maxRecord {
			return s.unprocessable("a record is larger than 5 MB")
		}
		event, why := s.judge(r)
		if why != "" {
			return s.unprocessable(why)
		}
		events[i] = event
	}
	if size > advised && len(records) > 1 {
		s.Violate("a request of %d records has more than the advised %d bytes", len(records), advised)
	}
	s.CheckCount(len(records))
	s.Accept(events...)
	if s.mode.Auth == "token" {
		return siem.Answer{Status: http.StatusOK, Body: `{"error":"false"}`}
	}
	return siem.Answer{Status: http.StatusAccepted}
}

// judgeRequest records violations of the wire format by the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request) {
	s.CheckRequest(r, "application/json", "")
	if s.mode.Auth == "hmac" && r.Header.Get("Authorization") != "" {
		s.Violate("the key is sent although the request is signed")
	}
}

// fields are the keys of a record, in the page's order.
var fields = []string{
	"_time", "_vendor", "_product", "_dataset", "log_type", "event_id", "user_id", "user_email", "operation", "model_id",
	"policy_action", "dlp_labels", "tokens_input", "tokens_output", "severity", "raw_ocsf",
}

// judge returns the event of a record, or the reason for refusing the whole request.
func (s *Simulator) judge(record json.RawMessage) (siem.Accepted, string) {
	row, ok := ocsf.ReadRow(&s.Journal, record, "raw_ocsf", fields)
	if !ok {
		return siem.Accepted{}, "a record is not an object"
	}
	if s.Poisoned(row.ID) {
		return siem.Accepted{}, "poisoned"
	}
	event, err := ocsf.Read(row.Event)
	if err != nil {
		s.Violate("raw_ocsf is not an event: %v", err)
		return row.Accepted, ""
	}
	labels := make([]any, len(event.DLPLabels))
	for i, label := range event.DLPLabels {
		labels[i] = label
	}
	row.Compare(&s.Journal, map[string]any{
		"_time": event.ISO(), "_vendor": "Arbitex", "_product": "ArbitexPlatform", "event_id": ocsf.Value(event.RequestID),
		"user_id": ocsf.Value(event.UserID), "user_email": ocsf.Value(event.UserEmail),
		"operation": ocsf.Value(event.Operation), "model_id": ocsf.Value(event.ModelID),
		"policy_action": ocsf.Value(event.PolicyAction), "dlp_labels": labels,
		"tokens_input": ocsf.Number(event.TokensInput), "tokens_output": ocsf.Number(event.TokensOutput),
		"severity": caption(event.Severity),
	})
	for _, name := range []string{"_dataset", "log_type"} {
		if text, _ := row.Values[name].(string); text == "" {
			s.Violate("%s is empty", name)
		}
	}
	return row.Accepted, ""
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
