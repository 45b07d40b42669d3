// Package connector delivers events to Microsoft Sentinel through the Logs Ingestion API of Azure Monitor: one JSON
// array of rows in one POST to a stream of a data collection rule (DCR), with an access token from Microsoft Entra ID.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
package connector

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
)

const (
	// maxRequestBytes is the maximum of one call, compressed and uncompressed. Azure documents 1 MB; its error message
	// states 1,048,576 bytes.
	// https://learn.microsoft.com/azure/azure-monitor/fundamentals/service-limits#logs-ingestion-api
	maxRequestBytes = 1_000_000

	// maxRawBytes is the largest event in RawOCSF. Azure truncates a value over 64 KB silently.
	maxRawBytes = 64_000
)

type connector struct {
	cfg    config
	client *httpsend.Client
	entra  *httpsend.Client // to the token endpoint
	tokens *refresh.Cache[*token]
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector { return open(readConfig(s)) }

func open(cfg config) *connector {
	c := &connector{cfg: cfg, client: httpsend.New(cfg.http)}
	cfg.http.URLSetting = "SENTINEL_AUTHORITY_HOST"
	c.entra = httpsend.New(cfg.http)
	c.tokens = refresh.New[*token](c.entra.Now, renewAgain,
		func(err error) bool { return failure.Of(err).Kind != failure.Unauthorized })
	return c
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: maxRequestBytes}
}

var errLongID = errors.New("metadata.uid: expected to fit into RawOCSF, is longer than " + strconv.Itoa(maxRawBytes) +
	" bytes")

// Append implements deliver.Connector: one row of the stream, with the columns in the order of the platform's page.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	dst = e.AppendTime(append(dst, `{"TimeGenerated":"`...))
	dst = e.RequestID.AppendJSON(append(dst, `","EventId":`...))
	dst = e.UserID.AppendJSON(append(dst, `,"UserId":`...))
	dst = e.UserEmail.AppendJSON(append(dst, `,"UserEmail":`...))
	dst = e.Operation.AppendJSON(append(dst, `,"Operation":`...))
	dst = e.ModelID.AppendJSON(append(dst, `,"ModelId":`...))
	dst = e.PolicyAction.AppendJSON(append(dst, `,"PolicyAction":`...))
	dst = append(dst, `,"DlpLabels":`...)
	start := len(dst)
	dst = event.QuoteFrom(event.AppendTexts(dst, e.DLPLabels), start)
	dst = e.TokensInput.AppendJSON(append(dst, `,"TokensInput":`...))
	dst = e.TokensOutput.AppendJSON(append(dst, `,"TokensOutput":`...))
	dst = strconv.AppendInt(append(dst, `,"SeverityId":`...), e.Severity, 10)
	dst, truncated, err = appendRaw(append(dst, `,"RawOCSF":`...), e)
	return append(dst, '}'), truncated, err
}

// appendRaw appends the event as a JSON string, or what replaces it if it is too large for the column.
func appendRaw(dst []byte, e *event.Event) (_ []byte, truncated bool, err error) {
	if len(e.Body) <= maxRawBytes {
		return e.AppendQuoted(dst), false, nil
	}
	start := len(dst)
	dst = e.AppendCompact(dst) // white space may make it too large
	if truncated = len(dst)-start > maxRawBytes; truncated {
		dst = e.AppendTruncated(dst[:start])
		if len(dst)-start > maxRawBytes {
			err = errLongID
		}
	}
	return event.QuoteFrom(dst, start), truncated, err
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	return c.post(ctx, b.Body, b.Meter)
}

// Check implements deliver.Checker. An empty array writes no row, and is refused like any other if the token, the rule
// or the stream is wrong. The check requests a new token, because a cached one outlives its client secret.
func (c *connector) Check(ctx context.Context) error {
	if t, ok := c.tokens.Current(); ok {
		c.tokens.Drop(t)
	}
	return c.post(ctx, []byte("[]"), nil)
}

func (c *connector) post(ctx context.Context, body []byte, m *telemetry.Meter) error {
	t, err := c.token(ctx, m)
	if err != nil {
		return err
	}
	r := httpsend.Request{URL: c.cfg.url, Header: t.header, Body: body, Secret: t.text, Meter: m}
	a, err := c.client.Call(ctx, r, codes)
	if a != nil && a.Status == http.StatusUnauthorized {
		c.tokens.Drop(t)
	}
	return err
}

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
	cfg.http = httpsend.Configure(s, "gzip", "SENTINEL_DCR_ENDPOINT")
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
