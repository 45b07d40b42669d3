package lambdahost

import (
	"bufio"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// lambdaEnv is the environment that Lambda sets, with more variables as pairs of a name and a value.
func lambdaEnv(more ...string) settings.Lookup {
	env := map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA",
		"AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t"}
	for pair := range slices.Chunk(more, 2) {
		env[pair[0]] = pair[1]
	}
	return func(name string) string { return env[name] }
}

func TestAWSConfig(t *testing.T) {
	cfg, err := AWSConfig(lambdaEnv("AWS_MAX_ATTEMPTS", "7", "AWS_RETRY_MODE", "adaptive"), "SQS")
	if err != nil {
		t.Fatal(err)
	}
	key, err := cfg.Credentials.Retrieve(context.Background())
	if err != nil || key.AccessKeyID != "AKIA" || key.SecretAccessKey != "s3cr3t" || key.SessionToken != "t" ||
		cfg.Region != "eu-central-1" ||
		cfg.RetryMaxAttempts != 7 || cfg.RetryMode != aws.RetryModeAdaptive || cfg.BaseEndpoint != nil {
		t.Errorf("%+v %+v %v", cfg, key, err)
	}
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"AWS_ENDPOINT_URL", "http://all"}, "http://all"},
		{[]string{"AWS_ENDPOINT_URL", "http://all", "AWS_ENDPOINT_URL_SQS", "http://sqs"}, "http://sqs"},
		{[]string{"AWS_ENDPOINT_URL", "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}, ""},
	} {
		cfg, err := AWSConfig(lambdaEnv(c.env...), "SQS")
		if err != nil || aws.ToString(cfg.BaseEndpoint) != c.want {
			t.Errorf("%v: %v %v, want %q", c.env, aws.ToString(cfg.BaseEndpoint), err, c.want)
		}
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_REGION": "", "AWS_MAX_ATTEMPTS": "x", "AWS_RETRY_MODE": "x",
		"AWS_CA_BUNDLE": "/no/such/file", "HTTPS_PROXY": "http://svc:50%off@host:3128", "NO_PROXY": "10.0.0.0/99",
	} {
		cfg, err := AWSConfig(lambdaEnv("HTTPS_PROXY", "http://host:3128", name, value), "SQS")
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s named", err, name)
		}
		cfg.HTTPClient = roundTrip(func(*http.Request) { t.Errorf("%s=%q: there is a request", name, value) })
		client := sqs.NewFromConfig(cfg)
		_, failed := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("x")})
		if !errors.Is(failed, err) {
			t.Errorf("a request fails with %v, want %v", failed, err)
		}
	}
}

// TestAWSConfigVariants: the SDK asks for FIPS and dual-stack endpoints where the variables say so.
func TestAWSConfigVariants(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, "sqs.eu-central-1.amazonaws.com"},
		{[]string{"AWS_USE_FIPS_ENDPOINT", "true", "AWS_REGION", "us-east-1"}, "sqs-fips.us-east-1.amazonaws.com"},
		{[]string{"AWS_USE_DUALSTACK_ENDPOINT", "true"}, "sqs.eu-central-1.api.aws"},
	} {
		cfg, err := AWSConfig(lambdaEnv(c.env...), "SQS")
		if err != nil {
			t.Fatal(err)
		}
		var host string
		cfg.HTTPClient = roundTrip(func(r *http.Request) { host = r.URL.Host })
		_, _ = sqs.NewFromConfig(cfg).ReceiveMessage(context.Background(),
			&sqs.ReceiveMessageInput{QueueUrl: aws.String("x")})
		if host != c.want {
			t.Errorf("%v: asked %s, want %s", c.env, host, c.want)
		}
	}
}

// roundTrip answers every request with 400 after having looked at it.
type roundTrip func(*http.Request)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: http.StatusBadRequest, Body: http.NoBody, Header: http.Header{}}, nil
}

func TestAWSCABundle(t *testing.T) {
	asked := false
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
		0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := AWSConfig(lambdaEnv("AWS_CA_BUNDLE", file, "AWS_ENDPOINT_URL", srv.URL), "SECRETS_MANAGER")
	if err != nil {
		t.Fatal(err)
	}
	_, err = secretsmanager.NewFromConfig(cfg).GetSecretValue(context.Background(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String("x")})
	if err == nil || !asked {
		t.Errorf("the endpoint was not reached: %v", err)
	}
}

