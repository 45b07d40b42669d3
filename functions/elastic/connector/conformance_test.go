package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// answerItems answers each record of a request by its two lines.
func answerItems(w http.ResponseWriter, body []byte, item func(action, source string) (status int, err string)) {
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	var items []string
	failed := false
	for i := 0; i+1 < len(lines); i += 2 {
		op, _, _ := strings.Cut(strings.TrimPrefix(lines[i], `{"`), `"`)
		status, err := item(lines[i], lines[i+1])
		if err != "" {
			failed = true
			err = `,"error":` + err
		}
		items = append(items, fmt.Sprintf(`{%q:{"status":%d%s}}`, op, status, err))
	}
	fmt.Fprintf(w, `{"errors":%t,"items":[%s]}`, failed, strings.Join(items, ","))
}

func taken(string, string) (int, string) { return 201, "" }

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"ELASTIC_URL": url, "ELASTIC_TLS_CA_BUNDLE": ca, "ELASTIC_API_KEY": encodedKey}
		},
		Secrets:  []string{encodedKey},
		MaxBytes: 5_000_000,
		Wrong: map[string]string{
			"ELASTIC_URL": "http://user@h", "ELASTIC_API_KEY": " ", "ELASTIC_INDEX": "a b", "ELASTIC_OP_TYPE": "update",
			"ELASTIC_PIPELINE": "a\nb", "ELASTIC_TLS_VERIFY": "maybe", "ELASTIC_TLS_CA_BUNDLE": "/no/such/file",
			"SIEM_COMPRESSION": "zstd", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		},
		Accept: func(w http.ResponseWriter, _ *http.Request, body []byte) { answerItems(w, body, taken) },
		Refuse: func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
			answerItems(w, body, func(_, source string) (int, string) {
				if strings.Contains(source, bad) {
					return 400, `{"type":"document_parsing_exception","reason":"[1:2] failed to parse"}`
				}
				return 201, ""
			})
		},
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

// TestConformanceWithoutItems: Elasticsearch, or a proxy, refuses a whole request because of one event.
func TestConformanceWithoutItems(t *testing.T) {
	s := suite()
	s.Refuse = func(w http.ResponseWriter, _ *http.Request, body []byte, bad string) {
		if strings.Contains(string(body), bad) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"type":"parsing_exception","reason":"r"},"status":400}`)
			return
		}
		answerItems(w, body, taken)
	}
	connectortest.Run(t, s)
}

// TestConformanceCreate is a data stream that is known to be one.
func TestConformanceCreate(t *testing.T) {
	connectortest.Run(t, suite().With("ELASTIC_OP_TYPE", "create"))
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	refusal := func(code string) string { return fmt.Sprintf(`{"error":{"type":%q,"reason":"r"},"status":400}`, code) }
	item := func(status int, op, more string) string {
		return fmt.Sprintf(`{"errors":%t,"items":[{%q:{"status":%d%s}}]}`, status > 299, op, status, more)
	}
	failed := func(status int, code, words string) string {
		return item(status, opIndex, fmt.Sprintf(`,"error":{"type":%q,"reason":"%s b"}`, code, words))
	}
	rows := []connectortest.Row{
		{Status: "2xx", Code: "by item", Is: 200, Body: item(201, opIndex, "")},
		{Status: "400, 422", Code: "any other", Is: 400, Body: refusal("parsing_exception")},
		{Status: "item 200, 201", Code: "–", Is: 200, Body: item(201, opIndex, "")},
		{Status: "item 201", Code: "`failure_store: used`", Is: 200, Body: item(201, opIndex, `,"failure_store":"used"`)},
		{Status: "item 409 to create", Code: "–", Is: 200, Body: item(409, opCreate,
			`,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 409 to index", Code: "–", Is: 200,
			Body: item(409, opIndex, `,"error":{"type":"version_conflict_engine_exception"}`)},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(401, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(403, "security_exception", "")},
		{Status: "item 401, 403, 404", Code: "–", Is: 200, Body: failed(404, "index_not_found_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(429, "es_rejected_execution_exception", "")},
		{Status: "item 429, 5xx", Code: "–", Is: 200, Body: failed(503, "unavailable_shards_exception", "")},
		{Status: "item 400", Code: "`illegal_argument_exception`: only write ops with an op_type of create", Is: 200,
			Body: failed(400, illegal, "only write ops with an op_type of create")},
	}
	const unusable = "`invalid_index_name_exception`, `index_closed_exception`, `index_not_found_exception`, " +
		"`validation_exception`"
	for _, r := range commonRows {
		code := "`" + r.Code + "`"
		switch {
		case r.Code == illegal:
			code += ", by its words"
		case r.Code == "":
			code = "any: " + r.Words
		case r.Status == http.StatusBadRequest && strings.Contains(unusable, code):
			code = unusable
		}
		rows = append(rows, connectortest.Row{Status: fmt.Sprintf("item or request %d", r.Status), Code: code, Is: 200,
			Body: failed(r.Status, cmp.Or(r.Code, "x"), r.Words)})
	}
	rows = append(rows, connectortest.Row{Status: "item 400", Code: "any other", Is: 200,
		Body: failed(400, "document_parsing_exception", "")})
	connectortest.ResponseTable(t, func(a *httpsend.Response) error { return classify(a, 1).err }, rows)
}

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
	return fmt.Sprintf(`{"username":"u","has_all_requested":%t,"cluster":{},"index":{"arbitex-audit":`+
		`{"create_doc":%t,"create":%t,"index":%t}},"application":{}}`, createDoc && create && index, createDoc, create,
		index)
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
		if rec.Requests()[0].Header.Get("Authorization") != "ApiKey "+encodedKey {
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
	if err := json.Unmarshal([]byte(rec.bodies()[1]), &question); err != nil || len(question.Index) != 1 ||
		question.Index[0].Names[0] != "logs-a-b" {
		t.Errorf("asked %s: %v", rec.bodies()[1], err)
	}
	if len(rec.Requests()) != 2 || rec.Requests()[1].Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d requests", len(rec.Requests()))
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
		if note := open(t, rec.env(nil)).Note(t.Context()).Text; (note == "") != (test.want == "") ||
			!strings.Contains(note, test.want) {
			t.Errorf("%d %s: %q, want %q", test.status, test.body, note, test.want)
		}
	}
}

