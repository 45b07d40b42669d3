package sentinel_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
)

// azure is a client whose requests have a token. The request for the token is valid unless a test changes it.
type azure struct {
	*siemtest.Client
	simulator                 *sentinel.Simulator
	tenant, kind, methodToken string
	form                      url.Values
}

func newAzure(t *testing.T, o siem.Options, start func(siem.Options) (*sentinel.Simulator, error)) *azure {
	t.Helper()
	s := siemtest.Start(t, start, o)
	settings := s.Settings()
	a := &azure{
		Client: siemtest.NewClient(t, s, "/dataCollectionRules/"+settings["SENTINEL_DCR_RULE_ID"]+"/streams/"+
			settings["SENTINEL_DCR_STREAM_NAME"], map[string]string{"Content-Type": "application/json"}),
		simulator: s, tenant: settings["SENTINEL_TENANT_ID"], kind: "application/x-www-form-urlencoded",
		methodToken: http.MethodPost,
		form: url.Values{
			"grant_type": {"client_credentials"}, "client_id": {settings["SENTINEL_CLIENT_ID"]},
			"client_secret": {s.Secret()["SENTINEL_CLIENT_SECRET"]}, "scope": {"https://monitor.azure.com/.default"},
		},
	}
	a.Query = "?api-version=2023-01-01"
	a.Sign = func() map[string]string {
		token, code := a.token()
		if token == "" {
			t.Errorf("no token: %s", code)
		}
		return map[string]string{"Authorization": "Bearer " + token}
	}
	return a
}

func client(t *testing.T) *siemtest.Client { return newAzure(t, siem.Options{}, sentinel.New).Client }

// token asks for a token. Without one, it returns the code of the refusal.
func (a *azure) token() (token, code string) {
	status, text := a.Send(a.methodToken, "/"+a.tenant+"/oauth2/v2.0/token", a.form.Encode(),
		map[string]string{"Content-Type": a.kind})
	var reply struct {
		AccessToken string `json:"access_token"`
		Codes       []int  `json:"error_codes"`
	}
	_ = json.Unmarshal([]byte(text), &reply)
	if reply.AccessToken != "" {
		return reply.AccessToken, ""
	}
	return "", strings.TrimSpace(fmt.Sprintf("%d %d", status, reply.Codes))
}

// row is a row of an event of that id.
func row(id string) string {
	return `{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":"r","UserId":null,"UserEmail":null,"Operation":null,"ModelId":null,` +
		`"PolicyAction":null,"DlpLabels":"[]","TokensInput":7,"TokensOutput":null,"SeverityId":1,` +
		`"RawOCSF":"{\"time\":1773360000123,\"severity_id\":1,\"api\":{\"request\":{\"uid\":\"r\"}},\"unmapped\":{\"tokens_input\":7},\"metadata\":{\"uid\":\"` + id + `\"}}"}`
}

