package sentinel_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/sentinel"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
)

type azure struct {
	*simulator.Simulator
	t      *testing.T
	client *http.Client

	tenant, query, path, method, encoding string
	form                                  url.Values
	headers                               map[string]string
}

// newAzure returns a simulator and a client whose requests are valid unless a test changes them.
func newAzure(t *testing.T, o siem.Options) *azure {
	t.Helper()
	return newAzureOf(t, o, simulator.New)
}

func newAzureOf(t *testing.T, o siem.Options, start func(siem.Options) (*simulator.Simulator, error)) *azure {
	t.Helper()
	s := siemtest.Start(t, start, o)
	settings := s.Settings()
	return &azure{
		Simulator: s, t: t,
		client: siemtest.Client(s),
		tenant: settings["SENTINEL_TENANT_ID"],
		form: url.Values{
			"grant_type": {"client_credentials"}, "client_id": {settings["SENTINEL_CLIENT_ID"]},
			"client_secret": {s.Secret()["SENTINEL_CLIENT_SECRET"]}, "scope": {"https://monitor.azure.com/.default"},
		},
		method: http.MethodPost, query: "?api-version=2023-01-01",
		path: "/dataCollectionRules/" + settings["SENTINEL_DCR_RULE_ID"] + "/streams/" +
			settings["SENTINEL_DCR_STREAM_NAME"],
		headers: map[string]string{"Content-Type": "application/json"},
	}
}

func (a *azure) do(method, url, body string, headers map[string]string) (int, string) {
	a.t.Helper()
	return siemtest.Do(a.t, a.client, method, url, body, headers)
}

// token asks for a token: "" and the code of the refusal when there is none.
func (a *azure) token() (token, code string) {
	a.t.Helper()
	kind := "application/x-www-form-urlencoded"
	if a.encoding != "" {
		kind = a.encoding
	}
	status, text := a.do(a.method, a.URL()+"/"+a.tenant+"/oauth2/v2.0/token", a.form.Encode(),
		map[string]string{"Content-Type": kind})
	var reply struct {
		AccessToken string `json:"access_token"`
		Codes       []int  `json:"error_codes"`
	}
	_ = json.Unmarshal([]byte(text), &reply)
	if reply.AccessToken != "" {
		return reply.AccessToken, ""
	}
	if len(reply.Codes) == 0 {
		return "", fmt.Sprint(status)
	}
	return "", fmt.Sprintf("%d AADSTS%d", status, reply.Codes[0])
}

// post posts rows with a token and returns status and code.
func (a *azure) post(body string) string {
	a.t.Helper()
	if a.headers["Authorization"] == "" {
		token, code := a.token()
		if token == "" {
			a.t.Fatalf("no token: %s", code)
		}
		a.headers["Authorization"] = "Bearer " + token
	}
	status, text := a.do(a.method, a.URL()+a.path+a.query, body, a.headers)
	var reply struct{ Error struct{ Code string } }
	_ = json.Unmarshal([]byte(text), &reply)
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, reply.Error.Code))
}

// row is a row of an event of that id.
func row(id string) string {
	return `{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":"r","UserId":null,"UserEmail":null,"Operation":null,"ModelId":null,` +
		`"PolicyAction":null,"DlpLabels":"[]","TokensInput":7,"TokensOutput":null,"SeverityId":1,` +
		`"RawOCSF":"{\"time\":1773360000123,\"severity_id\":1,\"api\":{\"request\":{\"uid\":\"r\"}},\"unmapped\":{\"tokens_input\":7},\"metadata\":{\"uid\":\"` + id + `\"}}"}`
}

