package connector

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

func TestTokenRequest(t *testing.T) {
	a := newAzure(t)
	var got *http.Request
	grant := a.grant
	a.grant = func(w http.ResponseWriter, r *http.Request) { got = r; grant(w, r) }
	mustSend(t, a.open(t, "SENTINEL_SCOPE", "https://monitor.azure.cn/.default"))
	form, err := url.ParseQuery(a.forms[0])
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
		got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
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
	if n := a.tokens(); n != want {
		t.Errorf("%d tokens asked for, want %d", n, want)
	}
}

func TestTokenIsKeptAndRenewedFiveMinutesEarly(t *testing.T) {
	a := newAzure(t)
	a.expires = 3600
	c := a.open(t)
	for _, step := range []struct {
		pass   time.Duration
		tokens int
	}{
		{0, 1},
		{0, 1},
		{55*time.Minute - time.Millisecond, 1},
		{time.Millisecond, 2}, // five minutes before its expiry
		{54 * time.Minute, 2},
		{time.Hour, 3}, // after a long sleep
	} {
		a.pass(step.pass)
		mustSend(t, c)
		a.wantTokens(t, step.tokens)
		r := a.requests()
		if got := r[len(r)-1].Header.Get("Authorization"); got != "Bearer "+accessToken(step.tokens) {
			t.Errorf("%s later: another token was used", step.pass)
		}
	}
}

// TestTokenThatExpiresSoon: a token with less than five minutes left is renewed before each request.
func TestTokenThatExpiresSoon(t *testing.T) {
	a := newAzure(t)
	a.expires = 299
	c := a.open(t)
	for want := 1; want <= 2; want++ {
		if f := send(t.Context(), t, c); f != nil || a.tokens() != want {
			t.Errorf("%d tokens asked for, want %d; %v", a.tokens(), want, f)
		}
	}
}

func TestRenewalThatFailsEarlyKeepsTheToken(t *testing.T) {
	a := newAzure(t)
	a.expires = 3600
	c := a.open(t)
	mustSend(t, c)
	a.grant = connectortest.Status(http.StatusServiceUnavailable, "")
	for _, step := range []struct {
		pass   time.Duration
		tokens int
		fails  bool
	}{
		{56 * time.Minute, 2, false},
		{time.Second, 2, false}, // not asked for again with each request
		{renewAgain, 3, false},
		{4 * time.Minute, 4, true}, // expired
	} {
		a.pass(step.pass)
		f := send(t.Context(), t, c)
		if (f != nil) != step.fails {
			t.Errorf("%s later: %v, want a failure: %v", step.pass, f, step.fails)
		}
		a.wantTokens(t, step.tokens)
	}
}

// TestRenewalThatIsRefused is another matter: the secret has to be read again.
func TestRenewalThatIsRefused(t *testing.T) {
	a := newAzure(t)
	a.expires = 3600
	c := a.open(t)
	mustSend(t, c)
	a.grant = connectortest.Status(http.StatusUnauthorized, `{"error":"invalid_client"}`)
	a.pass(56 * time.Minute)
	if f := send(t.Context(), t, c); f == nil || f.Kind != failure.Unauthorized {
		t.Errorf("refused: %v", f)
	}
}

func TestTokenIsDroppedOn401Only(t *testing.T) {
	for status401, tokens := range map[int]int{http.StatusUnauthorized: 2, http.StatusForbidden: 1, http.StatusNotFound: 1,
		http.StatusInternalServerError: 1} {
		a := newAzure(t)
		c := a.open(t)
		good := a.ingest
		a.ingest = connectortest.Status(status401, "")
		if f := send(t.Context(), t, c); f == nil || f.Status != status401 {
			t.Errorf("%d: %v", status401, f)
		}
		a.ingest = good
		if f := send(t.Context(), t, c); f != nil {
			t.Errorf("%d: %v", status401, f)
		}
		a.wantTokens(t, tokens)
	}
}

