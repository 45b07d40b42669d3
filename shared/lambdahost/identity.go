package lambdahost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const (
	identityTimeout = 5 * time.Second

	// maxIdentityBytes bounds the response. A token has a few kilobytes.
	maxIdentityBytes = 64 << 10
)

// Identity returns a function that gets a token of the function's role from AWS's outbound identity federation. It
// signs the request itself: the SDK's client of STS would enlarge every connector's binary.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html
func Identity(env settings.Lookup, now func() time.Time) settings.Identity {
	return func(ctx context.Context, audience string) (secret.Value, error) {
		ctx, cancel := context.WithTimeout(ctx, identityTimeout)
		defer cancel()
		cfg, err := AWSConfig(env, "STS")
		if err != nil {
			return secret.Value{}, identityFailure(failure.Misconfigured, 0, "", err)
		}
		req, err := identityRequest(ctx, cfg, env, audience, now())
		if err != nil {
			return secret.Value{}, identityFailure(failure.Misconfigured, 0, "", err)
		}
		var client aws.HTTPClient = awshttp.NewBuildableClient()
		if cfg.HTTPClient != nil {
			client = cfg.HTTPClient
		}
		resp, err := client.Do(req)
		if err != nil {
			return secret.Value{}, identityFailure(failure.Transient, 0, "", err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxIdentityBytes))
		if err != nil {
			return secret.Value{}, identityFailure(failure.Transient, resp.StatusCode, "", err)
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
	hint := map[string]string{
		"OutboundWebIdentityFederationDisabled": "turn on outbound identity federation in the AWS account (IAM, " +
			"account settings)",
		"OutboundWebIdentityFederationDisabledException": "turn on outbound identity federation in the AWS account (IAM, " +
			"account settings)",
		"AccessDenied": "the function's role needs sts:GetWebIdentityToken",
	}[code]
	return &failure.Error{
		Kind: kind, Step: failure.Auth, Code: code, Err: err,
		Hint:   cmp.Or(hint, "check sts:GetWebIdentityToken of the function's role"),
		Detail: fmt.Sprintf("AWS STS gave no identity token (status %d)", status),
	}
}
