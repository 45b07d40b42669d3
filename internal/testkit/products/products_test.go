package products_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

func TestProductsStart(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *products.Node{
		"2.19.6": products.OpenSearch, "8.19.0": products.Elasticsearch, "7.10.2": products.Elasticsearch7,
	} {
		t.Run(name, func(t *testing.T) {
			base := start(t).URL
			status, body := products.Call(t, http.MethodGet, base+"/_nodes?filter_path=nodes.*.version", "")
			var info struct {
				Nodes map[string]struct{ Version string }
			}
			if err := json.Unmarshal(body, &info); err != nil || len(info.Nodes) != 1 {
				t.Fatalf("status %d, %d nodes, error %v", status, len(info.Nodes), err)
			}
			for _, node := range info.Nodes {
				if node.Version != name {
					t.Errorf("version %q", node.Version)
				}
			}
		})
	}
}

func TestParseESQL(t *testing.T) {
	if problems := products.ParseESQL(t, "FROM a | WHERE b > 1 | STATS n = COUNT(*) BY c"); problems != "" {
		t.Errorf("a valid query has the problems %s", problems)
	}
	if problems := products.ParseESQL(t, "FROM a | WHERE ("); problems == "" {
		t.Error("an unfinished query has no problems")
	}
}
