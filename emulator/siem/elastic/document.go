package elastic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// index stores the n-th document of a request, or returns the reason for its refusal.
func (s *Simulator) index(a action, n int, p plan) (map[string]any, refusal) {
	stream := p.stream || s.isStream(a.index)
	why := judgeTarget(a, stream, n, p)
	event := withoutTimestamp(a.source)
	if why.status == 0 {
		why = s.judgeSource(a, event, stream, p)
	}
	if why.status != 0 {
		return item(a, why.status, "", "", why), why
	}
	s.judgeAction(a, event)
	s.judgeTimestamp(a.source, event)
	result := s.put(a)
	if result == conflict {
		why = refuse(http.StatusConflict, "version_conflict_engine_exception",
			"[%s]: version conflict, document already exists (current version [1])", a.id)
		return item(a, why.status, "", "", why), why
	}
	failureStore := ""
	if p.failureStore && n == 0 {
		failureStore = "used"
	}
	if result != rewritten {
		s.Accept(siem.Accepted{ID: siem.EventID(event), Event: event, Fields: map[string]string{
			"_index": a.index, "_id": a.id, "op": a.op, "pipeline": p.pipeline, "failure_store": failureStore,
			"result": string(result),
		}})
	}
	if result == created {
		return item(a, http.StatusCreated, "created", failureStore, refusal{}), refusal{}
	}
	return item(a, http.StatusOK, "updated", failureStore, refusal{}), refusal{}
}

// stored is the result of storing a document.
type stored string

const (
	created   stored = "created"
	rewritten stored = "rewritten" // by itself: it had arrived before
	replaced  stored = "replaced"  // a different document with the same _id, which is lost
	conflict  stored = "conflict"  // the _id exists, and the action is create
)

// put stores the document under its _id.
func (s *Simulator) put(a action) stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := docID{a.index, a.id}
	before, there := s.documents[id]
	if there && a.op == "create" {
		return conflict
	}
	s.documents[id] = a.source
	switch {
	case !there:
		return created
	case bytes.Equal(before, a.source):
		return rewritten
	}
	return replaced
}

// validName matches the index names that the bulk API accepts.
var validName = regexp.MustCompile(`^[^-_+A-Z\\/*?"<>| ,#:][^A-Z\\/*?"<>| ,#:]*$`)

// backing matches the name of a backing index, and in it that of its data stream.
var backing = regexp.MustCompile(`^\.ds-(.+)-\d{4}\.\d{2}\.\d{2}-\d{6}$`)

// The product faults that are a state of the index, and the processors of a pipeline that fail.
const (
	floodStage   = "flood stage"
	closedIndex  = "closed index"
	noWriteIndex = "no write index"
	shardLimit   = "shard limit"

	scriptFails = "script"
	dateFails   = "date"
)

// judgeState returns the problem with the state of the index.
func judgeState(a action, state string) refusal {
	const illegal = "illegal_argument_exception"
	if name := backing.FindStringSubmatch(a.index); name != nil {
		conditions := ""
		if a.op == "index" {
			conditions = " and no if_primary_term and if_seq_no set"
		}
		return refuse(400, illegal, "index request with op_type=%s%s targeting backing indices is disallowed, target "+
			"corresponding data stream [%s] instead", a.op, conditions, name[1])
	}
	switch state {
	case floodStage:
		return refuse(429, "cluster_block_exception",
			"index [%s] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has "+
				"read-only-allow-delete block];", a.index)
	case closedIndex:
		return refuse(400, "index_closed_exception", "closed")
	case noWriteIndex:
		return refuse(400, illegal, "no write index is defined for alias [%s]. The write index may be explicitly disabled "+
			"using is_write_index=false or the alias points to multiple indices without one being designated as a write "+
			"index", a.index)
	case shardLimit:
		return refuse(400, "validation_exception", "Validation Failed: 1: this action would add [2] shards, but this "+
			"cluster currently has [1000]/[1000] maximum normal shards open;")
	}
	return refusal{}
}

// judgeTarget returns the problem with the target of the document.
func judgeTarget(a action, stream bool, n int, p plan) refusal {
	switch {
	case p.refuse[http.StatusForbidden]:
		return refuse(403, "cluster_block_exception", "index [%s] blocked by: [FORBIDDEN/8/index write (api)];", a.index)
	case p.refuse[http.StatusNotFound]:
		return refuse(404, "index_not_found_exception", "no such index [%s]", a.index)
	case p.refuse[http.StatusTooManyRequests] && n%2 == 1:
		return refuse(429, "es_rejected_execution_exception",
			"rejected execution of primary operation [coordinating_and_primary_bytes=1]")
	case p.refuse[http.StatusServiceUnavailable] && n%2 == 1:
		return refuse(503, "unavailable_shards_exception", "[%s][0] primary shard is not active Timeout: [1m]", a.index)
	case strings.ToLower(a.index) != a.index:
		return refuse(400, "invalid_index_name_exception", "Invalid index name [%s], must be lowercase", a.index)
	case !validName.MatchString(a.index):
		return refuse(400, "invalid_index_name_exception", "Invalid index name [%s]", a.index)
	case p.noPipeline:
		return refuse(400, "illegal_argument_exception", "pipeline with id [%s] does not exist", p.pipeline)
	case stream && a.op != "create":
		return refuse(400, "illegal_argument_exception",
			"only write ops with an op_type of create are allowed in data streams")
	case !writable(a.index):
		return refuse(403, "security_exception",
			"action [indices:admin/auto_create] is unauthorized for API key id [x] of user [arbitex] on indices [%s], this "+
				"action is granted by the index privileges [auto_configure,create_index,manage,all]", a.index)
	}
	return judgeState(a, p.index)
}

