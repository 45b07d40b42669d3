// Package datadog simulates Datadog's Logs Intake v2 and, on the same host, the API that validates a key.
//
// Like the intake, it checks the key first, and then accepts all entries of a payload or none. The intake changes some
// entries after its success response: it cuts an entry over 1 MB, and drops one that is dated more than 18 hours back.
// Both are violations here, and a dropped entry is not among the accepted ones.
//
// Product faults: "empty" and "204" respond to an accepted payload as Vector and other receivers of the protocol do,
// with an empty 200 or a 204.
//
// https://docs.datadoghq.com/api/latest/logs/#send-logs
package datadog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The intake's limits, in bytes before compression.
const (
	maxPayload = 5_000_000
	maxEntry   = 1_000_000
	maxEntries = 1_000
)

const (
	intakePath   = "/api/v2/logs"
	validatePath = "/api/v1/validate"
)

// Simulator is a site of Datadog.
type Simulator struct {
	*siem.Server
	*siem.Credential

	searches siem.Searches
}

// New starts a simulator.
func New(o siem.Options) (s *Simulator, err error) {
	s = &Simulator{Credential: siem.NewCredential(newKey)}
	s.Server, err = siem.Serve(o, siem.Config{Name: "datadog", Handle: s.handle, MaxBody: maxPayload})
	return s, err
}

// Settings implements siem.Simulator: the intake's address and the CA.
func (s *Simulator) Settings() map[string]string {
	return s.Trust(map[string]string{"DATADOG_INTAKE_URL": s.URL()}, "")
}

// Secret implements siem.Simulator: the API key.
func (s *Simulator) Secret() map[string]string {
	return map[string]string{"DATADOG_API_KEY": s.Value()}
}

// newKey returns a key in the form of Datadog's: 32 hex digits.
func newKey() string { return hex.EncodeToString(siem.Random(16)) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	switch {
	case r.URL.Path == validatePath && r.Method == http.MethodGet:
		if refusal, ok := s.authorize(r); !ok {
			return refusal
		}
		return answer(http.StatusOK, `{"valid":true}`, "")
	case r.URL.Path == searchPath && r.Method == http.MethodPost:
		return s.search(r)
	case r.URL.Path == intakePath && r.Method == http.MethodPost:
		return s.intake(r)
	case r.URL.Path == validatePath || r.URL.Path == intakePath:
		return refuse(http.StatusMethodNotAllowed, "Method Not Allowed", "")
	}
	return refuse(http.StatusNotFound, "Not Found", r.URL.Path)
}

// authorize checks the key.
func (s *Simulator) authorize(r *siem.Request) (refusal siem.Answer, ok bool) {
	key := r.Header.Get("DD-API-KEY")
	if inURL := r.URL.Query().Get("dd-api-key"); key == "" && inURL != "" {
		s.Violate("the key is in the url")
		key = inURL
	}
	if key == "" {
		return refuse(http.StatusUnauthorized, "Unauthorized", "no API key"), false
	}
	if valid, _ := s.Check(key); valid {
		return siem.Answer{}, true
	}
	return refuse(http.StatusForbidden, "Forbidden", "API key is invalid"), false
}

func (s *Simulator) intake(r *siem.Request) siem.Answer {
	if refusal, ok := s.authorize(r); !ok {
		return refusal
	}
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "Payload Too Large", "payload is above 5MB uncompressed")
	case r.Problem != nil:
		return refuse(http.StatusBadRequest, "Bad Request", r.Problem.Error())
	}
	s.CheckRequest(r, "application/json", "")
	return s.take(r.Body)
}

func answer(status int, body, detail string) siem.Answer {
	return siem.Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: body,
		Detail: detail}
}

// refuse returns a refusal in the intake's error format.
func refuse(status int, title, detail string) siem.Answer {
	return answer(status, fmt.Sprintf(`{"errors":[{"status":"%d","title":%q,"detail":%q}]}`, status, title, detail),
		detail)
}

// maxAge is the age, by its own date, after which the intake drops an entry that it has accepted.
const maxAge = 18 * time.Hour

// entry is a log entry.
type entry struct {
	Source    string      `json:"ddsource"`
	Tags      string      `json:"ddtags"`
	Host      string      `json:"hostname"`
	Service   string      `json:"service"`
	Message   *string     `json:"message"`
	Timestamp json.Number `json:"timestamp"`
}

// take accepts all entries of a payload, or none.
func (s *Simulator) take(body []byte) siem.Answer {
	var raws []json.RawMessage
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
		raws = []json.RawMessage{trimmed}
		s.Violate("a single object instead of an array")
	} else if err := json.Unmarshal(body, &raws); err != nil || raws == nil {
		return refuse(http.StatusBadRequest, "Bad Request", fmt.Sprintf("payload is not an array of objects: %v", err))
	}
	if len(raws) > maxEntries {
		return refuse(http.StatusRequestEntityTooLarge, "Payload Too Large", fmt.Sprintf("%d entries, at most %d", len(raws),
			maxEntries))
	}
	entries := make([]entry, len(raws))
	var ids []string
	for i, raw := range raws {
		if raw[0] != '{' || json.Unmarshal(raw, &entries[i]) != nil {
			return refuse(http.StatusBadRequest, "Bad Request", fmt.Sprintf("entry %d is not a log entry", i))
		}
		id := identify(entries[i])
		if s.Poisoned(id) {
			return refuse(http.StatusBadRequest, "Bad Request", "Invalid payload")
		}
		ids = append(ids, id)
	}
	for i, raw := range raws {
		s.store(raw, entries[i], ids[i])
	}
	if s.Product("empty") {
		return answer(http.StatusOK, "", "")
	}
	if s.Product("204") {
		return answer(http.StatusNoContent, "", "")
	}
	return answer(http.StatusAccepted, "{}", "")
}

