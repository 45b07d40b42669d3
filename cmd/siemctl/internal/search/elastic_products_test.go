package search

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// TestElasticProducts: in the real servers, one event is present, one is in two indices of an alias, one was altered
// and one is missing. Elasticsearch is asked in a point in time, OpenSearch without one.
func TestElasticProducts(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *products.Node{
		"OpenSearch": products.OpenSearch, "Elasticsearch": products.Elasticsearch,
	} {
		t.Run(name, func(t *testing.T) {
			base := start(t).URL
			const stamp = `"@timestamp":"2026-03-13T00:00:00.000Z",`
			body := func(uid, operation string) string {
				return fmt.Sprintf(`"time":1773360000000,"metadata":{"uid":%q},"api":{"operation":%q}}`, uid, operation)
			}
			var set receipts.Set
			var r reader
			var bulk strings.Builder
			put := func(index, uid, operation string) {
				sent, _ := r.read([]byte("{" + body(uid, "login")))
				fmt.Fprintf(&bulk, `{"index":{"_index":%q,"_id":%q}}`+"\n{%s%s\n", index, documentID(sent.ID, sent.Hash), stamp,
					body(uid, operation))
			}
			for _, uid := range []string{"present", "twice", "altered", "missing"} {
				sent, _ := r.read([]byte("{" + body(uid, "login")))
				if err := set.Add(uid, sent.Hash); err != nil {
					t.Fatal(err)
				}
			}
			put("audit-1", "present", "login")
			put("audit-1", "twice", "login")
			put("audit-2", "twice", "login")
			put("audit-2", "altered", "logout")
			send(t, base+"/_bulk?refresh=true", bulk.String())
			send(t, base+"/_aliases", `{"actions":[{"add":{"index":"audit-*","alias":"audit"}}]}`)

			env := map[string]string{"SIEM_ALLOW_HTTP": "true", "ELASTIC_SEARCH_URL": base, "ELASTIC_SEARCH_API_KEY": "a:b"}
			s, err := Open("elastic", settings.New(func(name string) string { return env[name] }, nil), Options{
				Function: func(name string) string { return map[string]string{"ELASTIC_INDEX": "audit"}[name] },
				Wait:     func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Search(t.Context(), Query{Each: set.Each}, set.Take); err != nil {
				t.Fatal(err)
			}
			result := set.Result()
			if result.Missing != 1 || result.MissingEvents[0].ID != "missing" || result.Altered != 1 ||
				result.AlteredEvents[0].ID != "altered" || result.Repeated != 1 || result.RepeatedEvents[0].ID != "twice" ||
				result.Present != 2 || result.NotCompared != 0 {
				t.Errorf("%+v", result)
			}
			var found []string
			if err := s.Search(t.Context(), Query{ID: "altered"},
				func(f receipts.Found) { found = append(found, f.ID) }); err != nil ||
				!slices.Equal(found, []string{"altered"}) {
				t.Errorf("one event: %q %v", found, err)
			}
			pit, err := s.(*elastic).open(t.Context())
			if err != nil || (pit != "") != (name == "Elasticsearch") {
				t.Errorf("point in time %q, %v", pit, err)
			}
		})
	}
}

// send posts a body of JSON or of JSON lines.
func send(t *testing.T, url, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if !strings.Contains(url, "_bulk") {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, response.Status)
	}
}
