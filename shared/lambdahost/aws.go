package lambdahost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// SQS is the part of SQS that the functions use.
type SQS = sqsbatch.Queue

// AWSConfig returns what the SDK's config package makes of a function's environment, for one service (its name as in
// AWS_ENDPOINT_URL_SQS). That package contains four more services, for profiles and single sign-on, which no function
// can use: a fifth of the binary. The variables have the SDK's meaning. If there is an error, every request with the
// configuration fails with it.
// https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
func AWSConfig(env settings.Lookup, service string) (cfg aws.Config, err error) {
	cfg.Region = cmp.Or(env("AWS_REGION"), env("AWS_DEFAULT_REGION"))
	key := aws.Credentials{
		AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"),
		SessionToken: env("AWS_SESSION_TOKEN"), Source: "environment",
	}
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return key, err })
	if cfg.Region == "" || !key.HasKeys() {
		return cfg, errors.New("expected AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, " +
			"as Lambda sets them")
	}
	if ignore, _ := strconv.ParseBool(env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")); !ignore {
		if url := cmp.Or(env("AWS_ENDPOINT_URL_"+service), env("AWS_ENDPOINT_URL")); url != "" {
			cfg.BaseEndpoint = &url
		}
	}
	cfg.ConfigSources = []any{variants{env}}
	if err = retries(&cfg, env); err != nil {
		return cfg, err
	}
	s := settings.New(env, nil)
	proxy := s.Proxy()
	if err = s.Err(); err != nil {
		return cfg, err
	}
	cfg.APIOptions = append(cfg.APIOptions, redactErrors(sync.OnceValue(func() *secret.Redactor {
		return s.Redactor().With(secret.New(key.SessionToken)) // 0.2 ms, which no cold start needs
	})))
	cfg.HTTPClient, err = httpClient(env, proxy)
	return cfg, err
}

// redactErrors removes secrets from the errors of requests: AWS quotes the request that it received, with the session
// token, if its signature is wrong, and a proxy may quote its password.
func redactErrors(redactor func() *secret.Redactor) func(*middleware.Stack) error {
	const maxBytes = 2048 // of an error's text
	handle := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
		middleware.InitializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleInitialize(ctx, in)
		if err != nil {
			err = &redactedError{err, redactor().Redact(err.Error(), maxBytes)}
		}
		return out, metadata, err
	}
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("RedactErrors", handle), middleware.Before)
	}
}

// redactedError is an error of the SDK with another text.
type redactedError struct {
	error
	text string
}

func (e *redactedError) Error() string { return e.text }

func (e *redactedError) Unwrap() error { return e.error }

func retries(cfg *aws.Config, env settings.Lookup) (err error) {
	if v := env("AWS_MAX_ATTEMPTS"); v != "" {
		if cfg.RetryMaxAttempts, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("AWS_MAX_ATTEMPTS: expected an integer, found %q", v)
		}
	}
	if v := env("AWS_RETRY_MODE"); v != "" {
		if cfg.RetryMode, err = aws.ParseRetryMode(v); err != nil {
			return fmt.Errorf("AWS_RETRY_MODE: %w", err)
		}
	}
	return nil
}

// httpClient makes the client of the AWS services: through the proxy of the environment, which has the same meaning
// as for the SIEM, and with the certificates of AWS_CA_BUNDLE.
func httpClient(env settings.Lookup, proxy *settings.Proxy) (aws.HTTPClient, error) {
	var cas *x509.CertPool
	if file := env("AWS_CA_BUNDLE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
		}
		if cas, err = settings.ParseCABundle(string(pem)); err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: expected a file of PEM certificates (%w)", err)
		}
	}
	configure := func(t *http.Transport) { //nolint:forbidigo // the SDK's, to AWS
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cas}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" || proxy.Bypasses(net.JoinHostPort(r.URL.Hostname(), cmp.Or(r.URL.Port(), "443"))) {
				return nil, nil
			}
			return proxy.URL, nil
		}
		if proxy != nil && proxy.URL.Scheme == "https" {
			t.DialTLSContext = dialTLS(t, proxy)
		}
	}
	return plainBodies{awshttp.NewBuildableClient().WithTransportOptions(configure)}, nil
}

// plainBodies hides the WriteTo of request bodies. The SDK closes a body as soon as the header of the response is read.
// WriteTo then returns io.EOF as an error, on which net/http closes the connection. If the response's body has not
// arrived by then, the SDK sends the request a second time: a message that SQS accepted is in the queue twice.
type plainBodies struct{ aws.HTTPClient }

func (c plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// dialTLS returns a function that verifies the proxy with the proxy's CAs, and everything else with those for AWS.
func dialTLS(t *http.Transport, proxy *settings.Proxy) settings.Dial { //nolint:forbidigo // the SDK's, to AWS
	toAWS, toProxy := t.TLSClientConfig, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: proxy.RootCAs}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := tls.Dialer{Config: toAWS}
		if address == proxy.URL.Host {
			d.Config = toProxy
		}
		return d.DialContext(ctx, network, address)
	}
}