// totalFields is Elasticsearch's reason for a document that would exceed the maximum number of fields of an index.
const totalFields = "Limit of total fields [1000] has been exceeded while adding new fields [1]"

// judgeSource returns the problem with the document. event is the document without the added "@timestamp".
func (s *Simulator) judgeSource(a action, event []byte, stream bool, p plan) refusal {
	broken := func(why string) refusal {
		return refuse(400, "document_parsing_exception", "[1:1] %s in document with id '%s'", why, a.id)
	}
	var source map[string]json.RawMessage
	switch {
	case !utf8.Valid(a.source):
		return broken("failed to parse, Invalid UTF-8 start byte")
	case json.Unmarshal(a.source, &source) != nil || source == nil:
		return broken("failed to parse")
	}
	decoder := json.NewDecoder(bytes.NewReader(a.source))
	decoder.UseNumber() // a number of any size is valid
	if key, twice := duplicate(decoder); twice {
		return broken(fmt.Sprintf("failed to parse: [1:9] Duplicate field '%s'\n at [Source: REDACTED "+
			"(`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 9]", key))
	}
	var timestamp any
	_ = json.Unmarshal(source["@timestamp"], &timestamp)
	if timestamp == nil && stream {
		return broken("data stream timestamp field [@timestamp] is missing")
	}
	poisoned := s.Poisoned(siem.EventID(event))
	why := refusal{}
	switch {
	case poisoned && p.processor == scriptFails:
		why = refuse(400, "script_exception", "runtime error")
		why.causeKind, why.cause = "null_pointer_exception", "Cannot invoke \"Object.getClass()\" because "+
			"\"callArgs[0]\" is null"
	case poisoned && p.processor == dateFails:
		why = refuse(400, "illegal_argument_exception", "unable to parse date [soon]")
		why.cause = "For input string: \"soon\""
	case p.totalFields:
		why = broken("failed to parse")
		why.cause = totalFields
	case poisoned:
		why = broken("failed to parse field [severity_id] of type [long]")
		why.cause = "For input string: \"poison\""
	}
	return why
}

// duplicate reads one valid value. It returns a key that an object contains twice, which Elasticsearch's parser
// refuses.
func duplicate(d *json.Decoder) (key string, twice bool) {
	token, _ := d.Token()
	object := token == json.Delim('{')
	if !object && token != json.Delim('[') {
		return "", false
	}
	seen := map[json.Token]bool{}
	for d.More() {
		if object {
			name, _ := d.Token()
			if seen[name] {
				return fmt.Sprint(name), true
			}
			seen[name] = true
		}
		if key, twice = duplicate(d); twice {
			return key, true
		}
	}
	_, _ = d.Token() // the end of the object or the array
	return "", false
}

// judgeAction records violations of the wire format in the action line and the _id.
func (s *Simulator) judgeAction(a action, event []byte) {
	start := fmt.Sprintf(`{"%s":{"_index":"%s","_id":"`, a.op, a.index)
	if !strings.HasPrefix(a.line, start) || !strings.HasSuffix(a.line, `"}}`) {
		s.Violate("an action line is not %s…\"}}", start)
	}
	if !validID(a.id, event) {
		s.Violate("an _id is not made of the event's id and its content")
	}
	if !siem.OneLine(a.source) {
		s.Violate("an event contains a line break")
	}
}

// validID reports whether an _id is the event's metadata.uid with the start of its content hash, or the hash alone for
// an event without a usable metadata.uid.
func validID(id string, event []byte) bool {
	const digits = 16
	uid, hash := siem.OwnID(event), siem.ContentHash(event)
	if uid == "" || len(uid)+1+digits > maxIDBytes {
		return id == hash[:32]
	}
	return id == uid+"-"+hash[:digits]
}

// withoutTimestamp returns the event's own bytes: the document without the "@timestamp" that the connector adds as the
// first key. An event whose own "@timestamp" is the first key and equals its time cannot be distinguished from one
// without.
func withoutTimestamp(source []byte) []byte {
	known, err := siem.ReadEvent(source)
	if err != nil {
		return source
	}
	if rest, ok := bytes.CutPrefix(source, fmt.Appendf(nil, `{"@timestamp":"%s",`, known.ISO())); ok {
		return append([]byte{'{'}, rest...)
	}
	return source
}

// judgeTimestamp records a document without "@timestamp". A wrong one that was added shows as an event with other
// bytes.
func (s *Simulator) judgeTimestamp(source, event []byte) {
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(source, &keys)
	if _, err := siem.ReadEvent(source); err != nil {
		s.Violate("an event has no time")
	} else if _, own := keys["@timestamp"]; !own && len(event) == len(source) {
		s.Violate("a document has no @timestamp")
	}
}

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
