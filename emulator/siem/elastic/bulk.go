package elastic

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The platform's own bounds on a request.
const (
	maxRequestBytes = 5_000_000
	maxEvents       = 100
)

// action is an action line of a bulk request with its document.
type action struct {
	op, index, id string
	line          string
	source        []byte
}

// parameters are the query parameters of the bulk API.
var parameters = []string{
	"error_trace", "filter_path", "format", "human", "include_source_on_error", "list_executed_pipelines", "pipeline",
	"pretty",
	"refresh", "require_alias", "require_data_stream", "routing", "timeout", "wait_for_active_shards",
}

func (s *Simulator) bulk(r *siem.Request) siem.Answer {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return text(http.StatusMethodNotAllowed,
			fmt.Sprintf("Incorrect HTTP method for uri [%s] and method [%s], allowed: [POST, PUT]", r.RequestURI, r.Method))
	}
	if a, bad := problem(r); bad {
		return a
	}
	for name := range r.URL.Query() {
		if !slices.Contains(parameters, name) {
			return failure(http.StatusBadRequest, "illegal_argument_exception",
				fmt.Sprintf("request [%s] contains unrecognized parameter: [%s]", r.URL.Path, name))
		}
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	kind = strings.ReplaceAll(kind, "vnd.elasticsearch+", "")
	if kind != "application/x-ndjson" && kind != "application/json" {
		return text(http.StatusNotAcceptable, fmt.Sprintf("Content-Type header [%s] is not supported",
			r.Header.Get("Content-Type")))
	}
	actions, why := s.parse(r)
	if why.status != 0 {
		return failure(why.status, why.kind, why.reason)
	}
	s.judgeRequest(r, kind, len(actions))
	return s.store(r, actions)
}

// judgeRequest records violations of the wire format by the request as a whole.
func (s *Simulator) judgeRequest(r *siem.Request, kind string, events int) {
	if kind != "application/x-ndjson" {
		s.Violate("content type is %q, not application/x-ndjson", kind)
	}
	if r.Method != http.MethodPost || strings.Count(r.URL.Path, "/") > 1 {
		s.Violate("the request is %s %s, not POST /_bulk", r.Method, r.URL.Path)
	}
	if len(r.Body) > maxRequestBytes {
		s.Violate("a request has more than %d bytes", maxRequestBytes)
	}
	if events > maxEvents {
		s.Violate("more than %d events in a request", maxEvents)
	}
}

