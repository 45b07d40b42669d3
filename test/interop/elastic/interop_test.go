// Package elastic compares what the connector sends with what Elasticsearch's official Go client sends, and shows that
// this client gets on with the simulator, so that the simulator is not only the connector's own idea of Elasticsearch.
// https://github.com/elastic/go-elasticsearch
package elastic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esutil"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

const apiKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="

// item is one document for the official client to index.
type item struct{ id, source string }

// answer accepts the n documents of a bulk request.
func answer(op string, n int) http.HandlerFunc {
	items := strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{%q:{"status":201}},`, op), n), ",")
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch") // or the client takes it for something else
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, items)
	}
}

// theirs sends documents through the official client's indexer, and returns the status of each by its id.
func theirs(t *testing.T, address, ca, key, op, pipeline string, items []item) map[string]int {
	t.Helper()
	client, err := elasticsearch.New(elasticsearch.WithAddresses(address), elasticsearch.WithAPIKey(key),
		elasticsearch.WithCACert([]byte(ca)), elasticsearch.WithCompression())
	if err != nil {
		t.Fatal(err)
	}
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, NumWorkers: 1, Pipeline: pipeline})
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for _, i := range items {
		err := indexer.Add(t.Context(), esutil.BulkIndexerItem{
			Index: "arbitex-audit", Action: op, DocumentID: i.id, Body: strings.NewReader(i.source),
			OnSuccess: func(_ context.Context, item esutil.BulkIndexerItem, answer esutil.BulkIndexerResponseItem) {
				statuses[item.DocumentID] = answer.Status
			},
			OnFailure: func(_ context.Context, item esutil.BulkIndexerItem, answer esutil.BulkIndexerResponseItem, _ error) {
				statuses[item.DocumentID] = answer.Status
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := indexer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return statuses
}

// TestSameRequest compares the connector's request with the client's, for both actions, with and without a pipeline.
// Each permitted difference is listed here; everything else must be equal.
func TestSameRequest(t *testing.T) {
	for _, op := range []string{"index", "create"} {
		for _, pipeline := range []string{"", "geo ip/v1"} {
			t.Run(op+" "+pipeline, func(t *testing.T) {
				bodies := connectortest.Generated(11, 20)
				record := func(send func(url, ca string)) *connectortest.Request {
					r, ca := connectortest.RecordTLS(t, answer(op, len(bodies)))
					send(r.URL, ca)
					return r.Only(t, "")
				}
				we := record(func(url, ca string) {
					connectortest.Delivered(t, connectortest.Read(t, map[string]string{
						"ELASTIC_URL": url, "ELASTIC_TLS_CA_BUNDLE": ca, "ELASTIC_API_KEY": apiKey,
						"ELASTIC_OP_TYPE": op, "ELASTIC_PIPELINE": pipeline,
					}, elastic.Open), bodies...)
				})
				they := record(func(url, ca string) { theirs(t, url, ca, apiKey, op, pipeline, documents(t, bodies)) })
				compare(t, we, they)
			})
		}
	}
}

// documents makes of events what the client is to be given: the document's id, which a client would otherwise let
// Elasticsearch make, and "@timestamp", which a data stream wants. Both are the caller's to add.
func documents(t *testing.T, bodies []string) []item {
	t.Helper()
	items := make([]item, len(bodies))
	for i, body := range bodies {
		var event struct {
			Time     json.Number `json:"time"`
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatal(err)
		}
		ms, err := event.Time.Int64()
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.Sum256([]byte(body))
		items[i] = item{event.Metadata.UID + "-" + hex.EncodeToString(hash[:8]),
			`{"@timestamp":"` + time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") + `",` + body[1:]}
	}
	return items
}

