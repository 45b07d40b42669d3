// Package elastic sends events through the Elastic connector to real servers. Each row of the response table in
// docs/connectors/elastic.md that such a server can produce is a row here. The simulator must agree with the servers
// in each row for which it has a fault.
//
// The outcomes are the same on all servers; the codes are not. OpenSearch 2.19 and Elasticsearch 7.10 have
// mapper_parsing_exception, and illegal_argument_exception for total fields, depth (7.10) and long keywords, where
// Elasticsearch 8.19 has document_parsing_exception with a position. For a key that occurs twice, 7.10 quotes the
// start of the request.
//
// API keys are those of Elasticsearch 8.19. No package registry has the security plugin of OpenSearch 2.
package elastic

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// cluster is a server that the test started.
type cluster struct {
	t       *testing.T
	url     string
	ingest  bool // it has ingest processors
	streams bool // it has data streams
}

// call makes a request; a status other than 2xx fails the test.
func (c cluster) call(method, path, body string) string {
	c.t.Helper()
	status, text := products.Call(c.t, method, c.url+path, body)
	if status/100 != 2 {
		c.t.Fatalf("%s %s: status %d: %.1000s", method, path, status, text)
	}
	return string(text)
}

func (c cluster) put(path, body string) { c.t.Helper(); c.call(http.MethodPut, path, body) }

// count returns the number of documents.
func (c cluster) count(index string) (n int) {
	c.t.Helper()
	c.call(http.MethodPost, "/"+index+"/_refresh", "")
	text := c.call(http.MethodGet, "/"+index+"/_count?filter_path=count", "")
	if _, err := fmt.Sscanf(text, `{"count":%d}`, &n); err != nil {
		c.t.Fatalf("%q: %v", text, err)
	}
	return n
}

