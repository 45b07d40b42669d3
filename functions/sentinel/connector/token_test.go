package connector

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// TestTokenRequest: Entra ID takes a plain form.
func TestTokenRequest(t *testing.T) {
	a := newAzure(t)
	mustSend(t, a.open(t, "SENTINEL_SCOPE", "https://monitor.azure.cn/.default"))
	got := a.forms()[0]
	form, err := url.ParseQuery(got.Text)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"client-1"}, "client_secret": {clientSecret},
		"scope": {"https://monitor.azure.cn/.default"},
	}
	if form.Encode() != want.Encode() {
		t.Errorf("form %v, want %v", form, want)
	}
	if got.Method != http.MethodPost || got.RequestURI != "/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token" ||
		got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
		got.Header.Get("Content-Encoding") != "" {
		t.Errorf("%s %s %v", got.Method, got.RequestURI, got.Header)
	}
}

func mustSend(t *testing.T, c *connector) {
	t.Helper()
	if f := send(t.Context(), t, c); f != nil {
		t.Fatal(f)
	}
}

// wantTokens requires the number of requests for a token so far.
func (a *azure) wantTokens(t *testing.T, want int) {
	t.Helper()
	if n := len(a.forms()); n != want {
		t.Errorf("%d tokens asked for, want %d", n, want)
	}
}

// TestTokenIsRenewed: five minutes before its expiry. A token that has less than that left is renewed before each
// request.
func TestTokenIsRenewed(t *testing.T) {
	a := newAzure(t)
	a.expires = 3600
	c := a.open(t)
	for _, step := range []struct {
		pass   time.Duration
		tokens int
	}{
		{0, 1}, {0, 1}, {55*time.Minute - time.Millisecond, 1}, {time.Millisecond, 2}, {54 * time.Minute, 2},
		{time.Hour, 3}, // after a long sleep
	} {
		a.pass(step.pass)
		mustSend(t, c)
		a.wantTokens(t, step.tokens)
		r := a.posted()
		if got := r[len(r)-1].Header.Get("Authorization"); got != "Bearer "+accessToken(step.tokens) {
			t.Errorf("%s later: another token was used", step.pass)
		}
	}
	a.expires = 299
	a.pass(time.Hour)
	for want := 4; want <= 5; want++ {
		mustSend(t, c)
		a.wantTokens(t, want)
	}
}

// TestRenewalThatFails: the token is used until it expires, and not asked for again with each request. If the renewal
// is refused, the secret has to be read again.
func TestRenewalThatFails(t *testing.T) {
	a := newAzure(t)
	a.expires = 3600
	c := a.open(t)
	mustSend(t, c)
	unavailable := connectortest.Status(http.StatusServiceUnavailable, "")
	for _, step := range []struct {
		pass   time.Duration
		grant  http.HandlerFunc
		tokens int
		want   string // kind of the failure
	}{
		{56 * time.Minute, unavailable, 2, ""},
		{time.Second, unavailable, 2, ""},
		{renewAgain, unavailable, 3, ""},
		{renewAgain, connectortest.Status(http.StatusUnauthorized, `{"error":"invalid_client"}`), 4, "denied"},
		{3 * time.Minute, unavailable, 5, "transient"}, // expired
	} {
		a.pass(step.pass)
		a.grant = step.grant
		got := ""
		if f := send(t.Context(), t, c); f != nil {
			got = f.Kind.String()
		}
		if got != step.want {
			t.Errorf("%s later: %q, want %q", step.pass, got, step.want)
		}
		a.wantTokens(t, step.tokens)
	}
}

func TestTokenIsDroppedOn401Only(t *testing.T) {
	for status, tokens := range map[int]int{401: 2, 403: 1, 404: 1, 500: 1} {
		a := newAzure(t)
		c := a.open(t)
		good := a.ingest
		a.ingest = connectortest.Status(status, "")
		if f := send(t.Context(), t, c); f == nil || f.Status != status {
			t.Errorf("%d: %v", status, f)
		}
		a.ingest = good
		mustSend(t, c)
		a.wantTokens(t, tokens)
	}
}

// TestWaitForAToken: one caller requests a token. Another one waits for it, as long as it has time.
func TestWaitForAToken(t *testing.T) {
	a := newAzure(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	grant := a.grant
	a.grant = func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		grant(w, r)
	}
	c := a.open(t)
	first := make(chan *failure.Error)
	b := connectortest.Batch(t, c, someEvent)
	go func() { first <- failure.Of(c.Send(t.Context(), b)) }()
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := send(ctx, t, c); !errors.Is(f, context.Canceled) || f.Step != failure.Auth || f.Kind != failure.Transient {
		t.Errorf("one whose time is over waits on: %v", f)
	}
	close(release)
	if f := <-first; f != nil {
		t.Error(f)
	}
	a.wantTokens(t, 1)
}

