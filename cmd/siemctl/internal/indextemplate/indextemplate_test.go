package indextemplate

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// with returns the settings of a connector with this URL and index.
func with(url, index string) *settings.Settings {
	env := map[string]string{"ELASTIC_URL": url, "ELASTIC_INDEX": index, "ELASTIC_API_KEY": "id:key",
		"SIEM_ALLOW_HTTP": "true"}
	return settings.New(func(name string) string { return env[name] }, nil)
}

// TestInstall: the version of the server selects the files.
func TestInstall(t *testing.T) {
	const main, seven, open = "elastic/i", "elastic/elasticsearch-7.10/", "elastic/opensearch/"
	for version, want := range map[string][2]string{
		`"number":"8.19.0"`: {main, main},
		`"number":"9.1.0"`:  {main, main},
		`"number":"8.13.4"`: {main, seven},
		`"number":"8.11.0","build_flavor":"serverless"`: {main, main},
		`"number":"3.1.0","distribution":"opensearch"`:  {open, open},
	} {
		var sent []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Header.Get("Authorization") != "ApiKey aWQ6a2V5" {
				t.Errorf("Authorization: %s", r.Header.Get("Authorization"))
			}
			sent = append(sent, r.Method+" "+r.URL.Path+" "+string(body))
			fmt.Fprintf(w, `{"version":{%s}}`, version)
		}))
		stored, err := Install(t.Context(), with(s.URL, "audit"))
		s.Close()
		if err != nil || len(sent) != 3 || len(stored) != 2 {
			t.Fatalf("%s: %v, stored %q, %d requests", version, err, stored, len(sent))
		}
		if !strings.Contains(stored[0], want[0]) || !strings.Contains(stored[1], want[1]) {
			t.Errorf("%s: stored %q, want %q", version, stored, want)
		}
		if !strings.HasPrefix(sent[1], "PUT /_ingest/pipeline/arbitex-audit {") ||
			!strings.HasPrefix(sent[2], "PUT /_index_template/audit {") ||
			!strings.Contains(sent[2], `"index_patterns":["audit"]`) ||
			strings.Contains(sent[2], "lifecycle") != (want[1] == main) {
			t.Errorf("%s: sent %.100q", version, sent)
		}
	}
}

// TestInstallFails: a refusal names what the key needs, and no error contains the key.
func TestInstallFails(t *testing.T) {
	for _, x := range []struct {
		status int
		body   string
		want   string
	}{
		{403, `{"error":{"reason":"unauthorized for aWQ6a2V5"}}`, "manage_index_templates"},
		{503, `busy`, "status 503"},
		{200, `<html>`, "neither Elasticsearch nor OpenSearch"},
		{200, `{"version":{}}`, "neither Elasticsearch nor OpenSearch"},
		{302, ``, "status 302"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			fmt.Fprint(w, x.body)
		}))
		stored, err := Install(t.Context(), with(s.URL, "audit"))
		s.Close()
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "aWQ6a2V5") ||
			len(stored) > 0 {
			t.Errorf("%d %s: %v, stored %q", x.status, x.body, err, stored)
		}
	}
	if _, err := Install(t.Context(), with("", "audit")); err == nil || !strings.Contains(err.Error(), "ELASTIC_URL") {
		t.Errorf("without a URL: %v", err)
	}
}

// TestInstallOnOpenSearch: the first event creates a data stream with the fields of the pipeline.
func TestInstallOnOpenSearch(t *testing.T) {
	url := products.OpenSearch(t).URL
	for range 2 { // a second installation replaces the first
		if _, err := Install(t.Context(), with(url, "audit")); err != nil {
			t.Fatal(err)
		}
	}
	const event = `{"time":1741824000123,"class_uid":6003,"metadata":{"uid":"e"},"api":{"operation":"chat"}}`
	if o := connectortest.Deliver(t, elastic.Open(with(url, "audit")), event); o[0].State != deliver.Delivered {
		t.Fatalf("the event is not delivered: %v", o[0].Fault)
	}
	products.Call(t, http.MethodPost, url+"/audit/_refresh", "")
	for path, want := range map[string]string{
		"/_data_stream/audit":                `"template":"audit"`,
		"/audit/_search?q=event.action:chat": `"id":"e"`,
	} {
		if status, body := products.Call(t, http.MethodGet, url+path, ""); status != 200 || !strings.Contains(string(body),
			want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}
