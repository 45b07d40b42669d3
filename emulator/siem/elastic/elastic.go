// Package elastic simulates an Elasticsearch cluster of version 9 with security enabled: the bulk API, and the two
// requests of the connection check. Its API key may write only to indices named arbitex… and logs-…. Names of the form
// logs-*-* are data streams, as in Elasticsearch's own templates; the first document creates any other index. There is
// one ingest pipeline, "arbitex".
//
// A document is stored once under its _id. If it arrives again, it overwrites itself (index) or is refused with 409
// (create), and is not accepted a second time. A different document with the same _id replaces the first (index): it is
// accepted, and its field "result" is "replaced".
//
// Product faults: "data-stream" makes the target a data stream; "failure-store" puts the first document of a request
// into the failure store (201, "failure_store":"used"); "item 429" and "item 503" refuse every second document; "item
// 403" (a blocked index), "item 404" (an unknown index), "flood stage" (429, no disk space) and "total fields" (400,
// the index has too many fields) refuse every document; "pretty" formats the response on several lines; "cut" cuts it
// in half.
//
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
package elastic

import (
	"crypto/rand"
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

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is a cluster.
type Simulator struct {
	*siem.Server

	mu        sync.Mutex
	key       apiKey
	revoked   []apiKey
	documents map[docID][]byte // their sources
	positions map[string][]int // of accepted events by their _id, for searches
	known     int              // accepted events in positions
}

type docID struct{ index, id string }

// apiKey is a key with its id.
type apiKey struct{ id, key string }

// New starts a simulator.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{key: newKey(), documents: map[docID][]byte{}}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxContentLength})
	if err != nil {
		return nil, fmt.Errorf("starting the elastic simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "elastic" }

// Settings implements siem.Simulator: the base URL and the CA.
func (s *Simulator) Settings() map[string]string {
	if s.Options().Plain {
		return map[string]string{"ELASTIC_URL": s.URL(), "SIEM_ALLOW_HTTP": "true"}
	}
	return map[string]string{"ELASTIC_URL": s.URL(), "ELASTIC_TLS_CA_BUNDLE": s.CA()}
}

// Secret implements siem.Simulator: the API key, encoded as Kibana shows it.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"ELASTIC_API_KEY": base64.StdEncoding.EncodeToString([]byte(s.key.id + ":" + s.key.key))}
}

// Rotate implements siem.Simulator.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, s.key)
	s.key = newKey()
}

func newKey() apiKey {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	text := base64.RawURLEncoding.EncodeToString(b[:])
	return apiKey{text[:20], text[20:]}
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
	if header == "" {
		return fmt.Sprintf("missing authentication credentials for REST request [%s]", r.RequestURI)
	}
	scheme, encoded, _ := strings.Cut(header, " ")
	ok := strings.EqualFold(scheme, "ApiKey") // schemes are case-insensitive (RFC 9110, 11.1)
	pair, err := base64.StdEncoding.DecodeString(encoded)
	id, key, colon := strings.Cut(string(pair), ":")
	if !ok || err != nil || !colon {
		return fmt.Sprintf("unable to authenticate with provided credentials and anonymous access is not allowed for REST "+
			"request [%s]", r.RequestURI)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch given := (apiKey{id, key}); {
	case given == s.key:
		return ""
	case slices.Contains(s.revoked, given):
		return fmt.Sprintf("api key [%s] has been invalidated", id)
	}
	return fmt.Sprintf("unable to authenticate with provided credentials and anonymous access is not allowed for REST "+
		"request [%s]", r.RequestURI)
}

// writable reports whether the API key may write to the index.
func writable(index string) bool {
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
