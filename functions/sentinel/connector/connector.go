// Package connector delivers events to Microsoft Sentinel through the Logs Ingestion API of Azure Monitor: one JSON
// array of rows in one POST to a stream of a data collection rule (DCR), with an access token from Microsoft Entra ID.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

var _ deliver.Checker = (*connector)(nil)

const (
	// maxRequestBytes is the maximum of one call, compressed and uncompressed. Azure documents 1 MB; its error message
	// states 1,048,576 bytes.
	// https://learn.microsoft.com/azure/azure-monitor/fundamentals/service-limits#logs-ingestion-api
	maxRequestBytes = 1_000_000

	// maxRawBytes is the largest event in RawOCSF. Azure truncates a value over 64 KB silently.
	maxRawBytes = 64_000

	// renewBefore is how long before its expiry a token is renewed.
	renewBefore = 5 * time.Minute

	// renewAgain is the pause after a failed renewal, while the old token is still valid.
	renewAgain = 30 * time.Second
)

type connector struct {
	client *httpsend.Client
	url    *url.URL // of the stream

	entra     *httpsend.Client // to the token endpoint
	authority *url.URL         // of the token endpoint
	clientID  string
	scope     string
	secret    secret.Value                      // of SENTINEL_AUTH=secret
	federated bool                              // SENTINEL_AUTH=federated
	identity  settings.Identity                 // of the function, for SENTINEL_AUTH=federated; nil outside of AWS
	tokens    *refresh.Cache[*httpsend.Request] // requests to the stream with a token, without a body
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	tenant := s.Required("SENTINEL_TENANT_ID", "the ID or the domain name of the Microsoft Entra tenant")
	c := &connector{
		clientID:  s.Required("SENTINEL_CLIENT_ID", "the application (client) ID of the app registration"),
		federated: s.OneOf("SENTINEL_AUTH", "secret", "federated") == "federated",
		identity:  s.Identity,
	}
	c.secret = s.Secret("SENTINEL_CLIENT_SECRET", !c.federated, "the client secret of the app registration")
	endpoint := s.URL("SENTINEL_DCR_ENDPOINT", "", "the logs ingestion URL of the data collection endpoint or rule")
	const ruleID = "the immutable ID of the data collection rule, dcr-…"
	rule := s.Required("SENTINEL_DCR_RULE_ID", ruleID)
	if strings.Contains(rule, "/") {
		s.Problem("SENTINEL_DCR_RULE_ID", rule, ruleID+", not its resource ID")
	}
	stream := s.Required("SENTINEL_DCR_STREAM_NAME",
		"the stream of the data collection rule, such as Custom-ArbitexAudit_CL")
	const public = "https://login.microsoftonline.com"
	authority := s.URL("SENTINEL_AUTHORITY_HOST", public, "the authority's URL, such as "+public)
	c.scope = s.String("SENTINEL_SCOPE", "https://monitor.azure.com/.default")

	c.url = endpoint.JoinPath("dataCollectionRules", url.PathEscape(rule), "streams", url.PathEscape(stream))
	c.url.RawQuery = "api-version=2023-01-01"
	c.authority = authority.JoinPath(url.PathEscape(tenant), "oauth2/v2.0/token")
	cfg := httpsend.Configure(s, "gzip", "SENTINEL_DCR_ENDPOINT")
	c.client = httpsend.New(cfg)
	cfg.URLSetting = "SENTINEL_AUTHORITY_HOST"
	c.entra = httpsend.New(cfg)
	c.tokens = refresh.New[*httpsend.Request](c.entra.Now, renewAgain,
		func(err error) bool { return failure.Of(err).Kind != failure.Unauthorized })
	return c
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: maxRequestBytes}
}

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
			err = fmt.Errorf("metadata.uid: expected to fit into RawOCSF, is longer than %d bytes", maxRawBytes)
		}
	}
	return event.QuoteFrom(dst, start), truncated, err
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	t, err := c.token(ctx, b.Meter)
	if err != nil {
		return err
	}
	r := *t
	r.Body, r.Meter = b.Body, b.Meter
	a, err := c.client.Call(ctx, r, codes)
	if a != nil && a.Status == http.StatusUnauthorized {
		c.tokens.Drop(t)
	}
	return err
}

// Check implements deliver.Checker. An empty array writes no row, and is refused like any other if the token, the rule
// or the stream is wrong. The check requests a new token, because a cached one outlives its client secret.
func (c *connector) Check(ctx context.Context) error {
	t, _ := c.tokens.Current()
	c.tokens.Drop(t)
	return c.Send(ctx, deliver.NewBatch(c.Format(), nil, nil))
}