func TestDropKeepsANewerToken(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	old, err := c.token(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.tokens.Drop(old)
	newer, err := c.token(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.tokens.Drop(old)
	if again, _ := c.token(t.Context(), nil); again != newer {
		t.Error("a refusal of the old token dropped the new one")
	}
}

// TestOneRequestForAToken: many need it at once, one asks.
func TestOneRequestForAToken(t *testing.T) {
	a := newAzure(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	grant := a.grant
	a.grant = func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		grant(w, r)
	}
	c := a.open(t)
	results := make(chan error)
	get := func() {
		_, err := c.token(t.Context(), nil)
		results <- err
	}
	go get()
	<-arrived
	for range 9 {
		go get()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.token(ctx, nil); !errors.Is(err, context.Canceled) || failure.Of(err).Step != failure.Auth ||
		failure.Of(err).Kind != failure.Transient {
		t.Errorf("one whose time is over waits on: %v", err)
	}
	close(release)
	for range 10 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	a.wantTokens(t, 1)
}

// TestWaitersOutliveTheCaller: when the one who asks has no time left, one of those who wait asks anew.
func TestWaitersOutliveTheCaller(t *testing.T) {
	a := newAzure(t)
	arrived := make(chan struct{}, 2)
	grant := a.grant
	var first sync.Once
	a.grant = func(w http.ResponseWriter, r *http.Request) {
		hang := false
		first.Do(func() { hang = true })
		arrived <- struct{}{}
		if hang {
			<-r.Context().Done()
			return
		}
		grant(w, r)
	}
	c := a.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	leader, waiter := make(chan error), make(chan error)
	go func() { _, err := c.token(ctx, nil); leader <- err }()
	<-arrived
	go func() { _, err := c.token(t.Context(), nil); waiter <- err }()
	cancel()
	if err := <-leader; err == nil {
		t.Error("the one whose time was over got a token")
	}
	if err := <-waiter; err != nil {
		t.Errorf("the one who waited: %v", err)
	}
	a.wantTokens(t, 2)
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
		{"throttled", connectortest.Status(429, ""), "throttled"},
		{"broken", connectortest.Status(500, ""), "transient"},
		{"unavailable", connectortest.Status(503, ""), "transient"},
	} {
		a := newAzure(t)
		a.grant = test.answer
		f := send(t.Context(), t, a.open(t))
		got := ""
		if f != nil {
			got = strings.TrimSpace(f.Kind.String() + " " + f.Code)
			if f.Step != failure.Auth {
				t.Errorf("%s: step %s, want auth", test.name, f.Step)
			}
			if strings.Contains(f.Error(), "SECRETTOKEN") {
				t.Errorf("%s: the token shows in %s", test.name, f)
			}
		}
		if got != test.want {
			t.Errorf("%s: %q (%v), want %q", test.name, got, f, test.want)
		}
		if f != nil && len(a.requests()) != 0 {
			t.Errorf("%s: events were posted without a token", test.name)
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

func TestTokenEndpointThrottles(t *testing.T) {
	a := newAzure(t)
	a.grant = connectortest.Status(429, "", "Retry-After", "17")
	if f := send(t.Context(), t, a.open(t)); f == nil || f.RetryAfter != 17*time.Second {
		t.Errorf("%+v", f)
	}
}

func TestTokenEndpointOutOfReach(t *testing.T) {
	a := newAzure(t)
	c := a.open(t, "SENTINEL_AUTHORITY_HOST", "http://127.0.0.1:1")
	f := send(t.Context(), t, c)
	if f == nil || f.Kind != failure.Transient || f.Step != failure.Connect || !strings.Contains(f.Hint,
		"SENTINEL_AUTHORITY_HOST") {
		t.Errorf("%+v", f)
	}
	c = a.open(t, "SENTINEL_DCR_ENDPOINT", "http://127.0.0.1:1")
	if f = send(t.Context(), t, c); f == nil || f.Step != failure.Connect || !strings.Contains(f.Hint,
		"SENTINEL_DCR_ENDPOINT") {
		t.Errorf("%+v", f)
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
			if code/100 != 2 || !sendable(strings.TrimPrefix(got.header.Get("Authorization"), "Bearer ")) ||
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

// withIdentity is a configuration without a client secret, in a function whose role has an identity.
func withIdentity(t *testing.T, a *azure, identity settings.Identity) *connector {
	t.Helper()
	return connectortest.Read(t, env("SENTINEL_DCR_ENDPOINT", a.URL, "SENTINEL_AUTHORITY_HOST", a.URL,
		"SIEM_ALLOW_HTTP", "true", "SENTINEL_AUTH", "federated", "SENTINEL_CLIENT_SECRET", ""),
		func(s *settings.Settings) deliver.Connector {
			s.Identity = identity
			return Open(s)
		}).(*connector)
}

func roleIdentity(_ context.Context, audience string) (secret.Value, error) {
	if audience != "api://AzureADTokenExchange" {
		return secret.Value{}, fmt.Errorf("audience %q", audience)
	}
	return secret.New(assertion), nil
}

// TestFederated: the token request proves the identity of the function's role in place of a client secret.
func TestFederated(t *testing.T) {
	a := newAzure(t)
	mustSend(t, withIdentity(t, a, roleIdentity))
	form, err := url.ParseQuery(a.forms[0])
	if err != nil || len(a.forms) != 1 {
		t.Fatalf("%q: %v", a.forms, err)
	}
	for name, want := range map[string]string{
		"grant_type": "client_credentials", "client_id": "client-1", "scope": defaultScope, "client_assertion": assertion,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	} {
		if form.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, form.Get(name), want)
		}
	}
	if form.Has("client_secret") {
		t.Error("a client secret was sent")
	}
}

func TestFederatedFails(t *testing.T) {
	denied := &failure.Error{Kind: failure.Misconfigured, Step: failure.Auth, Code: "AccessDenied",
		Hint: "sts:GetWebIdentityToken"}
	for name, test := range map[string]struct {
		identity settings.Identity
		grant    http.HandlerFunc
		kind     failure.Kind
		says     string
	}{
		"outside of AWS": {nil, nil, failure.Misconfigured, "only in AWS"},
		"denied": {func(context.Context, string) (secret.Value, error) { return secret.Value{}, denied }, nil,
			failure.Misconfigured, "sts:GetWebIdentityToken"},
		"no credential": {roleIdentity, connectortest.Status(400, `{"error":"invalid_client","error_description":"`+assertion+
			`","error_codes":[700213]}`),
			failure.Unauthorized, "issuer, subject and audience"},
	} {
		a := newAzure(t)
		if test.grant != nil {
			a.grant = test.grant
		}
		f := send(t.Context(), t, withIdentity(t, a, test.identity))
		if f == nil || f.Kind != test.kind || f.Step != failure.Auth || !strings.Contains(f.Error(), test.says) ||
			strings.Contains(f.Error(), assertion) {
			t.Errorf("%s: %+v, want %q", name, f, test.says)
		}
		if len(a.requests()) > 0 {
			t.Errorf("%s: events were posted without a token", name)
		}
	}
}

// TestConformanceFederated runs the suite without a client secret.
func TestConformanceFederated(t *testing.T) {
	s := suite().With("SENTINEL_AUTH", "federated").With("SENTINEL_CLIENT_SECRET", "")
	opened := s.Open
	s.Open = func(set *settings.Settings) deliver.Connector {
		set.Identity = roleIdentity
		return opened(set)
	}
	s.Secrets = []string{assertion, accessToken(1)}
	connectortest.Run(t, s)
}
