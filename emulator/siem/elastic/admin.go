package elastic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// AdminKey is an API key that may store ingest pipelines and index templates, and write nothing else.
const AdminKey = "admin:key"

// admin stores an ingest pipeline or an index template.
func (s *Simulator) admin(r *siem.Request) siem.Answer {
	kind, name := path.Split(r.URL.Path)
	action, privilege := "indices:admin/index_template/put", "manage_index_templates"
	if kind == "/_ingest/pipeline/" {
		action, privilege = "cluster:admin/ingest/pipeline/put", "manage_ingest_pipelines"
	}
	if !isAdmin(r) {
		return failure(http.StatusForbidden, "security_exception", fmt.Sprintf("action [%s] is unauthorized for API key, "+
			"this action is granted by the cluster privileges [%s,manage,all]", action, privilege))
	}
	var body struct {
		Processors []any          `json:"processors"`
		Patterns   []string       `json:"index_patterns"`
		Stream     map[string]any `json:"data_stream"`
	}
	if json.Unmarshal(r.Body, &body) != nil || (body.Processors == nil) == (body.Patterns == nil) {
		return failure(http.StatusBadRequest, "x_content_parse_exception", "a required property is missing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case body.Processors != nil:
		s.pipelines[name] = true
	case body.Stream != nil:
		s.templates[name] = body.Patterns
	default:
		delete(s.templates, name)
	}
	return success(map[string]any{"acknowledged": true}, r)
}

func isAdmin(r *siem.Request) bool {
	return r.Header.Get("Authorization") == "ApiKey "+encode(AdminKey)
}

// isStream reports whether the target is a data stream. The templates at its first document decide.
func (s *Simulator) isStream(index string) bool {
	if ok, _ := path.Match("logs-*-*", index); ok {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stream, exists := s.streams[index]
	if exists {
		return stream
	}
	for _, patterns := range s.templates {
		for _, p := range patterns {
			ok, _ := path.Match(p, index)
			stream = stream || ok
		}
	}
	s.streams[index] = stream
	return stream
}

func storesSetup(r *siem.Request) bool {
	return r.Method == http.MethodPut &&
		(strings.HasPrefix(r.URL.Path, "/_ingest/pipeline/") || strings.HasPrefix(r.URL.Path, "/_index_template/"))
}