// simulated is a connector with the cluster it leads to. Renewing opens another with the key that is then valid.
type simulated struct {
	*elastic.Simulator
	t    *testing.T
	more map[string]string
	c    deliver.Connector
}

func simulate(t *testing.T, more map[string]string) *simulated {
	t.Helper()
	s := siemtest.Start(t, elastic.New, siem.Options{})
	sim := &simulated{Simulator: s, t: t, more: more}
	sim.c = sim.open()
	return sim
}

func (s *simulated) open() deliver.Connector {
	env := s.Settings()
	maps.Copy(env, s.Secret())
	maps.Copy(env, s.more)
	return connectortest.Read(s.t, env, Open)
}

func (s *simulated) Current() deliver.Connector { return s.c }

func (s *simulated) Renew(context.Context) deliver.Connector {
	s.c = s.open()
	return s.c
}

func (s *simulated) deliver(bodies ...string) []deliver.Outcome {
	s.t.Helper()
	var items []deliver.Item
	for _, body := range bodies {
		items = append(items, deliver.Item{Event: connectortest.Parse(s.t, body)})
	}
	outcomes := make([]deliver.Outcome, len(items))
	deliver.Deliver(s.t.Context(), s, items, outcomes)
	return outcomes
}

// arrived requires that the cluster has each event once, byte for byte, and reports no violation.
func (s *simulated) arrived(bodies ...string) {
	s.t.Helper()
	accepted := s.Accepted()
	if len(accepted) != len(bodies) {
		s.t.Fatalf("%d documents, want %d; %s", len(accepted), len(bodies), s.Stats().LastProblem)
	}
	for i, a := range accepted {
		if string(a.Event) != bodies[i] {
			s.t.Errorf("document %d is %s, want %s", i, a.Event, bodies[i])
		}
	}
	if v := s.Stats().Violations; len(v) > 0 {
		s.t.Errorf("violations %q", v)
	}
}

func delivered(outcomes []deliver.Outcome) (n int) {
	for _, o := range outcomes {
		if o.State == deliver.Delivered {
			n++
		}
	}
	return n
}

func TestArriveByteForByte(t *testing.T) {
	for _, more := range []map[string]string{
		nil, {"SIEM_COMPRESSION": "none"}, {"ELASTIC_INDEX": "logs-arbitex.audit-default"}, {"ELASTIC_OP_TYPE": "create"},
		{"ELASTIC_PIPELINE": "arbitex"},
	} {
		s := simulate(t, more)
		bodies := connectortest.Generated(3, 100)
		if n := delivered(s.deliver(bodies...)); n != 100 {
			t.Errorf("%v: %d delivered", more, n)
		}
		s.arrived(bodies...)
		if n := delivered(s.deliver(bodies...)); n != 100 { // a replay
			t.Errorf("%v: %d delivered the second time", more, n)
		}
		s.arrived(bodies...)
	}
}