func TestTokenResponses(t *testing.T) {
	ok := func(life string) string {
		return `{"token_type":"Bearer","expires_in":` + life + `,"access_token":"SECRETTOKEN"}`
	}
	denied := `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.",` +
		`"error_codes":[7000215]}`
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // kind and code, "" for a token
	}{
		{"a token", connectortest.Status(200, ok("3599")), ""},
		{"seconds in a string", connectortest.Status(200, ok(`"3599"`)), ""},
		{"no life", connectortest.Status(200, `{"access_token":"SECRETTOKEN"}`), "transient"},
		{"life 0", connectortest.Status(200, ok("0")), "transient"},
		{"life -1", connectortest.Status(200, ok("-1")), "transient"},
		{"life beyond reason", connectortest.Status(200, ok("99999999999")), "transient"},
		{"half a second", connectortest.Status(200, ok("0.5")), "transient"},
		{"no token", connectortest.Status(200, `{"expires_in":3599}`), "transient"},
		{"a token of two lines", connectortest.Status(200, `{"expires_in":3599,"access_token":"SECRETTOKEN\r\nX-Y: z"}`),
			"transient"},
		{"a token that is not a string", connectortest.Status(200, `{"expires_in":3599,"access_token":7}`), "transient"},
		{"half an answer", connectortest.Status(200, ok("3599")[:60]), "transient"},
		{"cut off", connectortest.Status(200, ok("3599"), "Content-Length", "5000"), "transient"},
		{"a page", connectortest.Status(200, "<html>"), "transient"},
		{"nothing", connectortest.Status(204, ""), "transient"},
		{"wrong secret", connectortest.Status(401, denied), "denied AADSTS7000215"},
		{"unknown app", connectortest.Status(400, `{"error":"unauthorized_client","error_codes":[700016]}`),
			"denied AADSTS700016"},
		{"wrong scope", connectortest.Status(400, `{"error":"invalid_scope"}`), "denied invalid_scope"},
		{"401 of a proxy", connectortest.Status(401, "who are you?"), "denied"},
		{"403", connectortest.Status(403, ""), "denied"},
		{"400 of something else", connectortest.Status(400, "what?"), "held"},
		{"busy with a 400", connectortest.Status(400, `{"error":"temporarily_unavailable","error_codes":[90033]}`),
			"transient AADSTS90033"},
		{"not found", connectortest.Status(404, ""), "held"},
		{"redirect", connectortest.Status(302, "", "Location", "https://elsewhere.example.com/"), "held"},
		{"method", connectortest.Status(405, ""), "held"},
		{"too large", connectortest.Status(413, ""), "held"},
		{"unprocessable", connectortest.Status(422, ""), "held"},
		{"throttled", connectortest.Status(429, "", "Retry-After", "17"), "throttled"},
		{"broken", connectortest.Status(500, ""), "transient"},
		{"unavailable", connectortest.Status(503, ""), "transient"},
	} {
		a := newAzure(t)
		a.grant = test.answer
		f := send(t.Context(), t, a.open(t))
		got := ""
		if f != nil {
			got = strings.TrimSpace(f.Kind.String() + " " + f.Code)
			if f.Step != failure.Auth || (f.RetryAfter == 17*time.Second) != (got == "throttled") {
				t.Errorf("%s: step %s, want auth; wait %s", test.name, f.Step, f.RetryAfter)
			}
			if strings.Contains(f.Error(), "SECRETTOKEN") {
				t.Errorf("%s: the token shows in %s", test.name, f)
			}
		}
		if got != test.want {
			t.Errorf("%s: %q (%v), want %q", test.name, got, f, test.want)
		}
		if f != nil && len(a.posted()) != 0 {
			t.Errorf("%s: events were posted without a token", test.name)
		}
	}
}

// TestTokenFailureIsNotBisected: a request for a token holds no event. Its failure does not bisect a batch, not even on
// the events' last attempt.
func TestTokenFailureIsNotBisected(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500": connectortest.Status(500, ""),
		"502": connectortest.Status(502, "<html>"),
		"406": connectortest.Status(406, "<html>"),
		"400": connectortest.Status(400, `{"error":"temporarily_unavailable"}`),
		"a connection that breaks": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
	} {
		a := newAzure(t)
		a.grant = answer
		items := make([]deliver.Item, 8)
		for i := range items {
			items[i] = deliver.Item{Event: connectortest.Parse(t, someEvent), Last: true}
		}
		out := make([]deliver.Outcome, len(items))
		deliver.Deliver(t.Context(), &connectortest.Source{Connector: a.open(t)}, items, out)
		if n := len(a.forms()); n != 1 {
			t.Errorf("%s: %d tokens asked for, want 1", name, n)
		}
		for _, o := range out {
			if o.State != deliver.Retry {
				t.Errorf("%s: %v %v, want a retry", name, o.State, o.Fault)
			}
		}
	}
}

