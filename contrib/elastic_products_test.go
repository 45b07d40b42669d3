package contrib

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

// stream is the data stream of the templates, ELASTIC_INDEX's default.
const stream = "arbitex-audit"

// cluster is a server that a test started.
type cluster struct {
	t   *testing.T
	url string
}

// call makes a request and returns the decoded response; a status other than 2xx fails the test.
func (c cluster) call(method, path, body string) object {
	c.t.Helper()
	status, response := products.Call(c.t, method, c.url+path, body)
	if status/100 != 2 {
		c.t.Fatalf("%s %s: status %d: %.2000s", method, path, status, response)
	}
	var decoded object
	decode(c.t, response, &decoded)
	return decoded
}

// bulkEvents is the number of events in a bulk request.
const bulkEvents = 66

// bulk sends events as the connector does, bulkEvents a request, and returns how many are in the index and why the
// others are not. Events that the connector itself rejects are left out. It logs the time of the first request, which
// is long if the index is new.
func (c cluster) bulk(events []string) (stored int, refused []string) {
	c.t.Helper()
	settings := []string{
		"ELASTIC_URL", "https://e", "ELASTIC_API_KEY", "k:k", "ELASTIC_INDEX", stream, "ELASTIC_OP_TYPE", "create",
	}
	for n, batch := range slices.Collect(slices.Chunk(events, bulkEvents)) {
		var body bytes.Buffer
		sent := 0
		for _, e := range batch {
			lines, err := appendEvent(c.t, elastic.Open, e, settings...)
			if err != nil {
				continue
			}
			sent++
			body.Write(bytes.TrimSuffix(lines, []byte("\n")))
			body.WriteByte('\n')
		}
		start := time.Now()
		status, response := products.Call(c.t, http.MethodPost, c.url+"/_bulk", body.String())
		if n == 0 {
			c.t.Logf("the first bulk request: %d events, %s", sent, time.Since(start).Round(time.Millisecond))
		}
		var result struct {
			Items []map[string]struct {
				Status int
				Error  json.RawMessage
			}
		}
		decode(c.t, response, &result)
		if status != http.StatusOK || len(result.Items) != sent {
			c.t.Fatalf("bulk: status %d, %d items for %d events: %.500s", status, len(result.Items), sent, response)
		}
		for _, item := range result.Items {
			switch it := item["create"]; it.Status {
			case http.StatusCreated, http.StatusConflict: // a conflict: an event with that _id is there already
				stored++
			default:
				refused = append(refused, string(it.Error))
			}
		}
	}
	c.call(http.MethodPost, "/"+stream+"/_refresh", "")
	return stored, refused
}

// search returns the number of hits and the first document's _source.
func (c cluster) search(query any) (hits int, source object) {
	c.t.Helper()
	body := asJSON(c.t, object{"query": query, "size": 1, "track_total_hits": true})
	response := c.call(http.MethodPost, "/"+stream+"/_search", body)
	total, _ := dig(response, "hits", "total")["value"].(float64)
	if list, _ := dig(response, "hits")["hits"].([]any); len(list) > 0 {
		first, _ := list[0].(object)
		source = dig(first, "_source")
	}
	return int(total), source
}

func lucene(query string) object { return object{"query_string": object{"query": query}} }