// connector opens the connector; more are pairs of settings.
func connector(t *testing.T, base, index string, more ...string) deliver.Connector {
	t.Helper()
	env := map[string]string{
		"ELASTIC_URL": base, "ELASTIC_API_KEY": "id:key", "ELASTIC_INDEX": index, "SIEM_ALLOW_HTTP": "true",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "60",
	}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	set := settings.New(func(name string) string { return env[name] }, nil)
	c := elastic.Open(set)
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// event has members after its metadata.
func event(id, members string) string {
	return `{"time":1741824000123,"class_uid":6003,"metadata":{"uid":"` + id + `"}` + members + `}`
}

// plain are n events, the one at bad with these members.
func plain(n, bad int, members string) (events []string) {
	for i := range n {
		more := `,"value":1`
		if i == bad {
			more = members
		}
		events = append(events, event(fmt.Sprint("e", i), more))
	}
	return events
}

// row is a row of the matrix. %s in a path or a body is the index.
type row struct {
	setup   []string // method, path, body of requests before
	undo    []string // the same, afterwards
	env     []string // pairs of settings
	events  []string
	want    string // the outcome of every event but the one at bad
	bad     int    // -1: none
	wantBad string // its outcome
	reason  string // a part of the reason of that outcome, or of the first event's; %s is the target
	stored  int    // documents in the end; -1: not counted
	ingest  bool   // needs ingest processors
	streams bool   // needs data streams
	backing bool   // the connector writes to the backing index of the data stream
	twice   bool   // the batch is sent twice
	upper   bool   // the connector writes to the name in upper case
	fault   string // the simulator's product fault for this state; "none" if it needs none; "": no such state
}

// The bodies of requests, and the start of a reason, that rows share.
const (
	number     = `{"mappings":{"properties":{"value":{"type":"long"}}}}`
	keyword    = `{"mappings":{"properties":{"value":{"type":"keyword"}}}}`
	date       = `{"mappings":{"properties":{"@timestamp":{"type":"date"},"value":{"type":"date"}}}}`
	fewFields  = `{"settings":{"index.mapping.total_fields.limit":8},"mappings":{"properties":{"value":{"type":"long"}}}}`
	shallow    = `{"settings":{"index.mapping.depth.limit":5}}`
	dataStream = `{"index_patterns":["%s"],"data_stream":{},"priority":500,"template":` + number + `}`
	illegal    = "status 400, code illegal_argument_exception: "
	strict     = `{"mappings":{"dynamic":"strict","properties":{"@timestamp":{"type":"date"},"time":{"type":"long"},` +
		`"class_uid":{"type":"long"},"metadata":{"type":"object","dynamic":"true"},"value":{"type":"long"}}}}`
)

func rows() map[string]row {
	all := contentRows()
	maps.Copy(all, setupRows())
	maps.Copy(all, pipelineRows())
	return all
}

// contentRows are about one event among others.
func contentRows() map[string]row {
	bad := func(n, at int, setup []string, members, reason string) row {
		return row{
			setup: setup, events: plain(n, at, members), want: "delivered", bad: at, wantBad: "rejected", reason: reason,
			stored: n - 1,
		}
	}
	create := func(body string) []string { return []string{"PUT", "/%s", body} }
	deep := `,"deep":` + strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8)
	long := `,"value":"` + strings.Repeat("x", 40_000) + `"`
	limit := bad(5, 2, create(fewFields), `,"a":1,"b":2,"c":3,"d":4,"e":5,"f":6`, "total fields")
	limit.wantBad = "held"
	stream := bad(100, 41, []string{"PUT", "/_index_template/%s", dataStream}, `,"value":"many"`, "value")
	stream.streams = true
	return map[string]row{
		"mapping conflict of one in 100":  bad(100, 41, create(number), `,"value":"many"`, "value"),
		"strict mapping":                  bad(5, 2, create(strict), `,"unknown":1`, "unknown"),
		"keyword longer than 32766 bytes": bad(5, 2, create(keyword), long, ""),
		"deeper than the mapping":         bad(5, 2, create(shallow), deep, "depth"),
		"a key twice":                     bad(5, 2, nil, `,"value":1,"value":2`, "uplicate"),
		"wrong type of @timestamp":        bad(5, 2, create(date), `,"@timestamp":"soon"`, "soon"),
		"field limit":                     limit,
		// An event's text that a reason quotes is not taken for a reason.
		"a value as a reason":            bad(5, 2, create(number), `,"value":"limit of total fields"`, "value"),
		"a date as a reason":             bad(5, 2, create(date), `,"value":"pipeline with id [x]"`, ""),
		"a key as a reason":              bad(5, 2, nil, `,"limit of total fields":1,"limit of total fields":2`, "uplicate"),
		"one bad event of a data stream": stream,
		"413 of one event": {
			events: large(6, 3), env: []string{"SIEM_COMPRESSION", "none"}, want: "delivered", bad: 3, wantBad: "rejected",
			reason: "413", stored: 5,
		},
		"413 of one event, gzip": {
			events: large(6, 3), want: "delivered", bad: 3, wantBad: "rejected", reason: "413", stored: 5,
		},
	}
}

