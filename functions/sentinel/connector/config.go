package connector

import (
	"context"
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config holds the settings.
type config struct {
	url       *url.URL // of the stream
	authority *url.URL // of the token endpoint
	clientID  string
	secret    secret.Value      // of SENTINEL_AUTH=secret
	identity  settings.Identity // of SENTINEL_AUTH=federated, else nil
	scope     string
	http      httpsend.Config
}

const (
	defaultAuthority = "https://login.microsoftonline.com"
	defaultScope     = "https://monitor.azure.com/.default"

	// apiVersion is the Logs Ingestion API's.
	apiVersion = "2023-01-01"
)

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	tenant := s.Required("SENTINEL_TENANT_ID", "the ID or the domain name of the Microsoft Entra tenant")
	cfg := config{
		clientID: s.Required("SENTINEL_CLIENT_ID", "the application (client) ID of the app registration"),
	}
	federated := s.OneOf("SENTINEL_AUTH", "secret", "federated") == "federated"
	cfg.secret = s.Secret("SENTINEL_CLIENT_SECRET", !federated, "the client secret of the app registration")
	if federated {
		cfg.secret, cfg.identity = secret.Value{}, noIdentity
		if s.Identity != nil {
			cfg.identity = s.Identity
		}
	}
	endpoint := s.URL("SENTINEL_DCR_ENDPOINT", "", "the logs ingestion URL of the data collection endpoint or rule")
	rule := s.Required("SENTINEL_DCR_RULE_ID", "the immutable ID of the data collection rule, dcr-…")
	if strings.Contains(rule, "/") {
		s.Problem("SENTINEL_DCR_RULE_ID", rule, "the immutable ID of the data collection rule, dcr-…, not its resource ID")
	}
	stream := s.Required("SENTINEL_DCR_STREAM_NAME",
		"the stream of the data collection rule, such as Custom-ArbitexAudit_CL")
	authority := s.URL("SENTINEL_AUTHORITY_HOST", defaultAuthority, "the authority's URL, such as "+defaultAuthority)
	cfg.scope = s.String("SENTINEL_SCOPE", defaultScope)
	cfg.http = httpsend.Configure(s, "gzip")
	cfg.http.URLSetting = "SENTINEL_DCR_ENDPOINT"
	cfg.http.Redactor = secret.NewRedactor(cfg.secret)
	if endpoint != nil {
		cfg.url = endpoint.JoinPath("dataCollectionRules", url.PathEscape(rule), "streams", url.PathEscape(stream))
		cfg.url.RawQuery = "api-version=" + apiVersion
	}
	if authority != nil {
		cfg.authority = authority.JoinPath(url.PathEscape(tenant), "oauth2/v2.0/token")
	}
	return cfg
}

// noIdentity is the identity outside of AWS.
func noIdentity(context.Context, string) (secret.Value, error) {
	return secret.Value{}, &failure.Error{Kind: failure.Misconfigured, Step: failure.Auth,
		Detail: "SENTINEL_AUTH=federated works only in AWS"}
}

// audience is that of tokens which Microsoft Entra ID exchanges.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust
const audience = "api://AzureADTokenExchange"

// form returns the body of a token request, the client credentials grant, and the proof of identity in it.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (c *config) form(ctx context.Context) (body string, proof secret.Value, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.clientID}, "scope": {c.scope}}
	if c.identity == nil {
		form.Set("client_secret", c.secret.Reveal())
		return form.Encode(), c.secret, nil
	}
	if proof, err = c.identity(ctx, audience); err != nil {
		return "", secret.Value{}, err
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", proof.Reveal())
	return form.Encode(), proof, nil
}