func TestKeepsTheEvents(t *testing.T) {
	c := client(t)
	if status, text := c.Post("[" + row("a") + "," + row("b") + "]"); status != 204 {
		t.Fatalf("%d %s; %s", status, text, c.Stats().LastProblem)
	}
	got := c.Accepted()
	if len(got) != 2 || got[1].ID != "b" || got[1].Fields["EventId"] != "r" || got[1].Fields["TokensInput"] != "7" ||
		got[1].Truncated || !strings.HasPrefix(string(got[1].Event), `{"time":1773360000123,`) {
		t.Errorf("accepted %+v", got)
	}
	if _, there := got[0].Fields["UserId"]; there {
		t.Error("a null column is kept as a value")
	}
	if status, _ := c.Post("[]"); status != 204 || len(c.Stats().Violations) > 0 || c.Stats().Accepted != 2 {
		t.Errorf("no row: %d, %+v", status, c.Stats())
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(a *azure)
		want  string
	}{
		{"another tenant", func(a *azure) { a.tenant = "common" }, "400 [90002]"},
		{"no form", func(a *azure) { a.kind = "application/json" }, "400 [900144]"},
		{"no grant type", func(a *azure) { a.form.Del("grant_type") }, "400 [900144]"},
		{"another grant type", func(a *azure) { a.form.Set("grant_type", "password") }, "400 [70003]"},
		{"another client", func(a *azure) { a.form.Set("client_id", "x") }, "400 [700016]"},
		{"another secret", func(a *azure) { a.form.Set("client_secret", "x") }, "401 [7000215]"},
		{"a rotated secret", func(a *azure) { a.Rotate() }, "401 [7000222]"},
		{"an expired secret", func(a *azure) { siemtest.Product("AADSTS7000222")(a.Client) }, "401 [7000222]"},
		{"another scope", func(a *azure) { a.form.Set("scope", "https://monitor.azure.com/") }, "400 [1002012]"},
		{"GET", func(a *azure) { a.methodToken = http.MethodGet }, "405 []"},
	} {
		a := newAzure(t, siem.Options{}, sentinel.New)
		test.spoil(a)
		if token, got := a.token(); token != "" || got != test.want || a.simulator.Issued() != 0 {
			t.Errorf("%s: %q, want %q; %d tokens were issued", test.name, got, test.want, a.simulator.Issued())
		}
	}
}

func TestRefusesTheRequest(t *testing.T) {
	big := "[" + strings.Repeat(row("a")+",", 3000) + row("b") + "]"
	gzip := siemtest.Header("Content-Encoding", "gzip")
	refuse := siemtest.Refuses(t, client)
	refuse("another token", siemtest.Header("Authorization", "Bearer x"), "[]", 401, "InvalidToken")
	refuse("another scheme", func(c *siemtest.Client) {
		c.Headers["Authorization"] = strings.TrimPrefix(c.Sign()["Authorization"], "Bearer ")
	}, "[]", 401, "InvalidToken")
	refuse("a token of a rotated secret", func(c *siemtest.Client) {
		siemtest.Rotate(c)
		c.Sign = nil
	}, "[]", 401, "InvalidToken")
	refuse("a token refused", siemtest.Product("InvalidToken"), "[]", 401, "InvalidToken")
	refuse("no role", siemtest.Product("OperationFailed"), "[]", 403, "OperationFailed")
	refuse("another rule", func(c *siemtest.Client) {
		c.Path = strings.Replace(c.Path, "dcr-0", "dcr-1", 1)
	}, "[]", 404, "NotFound")
	refuse("another path", siemtest.Path("/api/logs"), "[]", 404, "NotFound")
	refuse("another stream", func(c *siemtest.Client) { c.Path += "2" }, "[]", 400, "InvalidStream")
	refuse("no stream", siemtest.Product("InvalidStream"), "[]", 400, "InvalidStream")
	refuse("another version", siemtest.Query("?api-version=2016-04-01"), "[]", 400, "UnsupportedApiVersion")
	refuse("too large", nil, big, 413, "ContentLengthLimitExceeded")
	refuse("too large uncompressed", gzip, siemtest.Gzip(t, big), 413, "ContentLengthLimitExceeded")
	refuse("not gzip", gzip, "[]", 400, "InvalidPayload")
	refuse("another encoding", siemtest.Header("Content-Encoding", "deflate"), "[]", 415, "UnsupportedContentEncoding")
	refuse("an object", nil, row("a"), 400, "InvalidPayload")
	refuse("null", nil, "null", 400, "InvalidPayload")
	refuse("invalid JSON", nil, "["+row("a")+",]", 400, "InvalidPayload")
	refuse("nothing", nil, "", 400, "InvalidPayload")
	refuse("a row that is not an object", nil, "["+row("a")+",7]", 400, "InvalidPayload")
	refuse("a poisonous row", nil, "["+row("a")+","+row("poison")+"]", 400, "InvalidPayload")
	refuse("GET", siemtest.Method(http.MethodGet), "", 405, "MethodNotAllowed")
}

