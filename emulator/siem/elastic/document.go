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
	"github.com/arbitex/siem-connectors/emulator/siem/ocsf"
)

// index takes in the n-th document of a request, or says why not.
func (s *Simulator) index(a action, n int, p plan) (map[string]any, refusal) {
	stream, _ := path.Match("logs-*-*", a.index)
	stream = stream || p.stream
	why := judgeTarget(a, stream, n, p)
	if why.status == 0 {
		why = s.judgeSource(a, stream)
	}
	if why.status != 0 {
		return item(a, why.status, "", "", why), why
	}
	s.judgeAction(a)
	event := s.judgeTimestamp(a.source)
	result := s.put(a)
	if result == conflict {
		why = refusal{http.StatusConflict, "version_conflict_engine_exception", fmt.Sprintf("[%s]: version conflict, document already exists (current version [1])", a.id)}
		return item(a, why.status, "", "", why), why
	}
	failureStore := ""
	if p.failureStore && n == 0 {
		failureStore = "used"
	}
	if result != rewritten {
		s.Accept(siem.Accepted{ID: a.id, Event: event, Fields: map[string]string{
			"_index": a.index, "_id": a.id, "op": a.op, "pipeline": p.pipeline, "failure_store": failureStore, "result": string(result),
		}})
	}
	if result == created {
		return item(a, http.StatusCreated, "created", failureStore, refusal{}), refusal{}
	}
	return item(a, http.StatusOK, "updated", failureStore, refusal{}), refusal{}
}

// stored is what became of a document.
type stored string

const (
	created   stored = "created"
	rewritten stored = "rewritten" // by itself: it came before
	replaced  stored = "replaced"  // another of the same _id, which is gone
	conflict  stored = "conflict"  // there is one of that _id, and the action is create
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

// validName is what an index may be called, as far as the bulk API's own check goes.
var validName = regexp.MustCompile(`^[^-_+A-Z\\/*?"<>| ,#:][^A-Z\\/*?"<>| ,#:]*$`)

// judgeTarget looks at where the document is to go.
func judgeTarget(a action, stream bool, n int, p plan) refusal {
	switch {
	case p.refuse[http.StatusForbidden]:
		return refusal{403, "cluster_block_exception", fmt.Sprintf("index [%s] blocked by: [FORBIDDEN/8/index write (api)];", a.index)}
	case p.refuse[http.StatusNotFound]:
		return refusal{404, "index_not_found_exception", fmt.Sprintf("no such index [%s]", a.index)}
	case p.refuse[http.StatusTooManyRequests] && n%2 == 1:
		return refusal{429, "es_rejected_execution_exception", "rejected execution of primary operation [coordinating_and_primary_bytes=1]"}
	case p.refuse[http.StatusServiceUnavailable] && n%2 == 1:
		return refusal{503, "unavailable_shards_exception", fmt.Sprintf("[%s][0] primary shard is not active Timeout: [1m]", a.index)}
	case !validName.MatchString(a.index):
		return refusal{400, "invalid_index_name_exception", fmt.Sprintf("Invalid index name [%s]", a.index)}
	case p.pipeline != "" && p.pipeline != "arbitex":
		return refusal{400, "illegal_argument_exception", fmt.Sprintf("pipeline with id [%s] does not exist", p.pipeline)}
	case stream && a.op != "create":
		return refusal{400, "illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"}
	case !writable(a.index):
		return refusal{403, "security_exception", fmt.Sprintf("action [indices:data/write/bulk[s]] is unauthorized for API key id [x] of user [arbitex] on indices [%s]", a.index)}
	}
	return refusal{}
}

// judgeSource looks at the document itself.
func (s *Simulator) judgeSource(a action, stream bool) refusal {
	broken := func(why string) refusal {
		return refusal{400, "document_parsing_exception", fmt.Sprintf("[1:1] %s in document with id '%s'", why, a.id)}
	}
	var source map[string]json.RawMessage
	switch {
	case !utf8.Valid(a.source):
		return broken("failed to parse, Invalid UTF-8 start byte")
	case json.Unmarshal(a.source, &source) != nil || source == nil:
		return broken("failed to parse")
	}
	if key, twice := duplicate(a.source); twice {
		return broken(fmt.Sprintf("Duplicate field '%s'", key))
	}
	var timestamp any
	_ = json.Unmarshal(source["@timestamp"], &timestamp)
	if timestamp == nil && stream {
		return broken("data stream timestamp field [@timestamp] is missing")
	}
	if s.Poisoned(a.id) {
		return broken("failed to parse field [severity_id] of type [long]")
	}
	return refusal{}
}

// duplicate finds a key that stands twice in an object, which Elasticsearch's parser refuses.
func duplicate(source []byte) (key string, twice bool) {
	type object struct {
		keys  map[string]bool
		array bool
		value bool // a value is due, not a key
	}
	var open []object
	for decoder := json.NewDecoder(bytes.NewReader(source)); ; {
		token, err := decoder.Token()
		if err != nil {
			return "", false
		}
		top := len(open) - 1
		if text, ok := token.(string); ok && top >= 0 && !open[top].array && !open[top].value {
			if open[top].keys[text] {
				return text, true
			}
			open[top].keys[text], open[top].value = true, true
			continue
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			open = append(open, object{keys: map[string]bool{}, array: token == json.Delim('[')})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
			top--
		}
		if top >= 0 {
			open[top].value = false
		}
	}
}

var hashID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// judgeAction notes what Elasticsearch takes and the contract does not, of the action line and the _id.
func (s *Simulator) judgeAction(a action) {
	start := fmt.Sprintf(`{"%s":{"_index":"%s","_id":"`, a.op, a.index)
	if !strings.HasPrefix(a.line, start) || !strings.HasSuffix(a.line, `"}}`) {
		s.Violate("an action line is not %s…\"}}", start)
	}
	uid := ownID(a.source)
	switch {
	case uid != "" && len(uid) <= maxIDBytes && a.id != uid:
		s.Violate("an _id is not the event's metadata.uid")
	case (uid == "" || len(uid) > maxIDBytes) && !hashID.MatchString(a.id):
		s.Violate("the _id of an event without a usable metadata.uid is not 32 hex digits")
	}
	if !siem.OneLine(a.source) {
		s.Violate("an event holds a line break")
	}
}

// ownID is the event's metadata.uid, "" when it has none.
func ownID(event []byte) string {
	var e, metadata map[string]json.RawMessage
	var uid string
	_ = json.Unmarshal(event, &e)
	_ = json.Unmarshal(e["metadata"], &metadata)
	_ = json.Unmarshal(metadata["uid"], &uid)
	return uid
}

// judgeTimestamp returns the event's own bytes: the document without the "@timestamp" that was added to it. An event that
// brings one of its own, in first place and equal to its time, cannot be told from one that does not; a wrong one that was
// added shows as an event that is not the one that was sent.
func (s *Simulator) judgeTimestamp(source []byte) []byte {
	var event map[string]json.RawMessage
	_ = json.Unmarshal(source, &event)
	known, err := ocsf.Read(source)
	if err != nil {
		s.Violate("an event has no time")
		return source
	}
	added := fmt.Sprintf(`{"@timestamp":"%s",`, known.ISO())
	if rest, ok := bytes.CutPrefix(source, []byte(added)); ok {
		return append([]byte{'{'}, rest...)
	}
	if _, own := event["@timestamp"]; !own {
		s.Violate("a document has no @timestamp")
	}
	return source
}