func TestSimulatedFailures(t *testing.T) {
	for _, test := range []struct {
		name      string
		faults    []siem.Fault
		delivered int // of 10, at the first attempt
		kind      failure.Kind
		accepted  int
	}{
		{"every second item 429", []siem.Fault{{Kind: siem.Product, Code: "item 429", Times: 1}}, 5, failure.Throttled, 5},
		{"every second item 503", []siem.Fault{{Kind: siem.Product, Code: "item 503", Times: 1}}, 5, failure.Transient, 5},
		{"blocked", []siem.Fault{{Kind: siem.Product, Code: "item 403", Times: 1}}, 0, failure.Misconfigured, 0},
		{"no index", []siem.Fault{{Kind: siem.Product, Code: "item 404", Times: 1}}, 0, failure.Misconfigured, 0},
		{"accepted, answer cut", []siem.Fault{{Kind: siem.Product, Code: "cut", Times: 1}}, 0, failure.Transient, 10},
		{"accepted, then hung up", []siem.Fault{{Kind: siem.AcceptClose, Times: 1}}, 0, failure.Transient, 10},
		{"pretty", []siem.Fault{{Kind: siem.Product, Code: "pretty", Times: 1}}, 10, 0, 10},
		{"failure store", []siem.Fault{{Kind: siem.Product, Code: "failure-store", Times: 1}}, 10, 0, 10},
		{"busy", []siem.Fault{siem.RetryAfter(429, "3", 1)}, 0, failure.Throttled, 0},
		{"endless", []siem.Fault{{Kind: siem.Endless, Times: 1}}, 0, failure.Transient, 0},
	} {
		s := simulate(t, nil)
		for _, f := range test.faults {
			s.Inject(f)
		}
		bodies := connectortest.Generated(3, 10)
		outcomes := s.deliver(bodies...)
		if n := delivered(outcomes); n != test.delivered || len(s.Accepted()) != test.accepted {
			t.Errorf("%s: %d delivered, %d documents", test.name, n, len(s.Accepted()))
		}
		for i, o := range outcomes {
			if o.State != deliver.Delivered && (o.State != deliver.Retry || o.Fault.Kind != test.kind) {
				t.Errorf("%s: event %d: %d %v", test.name, i, o.State, o.Fault)
			}
		}
		if n := delivered(s.deliver(bodies...)); n != 10 || len(s.Accepted()) != 10 || len(s.Stats().Violations) > 0 {
			t.Errorf("%s: then %d delivered, %d documents, violations %q", test.name, n, len(s.Accepted()), s.Stats().Violations)
		}
	}
}

// TestPoison has one event of a hundred refused: it costs no request more, into an index as into a data stream.
func TestPoison(t *testing.T) {
	for index, requests := range map[string]int{"arbitex-audit": 1, "logs-arbitex-default": 2} {
		s := simulate(t, map[string]string{"ELASTIC_INDEX": index})
		bodies := connectortest.Generated(3, 100)
		id := connectortest.Parse(t, bodies[41]).AppendID(nil)
		s.Inject(siem.PoisonEvent(string(id)))
		outcomes := s.deliver(bodies...)
		if n := delivered(outcomes); n != 99 || outcomes[41].State != deliver.Rejected ||
			!strings.Contains(outcomes[41].Fault.Error(), "document_parsing_exception") {
			t.Errorf("%s: %d delivered, the poisoned one %v", index, n, outcomes[41].Fault)
		}
		if n := s.Stats().Requests; n != requests {
			t.Errorf("%s: %d requests", index, n)
		}
	}
}

// TestMisconfigured has one event alone meet a wrong set-up, which must not make it a dead letter.
func TestMisconfigured(t *testing.T) {
	for name, more := range map[string]map[string]string{
		"pipeline": {"ELASTIC_PIPELINE": "other"}, "name": {"ELASTIC_INDEX": "Arbitex"},
		"privilege":             {"ELASTIC_INDEX": "other"},
		"path":                  {"ELASTIC_URL": "/a/b"},
		"backing index":         {"ELASTIC_INDEX": ".ds-arbitex-2025.03.13-000001"},
		"backing index, create": {"ELASTIC_INDEX": ".ds-arbitex-2025.03.13-000001", "ELASTIC_OP_TYPE": "create"},
	} {
		s := simulate(t, nil)
		if path, ok := more["ELASTIC_URL"]; ok {
			more = map[string]string{"ELASTIC_URL": s.URL() + path}
		}
		s.more = more
		s.c = s.open()
		o := s.deliver(named("a"))[0]
		if o.State != deliver.Retry || o.Fault.Kind != failure.Misconfigured || o.Fault.Hint == "" {
			t.Errorf("%s: %v, %+v", name, o.State, o.Fault)
		}
	}
}

func TestRotatedKey(t *testing.T) {
	s := simulate(t, nil)
	s.deliver(named("a"))
	s.Rotate()
	if o := s.deliver(named("b"))[0]; o.State != deliver.Delivered {
		t.Errorf("%v", o.Fault)
	}
	if n := s.Stats().AuthFailures; n != 1 {
		t.Errorf("%d authentication failures", n)
	}
}

func TestCheckOfSimulator(t *testing.T) {
	s := simulate(t, nil)
	if err := s.c.(deliver.Checker).Check(t.Context()); err != nil {
		t.Error(err)
	}
	s.more = map[string]string{"ELASTIC_INDEX": "other"}
	if f := failure.Of(s.open().(deliver.Checker).Check(t.Context())); f == nil || f.Step != failure.Auth {
		t.Errorf("no privilege: %+v", f)
	}
	s.Rotate()
	if f := failure.Of(s.c.(deliver.Checker).Check(t.Context())); f == nil || f.Status != 401 {
		t.Errorf("a revoked key: %+v", f)
	}
	if n := len(s.Accepted()); n != 0 {
		t.Errorf("the check wrote %d documents", n)
	}
}
