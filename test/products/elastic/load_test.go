package elastic

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deliver"
)

// TestPressure: a request that is larger than the memory for indexing is refused with 429, and tried again later.
func TestPressure(t *testing.T) {
	c := cluster{t, products.OpenSearchNode(t, "indexing_pressure.memory.limit=60kb").URL, true, true}
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

// TestKill: Elasticsearch is killed in the middle of the load, and starts again. Each event is retried until it is
// delivered, and is in the index once.
func TestKill(t *testing.T) {
	node := products.ElasticsearchNode(t)
	c := cluster{t, node.URL, false, true}
	c.put("/kill", `{"settings":{"index.mapping.total_fields.limit":5000},"mappings":{"dynamic":false}}`)
	const batches = 20
	all := generated(50 * batches)
	sent := connector(t, c.url, "kill", "SIEM_REQUEST_TIMEOUT_SECONDS", "5")
	killed := make(chan struct{})
	retries := 0
	for n, batch := range slices.Collect(slices.Chunk(all, len(all)/batches)) {
		if n == batches/2 {
			go func() { // while the batch is under way, or between two requests
				defer close(killed)
				node.Kill()
			}()
		}
		if n == batches/2+2 {
			<-killed
			node.Restart()
		}
		left := batch
		for range 50 {
			outcomes := connectortest.Deliver(t, sent, left...)
			var again []string
			for i, o := range outcomes {
				switch o.State {
				case deliver.Delivered:
				case deliver.Rejected:
					t.Fatalf("batch %d, event %d: %v", n, i, o.Fault)
				default:
					again = append(again, left[i])
				}
			}
			retries += len(again)
			if left = again; len(left) == 0 || n == batches/2 || n == batches/2+1 {
				break
			}
		}
		all = append(all, left...) // of the batches while it was down
		if n >= batches/2+2 && len(left) > 0 {
			t.Fatalf("batch %d: %d events are not delivered", n, len(left))
		}
	}
	for _, batch := range slices.Collect(slices.Chunk(all[50*batches:], 50)) {
		for i, o := range connectortest.Deliver(t, sent, batch...) {
			if o.State != deliver.Delivered {
				t.Errorf("event %d after the restart: %v", i, o.Fault)
			}
		}
	}
	t.Logf("%d events, %d retried", 50*batches, retries)
	if retries == 0 {
		t.Error("the kill had no effect")
	}
	if n := c.count("kill"); n != 50*batches {
		t.Errorf("%d documents, want %d", n, 50*batches)
	}
}

// TestGenerated delivers a thousand generated events without a template but with room for their fields.
func TestGenerated(t *testing.T) {
	c := cluster{t, products.OpenSearch(t), true, true}
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
