// Package sentinel simulates the two services of Microsoft Sentinel that a connector uses, on one server: the token
// endpoint of Microsoft Entra ID and the Logs Ingestion API of Azure Monitor.
//
// The API accepts all rows of a request or none. Values that Azure changes silently (a value over 64 KB, a column that
// the stream does not declare, a value of another type) are violations. Product faults: "OperationFailed" (403, the
// role is missing), "InvalidToken" (401, although the token is valid), "InvalidStream" (400) and "AADSTS7000222" (401
// of the token endpoint, the client secret has expired).
//
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
package sentinel

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const (
	// maxContent is the API's limit on a request, both compressed and uncompressed.
	maxContent = 1_048_576

	// maxValue is the size of a column; Azure cuts longer values.
	maxValue = 64 << 10

	tenant   = "00000000-aaaa-4bbb-8ccc-0123456789ab"
	clientID = "11111111-dddd-4eee-8fff-0123456789ab"
	ruleID   = "dcr-0123456789abcdef0123456789abcdef"
	stream   = "Custom-ArbitexAudit_CL"
	scope    = "https://monitor.azure.com/.default"

	tokenPath  = "/" + tenant + "/oauth2/v2.0/token"
	ingestPath = "/dataCollectionRules/" + ruleID + "/streams/" + stream

	tokenLife = 3599 * time.Second
)

// Simulator is a token endpoint and an ingestion endpoint.
type Simulator struct {
	*siem.Server
	*siem.Credential // client secret

	federated bool

	mu     sync.Mutex
	tokens map[string]time.Time // expiry
	issued int

	summary summary
}

// New starts a simulator whose application has a client secret.
func New(o siem.Options) (*Simulator, error) { return start(o, false) }

// NewFederated starts a simulator whose application has no client secret, but a federated credential; see [Assertion].
func NewFederated(o siem.Options) (*Simulator, error) { return start(o, true) }

func start(o siem.Options, federated bool) (s *Simulator, err error) {
	s = &Simulator{Credential: siem.NewCredential(newSecret), federated: federated, tokens: map[string]time.Time{}}
	s.Server, err = siem.Serve(o, siem.Config{
		Name: "sentinel", Handle: s.handle, MaxBody: maxContent, MaxWire: maxContent,
	})
	return s, err
}

// Settings implements siem.Simulator. The connector has no setting for a CA, so SSL_CERT_FILE contains it.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{
		"SENTINEL_TENANT_ID": tenant, "SENTINEL_CLIENT_ID": clientID,
		"SENTINEL_DCR_ENDPOINT": s.URL(), "SENTINEL_DCR_RULE_ID": ruleID, "SENTINEL_DCR_STREAM_NAME": stream,
		"SENTINEL_AUTHORITY_HOST": s.URL(),
	}
	if s.federated {
		settings["SENTINEL_AUTH"] = "federated"
	}
	return s.Trust(settings, "")
}

// Secret implements siem.Simulator: the client secret.
func (s *Simulator) Secret() map[string]string {
	if s.federated {
		return map[string]string{}
	}
	return map[string]string{"SENTINEL_CLIENT_SECRET": s.Value()}
}

// Rotate implements siem.Simulator. Entra ID no longer issues tokens for the old secret, and the tokens that it has
// issued are refused at once, as after the revocation of the application's sessions.
func (s *Simulator) Rotate() {
	s.Credential.Rotate()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Issued returns the number of issued tokens.
func (s *Simulator) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// isToken reports whether a request is for the token endpoint.
func isToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }

// Ingests reports whether a request contains rows; for Fault.On.
func Ingests(r *http.Request) bool { return !isToken(r) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if isSearch(r) {
		return s.search(r)
	}
	if isToken(r.Request) {
		return s.grant(r)
	}
	return s.ingest(r)
}

// newSecret returns a client secret in the form of Entra ID's.
func newSecret() string { return randomText(7) + "~" + randomText(21) }

func randomText(bytes int) string { return base64.RawURLEncoding.EncodeToString(siem.Random(bytes)) }

// denials are the refusals of the token endpoint, by code.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
const (
	noTenant       = 90002
	noParameter    = 900144
	wrongGrant     = 70003
	noApp          = 700016
	wrongSecret    = 7000215
	lateSecret     = 7000222
	wrongScope     = 1002012
	badAssertion   = 50027
	lateAssertion  = 700024
	wrongAssertion = 700213
)