func TestTokenExpires(t *testing.T) {
	now := time.Unix(1_773_360_000, 0)
	a := newAzure(t, siem.Options{Now: func() time.Time { return now }}, sentinel.New)
	a.Headers["Authorization"] = a.Sign()["Authorization"]
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{0, 204}, {3598 * time.Second, 204}, {time.Second, 401}} {
		now = now.Add(step.pass)
		if got, _ := a.Post("[]"); got != step.want {
			t.Errorf("%s later: %d, want %d", step.pass, got, step.want)
		}
	}
}

// TestViolations sends what Azure takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := row("a")
	replace := func(old, other string) string { return "[" + strings.Replace(good, old, other, 1) + "]" }
	siemtest.Violates(t, client, "["+good+"]", map[string]string{
		"white space":       "[" + good + ", " + row("b") + "]",
		"a column too many": replace(`"SeverityId"`, `"Extra":1,"SeverityId"`),
		"a column missing":  replace(`"ModelId":null,`, ``),
		"another order": replace(`"UserId":null,"UserEmail":null`,
			`"UserEmail":null,"UserId":null`),
		"a column twice":       replace(`"UserId":null`, `"UserId":null,"UserId":null`),
		"another time":         replace(`00.123Z`, `00.124Z`),
		"time without millis":  replace(`00.123Z`, `00Z`),
		"labels as an array":   replace(`"[]"`, `[]`),
		"labels of others":     replace(`"[]"`, `"[\"pii\"]"`),
		"a number as a string": replace(`"TokensInput":7`, `"TokensInput":"7"`),
		"empty for absent":     replace(`"UserId":null`, `"UserId":""`),
		"another severity":     replace(`"SeverityId":1`, `"SeverityId":2`),
		"no event":             replace(`"RawOCSF":"{`, `"RawOCSF":"`),
		"an event of lines":    replace(`"RawOCSF":"{`, `"RawOCSF":"{\n`),
		"a value too long": replace(`"RawOCSF":"{`, `"RawOCSF":"{\"x\":\"`+strings.Repeat("x",
			64<<10)+`\",`),
		"no utf-8":        replace(`\"uid\":\"a\"`, "\\\"uid\\\":\\\"\xff\\\""),
		"too many events": "[" + strings.TrimSuffix(strings.Repeat(good+",", 101), ",") + "]",
	}, map[string]siemtest.Change{
		"content type": siemtest.Header("Content-Type", "text/plain"),
		"more query":   siemtest.Query("?api-version=2023-01-01&x=1"),
	})
}

// TestFederatedCredential: the application accepts a token of its AWS role, and no client secret.
func TestFederatedCredential(t *testing.T) {
	now := time.Now()
	a := newAzure(t, siem.Options{Now: func() time.Time { return now }}, sentinel.NewFederated)
	if len(a.Secret()) != 0 || a.Settings()["SENTINEL_AUTH"] != "federated" {
		t.Errorf("secret %v, settings %v", a.Secret(), a.Settings())
	}
	assertion := sentinel.Assertion(now.Add(time.Minute))
	foreign := strings.Split(assertion, ".")
	foreign[1] = base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"aud":"api://AzureADTokenExchange","iss":"i","sub":"s","exp":%d}`, now.Add(time.Hour).Unix())))
	for _, c := range []struct{ assertion, want string }{
		{"", "400 [50027]"}, {"a.b", "400 [50027]"}, {"a.!.c", "400 [50027]"},
		{sentinel.Assertion(now), "401 [700024]"}, {strings.Join(foreign, "."), "401 [700213]"}, {assertion, ""},
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
	if status, text := a.Post("[" + row("a") + "]"); status != 204 {
		t.Errorf("rows with the token: %d %s", status, text)
	}
}
