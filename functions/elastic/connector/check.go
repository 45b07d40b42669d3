package connector

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// Check implements deliver.Checker. Two requests that write nothing show whether the key is known, and whether it may
// write to the index.
// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-has-privileges
func (c *connector) Check(ctx context.Context) error {
	var who struct{} // any object: how it describes the key differs from version to version
	err := c.ask(ctx, httpsend.Request{Method: http.MethodGet, URL: c.endpoint("_security/_authenticate", "")}, &who)
	if err != nil {
		return err
	}
	return c.checkPrivileges(ctx)
}

// Note implements deliver.Noter. With synthetic _source, Elasticsearch rebuilds a document from its fields, so what it
// returns differs from the event's bytes. Without the privilege view_index_metadata, nothing is known.
// https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/mapping-source-field#synthetic-source
func (c *connector) Note(ctx context.Context) string {
	var indices map[string]struct {
		Settings struct {
			Index struct {
				Mode    string
				Mapping struct{ Source struct{ Mode string } }
			}
		}
	}
	const filter = "filter_path=*.settings.index.mode,*.settings.index.mapping.source.mode"
	if c.ask(ctx, httpsend.Request{Method: http.MethodGet, URL: c.endpoint(c.cfg.index+"/_settings", filter)},
		&indices) != nil {
		return ""
	}
	for name, i := range indices {
		mode, index := i.Settings.Index.Mapping.Source.Mode, i.Settings.Index.Mode
		if mode == "synthetic" || mode == "" && (index == "logsdb" || index == "time_series") {
			return strconv.Quote(name) + " has synthetic _source (with a subscription): Elasticsearch stores fields, not the " +
				"bytes of an event"
		}
	}
	return ""
}

// privileges are those that let a key write, the weaker before the stronger: create_doc allows the action create,
// create and index allow both.
// https://www.elastic.co/docs/reference/elasticsearch/security-privileges
type privileges struct {
	CreateDoc bool `json:"create_doc"`
	Create    bool `json:"create"`
	Index     bool `json:"index"`
}

func (c *connector) checkPrivileges(ctx context.Context) error {
	type names struct {
		Names      []string `json:"names"`
		Privileges []string `json:"privileges"`
	}
	question, err := json.Marshal(map[string][]names{
		"index": {{Names: []string{c.cfg.index}, Privileges: []string{"create_doc", "create", "index"}}},
	})
	if err != nil {
		return err
	}
	var answer struct {
		All   bool                  `json:"has_all_requested"`
		Index map[string]privileges `json:"index"`
	}
	r := httpsend.Request{URL: c.endpoint("_security/user/_has_privileges", ""), Body: question, Plain: true}
	if err := c.ask(ctx, r, &answer); err != nil {
		return err
	}
	may := answer.Index[c.cfg.index]
	switch {
	case answer.All || may.Create || may.Index || may.CreateDoc && c.stream.Load():
		return nil
	case may.CreateDoc:
		return forbidden("the API key may only create documents, which is enough for a data stream; for an index set " +
			"ELASTIC_OP_TYPE=create, or give the key the privilege index")
	}
	return forbidden("give the API key the privileges create_doc and auto_configure (or index and auto_configure) on " +
		"the index")
}

// forbidden is a key that is known and must not do what is needed.
func forbidden(hint string) error {
	return &failure.Error{Kind: failure.Unauthorized, Step: failure.Auth,
		Detail: "the API key may not write to ELASTIC_INDEX", Hint: hint}
}

// ask makes a request of the check, and decodes its answer into v.
func (c *connector) ask(ctx context.Context, r httpsend.Request, v any) error {
	r.Header = c.headers("application/json")
	a, err := c.client.Do(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case !a.OK():
		return requestCodes.Classify(a)
	case a.BodyErr != nil || json.Unmarshal(a.Body, v) != nil:
		return &failure.Error{Kind: failure.Misconfigured, Step: failure.Request, Status: a.Status, Hint: notElasticsearch}
	}
	return nil
}
