package sentinel

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
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
	s.CheckRequest(r, "application/json", "api-version=2023-01-01")
	if r.URL.Path != ingestPath {
		s.Violate("the url is %s", r.URL.RequestURI())
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(r.Body, &rows); err != nil || !bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("[")) {
		return refuse(http.StatusBadRequest, "InvalidPayload", "The request body is not a JSON array.")
	}
	if string(r.Body) != siem.Array(rows) {
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

// refuseRequest returns a refusal for which the API does not read the rows, in the order of its checks.
func (s *Simulator) refuseRequest(r *siem.Request) (siem.Answer, bool) {
	rule, name, ok := split(r.URL.Path)
	badToken := s.Product("InvalidToken") // used whatever is refused
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
	case s.Product("OperationFailed"):
		return refuse(http.StatusForbidden, "OperationFailed",
			"The authentication token provided does not have access to ingest data for the data collection rule."), true
	case name != stream || s.Product("InvalidStream"):
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

// split takes a path apart.
func split(path string) (rule, stream string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 4 || parts[0] != "dataCollectionRules" || parts[2] != "streams" {
		return "", "", false
	}
	return parts[1], parts[3], true
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
	row, ok := s.ReadRow(raw, "RawOCSF", columns)
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
	event, err := siem.ReadEvent(row.Event)
	if err != nil {
		s.Violate("RawOCSF is not an event: %v", err)
		return row.Accepted, nil
	}
	want := map[string]any{"TimeGenerated": event.ISO()}
	if !row.Truncated { // the columns of a truncated event cannot be compared
		labels, _ := json.Marshal(event.DLPLabels)
		want = map[string]any{
			"TimeGenerated": event.ISO(), "EventId": event.RequestID, "UserId": event.UserID,
			"UserEmail": event.UserEmail, "Operation": event.Operation,
			"ModelId": event.ModelID, "PolicyAction": event.PolicyAction,
			"DlpLabels": string(labels), "TokensInput": event.TokensInput,
			"TokensOutput": event.TokensOutput, "SeverityId": event.Severity,
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

// The Log Analytics query API of one workspace, for an application of its own. It supports the query that counts the
// rows of a time of ingestion by the hash of RawOCSF.
// https://learn.microsoft.com/azure/azure-monitor/logs/api/request-format
const (
	workspace   = "22222222-dddd-4eee-8fff-0123456789ab"
	queryPath   = "/v1/workspaces/" + workspace + "/query"
	searcherID  = "33333333-dddd-4eee-8fff-0123456789ab"
	searchScope = "https://api.loganalytics.io/.default"
)

var kql = regexp.MustCompile(`^ArbitexAudit_CL
\| where ingestion_time\(\) between \(datetime\((\S+)\) \.\. datetime\((\S+)\)\)
(?:\| where RawOCSF contains_cs "([^"]*)"
)?\| extend Hash = hash_sha256\(RawOCSF\), O = parse_json\(RawOCSF\)
(?:\| where strcmp\(Hash, "([0-9a-f]*)"\) > 0
)?\| summarize Copies = count\(\) by Hash, Uid = tostring\(O\.metadata\.uid\), ` +
	`Replaced = iff\(tobool\(O\.truncated\) == true, tostring\(O\.sha256\), ""\)
\| top (\d+) by Hash asc$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("SENTINEL_SEARCH_", map[string]string{
		"AUTHORITY_HOST": s.URL(), "WORKSPACE_ID": workspace, "TENANT_ID": tenant, "CLIENT_ID": searcherID,
		"CLIENT_SECRET": siem.SearchToken,
	})
}

// isSearch reports whether a request is a query, or for a token of the application that searches.
func isSearch(r *siem.Request) bool {
	return r.URL.Path == queryPath || isToken(r.Request) && strings.Contains(string(r.Body), searcherID)
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.URL.Path != queryPath {
		form, _ := url.ParseQuery(string(r.Body)) // an invalid form has no secret
		switch {
		case form.Get("client_secret") != siem.SearchToken:
			return deny(wrongSecret)
		case form.Get("scope") != searchScope || form.Get("grant_type") != "client_credentials",
			r.URL.Path != tokenPath:
			return deny(wrongScope)
		}
		return siem.JSON(http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599,
			"access_token": siem.SearchToken})
	}
	if r.Header.Get("Authorization") != "Bearer "+siem.SearchToken {
		return refuse(http.StatusForbidden, "InsufficientAccessError",
			"The provided credentials have insufficient access.")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	var body struct{ Query string }
	_ = json.Unmarshal(r.Body, &body) // without a query, it does not match
	query := kql.FindStringSubmatch(body.Query)
	if query == nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "The request had some invalid properties.")
	}
	from, err1 := time.Parse(time.RFC3339, query[1])
	to, err2 := time.Parse(time.RFC3339, query[2])
	most, _ := strconv.Atoi(query[5])
	if err1 != nil || err2 != nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "A datetime is not valid.")
	}
	events := s.Find(from, to, 0, func(a siem.Accepted) bool { return a.Holds(query[3]) })
	return siem.JSON(http.StatusOK, s.table(events, query[4], most))
}

// row is a row of the query, without the number of copies.
type row struct{ hash, uid, replaced string }

// summary is the result of the latest query, for its pages.
type summary struct {
	rows   []row
	copies map[row]int
}

// summarize counts events by their rows.
func summarize(events []siem.Accepted) summary {
	s := summary{copies: map[row]int{}}
	for _, a := range events {
		sum := sha256.Sum256(a.Event)
		var o struct {
			Truncated bool   `json:"truncated"`
			SHA256    string `json:"sha256"`
		}
		_ = json.Unmarshal(a.Event, &o) // an event of another type is not replaced
		key := row{hash: hex.EncodeToString(sum[:]), uid: siem.OwnID(a.Event)}
		if o.Truncated {
			key.replaced = o.SHA256
		}
		s.copies[key]++
	}
	s.rows = slices.SortedFunc(maps.Keys(s.copies), func(a, b row) int { return cmp.Compare(a.hash, b.hash) })
	return s
}

// table is the page after a hash; "" is the first page, which makes the summary.
func (s *Simulator) table(events []siem.Accepted, after string, most int) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after == "" {
		s.summary = summarize(events)
	}
	start, _ := slices.BinarySearchFunc(s.summary.rows, after+"!", func(r row, hash string) int {
		return cmp.Compare(r.hash, hash)
	})
	rows := [][]any{}
	for _, key := range s.summary.rows[start:min(start+most, len(s.summary.rows))] {
		rows = append(rows, []any{key.hash, key.uid, key.replaced, s.summary.copies[key]})
	}
	var columns []map[string]string
	for _, name := range []string{"Hash", "Uid", "Replaced", "Copies"} {
		columns = append(columns, map[string]string{"name": name})
	}
	return map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": columns, "rows": rows}}}
}
