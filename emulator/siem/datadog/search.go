package datadog

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// searchPath is the search for logs. It supports a query for a service and a source, with or without the id of one
// event. https://docs.datadoghq.com/api/latest/logs/#search-logs-post
const searchPath = "/api/v2/logs/events/search"

var logQuery = regexp.MustCompile(`^service:"([^"]*)" source:"([^"]*)"(?: \(@metadata\.uid:"([^"]*)" OR "([^"]*)"\))?$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{"DATADOG_SEARCH_URL": s.URL(), "DATADOG_SEARCH_API_KEY": siem.SearchToken,
		"DATADOG_SEARCH_APP_KEY": siem.SearchToken}
	if s.Options().Plain {
		settings["SIEM_ALLOW_HTTP"] = "true"
	} else {
		settings["DATADOG_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
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
	var number, from int
	if body.Page.Cursor == "" {
		number = s.newSearch(body.Filter.From, body.Filter.To, query)
	} else if n, err := fmt.Sscanf(body.Page.Cursor, "%d-%d", &number, &from); n != 2 || err != nil {
		return refuse(http.StatusBadRequest, "Bad Request", "invalid cursor")
	}
	s.mu.Lock()
	found := s.searches[number]
	s.mu.Unlock()
	to := min(from+body.Page.Limit, len(found))
	data := []any{}
	for _, a := range found[min(from, to):to] {
		data = append(data, map[string]any{"type": "log", "attributes": map[string]any{"message": string(a.Event),
			"service": query[1]}})
	}
	meta := map[string]any{"status": "done"}
	if to < len(found) {
		meta["page"] = map[string]string{"after": fmt.Sprintf("%d-%d", number, to)}
	}
	text, _ := json.Marshal(map[string]any{"data": data, "meta": meta}) // texts always marshal
	return answer(http.StatusOK, string(text), "")
}

// newSearch keeps the results of a search, and returns its number.
func (s *Simulator) newSearch(from, to time.Time, query []string) int {
	var found []siem.Accepted
	for _, a := range s.Indexed(s.ArrivedIn(from, to)) {
		if a.Fields["service"] == query[1] && a.Fields["ddsource"] == query[2] && strings.Contains(string(a.Event),
			query[3]) {
			found = append(found, a)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searches = append(s.searches, found)
	return len(s.searches) - 1
}
