package sentinel

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

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
	if _, ok := s.Product("AADSTS7000222"); ok {
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
