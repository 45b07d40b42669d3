package sentinel

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The codes of the token endpoint's refusals.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
const (
	noTenant    = 90002
	noParameter = 900144
	wrongGrant  = 70003
	noApp       = 700016
	wrongSecret = 7000215
	lateSecret  = 7000222
	wrongScope  = 1002012
)

// deny is the token endpoint's refusal of that code.
func deny(code int) siem.Answer {
	status, kind, text := http.StatusBadRequest, "invalid_request", "Tenant not found. Check to make sure you have the correct tenant ID."
	switch code {
	case noParameter:
		text = "The request body must contain the following parameter: 'grant_type'."
	case wrongGrant:
		kind, text = "unsupported_grant_type", "The app requested an unsupported grant type."
	case noApp:
		kind, text = "unauthorized_client", "Application was not found in the directory."
	case wrongScope:
		kind, text = "invalid_scope", "The provided value for scope is not valid. Client credential flows must have a scope value with /.default."
	case wrongSecret:
		status, kind, text = http.StatusUnauthorized, "invalid_client", "Invalid client secret provided."
	case lateSecret:
		status, kind, text = http.StatusUnauthorized, "invalid_client", "The provided client secret keys are expired."
	}
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store, no-cache"},
		Body:   fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: %s","error_codes":[%[2]d],"trace_id":"0"}`, kind, code, text),
		Reason: fmt.Sprintf("%d AADSTS%d", status, code), Detail: text,
	}
}

// grant answers a request for a token: the client credentials grant.
func (s *Simulator) grant(r *siem.Request) siem.Answer {
	if r.Method != http.MethodPost {
		return siem.Answer{Status: http.StatusMethodNotAllowed, Body: "AADSTS900561: The endpoint only accepts POST requests."}
	}
	if r.URL.Path != tokenPath {
		return deny(noTenant)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form, err := url.ParseQuery(string(r.Body))
	if r.Problem != nil || err != nil || kind != "application/x-www-form-urlencoded" || r.Encoding != "" || !form.Has("grant_type") {
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
	secret := form.Get("client_secret")
	switch {
	case form.Get("grant_type") != "client_credentials":
		return deny(wrongGrant)
	case form.Get("client_id") != clientID:
		return deny(noApp)
	case secret != s.secret && slices.Contains(s.revoked, secret):
		return deny(lateSecret)
	case secret != s.secret:
		return deny(wrongSecret)
	case form.Get("scope") != scope:
		return deny(wrongScope)
	}
	// As long as a real one, which carries claims and a signature.
	token := "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + randomText(600) + "." + randomText(256)
	s.tokens[token] = s.Options().Now().Add(tokenLife)
	s.issued++
	return siem.Answer{
		Status: http.StatusOK, Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store, no-cache"},
		Body: fmt.Sprintf(`{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%[1]d,"access_token":%q}`, int(tokenLife.Seconds()), token),
	}
}

// good tells whether the request brings a token that was given out, is not revoked and has not expired.
func (s *Simulator) good(r *siem.Request) bool {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	expires, known := s.tokens[token]
	return bearer && known && s.Options().Now().Before(expires)
}
