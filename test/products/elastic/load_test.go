package elastic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deliver"
)

// TestPressure: a request that is larger than the memory for indexing is refused with 429, and tried again later.
func TestPressure(t *testing.T) {
	c := cluster{t, products.OpenSearch(t, "indexing_pressure.memory.limit=60kb").URL, true, true}
	one := connectortest.Deliver(t, connector(t, c.url, "pressure"), event("small", ""))
	if describe(one[0]) != "delivered" {
		t.Fatalf("a small event is %s: %v", describe(one[0]), one[0].Fault)
	}
	for i, o := range connectortest.Deliver(t, connector(t, c.url, "pressure"), large(3, -1)...) {
		if describe(o) != "retry" || o.Fault.Status != 429 || !strings.Contains(o.Fault.Code, "rejected_execution") {
			t.Errorf("event %d is %s: %v", i, describe(o), o.Fault)
		}
	}
	if n := c.count("pressure"); n != 1 {
		t.Errorf("%d documents, want 1", n)
	}
}

// generated returns n different events of the generator; the largest are left out.
func generated(n int) (events []string) {
	generator := ocsfgen.New(7)
	for len(events) < n {
		if e := string(generator.Next()); len(e) < 20_000 {
			events = append(events, e)
		}
	}
	return events
}

// TestKill: Elasticsearch is killed while four workers send to it, and starts again. Each event is retried until it is
// delivered, and is in the index once, unchanged.
func TestKill(t *testing.T) {
	node := products.Elasticsearch(t)
	c := cluster{t, node.URL, false, true}
	c.put("/kill", `{"settings":{"index.mapping.total_fields.limit":5000},"mappings":{"dynamic":false}}`)
	const enqueued, batch = 4000, 50
	all := generated(enqueued)
	sent := connector(t, c.url, "kill", "SIEM_REQUEST_TIMEOUT_SECONDS", "5")
	batches := make(chan []string, enqueued/batch)
	for b := range slices.Chunk(all, batch) {
		batches <- b
	}
	close(batches)
	var delivered, retries, dead atomic.Int64
	half, killed, down, restarted := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	signalHalf, signalDown := sync.OnceFunc(func() { close(half) }), sync.OnceFunc(func() { close(down) })
	deliverAll := func(left []string) {
		for range 50 {
			var again []string
			for i, o := range connectortest.Deliver(t, sent, left...) {
				switch o.State {
				case deliver.Delivered:
					delivered.Add(1)
				case deliver.Rejected:
					dead.Add(1)
					t.Errorf("a dead letter: %v", o.Fault)
				default:
					again = append(again, left[i])
				}
			}
			retries.Add(int64(len(again)))
			if delivered.Load() >= enqueued/2 {
				signalHalf()
			}
			if left = again; len(left) == 0 {
				return
			}
			select {
			case <-killed:
				signalDown()
				<-restarted
			default:
			}
		}
		t.Errorf("%d events are not delivered after 50 attempts", len(left))
	}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for b := range batches {
				deliverAll(b)
			}
		})
	}
	<-half
	node.Kill() // while requests of the others are under way
	close(killed)
	<-down
	node.Restart()
	close(restarted)
	workers.Wait()

	stored, lost, altered := c.compare("kill", all)
	t.Logf("%d enqueued = %d stored + %d dead letters; %d lost, %d altered; %d retried", enqueued, stored, dead.Load(),
		lost, altered, retries.Load())
	if retries.Load() == 0 {
		t.Error("the kill had no effect")
	}
	if stored+int(dead.Load()) != enqueued || lost > 0 || altered > 0 {
		t.Error("the counts differ")
	}
}

// compare returns how many documents are one of these events byte for byte, apart from @timestamp, how many events are
// in no document, and how many documents are none of these events or one that another document is. The request has no
// filter_path, because with one the server writes the documents anew.
func (c cluster) compare(index string, events []string) (stored, lost, altered int) {
	c.t.Helper()
	missing := map[string]bool{}
	for _, e := range events {
		missing[e] = true
	}
	c.call(http.MethodPost, "/"+index+"/_refresh", "")
	text := c.call(http.MethodGet, "/"+index+"/_search?size=10000", "")
	var result struct {
		Hits struct {
			Hits []struct {
				Source json.RawMessage `json:"_source"`
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		c.t.Fatal(err)
	}
	stamp := regexp.MustCompile(`^\{"@timestamp":"[^"]*",`)
	for _, hit := range result.Hits.Hits {
		e := stamp.ReplaceAllString(string(hit.Source), "{")
		if !missing[e] {
			altered++
			continue
		}
		delete(missing, e)
		stored++
	}
	return stored, len(missing), altered
}

// TestGenerated delivers a thousand generated events without a template but with room for their fields.
func TestGenerated(t *testing.T) {
	c := cluster{t, products.OpenSearch(t).URL, true, true}
	c.put("/generated", `{"mappings":{"dynamic":false}}`)
	for n, batch := range slices.Collect(slices.Chunk(generated(1000), 100)) {
		for i, o := range connectortest.Deliver(t, connector(t, c.url, "generated"), batch...) {
			if o.State != deliver.Delivered {
				t.Fatalf("event %d of batch %d: %v", i, n, o.Fault)
			}
		}
	}
	if n := c.count("generated"); n != 1000 {
		t.Errorf("%d documents, want 1000: %s", n, fmt.Sprint(c.url))
	}
}