func TestPackOnOpenSearch(t *testing.T) {
	c := cluster{t, products.OpenSearch(t).URL}
	c.withoutTemplate()
	for range 2 { // a second installation replaces the first
		if out, err := install(t, "elastic", "ELASTIC_URL="+c.url); err != nil ||
			!strings.Contains(out, "(elastic/opensearch)") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	c.packWorks(openSearchTemplate)
}

// withoutTemplate sends the first events to an index without the template. The server refuses the second of two events
// that differ in the type of a json_t attribute.
func (c cluster) withoutTemplate() {
	c.t.Helper()
	stored, refused := c.bulk(events(c.t, bulkEvents)[:bulkEvents])
	if len(refused) == 0 {
		c.t.Fatalf("an index without the template stored all %d events", stored)
	}
	c.t.Logf("without the template, %d events are stored and %d refused, the first: %s", stored, len(refused), refused[0])
	c.call(http.MethodDelete, "/"+stream, "")
}

// Elasticsearch 7.10 without x-pack has neither data streams nor the type flattened: here the template is without
// them.
func TestPackOnElasticsearch7(t *testing.T) {
	c := cluster{t, products.Elasticsearch7(t).URL}
	c.call(http.MethodPut, "/_ingest/pipeline/"+stream, read(t, openSearchPipeline))
	var template, open object
	readJSON(t, elastic7Template, &template)
	readJSON(t, openSearchTemplate, &open)
	delete(template, "data_stream")
	properties := dig(template, "template", "mappings", "properties")
	properties["unmapped"] = dig(open, "template", "mappings", "properties", "unmapped")
	c.call(http.MethodPut, "/_index_template/"+stream, asJSON(t, template))
	c.packWorks(openSearchTemplate)
}

// packWorks sends events and searches them, on a cluster that has the pipeline and a template with the fields of
// this one.
func (c cluster) packWorks(template string) {
	t := c.t
	t.Helper()
	all := events(t, 1000)
	stored, refused := c.bulk(all)
	t.Logf("%d of %d events are stored", stored, len(all))
	if len(refused) > 0 || stored < 1000+len(varied()) {
		t.Fatalf("%d events stored, %d refused, the first: %s", stored, len(refused), refused[:min(1, len(refused))])
	}
	if n, source := c.search(object{"exists": object{"field": "error.message"}}); n > 0 {
		t.Errorf("the pipeline failed for %d events: %s", n, asJSON(t, source["error"]))
	}
	t.Run("fields", func(t *testing.T) { cluster{t, c.url}.everyFieldIsSearchable(template) })
	t.Run("values", func(t *testing.T) { cluster{t, c.url}.pipelineMakesTheFields() })
	t.Run("dashboard", func(t *testing.T) { cluster{t, c.url}.dashboardShowsData() })
	t.Run("detections", func(t *testing.T) { cluster{t, c.url}.rulesFindEvents() })
	t.Run("first event", func(t *testing.T) {
		c := cluster{t, c.url}
		found, _ := c.search(lucene("event.dataset:arbitex.audit"))
		if every, _ := c.search(object{"match_all": object{}}); found == 0 || found != every {
			t.Errorf("event.dataset:arbitex.audit finds %d of %d events", found, every)
		}
	})
}

func TestTemplateOnElasticsearch(t *testing.T) {
	c := cluster{t, products.Elasticsearch(t).URL}
	c.withoutTemplate()
	for _, path := range []string{elasticTemplate, elastic7Template} {
		t.Run(path, func(t *testing.T) {
			c := cluster{t, c.url}
			var template object
			readJSON(t, path, &template)
			// Maven Central has no Painless for this version, so this node has no pipeline.
			delete(dig(template, "template", "settings", "index"), "default_pipeline")
			c.call(http.MethodPut, "/_index_template/"+stream, asJSON(t, template))
			defer c.call(http.MethodPost, "/"+stream+"/_rollover", "") // the next template's own backing index
			all := events(t, 1000)
			stored, refused := c.bulk(all)
			t.Logf("%d of %d events are stored", stored, len(all))
			if len(refused) > 0 || stored < 1000 {
				t.Fatalf("%d events stored, %d refused, the first: %s", stored, len(refused), refused[:min(1, len(refused))])
			}
			for _, f := range fields() {
				if n, _ := c.search(object{"exists": object{"field": f.paths[0]}}); n == 0 && f.paths[0] != "actor.user.groups" {
					t.Errorf("no event is found by %s", f.paths[0])
				}
			}
		})
	}
}

func TestElasticESQLQueriesParse(t *testing.T) {
	rules, _ := elasticRules(t)
	for _, r := range rules {
		if r.Language == "esql" {
			if problems := products.ParseESQL(t, r.Query); problems != "" {
				t.Errorf("%s: %s", r.Name, problems)
			}
		}
	}
}

// everyFieldIsSearchable finds an event by each mapped field: by a value that a stored document has in it.
func (c cluster) everyFieldIsSearchable(template string) {
	c.t.Helper()
	var decoded struct{ Template struct{ Mappings object } }
	readJSON(c.t, template, &decoded)
	for path, kind := range leaves("", decoded.Template.Mappings) {
		if path == "error.message" { // set when the pipeline fails
			continue
		}
		n, source := c.search(object{"exists": object{"field": path}})
		value := valueAt(source, path)
		if n == 0 || value == nil {
			c.t.Errorf("%s: %d documents, value %v", path, n, value)
			continue
		}
		if found, _ := c.search(object{"term": object{path: object{"value": value}}}); found == 0 {
			c.t.Errorf("%s, of type %s: no document is found by the value %v", path, kind, value)
		}
	}
}

// pipelineMakesTheFields compares the fields of the stored full event, and of one with the attributes of OCSF 1.8.
func (c cluster) pipelineMakesTheFields() {
	c.t.Helper()
	for id, want := range map[string]string{
		"evt-1": `event.id=evt-1 event.action=chat_completion event.severity=4 event.outcome=success event.kind=event ` +
			`user.id=user=abc user.email=alice@example.com source.ip=198.51.100.7 source.geo.country_iso_code=DE ` +
			`gen_ai.request.model=gpt-4o gen_ai.usage.input_tokens=512 gen_ai.usage.output_tokens=256 ` +
			`arbitex.policy_action=redact arbitex.dlp_labels=pii arbitex.group_ids=g1 arbitex.request_id=req_xyz ` +
			`event.category=api related.ip=198.51.100.7`,
		"ai": `gen_ai.request.model=model-of-1.8 gen_ai.usage.input_tokens=1234 gen_ai.usage.output_tokens=4321 ` +
			`event.outcome=failure`,
		"ip": `user.id=only@example.com user.email=only@example.com source.ip=012.000.22.33`,
	} {
		n, source := c.search(object{"term": object{"metadata.uid": id}})
		if n != 1 {
			c.t.Fatalf("%d documents have the id %s", n, id)
		}
		for pair := range strings.FieldsSeq(want) {
			path, value, _ := strings.Cut(pair, "=")
			if got := fmt.Sprint(valueAt(source, path)); got != value {
				c.t.Errorf("%s: %s is %q, want %q", id, path, got, value)
			}
		}
	}
}

// dashboardShowsData runs the aggregations of each panel, and the search of each saved search.
func (c cluster) dashboardShowsData() {
	c.t.Helper()
	for _, o := range readLines[savedObject](c.t, elasticDashboard) {
		if o.Attributes.Meta.SearchSourceJSON == "" || o.Type == "dashboard" {
			continue
		}
		var search struct {
			Query struct{ Query, Language string }
		}
		decode(c.t, []byte(o.Attributes.Meta.SearchSourceJSON), &search)
		if n, _ := c.search(lucene(search.Query.Query)); n == 0 {
			c.t.Errorf("%s: no event matches %q", o.ID, search.Query.Query)
		}
		for _, column := range o.Attributes.Columns {
			if n, _ := c.search(object{"exists": object{"field": column}}); n == 0 {
				c.t.Errorf("%s: no event has the column %s", o.ID, column)
			}
		}
		if o.Attributes.VisState == "" {
			continue
		}
		var vis struct {
			Aggs []struct {
				ID, Type string
				Params   struct{ Field string }
			}
		}
		decode(c.t, []byte(o.Attributes.VisState), &vis)
		for _, a := range vis.Aggs {
			if a.Type == "count" {
				continue
			}
			body := object{a.Type: object{"field": a.Params.Field}}
			if a.Type == "date_histogram" {
				body = object{a.Type: object{"field": a.Params.Field, "fixed_interval": "1h", "min_doc_count": 1}}
			}
			request := asJSON(c.t, object{"query": lucene(search.Query.Query), "aggs": object{"a": body}})
			response := c.call(http.MethodPost, "/"+stream+"/_search?size=0", request)
			result := dig(response, "aggregations", "a")
			buckets, _ := result["buckets"].([]any)
			value, _ := result["value"].(float64)
			if len(buckets) == 0 && value == 0 {
				c.t.Errorf("%s: %s of %s is empty", o.ID, a.Type, a.Params.Field)
			}
		}
	}
}

// rulesFindEvents runs the rules' Lucene queries. EQL and ES|QL need Elasticsearch's own modules, which are not
// available.
func (c cluster) rulesFindEvents() {
	c.t.Helper()
	rules, _ := elasticRules(c.t)
	outside := strings.Replace(full, `"country":"DE"`, `"country":"BR"`, 1)
	if stored, refused := c.bulk([]string{strings.Replace(outside, "evt-1", "evt-br", 1)}); stored != 1 {
		c.t.Fatal(refused)
	}
	for _, r := range rules {
		if r.Language != "lucene" {
			continue
		}
		n, _ := c.search(lucene(r.Query))
		total, _ := c.search(object{"match_all": object{}})
		if n == 0 || n == total {
			c.t.Errorf("%s: the query finds %d of %d events", r.Name, n, total)
		}
	}
}