// codes are the responses of the Logs Ingestion API. It accepts or refuses a request as a whole.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
var codes = &httpsend.Codes{SIEM: "the Logs Ingestion API", Read: read, Rows: []httpsend.Code{
	{Status: 400, Code: "InvalidStream", Kind: failure.Misconfigured,
		Hint: "the data collection rule has no stream SENTINEL_DCR_STREAM_NAME"},
	{Status: 401, Kind: failure.Unauthorized,
		Hint: "the access token was refused: check that SENTINEL_AUTHORITY_HOST and SENTINEL_SCOPE are those of the " +
			"cloud of SENTINEL_DCR_ENDPOINT"},
	{Status: 403, Kind: failure.Unauthorized,
		Hint: "the app registration needs the role Monitoring Metrics Publisher on the data collection rule (DCR), " +
			"not on the data collection endpoint (DCE); a new assignment takes up to 30 minutes to work"},
	{Status: 404, Kind: failure.Misconfigured,
		Hint: "check SENTINEL_DCR_ENDPOINT, SENTINEL_DCR_RULE_ID (the immutable ID) and SENTINEL_DCR_STREAM_NAME: " +
			"Azure does not know one of them"},
	{Status: 501, Kind: failure.Transient, Hint: "the endpoint may refuse compression: set SIEM_COMPRESSION=none"},
}, Hint: "SENTINEL_DCR_ENDPOINT does not lead to a logs ingestion endpoint"}

// read reads a response of the Logs Ingestion API: nothing or JSON for a success, and for a refusal
// {"error":{"code":"…","message":"…"}}. The header x-ms-error-code holds the code as well.
func read(a *httpsend.Response) httpsend.Reply {
	code := a.Header.Get("X-Ms-Error-Code")
	if a.Empty() {
		return httpsend.Reply{Success: true, Own: code != "", Code: code}
	}
	failed := a.Object()["error"]
	var e struct{ Code, Message string }
	_ = json.Unmarshal(failed, &e) // another type of value is another product's
	code = cmp.Or(e.Code, code)
	return httpsend.Reply{Success: httpsend.Absent(failed) && json.Valid(a.Body), Own: code != "", Code: code,
		Text: e.Message}
}

// token returns an access token to use now. It requests one only if there is none, or it is about to expire.
func (c *connector) token(ctx context.Context, m *telemetry.Meter) (*httpsend.Request, error) {
	if t, ok := c.tokens.Fresh(); ok { // without the allocation of a function
		return t, nil
	}
	t, err := c.tokens.Get(ctx, func(ctx context.Context) (*httpsend.Request, refresh.Life, error) {
		return c.requestToken(ctx, m)
	})
	if f := failure.Of(err); f != nil && f.Step == "" { // another caller's request took too long
		err = &failure.Error{Step: failure.Auth, Detail: "no access token in time", Err: err}
	}
	return t, err
}

// requestToken requests a token. Its lifetime counts from the request, not from the response.
func (c *connector) requestToken(ctx context.Context, m *telemetry.Meter) (*httpsend.Request, refresh.Life, error) {
	from := c.entra.Now()
	form, proof, err := c.form(ctx)
	if err != nil {
		return nil, refresh.Life{}, err
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}}
	a, err := c.entra.Call(ctx, httpsend.Request{URL: c.authority, Header: header, Body: []byte(form), Plain: true,
		Meter: m, Secret: proof}, tokenCodes)
	if err != nil { // no event is in the request, so none can be at fault
		f := failure.Of(err)
		f.Foreign, f.Disconnected = false, false
		if a != nil {
			f.Step = failure.Auth
		}
		return nil, refresh.Life{}, err
	}
	g, life := parseGrant(a)
	return &httpsend.Request{URL: c.url, Secret: secret.New(g.AccessToken), Header: http.Header{
		"Authorization": {"Bearer " + g.AccessToken}, "Content-Type": {"application/json"},
	}}, refresh.Life{Renew: from.Add(life - renewBefore), Expire: from.Add(life)}, nil
}

// audience is that of tokens which Microsoft Entra ID exchanges.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-create-trust
const audience = "api://AzureADTokenExchange"

// form returns the body of a token request, the client credentials grant, and the proof of identity in it.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (c *connector) form(ctx context.Context) (body string, proof secret.Value, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.clientID}, "scope": {c.scope}}
	switch {
	case !c.federated:
		proof = c.secret
		form.Set("client_secret", proof.Reveal())
	case c.identity == nil:
		err = &failure.Error{Kind: failure.Misconfigured, Step: failure.Auth,
			Detail: "SENTINEL_AUTH=federated works only in AWS"}
	default:
		proof, err = c.identity(ctx, audience)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", proof.Reveal())
	}
	return form.Encode(), proof, err
}

