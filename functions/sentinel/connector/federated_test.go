package connector

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const assertion = "eyJhbGciOiJSUzI1NiJ9.c3Rz.signature-of-the-role"

// withIdentity is a configuration without a client secret, in a function whose role has an identity.
func withIdentity(t *testing.T, a *azure, identity settings.Identity) *connector {
	t.Helper()
	s := newSettings(env(
		"SENTINEL_DCR_ENDPOINT", a.URL, "SENTINEL_AUTHORITY_HOST", a.URL, "SIEM_ALLOW_HTTP", "true",
		"SENTINEL_AUTH", "federated", "SENTINEL_CLIENT_SECRET", ""))
	s.Identity = identity
	c := Open(s).(*connector)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return c
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
	if f := send(t.Context(), t, withIdentity(t, a, roleIdentity)); f != nil {
		t.Fatal(f)
	}
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
	s := suite()
	withURL, opened := s.Settings, s.Open
	s.Settings = func(url, ca string) map[string]string {
		e := withURL(url, ca)
		e["SENTINEL_AUTH"], e["SENTINEL_CLIENT_SECRET"] = "federated", ""
		return e
	}
	s.Open = func(set *settings.Settings) deliver.Connector {
		set.Identity = roleIdentity
		return opened(set)
	}
	s.Secrets = []string{assertion, accessToken(1)}
	connectortest.Run(t, s)
}
