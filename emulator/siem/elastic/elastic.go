// Package elastic simulates an Elasticsearch cluster of version 9 with security enabled: the bulk API, and the two
// requests of the connection check. Its API key may write only to indices named arbitex* and logs-*. Names of the form
// logs-*-* are data streams, as in Elasticsearch's own templates; the first document creates any other index, as a data
// stream if a stored template says so. Names of the form .ds-*-2025.03.13-000001 are backing indices of data streams,
// which accept no document. There is one ingest pipeline, "arbitex"; AdminKey stores more.
//
// A document is stored once under its _id. If it arrives again, it overwrites itself (index) or is refused with 409
// (create), and is not accepted a second time. A different document with the same _id replaces the first (index): it is
// accepted, and its field "result" is "replaced".
//
// Product faults: "data-stream" makes the target a data stream; "failure-store" puts the first document of a request
// into the failure store (201, "failure_store":"used"); "item 429" and "item 503" refuse every second document; "item
// 403" (a blocked index), "item 404" (an unknown index), "flood stage" (429, no disk space), "closed index", "no write
// index" (of an alias), "shard limit" (the index cannot be created) and "total fields" (400, the index has too many
// fields) refuse every document; "script" and "date" let that processor of the request's pipeline refuse the poisoned
// documents; "pretty" formats the response on several lines; "cut" cuts it in half.
//
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
package elastic

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxContentLength is http.max_content_length, counted after decompression.
const maxContentLength = 100 << 20

// Simulator is a cluster.
type Simulator struct {
	*siem.Server
	*siem.Credential // id:key

	mu        sync.Mutex
	documents map[docID][]byte // their sources
	pipelines map[string]bool
	templates map[string][]string // index patterns of the data streams
	streams   map[string]bool     // the indices that have been written to: whether they are data streams
	positions map[string][]int    // of accepted events by their _id, for searches
	known     int                 // accepted events in positions
}

type docID struct{ index, id string }

// New starts a simulator.
func New(o siem.Options) (s *Simulator, err error) {
	s = &Simulator{Credential: siem.NewCredential(newKey), documents: map[docID][]byte{},
		pipelines: map[string]bool{"arbitex": true}, templates: map[string][]string{}, streams: map[string]bool{}}
	s.Server, err = siem.Serve(o, siem.Config{Name: "elastic", Handle: s.handle, MaxBody: maxContentLength})
	return s, err
}

// Settings implements siem.Simulator: the base URL and the CA.
func (s *Simulator) Settings() map[string]string {
	return s.Trust(map[string]string{"ELASTIC_URL": s.URL()}, "ELASTIC_TLS_CA_BUNDLE")
}

// Secret implements siem.Simulator: the API key, encoded as Kibana shows it.
func (s *Simulator) Secret() map[string]string {
	return map[string]string{"ELASTIC_API_KEY": encode(s.Value())}
}

func encode(pair string) string { return base64.StdEncoding.EncodeToString([]byte(pair)) }

// newKey returns an id and a key of 20 characters each.
func newKey() string {
	text := base64.RawURLEncoding.EncodeToString(siem.Random(30))
	return text[:20] + ":" + text[20:]
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if isSearch(r) {
		return s.search(r)
	}
	if why := s.authorize(r); why != "" {
		a := failure(http.StatusUnauthorized, "security_exception", why)
		a.Header["WWW-Authenticate"] = "ApiKey"
		return a
	}
	switch {
	case storesSetup(r):
		return s.admin(r)
	case r.URL.Path == "/" && r.Method == http.MethodGet:
		return success(map[string]any{"name": "simulator", "tagline": "You Know, for Search",
			"version": map[string]any{"number": "9.1.0", "build_flavor": "default"}}, r)
	case r.URL.Path == "/_security/_authenticate" && r.Method == http.MethodGet:
		return success(map[string]any{"username": "arbitex", "roles": []any{}, "enabled": true,
			"authentication_type": "api_key"}, r)
	case r.URL.Path == "/_security/user/_has_privileges" && (r.Method == http.MethodGet || r.Method == http.MethodPost):
		return s.hasPrivileges(r)
	case path.Base(r.URL.Path) == "_bulk" && strings.Count(r.URL.Path, "/") <= 2:
		return s.bulk(r)
	}
	return text(http.StatusBadRequest, fmt.Sprintf("no handler found for uri [%s] and method [%s]", r.RequestURI,
		r.Method))
}