// compare requires two bulk requests to be equal, except for the intended differences.
func compare(t *testing.T, we, they *connectortest.Request) {
	t.Helper()
	if we.Method != they.Method || we.URL.EscapedPath() != they.URL.EscapedPath() {
		t.Errorf("we send %s %s, they %s %s", we.Method, we.URL, they.Method, they.URL)
	}
	// We ask for an answer cut down to what we judge.
	query := we.URL.Query()
	if query.Get("filter_path") == "" {
		t.Errorf("query %v, want a filter_path", query)
	}
	query.Del("filter_path")
	query.Del("include_source_on_error") // keeps event text out of reasons
	if want := they.URL.Query(); !reflect.DeepEqual(query, want) {
		t.Errorf("we send the query %v, they %v", query, want)
	}
	// A scheme's case means nothing; ours is that of Elasticsearch's manual.
	ours, our, _ := strings.Cut(we.Header.Get("Authorization"), " ")
	scheme, key, _ := strings.Cut(they.Header.Get("Authorization"), " ")
	if !strings.EqualFold(ours, scheme) || our != key || key != apiKey {
		t.Errorf("we send Authorization %q, they %q", we.Header.Get("Authorization"), they.Header.Get("Authorization"))
	}
	// The indexer says that it is JSON; ours is the type of the bulk API's manual, and what the body is.
	if kind, theirs := mediaType(we), mediaType(they); kind != "application/x-ndjson" || theirs != "application/json" {
		t.Errorf("we send Content-Type %s, they %s", kind, theirs)
	}
	if we.Header.Get("Content-Encoding") != they.Header.Get("Content-Encoding") {
		t.Errorf("we send Content-Encoding %q, they %q", we.Header.Get("Content-Encoding"),
			they.Header.Get("Content-Encoding"))
	}
	compareLines(t, we.Text, they.Text)
}

func mediaType(r *connectortest.Request) string {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind
}

// compareLines requires the same documents, byte for byte, and the same actions with their keys in any order.
func compareLines(t *testing.T, we, they string) {
	t.Helper()
	our, their := strings.SplitAfter(we, "\n"), strings.SplitAfter(they, "\n")
	if len(our) != len(their) {
		t.Fatalf("we send %d lines, they %d", len(our), len(their))
	}
	for i := range our {
		if i%2 == 1 || i == len(our)-1 { // the last is what follows the last line break: nothing
			if our[i] != their[i] {
				t.Errorf("line %d: we send %q, they %q", i, our[i], their[i])
			}
			continue
		}
		if got, want := decode(t, our[i]), decode(t, their[i]); !reflect.DeepEqual(got, want) {
			t.Errorf("line %d: we send %v, they %v", i, got, want)
		}
	}
}

func decode(t *testing.T, line string) (action map[string]map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &action); err != nil {
		t.Fatalf("action %q: %v", line, err)
	}
	return action
}

// TestClientAndSimulator: the official client reads the simulator's responses to single documents.
func TestClientAndSimulator(t *testing.T) {
	s := siemtest.Start(t, simulator.New, siem.Options{})
	s.Inject(siem.PoisonEvent("poison"))
	var items []item
	for _, id := range []string{"a", "poison", "b"} {
		items = append(items, item{id,
			fmt.Sprintf(`{"@timestamp":"2025-03-13T00:00:00.123Z","time":1741824000123,"metadata":{"uid":%q}}`, id)})
	}
	key := s.Secret()["ELASTIC_API_KEY"]
	for _, round := range []struct {
		op   string
		want map[string]int
	}{
		{"index", map[string]int{"a": 201, "poison": 400, "b": 201}},
		{"index", map[string]int{"a": 200, "poison": 400, "b": 200}},
		{"create", map[string]int{"a": 409, "poison": 400, "b": 409}},
	} {
		if got := theirs(t, s.URL(), s.CA(), key, round.op, "", items); !reflect.DeepEqual(got, round.want) {
			t.Errorf("%s: %v, want %v (%s)", round.op, got, round.want, s.Stats().LastProblem)
		}
	}
	if n := len(s.Accepted()); n != 2 {
		t.Errorf("%d documents", n)
	}
}
