package products_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/products"
)

func TestProductsStart(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"2.19.6": products.OpenSearch, "8.19.0": products.Elasticsearch, "7.10.2": products.Elasticsearch7,
	} {
		t.Run(name, func(t *testing.T) {
			base := start(t)
			url := base + "/_nodes?filter_path=nodes.*.version"
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			var info struct {
				Nodes map[string]struct{ Version string }
			}
			if err := json.NewDecoder(response.Body).Decode(&info); err != nil || len(info.Nodes) != 1 {
				t.Fatalf("status %s, %d nodes, error %v", response.Status, len(info.Nodes), err)
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
