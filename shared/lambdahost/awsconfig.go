package lambdahost

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/arbitex/siem-connectors/shared/settings"
)

// AWSConfig is what the SDK's config package makes of a function's environment, for one service (its name as in
// AWS_ENDPOINT_URL_SQS). That package itself
// brings four more services along, for profiles and single sign-on, which no function can use: it would be a fifth of the
// binary. The variables mean what they mean to the SDK.
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
		return cfg, errors.New("expected AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, as Lambda sets them")
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
	return cfg, trust(&cfg, env("AWS_CA_BUNDLE"))
}

// endpoint is the address to use instead of the service's own: its own variable goes before the one for all.
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

// trust adds the certificates of AWS_CA_BUNDLE to those the AWS endpoints are verified with.
func trust(cfg *aws.Config, file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("AWS_CA_BUNDLE: %w", err)
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(pem) {
		return fmt.Errorf("AWS_CA_BUNDLE: expected PEM certificates, found none in %q", file)
	}
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { //nolint:forbidigo // the SDK's, to AWS
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = cas
	})
	return nil
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