func TestTakesTheWireFormat(t *testing.T) {
	a := newAzure(t, siem.Options{})
	if got := a.post("[" + row("a") + "," + row("b") + "]"); got != "204" {
		t.Fatalf("%s; %s", got, a.Stats().LastProblem)
	}
	got := a.Accepted()
	if len(got) != 2 || got[1].ID != "b" || got[1].Fields["EventId"] != "r" || got[1].Fields["TokensInput"] != "7" ||
		got[1].Truncated ||
		!strings.HasPrefix(string(got[1].Event), `{"time":1773360000123,`) {
		t.Errorf("accepted %+v", got)
	}
	if _, there := got[0].Fields["UserId"]; there {
		t.Error("a null column is kept as a value")
	}
	if got := a.post("[]"); got != "204" {
		t.Errorf("no row: %s", got)
	}
	if s := a.Stats(); len(s.Violations) > 0 || s.Accepted != 2 {
		t.Errorf("%+v", s)
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(a *azure)
		want  string
	}{
		{"another tenant", func(a *azure) { a.tenant = "common" }, "400 AADSTS90002"},
		{"no form", func(a *azure) { a.encoding = "application/json" }, "400 AADSTS900144"},
		{"no grant type", func(a *azure) { a.form.Del("grant_type") }, "400 AADSTS900144"},
		{"another grant type", func(a *azure) { a.form.Set("grant_type", "password") }, "400 AADSTS70003"},
		{"another client", func(a *azure) { a.form.Set("client_id", "x") }, "400 AADSTS700016"},
		{"another secret", func(a *azure) { a.form.Set("client_secret", "x") }, "401 AADSTS7000215"},
		{"a rotated secret", func(a *azure) { a.Rotate() }, "401 AADSTS7000222"},
		{"an expired secret", func(a *azure) { a.Inject(siem.Fault{Kind: siem.Product, Code: "AADSTS7000222"}) },
			"401 AADSTS7000222"},
		{"another scope", func(a *azure) { a.form.Set("scope", "https://monitor.azure.com/") }, "400 AADSTS1002012"},
		{"GET", func(a *azure) { a.method = http.MethodGet }, "405"},
	} {
		a := newAzure(t, siem.Options{})
		test.spoil(a)
		if token, got := a.token(); token != "" || got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if a.Issued() != 0 {
			t.Errorf("%s: a token was given out", test.name)
		}
	}
}

func TestRefusesTheRequest(t *testing.T) {
	big := "[" + strings.Repeat(row("a")+",", 3000) + row("b") + "]"
	product := func(code string) func(a *azure) {
		return func(a *azure) { a.Inject(siem.Fault{Kind: siem.Product, Code: code}) }
	}
	for _, test := range []struct {
		name  string
		spoil func(a *azure)
		body  string
		want  string
	}{
		{"another token", func(a *azure) { a.headers["Authorization"] = "Bearer x" }, "[]", "401 InvalidToken"},
		{"another scheme", func(a *azure) { token, _ := a.token(); a.headers["Authorization"] = token }, "[]",
			"401 InvalidToken"},
		{"a token of a rotated secret", func(a *azure) {
			token, _ := a.token()
			a.headers["Authorization"] = "Bearer " +
				token
			a.Rotate()
		}, "[]", "401 InvalidToken"},
		{"a token refused", product("InvalidToken"), "[]", "401 InvalidToken"},
		{"no role", product("OperationFailed"), "[]", "403 OperationFailed"},
		{"another rule", func(a *azure) { a.path = strings.Replace(a.path, "dcr-0", "dcr-1", 1) }, "[]", "404 NotFound"},
		{"another path", func(a *azure) { a.path = "/api/logs" }, "[]", "404 NotFound"},
		{"another stream", func(a *azure) { a.path += "2" }, "[]", "400 InvalidStream"},
		{"no stream", product("InvalidStream"), "[]", "400 InvalidStream"},
		{"another version", func(a *azure) { a.query = "?api-version=2016-04-01" }, "[]", "400 UnsupportedApiVersion"},
		{"too large", nil, big, "413 ContentLengthLimitExceeded"},
		{"too large uncompressed", func(a *azure) { a.headers["Content-Encoding"] = "gzip" }, siemtest.Gzip(t, big),
			"413 ContentLengthLimitExceeded"},
		{"not gzip", func(a *azure) { a.headers["Content-Encoding"] = "gzip" }, "[]", "400 InvalidPayload"},
		{"another encoding", func(a *azure) { a.headers["Content-Encoding"] = "deflate" }, "[]",
			"415 UnsupportedContentEncoding"},
		{"an object", nil, row("a"), "400 InvalidPayload"},
		{"null", nil, "null", "400 InvalidPayload"},
		{"invalid JSON", nil, "[" + row("a") + ",]", "400 InvalidPayload"},
		{"nothing", nil, "", "400 InvalidPayload"},
		{"a row that is not an object", nil, "[" + row("a") + ",7]", "400 InvalidPayload"},
		{"a poisonous row", func(a *azure) {
			a.Inject(siem.PoisonEvent("bad"))
		}, "[" + row("a") + "," + row("bad") + "]", "400 InvalidPayload"},
	} {
		a := newAzure(t, siem.Options{})
		if test.spoil != nil {
			test.spoil(a)
		}
		if got := a.post(test.body); got != test.want || len(a.Accepted()) != 0 {
			t.Errorf("%s: %q, accepted %d, want %q", test.name, got, len(a.Accepted()), test.want)
		}
	}
	a := newAzure(t, siem.Options{})
	a.headers["Authorization"] = "x"
	a.method = http.MethodGet
	if got := a.post(""); got != "405 MethodNotAllowed" {
		t.Errorf("GET: %s", got)
	}
}

