package lambdahost

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

func stsEnv(more map[string]string) func(string) string {
	env := map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY": "the-secret-key", "AWS_SESSION_TOKEN": "session"}
	return func(name string) string {
		if v, ok := more[name]; ok {
			return v
		}
		return env[name]
	}
}

var signedAt = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestIdentity(t *testing.T) {
	var got *http.Request
	var form url.Values
	status, response := 200, `<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>`+
		`<Expiration>2026-11-26T12:05:00Z</Expiration><WebIdentityToken>eyJ.body.sig</WebIdentityToken></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, form = r, nil
		form, _ = url.ParseQuery(string(body))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, response)
	}))
	defer srv.Close()
	identity := Identity(stsEnv(map[string]string{"AWS_ENDPOINT_URL_STS": srv.URL}), func() time.Time { return signedAt })
	token, err := identity(t.Context(), "api://AzureADTokenExchange")
	if err != nil || token.Reveal() != "eyJ.body.sig" {
		t.Fatalf("%v", err)
	}
	for name, want := range map[string]string{
		"Action": "GetWebIdentityToken", "Version": "2011-06-15", "Audience.member.1": "api://AzureADTokenExchange",
		"SigningAlgorithm": "RS256",
	} {
		if form.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, form.Get(name), want)
		}
	}
	const scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/eu-central-1/sts/aws4_request, SignedHeaders="
	if h := got.Header; !strings.HasPrefix(h.Get("Authorization"), scope) || h.Get("X-Amz-Date") != "20261126T120000Z" ||
		h.Get("X-Amz-Security-Token") != "session" {
		t.Errorf("%s %v", got.Method, h)
	}
	for _, test := range []struct {
		status     int
		body       string
		kind       failure.Kind
		code, hint string
	}{
		{403, "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>" +
			"<Message>no</Message></Error></ErrorResponse>",
			failure.Misconfigured, "AccessDenied", "role needs sts:GetWebIdentityToken"},
		{400, "<ErrorResponse><Error><Code>OutboundWebIdentityFederationDisabled</Code></Error></ErrorResponse>",
			failure.Misconfigured, "OutboundWebIdentityFederationDisabled", "turn on outbound"},
		{400, "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>", failure.Transient, "Throttling", ""},
		{503, "<html>", failure.Transient, "", ""},
		{200, "<html>", failure.Transient, "", ""},
	} {
		status, response = test.status, test.body
		f := failure.Of(func() error { _, err := identity(t.Context(), "a"); return err }())
		if f == nil || f.Kind != test.kind || f.Code != test.code || f.Step != failure.Auth || !strings.Contains(f.Hint,
			test.hint) || strings.Contains(f.Error(), "the-secret-key") {
			t.Errorf("%d %s: %+v", test.status, test.body, f)
		}
	}
	srv.Close()
	if _, err := identity(t.Context(), "a"); failure.Of(err).Kind != failure.Transient {
		t.Errorf("no connection: %v", err)
	}
}

// TestIdentityEndpoint: the global endpoint of STS does not have the action.
func TestIdentityEndpoint(t *testing.T) {
	for want, more := range map[string]map[string]string{
		"https://sts.eu-central-1.amazonaws.com/":       {},
		"https://sts.cn-north-1.amazonaws.com.cn/":      {"AWS_REGION": "cn-north-1"},
		"https://sts-fips.us-gov-west-1.amazonaws.com/": {"AWS_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
		"http://127.0.0.1:4566/":                        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
	} {
		env := stsEnv(more)
		cfg, err := AWSConfig(env, "STS")
		if err != nil {
			t.Fatal(err)
		}
		req, err := identityRequest(t.Context(), cfg, env, "a", signedAt)
		if err != nil || req.URL.String() != want {
			t.Errorf("%v: %v, want %s", more, req, want)
		}
	}
	if _, err := Identity(func(string) string { return "" }, time.Now)(t.Context(),
		"a"); failure.Of(err).Kind != failure.Misconfigured {
		t.Errorf("without an environment: %v", err)
	}
}
