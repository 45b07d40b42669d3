package sentinel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// refuse returns a refusal in the API's error format.
func refuse(status int, code, text string) siem.Answer {
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "x-ms-error-code": code},
		Body:   fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, code, text),
		Reason: fmt.Sprintf("%d %s", status, code), Detail: text,
	}
}

// ingest responds to a request with rows.
func (s *Simulator) ingest(r *siem.Request) siem.Answer {
	if answer, ok := s.refuseRequest(r); ok {
		return answer
	}
	s.judgeRequest(r)
	var rows []json.RawMessage
	if err := json.Unmarshal(r.Body, &rows); err != nil || !bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("[")) {
		return refuse(http.StatusBadRequest, "InvalidPayload", "The request body is not a JSON array.")
	}
	if !bytes.Equal(r.Body, append(append([]byte("["), bytes.Join(raw(rows), []byte(","))...), ']')) {
		s.Violate("the rows are not separated by one comma each")
	}
	s.CheckCount(len(rows))
	events := make([]siem.Accepted, len(rows))
	for i, row := range rows {
		event, err := s.judge(row)
		if err != nil { // one refused row refuses the request
			return refuse(http.StatusBadRequest, "InvalidPayload", fmt.Sprintf("The payload is malformed: %v.", err))
		}
		events[i] = event
	}
	s.Accept(events...)
	return siem.Answer{Status: http.StatusNoContent}
}

func raw(rows []json.RawMessage) [][]byte {
	out := make([][]byte, len(rows))
	for i, row := range rows {
		out[i] = row
	}
	return out
}

// refuseRequest returns a refusal for which the API does not read the rows, in the order of its checks.
func (s *Simulator) refuseRequest(r *siem.Request) (siem.Answer, bool) {
	rule, name, ok := split(r.URL.Path)
	_, badToken := s.Product("InvalidToken")
	switch {
	case !ok:
		return refuse(http.StatusNotFound, "NotFound", "The resource was not found."), true
	case r.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "Only POST is allowed."), true
	case r.URL.Query().Get("api-version") != "2023-01-01":
		return refuse(http.StatusBadRequest, "UnsupportedApiVersion", "The api-version is not supported."), true
	case badToken || !s.good(r):
		return refuse(http.StatusUnauthorized, "InvalidToken", "The access token is missing, invalid or expired."), true
	case rule != ruleID:
		return refuse(http.StatusNotFound, "NotFound", "Data collection rule with that immutable Id was not found."), true
	case s.on("OperationFailed"):
		return refuse(http.StatusForbidden, "OperationFailed",
			"The authentication token provided does not have access to ingest data for the data collection rule."), true
	case name != stream || s.on("InvalidStream"):
		return refuse(http.StatusBadRequest, "InvalidStream", "The stream was not configured in the data collection rule."),
			true
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "ContentLengthLimitExceeded",
			fmt.Sprintf("Maximum allowed content length: %d bytes.", maxContent)), true
	case r.Encoding != "" && r.Encoding != "gzip":
		return refuse(http.StatusUnsupportedMediaType, "UnsupportedContentEncoding", "Only gzip is supported."), true
	case r.Problem != nil:
		return refuse(http.StatusBadRequest, "InvalidPayload", "The request body could not be read."), true
	}
	return siem.Answer{}, false
}

func (s *Simulator) on(code string) bool {
	_, ok := s.Product(code)
	return ok
}

// split takes a path apart.
func split(path string) (rule, stream string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 4 || parts[0] != "dataCollectionRules" || parts[2] != "streams" {
		return "", "", false
	}
	return parts[1], parts[3], true
}

// judgeRequest records violations of the wire format by the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request) {
	s.CheckRequest(r, "application/json", "api-version=2023-01-01")
	if r.URL.Path != ingestPath {
		s.Violate("the url is %s", r.URL.RequestURI())
	}
}

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
func (s *Simulator) judge(raw json.RawMessage) (siem.Accepted, error) {
	row, ok := ocsf.ReadRow(&s.Journal, raw, "RawOCSF", columns)
	if !ok {
		return siem.Accepted{}, errNoObject
	}
	if s.Poisoned(row.ID) {
		return siem.Accepted{}, errPoison
	}
	for name, value := range row.Values {
		if text, ok := value.(string); ok && len(text) > maxValue {
			s.Violate("%s has %d bytes, which Azure cuts to %d", name, len(text), maxValue)
		}
	}
	event, err := ocsf.Read(row.Event)
	if err != nil {
		s.Violate("RawOCSF is not an event: %v", err)
		return row.Accepted, nil
	}
	want := map[string]any{"TimeGenerated": event.ISO()}
	if !row.Truncated { // the columns of a truncated event cannot be compared
		labels, _ := json.Marshal(event.DLPLabels)
		want = map[string]any{
			"TimeGenerated": event.ISO(), "EventId": ocsf.Value(event.RequestID), "UserId": ocsf.Value(event.UserID),
			"UserEmail": ocsf.Value(event.UserEmail), "Operation": ocsf.Value(event.Operation),
			"ModelId": ocsf.Value(event.ModelID), "PolicyAction": ocsf.Value(event.PolicyAction),
			"DlpLabels": string(labels), "TokensInput": ocsf.Number(event.TokensInput),
			"TokensOutput": ocsf.Number(event.TokensOutput), "SeverityId": ocsf.Number(&event.Severity),
		}
		row.Values["DlpLabels"] = normal(row.Values["DlpLabels"])
	}
	row.Compare(&s.Journal, want)
	return row.Accepted, nil
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
