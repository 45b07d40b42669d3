package elastic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// keyRow is a row about the API key.
type keyRow struct {
	privileges string // on the index and on the data stream arbitex-audit; "" for none at all
	index      string
	env        []string
	want       string
	reason     string // a part of the reason of the first event
	check      string // a part of the hint of the check, made afterwards; "" if it succeeds
	spoil      string // what is done to the key: invalidated, expired, altered
}

var keyRows = map[string]keyRow{
	"the documented key": {
		privileges: "create_doc,auto_configure", index: "arbitex-audit", env: []string{"ELASTIC_OP_TYPE", "create"},
		want: "delivered",
	},
	"index": {privileges: "index,auto_configure", index: "plain", want: "delivered"},
	"create_doc, with the action index": {
		privileges: "create_doc,auto_configure", index: "plain", want: "held", reason: "is unauthorized for API key",
		check: "ELASTIC_OP_TYPE=create",
	},
	// Elasticsearch refuses the action before it looks at the privilege, so the connector finds the data stream.
	"a data stream, with the action index": {
		privileges: "create_doc,auto_configure", index: "arbitex-audit", want: "delivered",
	},
	"no right to create the index": {
		privileges: "create_doc", index: "plain-none", env: []string{"ELASTIC_OP_TYPE", "create"}, want: "held",
		reason: "auto_create",
	},
	"no right to write": {
		privileges: "read", index: "plain", want: "held", reason: "is unauthorized for API key", check: "create_doc",
	},
	"another index": {
		privileges: "index,auto_configure", index: "other", want: "held", reason: "is unauthorized for API key",
		check: "create_doc",
	},
	"no privilege": {index: "plain", want: "held", reason: "status 403", check: "create_doc"},
	"invalidated": {
		privileges: "index,auto_configure", index: "plain", want: "held", reason: "status 401", check: "ELASTIC_API_KEY",
		spoil: "invalidated",
	},
	"expired": {
		privileges: "index,auto_configure", index: "plain", want: "held", reason: "status 401", check: "ELASTIC_API_KEY",
		spoil: "expired",
	},
	"unknown": {
		privileges: "index,auto_configure", index: "plain", want: "held", reason: "status 401", check: "ELASTIC_API_KEY",
		spoil: "altered",
	},
}

// TestKeys sends events and makes the connection check with API keys of Elasticsearch's security.
func TestKeys(t *testing.T) {
	url, superuser := products.SecuredElasticsearch(t)
	admin := cluster{t, superuser, false, true}
	admin.put("/_index_template/audit", `{"index_patterns":["arbitex-audit"],"data_stream":{},"priority":500}`)
	admin.put("/plain", `{}`)
	for name, r := range keyRows {
		t.Run(name, func(t *testing.T) {
			key := admin.with(t).key(r)
			c := connector(t, url, r.index, append([]string{"ELASTIC_API_KEY", key}, r.env...)...)
			outcomes := connectortest.Deliver(t, c, plain(5, -1, "")...)
			for i, o := range outcomes {
				if got := describe(o); got != r.want || (o.Fault == nil) != (r.reason == "") ||
					o.Fault != nil && !strings.Contains(o.Fault.Error(), r.reason) {
					t.Errorf("event %d is %s: %v, want %s: %s", i, got, o.Fault, r.want, r.reason)
					break
				}
			}
			if o := outcomes[0]; o.Fault != nil {
				t.Logf("%s: %v", describe(o), o.Fault)
			}
			hint := ""
			if f := failure.Of(c.(deliver.Checker).Check(t.Context())); f != nil {
				hint = f.Error()
			}
			if (hint == "") != (r.check == "") || !strings.Contains(hint, r.check) {
				t.Errorf("the check says %q, want %q", hint, r.check)
			}
		})
	}
}

// key makes an API key.
func (c cluster) key(r keyRow) string {
	c.t.Helper()
	body := map[string]any{"name": "connector", "role_descriptors": map[string]any{"arbitex": map[string]any{
		"indices": []any{},
	}}}
	if r.privileges != "" {
		body["role_descriptors"] = map[string]any{"arbitex": map[string]any{"indices": []any{map[string]any{
			"names": []string{"arbitex-audit", "plain*"}, "privileges": strings.Split(r.privileges, ","),
		}}}}
	}
	if r.spoil == "expired" {
		body["expiration"] = "1ms"
	}
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	var key struct{ ID, Encoded string }
	if err := json.Unmarshal([]byte(c.call(http.MethodPost, "/_security/api_key", string(text))), &key); err != nil {
		c.t.Fatal(err)
	}
	switch r.spoil {
	case "invalidated":
		c.call(http.MethodDelete, "/_security/api_key", fmt.Sprintf(`{"ids":[%q]}`, key.ID))
	case "altered":
		return key.ID + ":another"
	}
	return key.Encoded
}