func TestTokenExpires(t *testing.T) {
	now := time.Unix(1_773_360_000, 0)
	a := newAzure(t, siem.Options{Now: func() time.Time { return now }})
	for _, step := range []struct {
		pass time.Duration
		want string
	}{{0, "204"}, {3598 * time.Second, "204"}, {time.Second, "401 InvalidToken"}} {
		now = now.Add(step.pass)
		if got := a.post("[]"); got != step.want {
			t.Errorf("%s later: %s, want %s", step.pass, got, step.want)
		}
	}
}

// TestViolations sends what Azure takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := row("a")
	for name, body := range map[string]string{
		"white space":       "[" + good + ", " + row("b") + "]",
		"a column too many": "[" + strings.Replace(good, `"SeverityId"`, `"Extra":1,"SeverityId"`, 1) + "]",
		"a column missing":  "[" + strings.Replace(good, `"ModelId":null,`, ``, 1) + "]",
		"another order": "[" + strings.Replace(good, `"UserId":null,"UserEmail":null`,
			`"UserEmail":null,"UserId":null`, 1) + "]",
		"a column twice":       "[" + strings.Replace(good, `"UserId":null`, `"UserId":null,"UserId":null`, 1) + "]",
		"another time":         "[" + strings.Replace(good, `00.123Z`, `00.124Z`, 1) + "]",
		"time without millis":  "[" + strings.Replace(good, `00.123Z`, `00Z`, 1) + "]",
		"labels as an array":   "[" + strings.Replace(good, `"[]"`, `[]`, 1) + "]",
		"labels of others":     "[" + strings.Replace(good, `"[]"`, `"[\"pii\"]"`, 1) + "]",
		"a number as a string": "[" + strings.Replace(good, `"TokensInput":7`, `"TokensInput":"7"`, 1) + "]",
		"empty for absent":     "[" + strings.Replace(good, `"UserId":null`, `"UserId":""`, 1) + "]",
		"another severity":     "[" + strings.Replace(good, `"SeverityId":1`, `"SeverityId":2`, 1) + "]",
		"no event":             "[" + strings.Replace(good, `"RawOCSF":"{`, `"RawOCSF":"`, 1) + "]",
		"an event of lines":    "[" + strings.Replace(good, `"RawOCSF":"{`, `"RawOCSF":"{\n`, 1) + "]",
		"a value too long": "[" + strings.Replace(good, `"RawOCSF":"{`, `"RawOCSF":"{\"x\":\"`+strings.Repeat("x",
			64<<10)+`\",`, 1) + "]",
		"no utf-8":        "[" + strings.Replace(good, `\"uid\":\"a\"`, "\\\"uid\\\":\\\"\xff\\\"", 1) + "]",
		"too many events": "[" + strings.TrimSuffix(strings.Repeat(good+",", 101), ",") + "]",
	} {
		a := newAzure(t, siem.Options{})
		if got := a.post(body); got != "204" || len(a.Stats().Violations) == 0 {
			t.Errorf("%s: %s, violations %q", name, got, a.Stats().Violations)
		}
	}
	for name, spoil := range map[string]func(a *azure){
		"content type": func(a *azure) { a.headers["Content-Type"] = "text/plain" },
		"more query":   func(a *azure) { a.query += "&x=1" },
	} {
		a := newAzure(t, siem.Options{})
		spoil(a)
		if got := a.post("[" + good + "]"); got != "204" || len(a.Stats().Violations) != 1 {
			t.Errorf("%s: %s, violations %q", name, got, a.Stats().Violations)
		}
	}
}

