// Package indextemplate installs the ingest pipeline and the index template of contrib/elastic in a cluster.
package indextemplate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	pack "github.com/arbitex/siem-connectors/contrib/elastic"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Pipeline is the name of the ingest pipeline, to which the templates refer.
const Pipeline = "arbitex-audit"

// Install stores the pipeline and the template in the variant for the server's version, and returns what it stored. s
// has the connector's settings; ELASTIC_API_KEY is a key that has the cluster privileges manage_ingest_pipelines and
// manage_index_templates. The template has the name of ELASTIC_INDEX and applies to it.
func Install(ctx context.Context, s *settings.Settings) (stored []string, err error) {
	index := s.String("ELASTIC_INDEX", "arbitex-audit")
	c, err := newCluster(s)
	if err != nil {
		return nil, err
	}
	folder, template, err := c.variant(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct{ file, path, name string }{
		{folder + "ingest-pipeline.json", "_ingest/pipeline/" + Pipeline, "ingest pipeline " + Pipeline},
		{template + "index-template.json", "_index_template/" + url.PathEscape(index), "index template " + index},
	} {
		body, err := pack.Files.ReadFile(f.file)
		if err == nil && f.file == template+"index-template.json" {
			body, err = forIndex(body, index)
		}
		if err != nil {
			return stored, err
		}
		if _, err := c.call(ctx, http.MethodPut, f.path, body); err != nil {
			return stored, err
		}
		stored = append(stored, f.name+" (contrib/elastic/"+f.file+")")
	}
	return stored, nil
}

// forIndex returns the template with the index as its only pattern.
func forIndex(template []byte, index string) ([]byte, error) {
	var members map[string]any
	if err := json.Unmarshal(template, &members); err != nil {
		return nil, err
	}
	members["index_patterns"] = []string{index}
	return json.Marshal(members)
}

// cluster is the server to install in.
type cluster struct {
	client *httpsend.Client
	base   *url.URL
	header http.Header
}

func newCluster(s *settings.Settings) (*cluster, error) {
	key := s.Secret("ELASTIC_API_KEY", true, "an API key").Reveal()
	if strings.Contains(key, ":") {
		key = base64.StdEncoding.EncodeToString([]byte(key))
	}
	c := &cluster{
		base:   s.URL("ELASTIC_URL", "", "the cluster's base URL"),
		header: http.Header{"Authorization": {"ApiKey " + key}, "Content-Type": {"application/json"}},
	}
	cfg := httpsend.Configure(s, "gzip", "ELASTIC_URL")
	cfg.ReadTLS(s, "ELASTIC")
	cfg.Timeout = time.Minute // of a change of the cluster's state, not of a delivery
	c.client = httpsend.New(cfg)
	return c, s.Err()
}

// call makes a request and returns the body of a 2xx response.
func (c *cluster) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := c.client.Do(ctx, httpsend.Request{
		Method: method, URL: c.base.JoinPath(path), Header: c.header, Body: body, Plain: true,
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s /%s: %w", method, path, err)
	case r.OK():
		return r.Body, nil
	}
	hint := ""
	if r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		hint = "; the key needs the cluster privileges manage_ingest_pipelines and manage_index_templates"
	}
	return nil, fmt.Errorf("%s /%s: status %d: %s%s", method, path, r.Status, r.Quote(string(r.Body)), hint)
}

// variant returns the folders of the pipeline and of the template that fit the server. Serverless has all features and
// states an old version.
func (c *cluster) variant(ctx context.Context) (pipeline, template string, err error) {
	body, err := c.call(ctx, http.MethodGet, "", nil)
	if err != nil {
		return "", "", err
	}
	var info struct {
		Version struct {
			Number, Distribution string
			Flavor               string `json:"build_flavor"`
		}
	}
	var major, minor int
	if json.Unmarshal(body, &info) == nil {
		_, err = fmt.Sscanf(info.Version.Number, "%d.%d", &major, &minor)
	}
	switch {
	case err != nil || major == 0:
		return "", "", fmt.Errorf("%s: neither Elasticsearch nor OpenSearch: the response has no version", c.base.Host)
	case info.Version.Distribution == "opensearch":
		return "opensearch/", "opensearch/", nil
	case info.Version.Flavor != "serverless" && (major < 8 || major == 8 && minor < 14):
		return "", "elasticsearch-7.10/", nil
	}
	return "", "", nil
}
