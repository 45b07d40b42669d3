// Package xsiam simulates the event endpoint of Palo Alto Networks Cortex XSIAM: by default the one of the platform's
// page, which accepts an envelope signed with an HMAC; in other modes the endpoints of Cortex.
//
// The endpoint accepts all events of a request or none. The endpoint of the page refuses an event with a 400; a
// collector responds with a 500 to everything that it cannot process, including a wrong log format or compression.
// There are no product faults.
//
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
package xsiam

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const (
	maxRequest = 10_000_000 // refused beyond it
	advised    = 1 << 20    // a request of several events should not exceed it
	maxRecord  = 5_000_000

	eventPath = "/logs/v1/event"
)

// Mode is the configuration of the endpoint.
type Mode struct {
	Auth string // hmac, token, standard or advanced, as XSIAM_AUTH
	Body string // envelope or ndjson, as XSIAM_BODY
	Gzip bool   // bodies must be compressed; otherwise they must not be
}

// Page returns the mode of the platform's page.
func Page() Mode { return Mode{Auth: "hmac", Body: "envelope"} }

// Collector returns the mode of an HTTP log collector of Cortex with the log format JSON.
func Collector() Mode { return Mode{Auth: "token", Body: "ndjson"} }

// Simulator is an event endpoint.
type Simulator struct {
	*siem.Server
	*siem.Credential // id and key with a space between them
	mode             Mode
	nonces           sync.Map // that were used
	queries          siem.Searches
}

// New starts the endpoint of the platform's page.
func New(o siem.Options) (*Simulator, error) { return NewMode(o, Page()) }

// NewMode starts an endpoint of any mode.
func NewMode(o siem.Options, m Mode) (s *Simulator, err error) {
	id := 40 // new for every key
	s = &Simulator{mode: m, Credential: siem.NewCredential(func() string {
		id++
		return strconv.Itoa(id) + " " + newKey()
	})}
	s.Server, err = siem.Serve(o, siem.Config{
		Name: "xsiam", Handle: s.handle, MaxBody: maxRequest, MaxWire: maxRequest,
	})
	return s, err
}

// Settings implements siem.Simulator: the URL as a tenant's page shows it (without a path), and the settings of the
// mode. The connector has no setting for a CA, so SSL_CERT_FILE contains it.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{"XSIAM_URL": s.URL()}
	if s.mode != Page() {
		settings["XSIAM_AUTH"], settings["XSIAM_BODY"] = s.mode.Auth, s.mode.Body
	}
	if s.mode.Gzip {
		settings["SIEM_COMPRESSION"] = "gzip"
	}
	return s.Trust(settings, "")
}

// Secret implements siem.Simulator: the key and its ID. A collector's token has no ID.
func (s *Simulator) Secret() map[string]string {
	id, key, _ := strings.Cut(s.Value(), " ")
	if s.mode.Auth == "token" {
		return map[string]string{"XSIAM_API_KEY": key}
	}
	return map[string]string{"XSIAM_API_KEY": key, "XSIAM_API_KEY_ID": id}
}

// newKey returns a key of 128 characters, the length of Cortex's keys.
func newKey() string { return base64.RawURLEncoding.EncodeToString(siem.Random(96)) }

var nonceForm = regexp.MustCompile(`^[A-Za-z0-9]{64}$`)

// freshness is the largest accepted difference of a signed time.
const freshness = 5 * time.Minute

// authorize returns the problem with a request's credential, "" if it is valid.
func (s *Simulator) authorize(r *siem.Request) string {
	id, key, _ := strings.Cut(s.Value(), " ")
	if s.mode.Auth != "token" && r.Header.Get("x-xdr-auth-id") != id {
		return "no such key id"
	}
	switch s.mode.Auth {
	case "hmac":
		return s.hmac(r, id, key)
	case "advanced":
		return s.advanced(r, key)
	}
	if r.Header.Get("Authorization") != key { // raw, without a scheme
		return "wrong key"
	}
	return ""
}

func (s *Simulator) hmac(r *siem.Request, id, key string) string {
	nonce := r.Header.Get("x-xdr-nonce")
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(id + nonce + key))
	if r.Header.Get("x-xdr-hmac-sha256") != hex.EncodeToString(mac.Sum(nil)) {
		return "wrong signature"
	}
	return s.useNonce(nonce)
}

func (s *Simulator) advanced(r *siem.Request, key string) string {
	nonce, at := r.Header.Get("x-xdr-nonce"), r.Header.Get("x-xdr-timestamp")
	milliseconds, err := strconv.ParseInt(at, 10, 64)
	if off := s.Options().Now().Sub(time.UnixMilli(milliseconds)).Abs(); err != nil || off > freshness {
		return "the time is too far from now"
	}
	sum := sha256.Sum256([]byte(key + nonce + at))
	if r.Header.Get("Authorization") != hex.EncodeToString(sum[:]) {
		return "wrong signature"
	}
	return s.useNonce(nonce)
}

// useNonce accepts a well-formed nonce that was not used with a valid signature before.
func (s *Simulator) useNonce(nonce string) string {
	if !nonceForm.MatchString(nonce) {
		return "the nonce is not 64 letters and digits"
	}
	if _, used := s.nonces.LoadOrStore(nonce, true); used {
		return "the nonce was used before"
	}
	return ""
}

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
	s.CheckRequest(r, "application/json", "")
	if s.mode.Auth == "hmac" && r.Header.Get("Authorization") != "" {
		s.Violate("the key is sent although the request is signed")
	}
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
	if want := `{"events":` + siem.Array(*envelope.Events) + `}`; string(body) != want {
		s.Violate("the envelope is not compact, or contains more than events")
	}
	return *envelope.Events, ""
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