var denials = map[int]struct {
	status     int
	kind, text string
}{
	noTenant:    {400, "invalid_request", "Tenant not found. Check to make sure you have the correct tenant ID."},
	noParameter: {400, "invalid_request", "The request body must contain the following parameter: 'grant_type'."},
	wrongGrant:  {400, "unsupported_grant_type", "The app requested an unsupported grant type."},
	noApp:       {400, "unauthorized_client", "Application was not found in the directory."},
	wrongScope: {400, "invalid_scope",
		"The provided value for scope is not valid. Client credential flows must have a scope value with /.default."},
	wrongSecret:   {401, "invalid_client", "Invalid client secret provided."},
	lateSecret:    {401, "invalid_client", "The provided client secret keys are expired."},
	badAssertion:  {400, "invalid_request", "JWT token is invalid or malformed."},
	lateAssertion: {401, "invalid_client", "Client assertion is not within its valid time range."},
	wrongAssertion: {401, "invalid_client",
		"No matching federated identity record found for presented assertion subject."},
}

// deny returns the token endpoint's refusal with that code.
func deny(code int) siem.Answer {
	d := denials[code]
	return siem.Answer{
		Status: d.status, Header: map[string]string{"Content-Type": "application/json; charset=utf-8",
			"Cache-Control": "no-store, no-cache"},
		Body: fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: %s","error_codes":[%[2]d],"trace_id":"0"}`, d.kind,
			code, d.text),
		Reason: fmt.Sprintf("%d AADSTS%d", d.status, code), Detail: d.text,
	}
}

// grant responds to a request for a token with the client credentials grant.
func (s *Simulator) grant(r *siem.Request) siem.Answer {
	if r.Method != http.MethodPost {
		return siem.Answer{Status: http.StatusMethodNotAllowed,
			Body: "AADSTS900561: The endpoint only accepts POST requests."}
	}
	if r.URL.Path != tokenPath {
		return deny(noTenant)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form, err := url.ParseQuery(string(r.Body))
	if r.Problem != nil || err != nil || kind != "application/x-www-form-urlencoded" || r.Encoding != "" ||
		!form.Has("grant_type") {
		return deny(noParameter)
	}
	if r.URL.RawQuery != "" {
		s.Violate("there is a query in the token request's url")
	}
	if s.Product("AADSTS7000222") {
		return deny(lateSecret)
	}
	return s.judgeForm(form)
}

func (s *Simulator) judgeForm(form url.Values) siem.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case form.Get("grant_type") != "client_credentials":
		return deny(wrongGrant)
	case form.Get("client_id") != clientID:
		return deny(noApp)
	case form.Get("scope") != scope:
		return deny(wrongScope)
	}
	code := s.judgeSecret(form)
	if s.federated {
		code = s.judgeAssertion(form)
	}
	if code != 0 {
		return deny(code)
	}
	// A real token has claims and a signature of about this length.
	token := "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + randomText(600) + "." + randomText(256)
	s.tokens[token] = s.Options().Now().Add(tokenLife)
	s.issued++
	return siem.Answer{
		Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json; charset=utf-8",
			"Cache-Control": "no-store, no-cache"},
		Body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%[1]d,"access_token":%q}`,
			int(tokenLife.Seconds()), token),
	}
}

// judgeSecret returns the code of the problem with the client secret, 0 if there is none. The simulator is locked.
func (s *Simulator) judgeSecret(form url.Values) int {
	switch valid, revoked := s.Check(form.Get("client_secret")); {
	case valid:
		return 0
	case revoked:
		return lateSecret
	}
	return wrongSecret
}

// The federated credential of the application: tokens of AWS's outbound identity federation for one role.
const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	audience      = "api://AzureADTokenExchange"
	issuer        = "https://00000000-0000-4000-8000-000000000000.tokens.sts.global.api.aws"
	subject       = "arn:aws:iam::123456789012:role/siem-sentinel"
)

type claims struct {
	Audience string `json:"aud"`
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Expires  int64  `json:"exp"`
}

// Assertion returns a token that the application of [NewFederated] accepts as its client_assertion until it expires.
// The simulator does not verify the signature.
func Assertion(expires time.Time) string {
	body, _ := json.Marshal(claims{audience, issuer, subject, expires.Unix()}) // texts and numbers always marshal
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(body) + "." + randomText(256)
}

// judgeAssertion returns the code of the problem with the client assertion, 0 if there is none.
func (s *Simulator) judgeAssertion(form url.Values) int {
	parts := strings.Split(form.Get("client_assertion"), ".")
	if form.Get("client_assertion_type") != assertionType || len(parts) != 3 {
		return badAssertion
	}
	if form.Has("client_secret") {
		s.Violate("a client secret is sent together with a client assertion")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	switch {
	case err != nil || json.Unmarshal(body, &c) != nil:
		return badAssertion
	case !s.Options().Now().Before(time.Unix(c.Expires, 0)):
		return lateAssertion
	case c.Audience != audience || c.Issuer != issuer || c.Subject != subject:
		return wrongAssertion
	}
	return 0
}

// good reports whether the request has a token that was issued, is not revoked and has not expired.
func (s *Simulator) good(r *siem.Request) bool {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	expires, known := s.tokens[token]
	return bearer && known && s.Options().Now().Before(expires)
}
