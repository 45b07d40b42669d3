package search

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// elastic asks for the documents by their _id, which is made of a receipt's id and hash, in a point in time.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-open-point-in-time
type elastic struct {
	*client
	index string
	whole bool // documents are stored as they were sent
}

const (
	idsPerSearch = 500
	// hitsPerSearch is more than idsPerSearch: a data stream may hold an _id once in each of its indices. It is the
	// default of index.max_result_window.
	hitsPerSearch = 10_000
	keepAlive     = "5m"
)

func openElastic(s *settings.Settings, o Options) Searcher {
	base := s.URL("ELASTIC_SEARCH_URL", o.function("ELASTIC_URL", ""), "the cluster's base URL")
	if base.Host == "" && !s.Set("ELASTIC_SEARCH_URL") {
		s.Problem("ELASTIC_SEARCH_URL", "", "the cluster's base URL")
	}
	key := credential(s, "ELASTIC_SEARCH_API_KEY", "an API key with the privilege read on the index, encoded or as id:key")
	if strings.Contains(key, ":") {
		key = base64.StdEncoding.EncodeToString([]byte(key))
	}
	return &elastic{
		client: newClient(s, o, "ELASTIC_SEARCH", base, http.Header{"Authorization": {"ApiKey " + key}}),
		index:  o.function("ELASTIC_INDEX", "arbitex-audit"),
		whole:  o.function("ELASTIC_PIPELINE", "") == "",
	}
}

// Describe implements Searcher.
func (s *elastic) Describe(q Query) string {
	if q.ID != "" {
		text, _ := json.Marshal(byEventID(q.ID)) // texts always marshal
		return "POST /" + s.index + "/_search " + string(text)
	}
	return fmt.Sprintf("POST /_search of /%s in a point in time: ids of the delivered events, %d in a request", s.index,
		idsPerSearch)
}

// Search implements Searcher.
func (s *elastic) Search(ctx context.Context, q Query, take func(receipts.Found)) error {
	if q.ID != "" {
		_, err := s.hits(ctx, "/"+s.index+"/_search", byEventID(q.ID), take)
		return err
	}
	pit, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if pit != "" {
			s.remove(ctx, "/_pit", map[string]string{"id": pit})
		}
	}()
	var ids []string
	flush := func() error {
		if len(ids) == 0 {
			return nil
		}
		pit, err = s.byIDs(ctx, pit, ids, take)
		ids = ids[:0]
		return err
	}
	for id, hash := range q.Each {
		if ids = append(ids, documentID(id, hash)); len(ids) == idsPerSearch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// documentID is the _id of a delivered event: the event id and the content hash; for an event without a metadata.uid,
// whose id begins with its hash, the id alone.
func documentID(id string, hash uint64) string {
	digits := receipts.Digits(hash)
	if len(id) == 32 && strings.HasPrefix(id, digits) {
		return id
	}
	return id + "-" + digits
}

// open opens a point in time. OpenSearch has another API for it; it is then searched without one.
func (s *elastic) open(ctx context.Context) (id string, err error) {
	response, err := s.do(ctx, request{
		method: http.MethodPost, path: "/" + s.index + "/_pit", query: url.Values{"keep_alive": {keepAlive}},
		accept: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed},
	})
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", nil
	}
	err = walk(response.Body, fields{"id": &id}.visit)
	return id, err
}

// byIDs searches documents, and returns the id of the point in time, which each response may change.
func (s *elastic) byIDs(ctx context.Context, pit string, ids []string, take func(receipts.Found)) (string, error) {
	search := map[string]any{
		"size": hitsPerSearch, "query": map[string]any{"ids": map[string]any{"values": ids}}, "track_total_hits": true,
	}
	path := "/" + s.index + "/_search"
	if pit != "" {
		search["pit"], path = map[string]string{"id": pit, "keep_alive": keepAlive}, "/_search"
	}
	next, err := s.hits(ctx, path, search, take)
	return cmp.Or(next, pit), err
}

// byEventID finds an event by its metadata.uid, whatever its mapping is, or by its _id.
func byEventID(id string) map[string]any {
	return map[string]any{"size": 100, "track_total_hits": true, "query": map[string]any{
		"bool": map[string]any{"should": []any{
			map[string]any{"term": map[string]string{"metadata.uid": id}},
			map[string]any{"term": map[string]string{"metadata.uid.keyword": id}},
			map[string]any{"ids": map[string]any{"values": []string{id}}},
		}},
	}}
}

// hits sends a search and reads its hits.
func (s *elastic) hits(ctx context.Context, path string, body any, take func(receipts.Found)) (pit string, err error) {
	var timedOut bool
	var failed, total, count int
	var r reader
	err = s.call(ctx, request{path: path, body: body}, items("hits.hits[]", func(h *hit) {
		count++
		if found, ok := h.read(&r); ok {
			found.Whole = found.Whole && s.whole
			take(found)
		}
	}, fields{"pit_id": &pit, "timed_out": &timedOut, "_shards.failed": &failed, "hits.total.value": &total}))
	switch {
	case err != nil:
	case timedOut || failed > 0:
		err = fmt.Errorf("elasticsearch: the result is not complete: %d shards failed, timed out: %v", failed, timedOut)
	case total != count:
		err = fmt.Errorf("elasticsearch: %d of %d hits returned", count, total)
	}
	return pit, err
}

// hit is a document.
type hit struct {
	ID     string          `json:"_id"`
	Source json.RawMessage `json:"_source"`
}

// read reads the event of a document. The connector adds "@timestamp" unless the event has one; the hash in the _id
// tells.
func (h *hit) read(r *reader) (receipts.Found, bool) {
	found, ok := r.read(withoutTimestamp(h.Source))
	if digits := receipts.Digits(found.Hash); ok && !strings.HasSuffix(h.ID, digits) && !strings.HasPrefix(h.ID, digits) {
		if own, ok := r.read(h.Source); ok && strings.HasSuffix(h.ID, receipts.Digits(own.Hash)) {
			return own, true
		}
	}
	return found, ok
}

// withoutTimestamp removes the "@timestamp" that the connector adds as the first key.
func withoutTimestamp(source []byte) []byte {
	rest, ok := bytes.CutPrefix(source, []byte(`{"@timestamp":"`))
	if !ok {
		return source
	}
	const layout = "2006-01-02T15:04:05.000Z"
	if len(rest) < len(layout)+2 || string(rest[len(layout):len(layout)+2]) != `",` {
		return source
	}
	return append([]byte{'{'}, rest[len(layout)+2:]...)
}