// setupRows are about all events.
func setupRows() map[string]row {
	const settings, cluster = "/%s/_settings", "/_cluster/settings"
	all := func(want, reason string, stored int, setup ...string) row {
		return row{setup: setup, events: plain(5, -1, ""), want: want, bad: -1, reason: reason, stored: stored}
	}
	undone := func(r row, undo ...string) row {
		r.undo = undo
		return r
	}
	twice := func(env []string, setup ...string) row {
		return row{env: env, setup: setup, events: plain(10, -1, ""), want: "delivered", bad: -1, stored: 10, twice: true}
	}
	simulated := func(fault string, r row) row {
		r.fault = fault
		return r
	}
	const hint = "ELASTIC_INDEX must name the data stream"
	backing := simulated("none", all("held", illegal+`"index request with op_type=index and no if_primary_term and `+
		`if_seq_no set targeting backing indices is disallowed, target corresponding data stream [%s] instead"; `+hint, 1,
		"PUT", "/_index_template/%s", dataStream, "PUT", "/%s/_create/first", `{"@timestamp":1741824000123}`))
	backing.backing, backing.streams = true, true
	backingCreate := backing
	backingCreate.env = []string{"ELASTIC_OP_TYPE", "create"}
	backingCreate.reason = illegal + `"index request with op_type=create targeting backing indices is disallowed, ` +
		`target corresponding data stream [%s] instead"; ` + hint
	upper := simulated("none", all("held", `status 400, code invalid_index_name_exception: "Invalid index name [%s], `+
		`must be lowercase"`, -1))
	upper.upper = true
	stream := twice(nil, "PUT", "/_index_template/%s", dataStream)
	stream.streams = true
	plainLarge := row{events: large(6, -1), want: "delivered", bad: -1, stored: 6}
	uncompressed := plainLarge
	uncompressed.env = []string{"SIEM_COMPRESSION", "none"}
	return map[string]row{
		"413": uncompressed, "413, gzip": plainLarge,
		"the same batch twice":              twice(nil),
		"the same batch twice, create":      twice([]string{"ELASTIC_OP_TYPE", "create"}),
		"data stream, from index to create": stream,
		"backing index of a data stream":    backing,
		"backing index, create":             backingCreate,
		"invalid index name":                upper,
		"auto-create is off": undone(
			all("held", "no such index", -1, "PUT", cluster, `{"persistent":{"action.auto_create_index":"false"}}`),
			"PUT", cluster, `{"persistent":{"action.auto_create_index":null}}`),
		"shard limit": undone(simulated("shard limit",
			all("held", `status 400, code validation_exception: "Validation Failed: 1: this action would add [2] `, -1,
				"PUT", cluster, `{"persistent":{"cluster.max_shards_per_node":1}}`)),
			"PUT", cluster, `{"persistent":{"cluster.max_shards_per_node":null}}`),
		"closed index": simulated("closed index", all("held", `status 400, code index_closed_exception: "closed"`, -1,
			"PUT", "/%s", number, "POST", "/%s/_close", "")),
		"write block": simulated("item 403", all("held",
			`status 403, code cluster_block_exception: "index [%s] blocked by: [FORBIDDEN/8/index write (api)];"`, 0,
			"PUT", "/%s", number, "PUT", settings, `{"index.blocks.write":true}`)),
		"read-only index": undone(
			all("held", "block", -1, "PUT", "/%s", number, "PUT", settings, `{"index.blocks.read_only":true}`),
			"PUT", settings, `{"index.blocks.read_only":null}`),
		"flood stage": simulated("flood stage", all("retry", "flood", -1,
			"PUT", "/%s", number, "PUT", settings, `{"index.blocks.read_only_allow_delete":true}`)),
		"read-only cluster": undone(
			all("held", "block", 0, "PUT", "/%s", number, "PUT", cluster, `{"persistent":{"cluster.blocks.read_only":true}}`),
			"PUT", cluster, `{"persistent":{"cluster.blocks.read_only":null}}`),
		"alias without a write index": simulated("no write index", all("held",
			illegal+`"no write index is defined for alias [%s]. The write index may be explicitly disabled using `+
				`is_write_index=false or the alias points to multiple indices without one being designated as a write index"`, 0,
			"PUT", "/%s-1", `{"aliases":{"%s":{}}}`, "PUT", "/%s-2", `{"aliases":{"%s":{}}}`)),
	}
}