func events(n int) [][]byte {
	g := ocsfgen.New(7)
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Clone(g.Next())
	}
	return out
}

// TestConnector delivers events with the connector to the simulator.
func TestConnector(t *testing.T) {
	s := siemtest.Start(t, simulator.New, siem.Options{Plain: true})
	from := siemtest.NewSource(t, s, sentinel.Open)
	bodies := events(99)
	bodies = append(bodies, []byte(`{"time":1773360000123,"metadata":{"uid":"big"},"x":"`+strings.Repeat("x", 70_000)+
		`"}`))
	if n, outcomes := siemtest.Deliver(t, from, bodies, false); n != 100 || !outcomes[99].Truncated {
		t.Errorf("delivered %d of 100, the large one truncated: %v", n, outcomes[99].Truncated)
	}
	for i, a := range s.Accepted()[:99] {
		if !bytes.Equal(a.Event, bodies[i]) {
			t.Errorf("event %d arrived as %s", i, a.Event)
		}
	}
	if last := s.Accepted()[99]; !last.Truncated || last.ID != "big" {
		t.Errorf("the large event arrived as %+v", last)
	}
	s.Rotate()
	if n, _ := siemtest.Deliver(t, from, bodies[:5], false); n != 5 || from.Renewed != 1 {
		t.Errorf("after a rotation: delivered %d of 5, renewed %d times", n, from.Renewed)
	}
	bad := siem.EventID(bodies[41])
	s.Inject(siem.PoisonEvent(bad))
	before := s.Stats().Requests
	n, outcomes := siemtest.Deliver(t, from, bodies, false)
	if extra := s.Stats().Requests - before - 1; n != 99 || outcomes[41].State != deliver.Rejected || extra > 15 {
		t.Errorf("one poisonous event: delivered %d of 99, %+v, %d extra requests", n, outcomes[41], extra)
	}
	if err := from.Current().(deliver.Checker).Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if v := s.Stats().Violations; len(v) > 0 {
		t.Errorf("violations %q", v)
	}
}

func TestSettingsOverTLS(t *testing.T) {
	a := newAzure(t, siem.Options{CAFile: "/ca.pem"})
	if got := a.Settings()["SSL_CERT_FILE"]; got != "/ca.pem" || !strings.HasPrefix(a.Settings()["SENTINEL_DCR_ENDPOINT"],
		"https://") {
		t.Errorf("%v", a.Settings())
	}
}

// TestFederatedCredential: the application accepts a token of its AWS role, and no client secret.
func TestFederatedCredential(t *testing.T) {
	now := time.Now()
	a := newAzureOf(t, siem.Options{Now: func() time.Time { return now }}, simulator.NewFederated)
	if len(a.Secret()) != 0 || a.Settings()["SENTINEL_AUTH"] != "federated" {
		t.Errorf("secret %v, settings %v", a.Secret(), a.Settings())
	}
	assertion := simulator.Assertion(now.Add(time.Minute))
	foreign := strings.Split(assertion, ".")
	foreign[1] = base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"aud":"api://AzureADTokenExchange","iss":"i","sub":"s","exp":%d}`, now.Add(time.Hour).Unix())))
	for _, c := range []struct{ assertion, want string }{
		{"", "400 AADSTS50027"}, {"a.b", "400 AADSTS50027"}, {"a.!.c", "400 AADSTS50027"},
		{simulator.Assertion(now), "401 AADSTS700024"}, {strings.Join(foreign, "."), "401 AADSTS700213"}, {assertion, ""},
	} {
		a.form = url.Values{
			"grant_type": {"client_credentials"}, "client_id": {a.Settings()["SENTINEL_CLIENT_ID"]},
			"scope":                 {"https://monitor.azure.com/.default"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {c.assertion},
		}
		if _, code := a.token(); code != c.want {
			t.Errorf("assertion %.40q: %q, want %q", c.assertion, code, c.want)
		}
	}
	if got := a.post("[" + row("a") + "]"); got != "204" {
		t.Errorf("rows with the token: %s", got)
	}
}
