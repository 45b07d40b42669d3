package elastic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// pitID is the id of every point in time.
const pitID = "46ToAwMDaWR5"

// maxWindow is index.max_result_window.
const maxWindow = 10_000

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	settings := map[string]string{"ELASTIC_SEARCH_URL": s.URL(), "ELASTIC_SEARCH_API_KEY": siem.SearchToken}
	if s.Options().Plain {
		maps.Copy(settings, map[string]string{"SIEM_ALLOW_HTTP": "true"})
	} else {
		settings["ELASTIC_SEARCH_CA_BUNDLE"] = s.CA()
	}
	return settings
}

func isSearch(r *siem.Request) bool {
	name := path.Base(r.URL.Path)
	return name == "_search" || name == "_pit"
}

// search supports points in time, the query ids, and the query by which siemctl finds one event.
func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.Header.Get("Authorization") != "ApiKey "+siem.SearchToken {
		return failure(http.StatusUnauthorized, "security_exception", "unable to authenticate with provided credentials")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	switch {
	case r.URL.Path == "/_pit" && r.Method == http.MethodDelete:
		return success(map[string]any{"succeeded": true, "num_freed": 1}, r)
	case path.Base(r.URL.Path) == "_pit" && r.Method == http.MethodPost && r.URL.Query().Has("keep_alive"):
		return success(map[string]any{"id": pitID}, r)
	case path.Base(r.URL.Path) == "_search" && r.Method == http.MethodPost:
		return s.hits(r)
	}
	return text(http.StatusMethodNotAllowed, "incorrect HTTP method for uri ["+r.RequestURI+"]")
}

// question is a search.
type question struct {
	Size int `json:"size"`
	PIT  *struct {
		ID string `json:"id"`
	} `json:"pit"`
	Query struct {
		IDs  *idsQuery `json:"ids"`
		Bool struct {
			Should []struct {
				Term map[string]string `json:"term"`
				IDs  *idsQuery         `json:"ids"`
			} `json:"should"`
		} `json:"bool"`
	} `json:"query"`
}

type idsQuery struct {
	Values []string `json:"values"`
}

func (s *Simulator) hits(r *siem.Request) siem.Answer {
	var q question
	if json.Unmarshal(r.Body, &q) != nil {
		return failure(http.StatusBadRequest, "parsing_exception", "the search is not valid")
	}
	switch {
	case q.Size > maxWindow:
		return failure(http.StatusBadRequest, "illegal_argument_exception", "Result window is too large")
	case q.PIT != nil && r.URL.Path != "/_search":
		return failure(http.StatusBadRequest, "action_request_validation_exception",
			"[indices] cannot be used with point in time")
	case q.PIT != nil && q.PIT.ID != pitID:
		return failure(http.StatusNotFound, "search_context_missing_exception", "No search context found")
	}
	var found []any
	for _, a := range s.selected(&q) {
		found = append(found, map[string]any{"_index": a.Fields["_index"], "_id": a.Fields["_id"], "_source": source(a)})
	}
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // a _source is returned as it was stored
	_ = e.Encode(map[string]any{"pit_id": pitID, "timed_out": false, "_shards": map[string]any{"total": 1, "failed": 0},
		"hits": map[string]any{"total": map[string]any{"value": len(found), "relation": "eq"},
			"hits": found[:min(q.Size, len(found))]}})
	return siem.Answer{Status: http.StatusOK, Header: header(), Body: body.String()}
}

// selected returns the events that the query selects.
func (s *Simulator) selected(q *question) (found []siem.Accepted) {
	events := s.Indexed(s.Accepted())
	byID := func(query *idsQuery) {
		if query == nil {
			return
		}
		for _, id := range query.Values {
			for _, n := range s.withID(id) {
				if n < len(events) {
					found = append(found, events[n])
				}
			}
		}
	}
	byID(q.Query.IDs)
	for _, should := range q.Query.Bool.Should {
		byID(should.IDs)
		if uid, ok := should.Term["metadata.uid"]; ok {
			for _, a := range events {
				if siem.OwnID(a.Event) == uid {
					found = append(found, a)
				}
			}
		}
	}
	return found
}

// withID returns the positions of the accepted events that have an _id.
func (s *Simulator) withID(id string) []int {
	all := s.Accepted()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.positions == nil {
		s.positions = map[string][]int{}
	}
	for ; s.known < len(all); s.known++ {
		key := all[s.known].Fields["_id"]
		s.positions[key] = append(s.positions[key], s.known)
	}
	return s.positions[id]
}

// source is the document of an event, with the "@timestamp" that the connector adds.
func source(a siem.Accepted) json.RawMessage {
	event, err := ocsf.Read(a.Event)
	if err != nil || !strings.HasPrefix(string(a.Event), "{") {
		return a.Event
	}
	return fmt.Appendf(nil, `{"@timestamp":"%s",%s`, event.ISO(), a.Event[1:])
}