// pipelineRows are about ingest pipelines.
func pipelineRows() map[string]row {
	failing := func(processor, members, wantBad, reason, fault string, stored int) row {
		return row{
			fault:  fault,
			ingest: true, setup: []string{"PUT", "/_ingest/pipeline/%s", `{"processors":[` + processor + `]}`},
			env: []string{"ELASTIC_PIPELINE", "%s"}, events: plain(5, 2, members), want: "delivered", bad: 2,
			wantBad: wantBad, reason: reason, stored: stored,
		}
	}
	return map[string]row{
		"unknown pipeline": {
			setup: []string{"PUT", "/%s", number}, env: []string{"ELASTIC_PIPELINE", "nowhere"}, events: plain(5, -1, ""),
			want: "held", bad: -1, reason: illegal + `"pipeline with id [nowhere] does not exist"`, stored: 0, fault: "none",
		},
		"script of a pipeline fails": failing(`{"script":{"source":"if (ctx.value != 1) { ctx.nothing.at = 1 }"}}`,
			`,"value":2`, "rejected",
			`status 400, code script_exception: "runtime error: Cannot invoke \"Object.getClass()\" because `, "script", 4),
		"date of a pipeline fails": failing(`{"date":{"field":"value","formats":["UNIX_MS"]}}`,
			`,"value":"soon"`, "rejected",
			illegal+`"unable to parse date [soon]: For input string: \"soon\""`, "date", 4),
		"date of a pipeline as a reason": failing(`{"date":{"field":"value","formats":["UNIX_MS"]}}`,
			`,"value":"pipeline with id [x]"`, "rejected", "unable to parse date", "", 4),
		"fail of a pipeline": failing(`{"fail":{"if":"ctx.value == 2","message":"no"}}`, `,"value":2`, "retry", "no", "", 4),
	}
}

// maxContent is the server's limit for a request.
const maxContent = 400 << 10

// large are n events of which four exceed the limit, and the one at bad alone does.
func large(n, bad int) (events []string) {
	for i := range n {
		size := 110 << 10
		if i == bad {
			size = 500 << 10
		}
		var chunks []string // short words, because a keyword has a limit
		for range size / 100 {
			chunks = append(chunks, `"`+strings.Repeat("x", 97)+`"`)
		}
		events = append(events, event(fmt.Sprint("e", i), `,"value":[`+strings.Join(chunks, ",")+`]`))
	}
	return events
}

func TestMatrix(t *testing.T) {
	settings := []string{
		fmt.Sprintf("http.max_content_length=%db", maxContent), "thread_pool.write.size=1", "thread_pool.write.queue_size=2",
	}
	// Maven Central has no ingest processors for Elasticsearch 8 and no data streams for 7.
	t.Run("OpenSearch 2.19", func(t *testing.T) {
		run(t, cluster{t, products.OpenSearch(t, settings...).URL, true, true})
	})
	t.Run("Elasticsearch 8.19", func(t *testing.T) {
		run(t, cluster{t, products.Elasticsearch(t, settings...).URL, false, true})
	})
	t.Run("Elasticsearch 7.10", func(t *testing.T) {
		run(t, cluster{t, products.Elasticsearch7(t, settings...).URL, true, false})
	})
}

// TestSimulator: the simulator refuses what the servers of TestMatrix refuse, with the same reasons.
func TestSimulator(t *testing.T) {
	for name, r := range rows() {
		if r.fault == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := siemtest.Start(t, simulator.New, siem.Options{})
			s.Inject(siem.Fault{Kind: siem.Product, Code: r.fault})
			if r.bad >= 0 {
				s.Inject(siem.PoisonEvent(fmt.Sprint("e", r.bad)))
			}
			const index = "arbitex" // the pipeline's name, too
			env := r.settings(index)
			for name, value := range s.Settings() {
				env = append(env, name, value)
			}
			for name, value := range s.Secret() {
				env = append(env, name, value)
			}
			outcomes := connectortest.Deliver(t, connector(t, s.URL(), r.target(index, ".ds-arbitex-2025.03.13-000001"), env...),
				r.events...)
			r.compare(t, outcomes, index)
		})
	}
}