// TestTokenRefusalNamesTheSetting: which one is wrong, Microsoft Entra ID says in numbers.
func TestTokenRefusalNamesTheSetting(t *testing.T) {
	for code, want := range map[int]string{
		90002: "no tenant SENTINEL_TENANT_ID", 900023: "no tenant SENTINEL_TENANT_ID",
		700016: "no application SENTINEL_CLIENT_ID", 7000112: "SENTINEL_CLIENT_ID is disabled",
		7000215: "SENTINEL_CLIENT_SECRET is wrong", 7000222: "SENTINEL_CLIENT_SECRET has expired",
		70011: "SENTINEL_SCOPE must be", 500011: "SENTINEL_SCOPE must be", 1002012: "SENTINEL_SCOPE must be",
		1: "check SENTINEL_TENANT_ID, SENTINEL_CLIENT_ID, SENTINEL_CLIENT_SECRET (expired?) and SENTINEL_SCOPE",
	} {
		a := newAzure(t)
		a.grant = connectortest.Status(400, fmt.Sprintf(`{"error":"x","error_codes":[%d]}`, code))
		if f := send(t.Context(), t, a.open(t)); f == nil || f.Kind != failure.Unauthorized || !strings.Contains(f.Hint,
			want) {
			t.Errorf("AADSTS%d: %+v, want a hint with %q", code, f, want)
		}
	}
}

// FuzzTokenResponse: whatever the token endpoint says, the outcome is a token that fits a header, or a fault at step
// auth that blames no event and shows no token.
func FuzzTokenResponse(f *testing.F) {
	f.Add(200, []byte(`{"token_type":"Bearer","expires_in":3599,"access_token":"abc"}`))
	f.Add(200, []byte(`{"expires_in":"1e3","access_token":"a b"}`))
	f.Add(401, []byte(`{"error":"invalid_client","error_codes":[7000215]}`))
	f.Add(400, []byte(`{"error":{"code":"x"}}`))
	f.Add(503, []byte{})
	a := newAzure(f)
	c := a.open(f)
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		if code < 200 || code > 599 {
			return
		}
		a.grant = connectortest.Status(code, string(body))
		got, life, err := c.requestToken(t.Context(), nil)
		if err == nil {
			if code/100 != 2 || !regexp.MustCompile(`^Bearer [!-~]+$`).MatchString(got.Header.Get("Authorization")) ||
				life.Renew.UnixMilli() >= life.Expire.UnixMilli() {
				t.Fatalf("a token of %d %q", code, body)
			}
			return
		}
		switch fl := failure.Of(err); fl.Kind {
		case failure.Rejected, failure.TooLarge, failure.Unprocessed:
			t.Fatalf("%d %q blames an event: %v", code, body, err)
		default:
			if fl.Step != failure.Auth {
				t.Fatalf("step %s", fl.Step)
			}
		}
	})
}

const assertion = "eyJhbGciOiJSUzI1NiJ9.c3Rz.signature-of-the-role"

func roleIdentity(_ context.Context, audience string) (secret.Value, error) {
	if audience != "api://AzureADTokenExchange" {
		return secret.Value{}, fmt.Errorf("audience %q", audience)
	}
	return secret.New(assertion), nil
}

// TestFederated: the token request proves the identity of the function's role in place of a client secret.
func TestFederated(t *testing.T) {
	a := newAzure(t)
	mustSend(t, a.open(t, "SENTINEL_AUTH", "federated"))
	form, err := url.ParseQuery(a.forms()[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"client-1"}, "scope": {"https://monitor.azure.com/.default"},
		"client_assertion":      {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	if form.Encode() != want.Encode() {
		t.Errorf("form %v, want %v", form, want)
	}
	s := suite().With("SENTINEL_AUTH", "federated").With("SENTINEL_CLIENT_SECRET", "")
	s.Secrets = []string{assertion, accessToken(1)}
	connectortest.Run(t, s)
}

func TestFederatedFails(t *testing.T) {
	denied := &failure.Error{Kind: failure.Misconfigured, Step: failure.Auth, Code: "AccessDenied",
		Hint: "sts:GetWebIdentityToken"}
	for name, test := range map[string]struct {
		identity settings.Identity
		kind     failure.Kind
		says     string
	}{
		"outside of AWS": {nil, failure.Misconfigured, "only in AWS"},
		"denied": {func(context.Context, string) (secret.Value, error) { return secret.Value{}, denied },
			failure.Misconfigured, "sts:GetWebIdentityToken"},
		"no credential": {roleIdentity, failure.Unauthorized, "issuer, subject and audience"},
	} {
		a := newAzure(t)
		a.grant = connectortest.Status(400, `{"error":"invalid_client","error_description":"`+assertion+
			`","error_codes":[700213]}`)
		c := a.open(t, "SENTINEL_AUTH", "federated", "SENTINEL_CLIENT_SECRET", "")
		c.identity = test.identity
		f := send(t.Context(), t, c)
		if f == nil || f.Kind != test.kind || f.Step != failure.Auth || !strings.Contains(f.Error(), test.says) ||
			strings.Contains(f.Error(), assertion) {
			t.Errorf("%s: %+v, want %q", name, f, test.says)
		}
		if len(a.posted()) > 0 {
			t.Errorf("%s: events were posted without a token", name)
		}
	}
}
