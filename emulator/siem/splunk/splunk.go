// Package splunk simulates Splunk's HTTP Event Collector with a token that has indexer acknowledgement enabled (a
// channel is therefore required) and may write only to the indexes "arbitex" and "main".
//
// Like HEC, it parses the objects of a body one after the other and stops at the first invalid one: the objects before
// it are indexed, invalid-event-number in the response identifies it, the objects after it are not read. Product faults
// are HEC's codes as text: "24" and "25" are sent with a 200; "9" indexes the first half of a request and then is busy;
// any other code is sent once the token is found valid. "ack never" leaves all further acknowledgements false, "ack
// lost" forgets those that were not queried, as an indexer does that restarts.
//
// Response codes:
// https://help.splunk.com/en/data-management/collect-http-event-data/use-hec-in-splunk-cloud-platform/troubleshoot-http-event-collector
package splunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxContentLength is max_content_length in limits.conf of older installations and of Splunk Cloud.
const maxContentLength = 1_000_000

const eventPath = "/services/collector/event"

// Simulator is a HEC endpoint.
type Simulator struct {
	*siem.Server
	*siem.Credential

	mu       sync.Mutex
	channels map[string]*channel
}

// New starts a simulator.
func New(o siem.Options) (s *Simulator, err error) {
	s = &Simulator{Credential: siem.NewCredential(newToken), channels: map[string]*channel{}}
	s.Server, err = siem.Serve(o, siem.Config{Name: "splunk", Handle: s.handle, MaxBody: maxContentLength})
	return s, err
}

// Settings implements siem.Simulator: the endpoint and the CA.
func (s *Simulator) Settings() map[string]string {
	return s.Trust(map[string]string{"SPLUNK_HEC_URL": s.URL() + eventPath}, "SPLUNK_HEC_TLS_CA_BUNDLE")
}

// Secret implements siem.Simulator: the token.
func (s *Simulator) Secret() map[string]string {
	return map[string]string{"SPLUNK_HEC_TOKEN": s.Value()}
}

// newToken returns a token in the form of Splunk's: a version 4 UUID.
func newToken() string {
	b := siem.Random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	switch r.URL.Path {
	case "/services/collector", eventPath, eventPath + "/1.0":
		return s.event(r)
	case ackPath, ackPath + "/1.0":
		return s.ack(r)
	case exportPath:
		return s.export(r)
	case "/services/collector/health", "/services/collector/health/1.0":
		return s.health(r)
	}
	return siem.Answer{Status: http.StatusNotFound,
		Body: `{"text":"The requested URL was not found on this server.","code":404}`}
}

func (s *Simulator) event(r *siem.Request) siem.Answer {
	if r.Method != http.MethodPost {
		return siem.Answer{Status: http.StatusMethodNotAllowed,
			Body: `{"text":"The requested URL was not found on this server.","code":404}`}
	}
	if code := s.authorize(r); code != 0 {
		return reply(code)
	}
	name, code := channelOf(r)
	if code != 0 {
		return reply(code)
	}
	if code := s.ordered(9, 24, 25); code != 0 {
		return reply(code)
	}
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return tooLarge()
	case errors.Is(r.Problem, siem.ErrEncoding):
		return siem.Answer{Status: http.StatusUnsupportedMediaType, Body: `{"text":"Unsupported content encoding","code":6}`,
			Detail: r.Problem.Error()}
	case r.Problem != nil:
		return reply(6)
	case len(r.Body) == 0:
		return reply(5)
	}
	s.CheckRequest(r, "application/json", "")
	return s.index(r.Body, name)
}

// authorize checks the credential in HEC's order, and returns the code of the problem, 0 if there is none.
func (s *Simulator) authorize(r *siem.Request) int {
	if r.URL.Query().Has("token") {
		return 16
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return 2
	}
	token, ok := strings.CutPrefix(header, "Splunk ")
	if !ok {
		return 3
	}
	switch valid, revoked := s.Check(token); {
	case valid:
		return 0
	case revoked:
		return 1
	}
	return 4
}

// ordered returns the code of a product fault, except for the codes that take effect later.
func (s *Simulator) ordered(except ...int) int {
	for _, r := range replies {
		if !slices.Contains(except, r.code) && s.Product(strconv.Itoa(r.code)) {
			return r.code
		}
	}
	return 0
}

func (s *Simulator) health(r *siem.Request) siem.Answer {
	if r.Method != http.MethodGet {
		return siem.Answer{Status: http.StatusMethodNotAllowed}
	}
	if code := s.ordered(9, 24, 25); code != 0 {
		return reply(code)
	}
	if r.Header.Get("Authorization") == "" { // a load balancer's probe has none
		return reply(17)
	}
	switch s.authorize(r) {
	case 0:
		return reply(17)
	case 1:
		return reply(22)
	}
	return reply(21)
}