// variants tells the SDK which variants of its endpoints to use.
type variants struct{ env settings.Lookup }

func (v variants) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	state, found := variant(v.env("AWS_USE_FIPS_ENDPOINT"), aws.FIPSEndpointStateEnabled, aws.FIPSEndpointStateDisabled)
	return state, found, nil
}

func (v variants) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	state, found := variant(v.env("AWS_USE_DUALSTACK_ENDPOINT"), aws.DualStackEndpointStateEnabled,
		aws.DualStackEndpointStateDisabled)
	return state, found, nil
}

func variant[T any](value string, enabled, disabled T) (state T, found bool) {
	switch strings.ToLower(value) {
	case "true":
		return enabled, true
	case "false":
		return disabled, true
	}
	return state, false
}

const (
	identityTimeout = 5 * time.Second

	// maxIdentityBytes bounds the response. A token has a few kilobytes.
	maxIdentityBytes = 64 << 10
)

// Identity returns a function that gets a token of the function's role from AWS's outbound identity federation. It
// signs the request itself: the SDK's client of STS would enlarge every connector's binary.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html
func Identity(env settings.Lookup, now func() time.Time) settings.Identity {
	return func(ctx context.Context, audience string) (token secret.Value, err error) {
		ctx, cancel := context.WithTimeout(ctx, identityTimeout)
		defer cancel()
		cfg, _ := AWSConfig(env, "STS") // an error is that of the credentials
		req, err := identityRequest(ctx, cfg, env, audience, now())
		if err != nil {
			return token, identityFailure(failure.Misconfigured, 0, "", err)
		}
		resp, err := cfg.HTTPClient.Do(req)
		if err != nil {
			return token, identityFailure(failure.Transient, 0, "", err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxIdentityBytes))
		if err != nil {
			return token, identityFailure(failure.Transient, resp.StatusCode, "", err)
		}
		return readIdentity(resp.StatusCode, string(body))
	}
}

// identityRequest makes the signed request. The global endpoint of STS does not have the action.
func identityRequest(ctx context.Context, cfg aws.Config, env settings.Lookup, audience string,
	now time.Time) (*http.Request, error) {
	endpoint := aws.ToString(cfg.BaseEndpoint)
	if endpoint == "" {
		service, domain := "sts", "amazonaws.com"
		if strings.EqualFold(env("AWS_USE_FIPS_ENDPOINT"), "true") {
			service = "sts-fips"
		}
		if strings.HasPrefix(cfg.Region, "cn-") {
			domain = "amazonaws.com.cn"
		}
		endpoint = "https://" + service + "." + cfg.Region + "." + domain
	}
	body := url.Values{
		"Action": {"GetWebIdentityToken"}, "Version": {"2011-06-15"},
		"Audience.member.1": {audience}, "SigningAlgorithm": {"RS256"}, "DurationSeconds": {"300"},
	}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(endpoint, "/")+"/",
		strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(body))
	return req, v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(hash[:]), "sts", cfg.Region, now)
}

// readIdentity reads STS's XML response: GetWebIdentityTokenResult or Error.
func readIdentity(status int, body string) (secret.Value, error) {
	if token := element(body, "WebIdentityToken"); status == http.StatusOK && token != "" {
		return secret.New(token), nil
	}
	code := element(body, "Code")
	kind := failure.Transient
	if status/100 == 4 && status != http.StatusTooManyRequests && !strings.Contains(code, "Throttling") &&
		code != "RequestExpired" {
		kind = failure.Misconfigured
	}
	return secret.Value{}, identityFailure(kind, status, code, nil)
}

// element returns the text of the first XML element of that name. STS's tokens and codes contain no entities.
func element(body, name string) string {
	_, rest, _ := strings.Cut(body, "<"+name+">")
	text, _, ok := strings.Cut(rest, "</"+name+">")
	if !ok {
		return ""
	}
	return strings.TrimSpace(text)
}

func identityFailure(kind failure.Kind, status int, code string, err error) *failure.Error {
	hint := "check sts:GetWebIdentityToken of the function's role"
	switch code {
	case "OutboundWebIdentityFederationDisabled", "OutboundWebIdentityFederationDisabledException":
		hint = "turn on outbound identity federation in the AWS account (IAM, account settings)"
	case "AccessDenied":
		hint = "the function's role needs sts:GetWebIdentityToken"
	}
	return &failure.Error{
		Kind: kind, Step: failure.Auth, Code: code, Err: err, Hint: hint,
		Detail: fmt.Sprintf("AWS STS gave no identity token (status %d)", status),
	}
}
