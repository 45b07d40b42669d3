package lambdahost

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/arbitex/siem-connectors/shared/settings"
)

// AWSConfig returns what the SDK's config package makes of a function's environment, for one service (its name as in
// AWS_ENDPOINT_URL_SQS). That package contains four more services, for profiles and single sign-on, which no function
// can use: a fifth of the binary. The variables have the SDK's meaning.
// https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
func AWSConfig(env settings.Lookup, service string) (aws.Config, error) {
	cfg := aws.Config{Region: env("AWS_REGION")}
	if cfg.Region == "" {
		cfg.Region = env("AWS_DEFAULT_REGION")
	}
	key := aws.Credentials{
		AccessKeyID: env("AWS_ACCESS_KEY_ID"), SecretAccessKey: env("AWS_SECRET_ACCESS_KEY"),
		SessionToken: env("AWS_SESSION_TOKEN"), Source: "environment",
	}
	if cfg.Region == "" || !key.HasKeys() {
		return cfg, errors.New("expected AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, " +
			"as Lambda sets them")
	}
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return key, nil })
	if ignore, _ := strconv.ParseBool(env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")); !ignore {
		if url := endpoint(env, service); url != "" {
			cfg.BaseEndpoint = &url
		}
	}
	cfg.ConfigSources = []any{variants{env}}
	if err := retries(&cfg, env); err != nil {
		return cfg, err
	}
	var err error
	cfg.HTTPClient, err = httpClient(env)
	return cfg, err
}

// endpoint returns the address to use instead of the service's own. The service's variable takes precedence.
func endpoint(env settings.Lookup, service string) string {
	if url := env("AWS_ENDPOINT_URL_" + service); url != "" {
		return url
	}
	return env("AWS_ENDPOINT_URL")
}

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
func httpClient(env settings.Lookup) (aws.HTTPClient, error) {
	s := settings.New(env, nil)
	proxy := s.Proxy()
	if err := s.Err(); err != nil {
		return nil, err
	}
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
	switch strings.ToLower(v.env("AWS_USE_FIPS_ENDPOINT")) {
	case "true":
		return aws.FIPSEndpointStateEnabled, true, nil
	case "false":
		return aws.FIPSEndpointStateDisabled, true, nil
	}
	return aws.FIPSEndpointStateUnset, false, nil
}

func (v variants) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	switch strings.ToLower(v.env("AWS_USE_DUALSTACK_ENDPOINT")) {
	case "true":
		return aws.DualStackEndpointStateEnabled, true, nil
	case "false":
		return aws.DualStackEndpointStateDisabled, true, nil
	}
	return aws.DualStackEndpointStateUnset, false, nil
}