func run(t *testing.T, c cluster) {
	all := rows()
	for n, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		if r.ingest && !c.ingest || r.streams && !c.streams {
			continue
		}
		t.Run(name, func(t *testing.T) { c.with(t).check(r, fmt.Sprint("row-", n)) })
	}
	t.Run("full write pool", func(t *testing.T) { c.with(t).fillPool() })
	t.Run("check without a security API", func(t *testing.T) {
		if err := connector(t, c.url, "unused").(deliver.Checker).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// fillPool sends a batch to an index of more shards than the pool of write threads and its queue take. The events of
// some shards are refused with 429, and tried again.
func (c cluster) fillPool() {
	c.put("/pool", `{"settings":{"number_of_shards":20}}`)
	left, refused := plain(100, -1, ""), 0
	for range 100 {
		var again []string
		for i, o := range connectortest.Deliver(c.t, connector(c.t, c.url, "pool"), left...) {
			switch got := describe(o); {
			case got == "retry" && o.Fault.Status == 429 && strings.HasSuffix(o.Fault.Code, "rejected_execution_exception"):
				again = append(again, left[i])
			case got != "delivered":
				c.t.Fatalf("event %d is %s: %v", i, got, o.Fault)
			}
		}
		refused += len(again)
		if left = again; len(left) == 0 {
			break
		}
	}
	if n := c.count("pool"); refused == 0 || n != 100 {
		c.t.Errorf("%d events were refused, %d documents", refused, n)
	}
	c.t.Logf("%d events were refused", refused)
}

func (c cluster) with(t *testing.T) cluster {
	c.t = t
	return c
}

// requests makes requests that a row describes.
func (c cluster) requests(list []string, index string) {
	c.t.Helper()
	for i := 0; i < len(list); i += 3 {
		c.call(list[i], strings.ReplaceAll(list[i+1], "%s", index), strings.ReplaceAll(list[i+2], "%s", index))
	}
}

// settings returns the pairs of settings.
func (r row) settings(index string) (env []string) {
	for _, value := range r.env {
		env = append(env, strings.ReplaceAll(value, "%s", index))
	}
	return env
}

// target returns the name that the connector writes to.
func (r row) target(index, backing string) string {
	switch {
	case r.backing:
		return backing
	case r.upper:
		return strings.ToUpper(index)
	}
	return index
}

func (c cluster) check(r row, index string) {
	c.requests(r.setup, index)
	env, backing := r.settings(index), ""
	if r.backing {
		backing = strings.Split(c.call(http.MethodGet, "/"+index+"/_settings", ""), `"`)[1] // the first key
	}
	target := r.target(index, backing)
	outcomes := connectortest.Deliver(c.t, connector(c.t, c.url, target, env...), r.events...)
	if r.twice {
		again := connectortest.Deliver(c.t, connector(c.t, c.url, index, env...), r.events...)
		outcomes = append(outcomes, again...)
	}
	c.requests(r.undo, index)
	r.compare(c.t, outcomes, index)
	if r.stored >= 0 {
		if n := c.count(index); n != r.stored {
			c.t.Errorf("%d documents, want %d", n, r.stored)
		}
	}
}

// compare compares the outcomes, and the reason of one of them, with those of the row.
func (r row) compare(t *testing.T, outcomes []deliver.Outcome, index string) {
	t.Helper()
	reason := outcomes[0]
	for i, o := range outcomes {
		want := r.want
		if i == r.bad {
			want, reason = r.wantBad, o
		}
		if got := describe(o); got != want {
			t.Errorf("event %d is %s, want %s: %v", i, got, want, o.Fault)
			break
		}
	}
	words := strings.ReplaceAll(r.reason, "%s", r.target(index, index))
	if words != "" && (reason.Fault == nil || !strings.Contains(reason.Fault.Error(), words)) {
		t.Errorf("reason %v, want one with %q", reason.Fault, words)
	}
	if reason.Fault != nil {
		if strings.Contains(reason.Fault.Error(), "[Source") {
			t.Errorf("the reason quotes the request: %v", reason.Fault)
		}
		t.Logf("%s: %v", describe(reason), reason.Fault)
	}
}

// describe names an outcome as the page does.
func describe(o deliver.Outcome) string {
	switch {
	case o.State == deliver.Delivered:
		return "delivered"
	case o.State == deliver.Rejected:
		return "rejected"
	case o.Fault != nil && (o.Fault.Kind == failure.Misconfigured || o.Fault.Kind == failure.Unauthorized):
		return "held"
	}
	return "retry"
}