// authorize returns the problem with the API key, "" if it is valid.
func (s *Simulator) authorize(r *siem.Request) string {
	header := r.Header.Get("Authorization")
	if isAdmin(r) && (storesSetup(r) || r.URL.Path == "/") {
		return ""
	}
	if header == "" {
		return fmt.Sprintf("missing authentication credentials for REST request [%s]", r.RequestURI)
	}
	scheme, encoded, _ := strings.Cut(header, " ")
	ok := strings.EqualFold(scheme, "ApiKey") // schemes are case-insensitive (RFC 9110, 11.1)
	pair, err := base64.StdEncoding.DecodeString(encoded)
	switch valid, revoked := s.Check(string(pair)); {
	case ok && err == nil && valid:
		return ""
	case ok && err == nil && revoked:
		id, _, _ := strings.Cut(string(pair), ":")
		return fmt.Sprintf("api key [%s] has been invalidated", id)
	}
	return fmt.Sprintf("unable to authenticate with provided credentials and anonymous access is not allowed for REST "+
		"request [%s]", r.RequestURI)
}

// writable reports whether the API key may write to the index, or to the data stream of a backing index.
func writable(index string) bool {
	index = strings.TrimPrefix(index, ".ds-")
	return strings.HasPrefix(index, "arbitex") || strings.HasPrefix(index, "logs-")
}

var granted = []string{"auto_configure", "create", "create_doc", "create_index", "index", "write"}

func (s *Simulator) hasPrivileges(r *siem.Request) siem.Answer {
	var question struct {
		Index []struct {
			Names      []string `json:"names"`
			Privileges []string `json:"privileges"`
		} `json:"index"`
	}
	if r.Problem != nil || json.Unmarshal(r.Body, &question) != nil {
		return failure(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	all, indices := true, map[string]any{}
	for _, q := range question.Index {
		for _, name := range q.Names {
			has := map[string]any{}
			for _, privilege := range q.Privileges {
				ok := writable(name) && slices.Contains(granted, privilege)
				has[privilege], all = ok, all && ok
			}
			indices[name] = has
		}
	}
	return success(map[string]any{"username": "arbitex", "has_all_requested": all, "cluster": map[string]any{},
		"index": indices, "application": map[string]any{}}, r)
}

// problem returns the response to a request whose body cannot be read.
func problem(r *siem.Request) (siem.Answer, bool) {
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge): // the response of the HTTP layer has no body
		return siem.Answer{Status: http.StatusRequestEntityTooLarge, Detail: r.Problem.Error()}, true
	case errors.Is(r.Problem, siem.ErrEncoding):
		return failure(http.StatusBadRequest, "illegal_argument_exception", r.Problem.Error()), true
	case r.Problem != nil:
		return failure(http.StatusBadRequest, "parse_exception", r.Problem.Error()), true
	case len(r.Body) == 0:
		return failure(http.StatusBadRequest, "parse_exception", "request body is required"), true
	}
	return siem.Answer{}, false
}

// pitID is the id of every point in time.
const pitID = "46ToAwMDaWR5"

// maxWindow is index.max_result_window.
const maxWindow = 10_000

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("ELASTIC_SEARCH_", map[string]string{"API_KEY": siem.SearchToken})
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
	event, err := siem.ReadEvent(a.Event)
	if err != nil || !strings.HasPrefix(string(a.Event), "{") {
		return a.Event
	}
	return fmt.Appendf(nil, `{"@timestamp":"%s",%s`, event.ISO(), a.Event[1:])
}
