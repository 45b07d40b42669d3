package connector

import (
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// config is what an operator sets.
type config struct {
	url       *url.URL // of the stream
	authority *url.URL // of the token endpoint
	clientID  string
	secret    secret.Value
	scope     string
	http      httpsend.Config
}

const (
	defaultAuthority = "https://login.microsoftonline.com"
	defaultScope     = "https://monitor.azure.com/.default"

	// apiVersion is the Logs Ingestion API's.
	apiVersion = "2023-01-01"
)

// readConfig reads the settings, and notes in s what is wrong with them.
func readConfig(s *settings.Settings) config {
	tenant := s.Required("SENTINEL_TENANT_ID", "the ID or the domain name of the Microsoft Entra tenant")
	cfg := config{
		clientID: s.Required("SENTINEL_CLIENT_ID", "the application (client) ID of the app registration"),
		secret:   s.Secret("SENTINEL_CLIENT_SECRET", true, "the client secret of the app registration"),
	}
	endpoint := s.URL("SENTINEL_DCR_ENDPOINT", "", "the logs ingestion URL of the data collection endpoint or rule")
	rule := s.Required("SENTINEL_DCR_RULE_ID", "the immutable ID of the data collection rule, dcr-…")
	if strings.Contains(rule, "/") {
		s.Problem("SENTINEL_DCR_RULE_ID", rule, "the immutable ID of the data collection rule, dcr-…, not its resource ID")
	}
	stream := s.Required("SENTINEL_DCR_STREAM_NAME", "the stream of the data collection rule, such as Custom-ArbitexAudit_CL")
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

// form is the body of a token request: the client credentials grant.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (c *config) form() string {
	return url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {c.clientID},
		"client_secret": {c.secret.Reveal()},
		"scope":         {c.scope},
	}.Encode()
}
