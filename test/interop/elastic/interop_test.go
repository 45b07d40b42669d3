// Package interop compares what the connector sends with what Elasticsearch's official Go client sends, and shows that this
// client gets on with the simulator, so that the simulator is not only the connector's own idea of Elasticsearch. It is a
// module of its own: the client's packages take minutes to compile, and the functions need none of them.
package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esutil"

	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/local/siem"
	simulator "github.com/arbitex/siem-connectors/local/siem/elastic"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const apiKey = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw=="

// request is what matters of a bulk request.
type request struct {
	method, path, authorization, encoding, contentType string
	body                                               string
}

// record starts a server that keeps bulk requests and accepts everything.
func record(t *testing.T, kept *[]request) (url, ca string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			from, _ = gzip.NewReader(r.Body)
		}
		body, err := io.ReadAll(from)
		if err != nil {
			t.Error(err)
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		*kept = append(*kept, request{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Encoding"), kind, string(body)})
		n := bytes.Count(body, []byte("\n")) / 2
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"errors":false,"items":[%s]}`, strings.TrimSuffix(strings.Repeat(`{"index":{"status":201}},`, n), ","))
	}))
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func events(t *testing.T, n int) []*event.Event {
	t.Helper()
	g := ocsfgen.New(11)
	var list []*event.Event
	for range n {
		e := new(event.Event)
		if err := new(event.Parser).Parse(g.Next(), e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// ours sends the events through the connector.
func ours(t *testing.T, env map[string]string, list []*event.Event) {
	t.Helper()
	s := settings.New(func(name string) string { return env[name] }, nil)
	c := elastic.Open(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	for _, e := range list {
		record, _, err := c.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	if err := c.Send(t.Context(), deliver.NewBatch(c.Format(), records, list)); err != nil {
		t.Fatal(err)
	}
}

// theirs sends documents through the official client's indexer, and returns the status of each by its id.
func theirs(t *testing.T, url, ca, key, op string, ids, sources []string) map[string]int {
	t.Helper()
	client, err := elasticsearch.New(elasticsearch.WithAddresses(url), elasticsearch.WithAPIKey(key), elasticsearch.WithCACert([]byte(ca)), elasticsearch.WithCompression())
	if err != nil {
		t.Fatal(err)
	}
	indexer, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client, NumWorkers: 1})
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	note := func(item esutil.BulkIndexerItem, answer esutil.BulkIndexerResponseItem) {
		statuses[item.DocumentID] = answer.Status
	}
	for i := range ids {
		err := indexer.Add(t.Context(), esutil.BulkIndexerItem{
			Index: "arbitex-audit", Action: op, DocumentID: ids[i], Body: strings.NewReader(sources[i]),
			OnSuccess: func(_ context.Context, item esutil.BulkIndexerItem, answer esutil.BulkIndexerResponseItem) {
				note(item, answer)
			},
			OnFailure: func(_ context.Context, item esutil.BulkIndexerItem, answer esutil.BulkIndexerResponseItem, _ error) {
				note(item, answer)
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

// TestSameRequest wants one request of each, alike but for what means the same to Elasticsearch: the order of an action's keys,
// the case of the authentication scheme, and the media type. Theirs is plain JSON; ours is the one that the platform's page
// and Elasticsearch's manual name.
func TestSameRequest(t *testing.T) {
	var kept []request
	url, ca := record(t, &kept)
	list := events(t, 20)
	ours(t, map[string]string{"ELASTIC_URL": url, "ELASTIC_TLS_CA_BUNDLE": ca, "ELASTIC_API_KEY": apiKey}, list)
	lines := strings.Split(strings.TrimSuffix(kept[0].body, "\n"), "\n")
	var ids, sources []string
	for i, e := range list {
		ids, sources = append(ids, string(e.AppendID(nil))), append(sources, lines[2*i+1])
	}
	theirs(t, url, ca, apiKey, "index", ids, sources)
	if len(kept) != 2 {
		t.Fatalf("%d requests", len(kept))
	}
	we, they := kept[0], kept[1]
	if got, want := parse(t, we.body), parse(t, they.body); !reflect.DeepEqual(got, want) {
		t.Errorf("we send %v, they send %v", got, want)
	}
	we.body, they.body = "", ""
	they.contentType = strings.Replace(they.contentType, "application/json", "application/x-ndjson", 1)
	they.authorization = strings.Replace(they.authorization, "APIKey ", "ApiKey ", 1)
	if we != they {
		t.Errorf("we send %+v, they send %+v", we, they)
	}
}

// parse reads a bulk body: actions as values, documents as bytes.
func parse(t *testing.T, body string) (parsed []any) {
	t.Helper()
	if !strings.HasSuffix(body, "\n") {
		t.Errorf("no line break at the end of %q", body)
	}
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		var action any = line
		if i%2 == 0 {
			if err := json.Unmarshal([]byte(line), &action); err != nil {
				t.Fatal(err)
			}
		}
		parsed = append(parsed, action)
	}
	return parsed
}

// TestClientAndSimulator lets the official client meet what an Elasticsearch may say to single documents.
func TestClientAndSimulator(t *testing.T) {
	s, err := simulator.New(siem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Inject(siem.Fault{Kind: siem.Poison, Match: func(id string) bool { return id == "poison" }})
	var ids, sources []string
	for _, id := range []string{"a", "poison", "b"} {
		ids = append(ids, id)
		sources = append(sources, fmt.Sprintf(`{"@timestamp":"2025-03-13T00:00:00.123Z","time":1741824000123,"metadata":{"uid":%q}}`, id))
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
		if got := theirs(t, s.URL(), s.CA(), key, round.op, ids, sources); !reflect.DeepEqual(got, round.want) {
			t.Errorf("%s: %v, want %v (%s)", round.op, got, round.want, s.Stats().LastProblem)
		}
	}
	if n := len(s.Accepted()); n != 2 {
		t.Errorf("%d documents", n)
	}
}