// identify returns the id of the event in an entry.
func identify(e entry) string {
	if e.Message == nil {
		return ""
	}
	if id, ok := siem.Standin([]byte(*e.Message)); ok {
		return id
	}
	return siem.EventID([]byte(*e.Message))
}

// store does what Datadog does with an entry after its response.
func (s *Simulator) store(raw json.RawMessage, e entry, id string) {
	s.judgeEntry(raw, e)
	if e.Timestamp != "" {
		ms, err := e.Timestamp.Int64()
		if err == nil && s.Options().Now().Sub(time.UnixMilli(ms)) > maxAge {
			s.Violate("an entry dated more than 18 hours back, which Datadog drops silently")
			return
		}
	}
	if len(raw) > maxEntry {
		s.Violate("an entry over %d bytes, which Datadog cuts silently", maxEntry)
	}
	accepted := siem.Accepted{ID: id, Fields: map[string]string{
		"ddsource": e.Source, "ddtags": e.Tags, "hostname": e.Host, "service": e.Service, "timestamp": e.Timestamp.String(),
	}}
	if e.Message != nil {
		accepted.Event = []byte(*e.Message)
		_, accepted.Truncated = siem.Standin(accepted.Event)
	}
	s.Accept(accepted)
}

// judgeEntry records violations by one entry: its keys and their order, its tags, an incomplete event.
func (s *Simulator) judgeEntry(raw json.RawMessage, e entry) {
	want := []string{"ddsource", "ddtags", "hostname", "service", "message"}
	if e.Timestamp != "" {
		want = append(want, "timestamp")
	}
	s.CheckKeys(raw, "keys", want)
	if e.Source == "" || e.Host == "" || e.Service == "" {
		s.Violate("ddsource, hostname or service is empty")
	}
	tags := strings.Split(e.Tags, ",")
	if tags[len(tags)-1] != "service:"+e.Service || slices.ContainsFunc(tags, func(tag string) bool {
		return tag == "" || strings.TrimSpace(tag) != tag
	}) {
		s.Violate("ddtags are %q: the last is not the service, or one is empty", e.Tags)
	}
	if e.Message == nil {
		s.Violate("an entry without a message")
		return
	}
	event, err := siem.ReadEvent([]byte(*e.Message))
	if err != nil {
		s.Violate("message is not an object with a time")
	}
	if e.Timestamp != "" && e.Timestamp.String() != strconv.FormatInt(event.Time, 10) {
		s.Violate("timestamp is not the event's time")
	}
}

// searchPath is the search for logs. It supports a query for a service and a source, with or without the id of one
// event. https://docs.datadoghq.com/api/latest/logs/#search-logs-post
const searchPath = "/api/v2/logs/events/search"

var logQuery = regexp.MustCompile(`^service:"([^"]*)" source:"([^"]*)"(?: \(@metadata\.uid:"([^"]*)" OR "([^"]*)"\))?$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("DATADOG_SEARCH_", map[string]string{"API_KEY": siem.SearchToken, "APP_KEY": siem.SearchToken})
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.Header.Get("DD-API-KEY") != siem.SearchToken || r.Header.Get("DD-APPLICATION-KEY") != siem.SearchToken {
		return refuse(http.StatusForbidden, "Forbidden", "a key is invalid")
	}
	if refusal, limited := s.SearchLimited(); limited {
		refusal.Header = map[string]string{"X-RateLimit-Reset": "1"}
		return refusal
	}
	var body struct {
		Filter struct {
			Query    string
			From, To time.Time
		}
		Page struct {
			Limit  int
			Cursor string
		}
	}
	err := json.Unmarshal(r.Body, &body)
	query := logQuery.FindStringSubmatch(body.Filter.Query)
	if err != nil || query == nil || body.Page.Limit < 1 || body.Page.Limit > 1000 {
		return refuse(http.StatusBadRequest, "Bad Request", "invalid search")
	}
	id, position, _ := strings.Cut(body.Page.Cursor, "-")
	if id == "" {
		id, position = s.searches.Add(s.Find(body.Filter.From, body.Filter.To, 0, func(a siem.Accepted) bool {
			return a.Fields["service"] == query[1] && a.Fields["ddsource"] == query[2] && a.Holds(query[3])
		})), "0"
	}
	search := s.searches.Get(id)
	from, err := strconv.Atoi(position)
	if search == nil || err != nil || from < 0 {
		return refuse(http.StatusBadRequest, "Bad Request", "invalid cursor")
	}
	data := []any{}
	for _, a := range search.Page(from, body.Page.Limit) {
		data = append(data, map[string]any{"type": "log", "attributes": map[string]any{"message": string(a.Event),
			"service": query[1]}})
	}
	meta := map[string]any{"status": "done"}
	if next := from + body.Page.Limit; next < len(search.Found) {
		meta["page"] = map[string]string{"after": id + "-" + strconv.Itoa(next)}
	}
	return siem.JSON(http.StatusOK, map[string]any{"data": data, "meta": meta})
}
