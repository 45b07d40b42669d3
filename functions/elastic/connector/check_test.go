package connector

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// cluster responds to the two requests of the check. Tests change one of the responses.
type cluster struct {
	whoStatus, mayStatus int
	who, may             string
}

func (c cluster) answer(w http.ResponseWriter, r *http.Request, _ string) {
	switch r.Method + " " + r.URL.RequestURI() {
	case "GET /_security/_authenticate":
		w.WriteHeader(c.whoStatus)
		io.WriteString(w, c.who)
	case "POST /_security/user/_has_privileges":
		w.WriteHeader(c.mayStatus)
		io.WriteString(w, c.may)
	default:
		w.WriteHeader(400)
	}
}

func may(createDoc, create, index bool) string {
	return fmt.Sprintf(`{"username":"u","has_all_requested":%t,"cluster":{},"index":{"arbitex-audit":{"create_doc":%t,"create":%t,"index":%t}},"application":{}}`,
		createDoc && create && index, createDoc, create, index)
}

func TestCheck(t *testing.T) {
	good := cluster{whoStatus: 200, mayStatus: 200, who: `{"username":"u","authentication_type":"api_key"}`,
		may: may(true, true, true)}
	for _, test := range []struct {
		name string
		op   string
		edit func(*cluster)
		kind failure.Kind
		step failure.Step
		hint string // "" is success
	}{
		{"all privileges", "index", func(*cluster) {}, 0, "", ""},
		{"all, and nothing more said", "index", func(c *cluster) { c.may = `{"has_all_requested":true}` }, 0, "", ""},
		{"create", "index", func(c *cluster) { c.may = may(true, true, false) }, 0, "", ""},
		{"create_doc for a data stream", "create", func(c *cluster) { c.may = may(true, false, false) }, 0, "", ""},
		{"create_doc for an index", "index", func(c *cluster) { c.may = may(true, false, false) }, failure.Unauthorized,
			failure.Auth, "ELASTIC_OP_TYPE=create"},
		{"none", "create", func(c *cluster) { c.may = may(false, false, false) }, failure.Unauthorized, failure.Auth,
			"create_doc"},
		{"privileges are not an object", "index", func(c *cluster) { c.may = `[]` }, failure.Misconfigured, failure.Request,
			"ELASTIC_URL"},
		{"privileges refused", "index", func(c *cluster) {
			c.mayStatus, c.may = 403, `{"error":{"type":"security_exception"}}`
		}, failure.Unauthorized, failure.Auth, "ELASTIC_API_KEY"},
		{"key refused", "index", func(c *cluster) {
			c.whoStatus, c.who = 401, `{"error":{"type":"security_exception","reason":"`+encodedKey+`"}}`
		}, failure.Unauthorized, failure.Auth, "ELASTIC_API_KEY"},
		{"not Elasticsearch", "index", func(c *cluster) { c.whoStatus, c.who = 404, `` }, failure.Misconfigured,
			failure.Request, "ELASTIC_URL"},
		{"a page", "index", func(c *cluster) { c.who = `<html>` }, failure.Misconfigured, failure.Request, "ELASTIC_URL"},
		{"no security", "index", func(c *cluster) {
			c.whoStatus, c.who = 400, `{"error":"no handler found for uri [/_security/_authenticate] and method [GET]"}`
		}, failure.Misconfigured, failure.Request, "ELASTIC_URL"},
		{"redirect", "index", func(c *cluster) { c.whoStatus = 302 }, failure.Misconfigured, failure.Request, "ELASTIC_URL"},
		{"busy", "index", func(c *cluster) { c.whoStatus = 503 }, failure.Transient, failure.Request, "-"},
	} {
		simulated := good
		test.edit(&simulated)
		rec := record(t, simulated.answer)
		f := failure.Of(open(t, rec.env(map[string]string{"ELASTIC_OP_TYPE": test.op,
			"SIEM_COMPRESSION": "gzip"})).Check(t.Context()))
		if (f == nil) != (test.hint == "") {
			t.Errorf("%s: %v", test.name, f)
			continue
		}
		if rec.requests[0].Header.Get("Authorization") != "ApiKey "+encodedKey {
			t.Errorf("%s: the key was not sent", test.name)
		}
		if f == nil {
			continue
		}
		if f.Kind != test.kind || f.Step != test.step || test.hint != "-" && !strings.Contains(f.Hint, test.hint) {
			t.Errorf("%s: %v at %q, hint %q", test.name, f.Kind, f.Step, f.Hint)
		}
		if strings.Contains(f.Error(), encodedKey) {
			t.Errorf("%s: the key is in %v", test.name, f)
		}
	}
}

// TestCheckRequests verifies the requests of the check. They write nothing.
func TestCheckRequests(t *testing.T) {
	rec := record(t, cluster{whoStatus: 200, mayStatus: 200, who: `{}`, may: may(true, true, true)}.answer)
	if err := open(t, rec.env(map[string]string{"ELASTIC_INDEX": "logs-a-b",
		"SIEM_COMPRESSION": "gzip"})).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var question struct {
		Index []struct {
			Names, Privileges []string
		}
	}
	if err := json.Unmarshal([]byte(rec.bodies[1]), &question); err != nil || len(question.Index) != 1 ||
		question.Index[0].Names[0] != "logs-a-b" {
		t.Errorf("asked %s: %v", rec.bodies[1], err)
	}
	if len(rec.requests) != 2 || rec.requests[1].Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d requests", len(rec.requests))
	}
}

// TestCheckNamesTheStep: no server, and a server with an unknown certificate.
func TestCheckNamesTheStep(t *testing.T) {
	rec := record(t, accept)
	env := rec.env(map[string]string{"ELASTIC_TLS_CA_BUNDLE": ""})
	if f := failure.Of(open(t, env).Check(t.Context())); f.Step != failure.TLS || f.Kind != failure.Misconfigured ||
		!strings.Contains(f.Hint, "ELASTIC_TLS_CA_BUNDLE") {
		t.Errorf("unknown CA: %+v", f)
	}
	rec.Close()
	if f := failure.Of(open(t, env).Check(t.Context())); f.Step != failure.Connect || !strings.Contains(f.Hint,
		"ELASTIC_URL") {
		t.Errorf("no server: %+v", f)
	}
}

func TestNote(t *testing.T) {
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{200, `{".ds-arbitex-audit-2026.03.13-000001":{"settings":{"index":{"mode":"logsdb"}}}}`, "synthetic"},
		{200, `{"a":{"settings":{"index":{"mapping":{"source":{"mode":"synthetic"}}}}}}`, "synthetic"},
		{200, `{"a":{"settings":{"index":{"mode":"logsdb","mapping":{"source":{"mode":"stored"}}}}}}`, ""},
		{200, `{"a":{"settings":{"index":{}}}}`, ""},
		{200, `{}`, ""},
		{403, `{"error":{"type":"security_exception","reason":"r"},"status":403}`, ""},
		{404, `<html>`, ""},
	} {
		rec := record(t, func(w http.ResponseWriter, r *http.Request, _ string) {
			if r.Method != http.MethodGet || r.URL.Path != "/arbitex-audit/_settings" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		})
		if note := open(t, rec.env(nil)).Note(t.Context()); (note == "") != (test.want == "") ||
			!strings.Contains(note, test.want) {
			t.Errorf("%d %s: %q, want %q", test.status, test.body, note, test.want)
		}
	}
}