// parse reads the request's lines. Whatever is wrong with an action line is the whole request's fault.
func (s *Simulator) parse(r *siem.Request) ([]action, refusal) {
	bad := func(kind, format string, args ...any) ([]action, refusal) {
		return nil, refuse(http.StatusBadRequest, kind, format, args...)
	}
	if !bytes.HasSuffix(r.Body, []byte("\n")) {
		return bad("illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
	}
	var actions []action
	lines := bytes.Split(r.Body[:len(r.Body)-1], []byte("\n"))
	for n := 0; n < len(lines); n++ {
		if len(bytes.TrimSpace(lines[n])) == 0 {
			s.Violate("there is an empty line where an action belongs")
			continue
		}
		a, why := readAction(lines[n], n+1)
		if why != "" {
			return bad("illegal_argument_exception", "%s", why)
		}
		if a.index == "" && strings.Count(r.URL.Path, "/") == 2 {
			a.index = path.Base(path.Dir(r.URL.Path))
		}
		switch {
		case a.index == "":
			return bad("action_request_validation_exception", "Validation Failed: 1: index is missing;")
		case len(a.id) > maxIDBytes:
			return bad("action_request_validation_exception",
				"Validation Failed: 1: id [%s] is too long, must be no longer than 512 bytes but was: %d;", a.id, len(a.id))
		}
		if n++; n == len(lines) {
			return bad("action_request_validation_exception", "Validation Failed: 1: source is missing;")
		}
		a.source = lines[n]
		actions = append(actions, a)
	}
	if len(actions) == 0 {
		return bad("action_request_validation_exception", "Validation Failed: 1: no requests added;")
	}
	return actions, refusal{}
}

// maxIDBytes is the longest _id.
const maxIDBytes = 512

// readAction parses an action line. why is the problem with it.
func readAction(line []byte, n int) (a action, why string) {
	var outer map[string]json.RawMessage
	if json.Unmarshal(line, &outer) != nil {
		return a, fmt.Sprintf("Malformed action/metadata line [%d], expected START_OBJECT but found something else", n)
	}
	if len(outer) != 1 {
		return a, fmt.Sprintf("Malformed action/metadata line [%d], expected END_OBJECT but found [FIELD_NAME]", n)
	}
	a.op = slices.Collect(maps.Keys(outer))[0]
	if a.op != "index" && a.op != "create" { // update and delete are not simulated
		return a, fmt.Sprintf("Malformed action/metadata line [%d], expected field [create], [delete], [index] or [update] "+
			"but found [%s]", n, a.op)
	}
	var inner map[string]any
	if json.Unmarshal(outer[a.op], &inner) != nil {
		return a, fmt.Sprintf("Malformed action/metadata line [%d], expected START_OBJECT", n)
	}
	for name, value := range inner {
		text, ok := value.(string)
		switch {
		case name == "_index" && ok:
			a.index = text
		case name == "_id" && ok:
			a.id = text
		default:
			return a, fmt.Sprintf("Action/metadata line [%d] contains an unknown parameter [%s]", n, name)
		}
	}
	a.line = string(line)
	return a, ""
}

// store stores the documents one by one, with a result for each.
func (s *Simulator) store(r *siem.Request, actions []action) siem.Answer {
	p := s.plan(r)
	items, failed := make([]any, 0, len(actions)), false
	for n, a := range actions {
		it, why := s.index(a, n, p)
		if why.status != 0 {
			failed = true
			s.Refuse(fmt.Sprintf("item %d %s", why.status, why.kind), why.reason)
		}
		items = append(items, it)
	}
	answer := success(map[string]any{"took": 3, "errors": failed, "items": items}, r)
	if s.Product("pretty") {
		answer.Body = string(pretty([]byte(answer.Body)))
	}
	if s.Product("cut") {
		answer.Body = answer.Body[:len(answer.Body)/2]
	}
	return answer
}

// plan applies to every document of a request.
type plan struct {
	pipeline     string
	noPipeline   bool // the pipeline does not exist
	stream       bool // the target is a data stream, whatever its name
	failureStore bool
	totalFields  bool
	refuse       map[int]bool // item statuses of product faults
	index        string       // the product fault that is the state of the index
	processor    string       // the product fault that is the pipeline's failing processor
}

func (s *Simulator) plan(r *siem.Request) plan {
	p := plan{pipeline: r.URL.Query().Get("pipeline"), refuse: map[int]bool{}}
	s.mu.Lock()
	p.noPipeline = p.pipeline != "" && !s.pipelines[p.pipeline]
	s.mu.Unlock()
	p.stream = s.Product("data-stream")
	p.failureStore = s.Product("failure-store")
	p.totalFields = s.Product("total fields")
	for _, status := range []int{403, 404, 429, 503} {
		p.refuse[status] = s.Product(fmt.Sprintf("item %d", status))
	}
	for _, state := range []string{floodStage, closedIndex, noWriteIndex, shardLimit} {
		if s.Product(state) {
			p.index = state
		}
	}
	if p.pipeline == "" {
		return p
	}
	for _, processor := range []string{scriptFails, dateFails} {
		if s.Product(processor) {
			p.processor = processor
		}
	}
	return p
}

func header() map[string]string {
	return map[string]string{"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
}

// success returns a 200 with the keys that the request's filter_path selects.
func success(body map[string]any, r *siem.Request) siem.Answer {
	query := r.URL.Query()
	var out any = body
	if patterns := query.Get("filter_path"); patterns != "" {
		var paths [][]string
		for p := range strings.SplitSeq(patterns, ",") {
			paths = append(paths, strings.Split(p, "."))
		}
		if filtered, some := filter(body, paths); some {
			out = filtered
		} else {
			out = map[string]any{}
		}
	}
	text, _ := json.Marshal(out) // maps, texts and numbers always marshal
	if query.Has("pretty") && query.Get("pretty") != "false" {
		text = pretty(text)
	}
	return siem.Answer{Status: http.StatusOK, Header: header(), Body: string(text)}
}

func pretty(text []byte) []byte {
	var out bytes.Buffer
	_ = json.Indent(&out, text, "", "  ")
	return append(bytes.ReplaceAll(out.Bytes(), []byte(`": `), []byte(`" : `)), '\n')
}

// filter returns the values that the paths select. A path skips arrays: it applies to each of their elements.
func filter(v any, paths [][]string) (kept any, some bool) {
	for _, p := range paths {
		if len(p) == 0 {
			return v, true
		}
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			var below [][]string
			for _, p := range paths {
				if ok, _ := path.Match(p[0], key); ok {
					below = append(below, p[1:])
				}
			}
			if kept, some := filter(value, below); some && len(below) > 0 {
				out[key] = kept
			}
		}
		return out, len(out) > 0
	case []any:
		var out []any
		for _, element := range v {
			if kept, some := filter(element, paths); some {
				out = append(out, kept)
			}
		}
		return out, len(out) > 0
	}
	return nil, false
}

// failure returns the refusal of a whole request.
func failure(status int, kind, reason string) siem.Answer {
	cause := map[string]any{"type": kind, "reason": reason}
	body, _ := json.Marshal(map[string]any{
		"error": map[string]any{"root_cause": []any{cause}, "type": kind, "reason": reason}, "status": status,
	})
	return siem.Answer{
		Status: status, Header: header(), Body: string(body), Reason: fmt.Sprintf("%d %s", status, kind), Detail: reason,
	}
}

// text returns a refusal of the REST layer.
func text(status int, reason string) siem.Answer {
	body, _ := json.Marshal(map[string]any{"error": reason, "status": status})
	return siem.Answer{Status: status, Header: header(), Body: string(body), Detail: reason}
}

// refusal is the error of an item; the zero value is none.
type refusal struct {
	status       int
	kind, reason string
	causeKind    string // error.caused_by.type, "" for illegal_argument_exception
	cause        string // error.caused_by.reason
}

func refuse(status int, kind, format string, args ...any) refusal {
	return refusal{status: status, kind: kind, reason: fmt.Sprintf(format, args...)}
}

// item returns an element of the response's items.
func item(a action, status int, result, failureStore string, why refusal) map[string]any {
	body := map[string]any{"_index": a.index, "_id": a.id, "status": status}
	if why.status != 0 {
		cause := map[string]any{"type": why.kind, "reason": why.reason}
		if why.cause != "" {
			cause["caused_by"] = map[string]any{
				"type": cmp.Or(why.causeKind, "illegal_argument_exception"), "reason": why.cause,
			}
		}
		body["error"] = cause
	} else {
		body["_version"], body["result"], body["_seq_no"], body["_primary_term"] = 1, result, 0, 1
		body["_shards"] = map[string]any{"total": 2, "successful": 1, "failed": 0}
	}
	if failureStore != "" {
		body["failure_store"] = failureStore
	}
	return map[string]any{a.op: body}
}