// grant is the body of the token endpoint's responses.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#successful-response-1
type grant struct {
	AccessToken string      `json:"access_token"`
	ExpiresIn   json.Number `json:"expires_in"` // seconds; a string in the older endpoint
	Error       string      `json:"error"`
	Description string      `json:"error_description"`
	ErrorCodes  []int       `json:"error_codes"`
}

// parseGrant reads a response of the token endpoint. life is 0 if it holds no token that a header can hold (RFC 6750:
// visible ASCII).
func parseGrant(a *httpsend.Response) (g grant, life time.Duration) {
	_ = json.Unmarshal(a.Body, &g) // an incomplete grant is not a token
	const longest = 10 * 24 * 60 * 60
	seconds, err := g.ExpiresIn.Int64()
	unsendable := strings.ContainsFunc(g.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' })
	if err != nil || seconds <= 0 || seconds > longest || g.AccessToken == "" || unsendable {
		return g, 0
	}
	return g, time.Duration(seconds) * time.Second
}

// readGrant reads a response of the token endpoint. A refusal without a code of Microsoft's has OAuth's.
func readGrant(a *httpsend.Response) httpsend.Reply {
	g, life := parseGrant(a)
	r := httpsend.Reply{Success: life > 0, Own: g.Error != "", Code: g.Error, Text: g.Error + ": " + g.Description}
	if len(g.ErrorCodes) > 0 {
		r.Code = "AADSTS" + strconv.Itoa(g.ErrorCodes[0])
	}
	return r
}

const (
	hintToken = "Microsoft Entra ID grants no token: check SENTINEL_TENANT_ID, SENTINEL_CLIENT_ID, " +
		"SENTINEL_CLIENT_SECRET (expired?) and SENTINEL_SCOPE"
	hintOAuth = "SENTINEL_AUTHORITY_HOST does not lead to a token endpoint"
)

// tokenCodes are the responses of the token endpoint. Microsoft may change its codes, so they only give hints.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var tokenCodes = &httpsend.Codes{SIEM: "Microsoft Entra ID", Read: readGrant, Hint: hintOAuth, Rows: []httpsend.Code{
	{Words: "temporarily_unavailable:", Kind: failure.Transient}, // RFC 6749, 4.1.2.1; sent with a 400 as well
	{Words: "server_error:", Kind: failure.Transient},
	{Code: "AADSTS90002 AADSTS900021 AADSTS900023", Kind: failure.Unauthorized,
		Hint: "Microsoft Entra ID knows no tenant SENTINEL_TENANT_ID in this cloud"},
	{Code: "AADSTS700016", Kind: failure.Unauthorized,
		Hint: "the tenant SENTINEL_TENANT_ID has no application SENTINEL_CLIENT_ID"},
	{Code: "AADSTS7000112", Kind: failure.Unauthorized, Hint: "the application SENTINEL_CLIENT_ID is disabled"},
	{Code: "AADSTS7000215", Kind: failure.Unauthorized,
		Hint: "SENTINEL_CLIENT_SECRET is wrong: it must be the secret's value, not its ID"},
	{Code: "AADSTS7000222", Kind: failure.Unauthorized,
		Hint: "SENTINEL_CLIENT_SECRET has expired: make a new one in the app registration SENTINEL_CLIENT_ID"},
	{Code: "AADSTS70011 AADSTS500011 AADSTS1002012", Kind: failure.Unauthorized,
		Hint: "SENTINEL_SCOPE must be the Azure Monitor of the cloud, followed by /.default"},
	{Code: "AADSTS70021 AADSTS700211 AADSTS700212 AADSTS700213", Kind: failure.Unauthorized,
		Hint: "no federated credential of the application SENTINEL_CLIENT_ID matches: compare its issuer, subject " +
			"and audience with the AWS account's issuer, the function's role and " + audience},
	{Status: 400, Code: httpsend.Any, Kind: failure.Unauthorized, Hint: hintToken},
	{Status: 401, Kind: failure.Unauthorized, Hint: hintToken},
	{Status: 403, Kind: failure.Unauthorized, Hint: hintToken},
	{Status: 413, Kind: failure.Misconfigured, Hint: hintOAuth},
	{Status: 422, Kind: failure.Misconfigured, Hint: hintOAuth},
}}