// replies are HEC's responses. Product faults are looked up in this order.
var replies = []struct {
	code, status int
	text         string
}{
	{0, http.StatusOK, "Success"},
	{1, http.StatusForbidden, "Token disabled"},
	{2, http.StatusUnauthorized, "Token is required"},
	{3, http.StatusUnauthorized, "Invalid authorization"},
	{4, http.StatusForbidden, "Invalid token"},
	{5, http.StatusBadRequest, "No data"},
	{6, http.StatusBadRequest, "Invalid data format"},
	{7, http.StatusBadRequest, "Incorrect index"},
	{8, http.StatusInternalServerError, "Internal server error"},
	{9, http.StatusServiceUnavailable, "Server is busy"},
	{10, http.StatusBadRequest, "Data channel is missing"},
	{11, http.StatusBadRequest, "Invalid data channel"},
	{12, http.StatusBadRequest, "Event field is required"},
	{13, http.StatusBadRequest, "Event field cannot be blank"},
	{14, http.StatusBadRequest, "ACK is disabled"},
	{15, http.StatusBadRequest, "Error in handling indexed fields"},
	{16, http.StatusBadRequest, "Query string authorization is not enabled"},
	{17, http.StatusOK, "HEC is healthy"},
	{18, http.StatusServiceUnavailable, "HEC is unhealthy, queues are full"},
	{19, http.StatusServiceUnavailable, "HEC is unhealthy, ack service unavailable"},
	{20, http.StatusServiceUnavailable, "HEC is unhealthy, queues are full, ack service unavailable"},
	{21, http.StatusBadRequest, "Invalid token"},
	{22, http.StatusBadRequest, "Token disabled"},
	{23, http.StatusServiceUnavailable, "Server is shutting down"},
	{24, http.StatusOK, "Queue approaching capacity"},
	{25, http.StatusOK, "ACK approaching capacity"},
	{26, http.StatusTooManyRequests, "Queue at capacity"},
	{27, http.StatusTooManyRequests, "ACK channel at capacity"},
}

// reply returns the response with that code, and further members such as `"ackId":1`.
func reply(code int, members ...string) siem.Answer {
	r := replies[code]
	members = append([]string{fmt.Sprintf(`"text":%q`, r.text), fmt.Sprintf(`"code":%d`, r.code)}, members...)
	return siem.Answer{
		Status: r.status, Header: map[string]string{"Content-Type": "application/json; charset=UTF-8"}, Body: "{" +
			strings.Join(members, ",") + "}",
		Reason: fmt.Sprintf("%d code %d", r.status, r.code), Detail: strings.ToLower(r.text),
	}
}

// tooLarge returns the response of splunkd's web server, which HEC never sees: a page, not JSON.
func tooLarge() siem.Answer {
	text := fmt.Sprintf("Content-Length too large (maximum is %d)", maxContentLength)
	return siem.Answer{
		Status: http.StatusRequestEntityTooLarge, Header: map[string]string{"Content-Type": "text/html; charset=UTF-8"},
		Body:   "<!doctype html><html><head><title>413 " + text + "</title></head><body><h1>" + text + "</h1></body></html>",
		Detail: text,
	}
}

// exportPath is a search that streams its results. It supports one form of SPL: all events of an index and a source by
// their time of indexing, with or without a text.
// https://docs.splunk.com/Documentation/Splunk/latest/RESTREF/RESTsearch#search.2Fv2.2Fjobs.2Fexport
const exportPath = "/services/search/v2/jobs/export"

var spl = regexp.MustCompile(`^search index="([^"]*)" source="([^"]*)" ` +
	`_index_earliest=(\d+) _index_latest=(\d+)(?: "([^"]*)")? \| fields _raw$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("SPLUNK_SEARCH_", map[string]string{"TOKEN": siem.SearchToken})
}

func message(status int, kind, text string) siem.Answer {
	answer := siem.JSON(status, map[string]any{"messages": []any{map[string]string{"type": kind, "text": text}}})
	answer.Detail = text
	return answer
}

func (s *Simulator) export(r *siem.Request) siem.Answer {
	if r.Header.Get("Authorization") != "Bearer "+siem.SearchToken {
		return message(http.StatusUnauthorized, "WARN", "call not properly authenticated")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	form, err := url.ParseQuery(string(r.Body))
	query := spl.FindStringSubmatch(form.Get("search"))
	if r.Method != http.MethodPost || err != nil || query == nil {
		return message(http.StatusBadRequest, "FATAL", "Unable to parse the search")
	}
	if form.Get("earliest_time") != "0" || form.Get("output_mode") != "json" || form.Get("preview") != "false" {
		return message(http.StatusBadRequest, "FATAL", "expected all times, JSON and no preview")
	}
	from, _ := strconv.ParseInt(query[3], 10, 64)
	to, _ := strconv.ParseInt(query[4], 10, 64)
	results := s.Find(time.Unix(from, 0), time.Unix(to, 0), 0, func(a siem.Accepted) bool {
		return a.Fields["index"] == query[1] && a.Fields["source"] == query[2] && a.Holds(query[5])
	})
	return siem.Answer{Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json"},
		Body: exported(results)}
}

// exported writes one object for each result. The last one is marked; without results, it is alone.
func exported(results []siem.Accepted) string {
	var b strings.Builder
	for i, a := range results {
		raw, _ := json.Marshal(string(a.Event)) // texts always marshal
		b.WriteString(`{"preview":false,"offset":` + strconv.Itoa(i))
		if i == len(results)-1 {
			b.WriteString(`,"lastrow":true`)
		}
		b.WriteString(`,"result":{"_raw":` + string(raw) + "}}\n")
	}
	if len(results) == 0 {
		b.WriteString(`{"preview":false,"lastrow":true}` + "\n")
	}
	return b.String()
}