// fields are the keys of a record, in the page's order.
var fields = []string{
	"_time", "_vendor", "_product", "_dataset", "log_type", "event_id", "user_id", "user_email", "operation",
	"model_id", "policy_action", "dlp_labels", "tokens_input", "tokens_output", "severity", "raw_ocsf",
}

// judge returns the event of a record, or the reason for refusing the whole request.
func (s *Simulator) judge(record json.RawMessage) (siem.Accepted, string) {
	row, ok := s.ReadRow(record, "raw_ocsf", fields)
	if !ok {
		return siem.Accepted{}, "a record is not an object"
	}
	if s.Poisoned(row.ID) {
		return siem.Accepted{}, "poisoned"
	}
	event, err := siem.ReadEvent(row.Event)
	if err != nil {
		s.Violate("raw_ocsf is not an event: %v", err)
		return row.Accepted, ""
	}
	row.Compare(&s.Journal, map[string]any{
		"_time": event.ISO(), "_vendor": "Arbitex", "_product": "ArbitexPlatform",
		"event_id": event.RequestID, "user_id": event.UserID, "user_email": event.UserEmail,
		"operation": event.Operation, "model_id": event.ModelID,
		"policy_action": event.PolicyAction, "dlp_labels": event.DLPLabels,
		"tokens_input": event.TokensInput, "tokens_output": event.TokensOutput,
		"severity": event.Caption(),
	})
	for _, name := range []string{"_dataset", "log_type"} {
		if text, _ := row.Values[name].(string); text == "" {
			s.Violate("%s is empty", name)
		}
	}
	return row.Accepted, ""
}

// xqlPath is the API for XQL queries. It supports a query for the events of a dataset, with or without a text, whose
// _time is the time of arrival. A query is pending when it is asked for the first time, and more than 1,000 results
// come as a stream. https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Run-XQL-query-APIs
const xqlPath = "/public_api/v1/xql/"

const maxInline = 1000

var xql = regexp.MustCompile(`^dataset = (\w+)(?: \| filter raw_ocsf contains "([^"]*)")?` +
	` \| fields raw_ocsf \| limit (\d+)$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("XSIAM_SEARCH_", map[string]string{"API_KEY": siem.SearchToken, "API_KEY_ID": "7"})
}

// searchData is the request_data of all calls.
type searchData struct {
	Query     string
	Timeframe struct{ From, To int64 }
	QueryID   string `json:"query_id"`
	StreamID  string `json:"stream_id"`
	Limit     int
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.Header.Get("Authorization") != siem.SearchToken || r.Header.Get("x-xdr-auth-id") != "7" {
		return refuse(http.StatusUnauthorized, "Public API request unauthorized", "")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	var body struct {
		Data searchData `json:"request_data"`
	}
	if json.Unmarshal(r.Body, &body) != nil || r.Method != http.MethodPost {
		return refuse(http.StatusBadRequest, "invalid request", "")
	}
	switch strings.Trim(strings.TrimPrefix(r.URL.Path, xqlPath), "/") {
	case "start_xql_query":
		return s.startQuery(body.Data)
	case "get_query_results":
		return s.queryResults(body.Data)
	case "get_query_results_stream":
		return s.queryStream(body.Data)
	}
	return refuse(http.StatusNotFound, "not found", "")
}

func reply(v any) siem.Answer { return siem.JSON(http.StatusOK, map[string]any{"reply": v}) }

func failed(why string) siem.Answer {
	return refuse(http.StatusInternalServerError, "An error occurred while processing XDR public API", why)
}

func (s *Simulator) startQuery(d searchData) siem.Answer {
	query := xql.FindStringSubmatch(d.Query)
	if query == nil {
		return failed("the query is not supported")
	}
	return reply(s.queries.Add(s.Find(time.UnixMilli(d.Timeframe.From), time.UnixMilli(d.Timeframe.To), 0,
		func(a siem.Accepted) bool { return a.Fields["_dataset"] == query[1] && a.Holds(query[2]) })))
}

func row(a siem.Accepted) map[string]string { return map[string]string{"raw_ocsf": string(a.Event)} }

func (s *Simulator) queryResults(d searchData) siem.Answer {
	query := s.queries.Get(d.QueryID)
	switch {
	case query == nil:
		return failed("no such query")
	case !query.Done():
		return reply(map[string]any{"status": "PENDING"})
	}
	results := map[string]any{"stream_id": "stream-" + d.QueryID}
	if len(query.Found) <= maxInline {
		data := []any{}
		for _, a := range query.Found {
			data = append(data, row(a))
		}
		results = map[string]any{"data": data}
	}
	return reply(map[string]any{"status": "SUCCESS", "number_of_results": len(query.Found), "results": results})
}

func (s *Simulator) queryStream(d searchData) siem.Answer {
	query := s.queries.Get(strings.TrimPrefix(d.StreamID, "stream-"))
	if query == nil {
		return failed("no such stream")
	}
	var b strings.Builder
	for _, a := range query.Found {
		b.WriteString(siem.JSON(http.StatusOK, row(a)).Body + "\n")
	}
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: b.String()}
}