// TestAWSProxy: requests to AWS use the proxy of the environment, verified with its own CA, unless NO_PROXY names the
// host.
func TestAWSProxy(t *testing.T) {
	var asked atomic.Value
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	for _, test := range []struct {
		env  []string
		want string
	}{
		{[]string{"HTTPS_PROXY", srv.URL + "\n", "SIEM_PROXY_CA_BUNDLE", ca}, "CONNECT sqs.invalid:443"},
		{[]string{"HTTPS_PROXY", srv.URL, "SIEM_PROXY_CA_BUNDLE", ca, "NO_PROXY", ".invalid"}, ""},
		{[]string{"HTTPS_PROXY", srv.URL}, ""}, // not signed by a public CA
	} {
		asked.Store("")
		cfg, err := AWSConfig(lambdaEnv(append(test.env, "AWS_MAX_ATTEMPTS", "1", "AWS_ENDPOINT_URL",
			"https://sqs.invalid")...), "SQS")
		if err != nil {
			t.Fatal(err)
		}
		_, err = sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("x")})
		if err == nil || asked.Load() != test.want {
			t.Errorf("%q: the proxy was asked %q, want %q; %v", test.env[0], asked.Load(), test.want, err)
		}
	}
}

// TestAWSErrorsAreRedacted: AWS quotes the session token, and a proxy its password. The error's code stays readable.
func TestAWSErrorsAreRedacted(t *testing.T) {
	const token = "IQoJb3JpZ2luX2Vj+/session=="
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"__type":"InvalidSignatureException","message":"The Canonical String should have been `+
			`'POST\nx-amz-security-token:`+r.Header.Get("X-Amz-Security-Token")+`\n'"}`)
	}))
	defer srv.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 407 svc has no password p@ssw0rd99\r\nContent-Length: 0\r\n\r\n")
			c.Close()
		}
	}()
	proxy := "http://svc:p%40ssw0rd99@" + listener.Addr().String()
	for _, test := range []struct {
		endpoint, secret string
		code             bool
	}{{srv.URL, token, true}, {"https://sqs.invalid", "p@ssw0rd99", false}} {
		cfg, err := AWSConfig(lambdaEnv("AWS_MAX_ATTEMPTS", "1", "AWS_SESSION_TOKEN", token, "HTTPS_PROXY", proxy,
			"AWS_ENDPOINT_URL", test.endpoint), "SQS")
		if err != nil {
			t.Fatal(err)
		}
		_, err = sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("x")})
		if err == nil || strings.Contains(err.Error(), test.secret) || !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("%v, want it without %q", err, test.secret)
		}
		api, ok := errors.AsType[smithy.APIError](err)
		if ok != test.code || ok && api.ErrorCode() != "InvalidSignatureException" {
			t.Errorf("the code of %v is %v", err, api)
		}
	}
}

// TestClosedBody: net/http reads a request's body to its end after the SDK has closed it. The read must not fail.
func TestClosedBody(t *testing.T) {
	cfg, err := AWSConfig(lambdaEnv(), "SQS")
	if err != nil {
		t.Fatal(err)
	}
	client, ok := cfg.HTTPClient.(plainBodies)
	if !ok {
		t.Fatalf("the client is a %T", cfg.HTTPClient)
	}
	request, err := smithyhttp.NewStackRequest().(*smithyhttp.Request).SetStream(strings.NewReader("message"))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = int64(len("message"))
	client.HTTPClient = roundTrip(func(r *http.Request) {
		if body, err := io.ReadAll(io.LimitReader(r.Body, r.ContentLength)); err != nil || string(body) != "message" {
			t.Errorf("the body is %q, %v", body, err)
		}
		if err := r.Body.Close(); err != nil {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
			t.Errorf("after the body is closed, reading returns %d bytes, %v", n, err)
		}
	})
	if _, err := client.Do(request.Build(t.Context())); err != nil {
		t.Error(err)
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
	identity := Identity(lambdaEnv("AWS_ENDPOINT_URL_STS", srv.URL), func() time.Time { return signedAt })
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
	const scope = "AWS4-HMAC-SHA256 Credential=AKIA/20261126/eu-central-1/sts/aws4_request, SignedHeaders="
	if h := got.Header; !strings.HasPrefix(h.Get("Authorization"), scope) || h.Get("X-Amz-Date") != "20261126T120000Z" ||
		h.Get("X-Amz-Security-Token") != "t" {
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
			test.hint) || strings.Contains(f.Error(), "s3cr3t") {
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
	for want, more := range map[string][]string{
		"https://sts.eu-central-1.amazonaws.com/":       nil,
		"https://sts.cn-north-1.amazonaws.com.cn/":      {"AWS_REGION", "cn-north-1"},
		"https://sts-fips.us-gov-west-1.amazonaws.com/": {"AWS_REGION", "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT", "true"},
		"http://127.0.0.1:4566/":                        {"AWS_ENDPOINT_URL", "http://127.0.0.1:4566"},
	} {
		env := lambdaEnv(more...)
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
