package connector

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// read reads a response of the Logs Ingestion API: nothing or JSON for a success, and for a refusal
// {"error":{"code":"…","message":"…"}}. The header x-ms-error-code holds the code as well.
func read(a *httpsend.Response) httpsend.Reply {
	if a.Empty() {
		c := a.Header.Get("X-Ms-Error-Code")
		return httpsend.Reply{Success: true, Own: c != "", Code: c}
	}
	failed := a.Object()["error"]
	if httpsend.Absent(failed) && a.OK() {
		return httpsend.Reply{Success: json.Valid(a.Body)}
	}
	var e struct{ Code, Message string }
	_ = json.Unmarshal(failed, &e) // another type of value is another product's
	r := httpsend.Reply{Code: e.Code, Text: e.Message}
	if r.Code == "" {
		r.Code = a.Header.Get("X-Ms-Error-Code")
	}
	r.Own = r.Code != ""
	return r
}

const hintRule = "check SENTINEL_DCR_ENDPOINT, SENTINEL_DCR_RULE_ID (the immutable ID) and SENTINEL_DCR_STREAM_NAME: " +
	"Azure does not know one of them"

// codes are the responses of the Logs Ingestion API. It accepts or refuses a request as a whole.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
var codes = &httpsend.Codes{SIEM: "the Logs Ingestion API", Read: read, Rows: []httpsend.Code{
	{Status: 400, Code: "InvalidStream", Kind: failure.Misconfigured,
		Hint: "the data collection rule has no stream SENTINEL_DCR_STREAM_NAME"},
	{Status: 401, Kind: failure.Unauthorized,
		Hint: "the access token was refused: check that SENTINEL_AUTHORITY_HOST and SENTINEL_SCOPE are those of the cloud " +
			"of SENTINEL_DCR_ENDPOINT"},
	{Status: 403, Kind: failure.Unauthorized,
		Hint: "the app registration needs the role Monitoring Metrics Publisher on the data collection rule (DCR), " +
			"not on the data collection endpoint (DCE); a new assignment takes up to 30 minutes to work"},
	{Status: 404, Kind: failure.Misconfigured, Hint: hintRule},
	{Status: 501, Kind: failure.Transient,
		Hint: "the endpoint may not accept compressed requests: set SIEM_COMPRESSION=none"},
}, Hint: "SENTINEL_DCR_ENDPOINT does not lead to a logs ingestion endpoint"}

// grant is the body of the token endpoint's responses.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#successful-response-1
type grant struct {
	AccessToken string      `json:"access_token"`
	ExpiresIn   json.Number `json:"expires_in"` // seconds; a string in the older endpoint
	Error       string      `json:"error"`
	Description string      `json:"error_description"`
	ErrorCodes  []int       `json:"error_codes"`
}

func parseGrant(a *httpsend.Response) (g grant, life time.Duration) {
	_ = json.Unmarshal(a.Body, &g) // an incomplete grant is not a token
	const longest = 10 * 24 * 60 * 60
	if seconds, err := g.ExpiresIn.Int64(); err == nil && 0 < seconds && seconds <= longest && sendable(g.AccessToken) {
		life = time.Duration(seconds) * time.Second
	}
	return g, life
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
	hintTenant    = "Microsoft Entra ID knows no tenant SENTINEL_TENANT_ID in this cloud"
	hintScope     = "SENTINEL_SCOPE must be the Azure Monitor of the cloud, followed by /.default"
	hintFederated = "no federated credential of the application SENTINEL_CLIENT_ID matches: compare its issuer, subject " +
		"and audience with the AWS account's issuer, " +
		"the function's role and " + audience
	hintToken = "Microsoft Entra ID grants no token: check SENTINEL_TENANT_ID, SENTINEL_CLIENT_ID, " +
		"SENTINEL_CLIENT_SECRET (expired?) and SENTINEL_SCOPE"
	hintOAuth = "SENTINEL_AUTHORITY_HOST does not lead to a token endpoint"
)

// tokenCodes are the responses of the token endpoint. Microsoft may change its codes, so they only give hints.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var tokenCodes = &httpsend.Codes{SIEM: "Microsoft Entra ID", Read: readGrant,
	Rows: []httpsend.Code{
		{Words: "temporarily_unavailable:", Kind: failure.Transient}, // RFC 6749, 4.1.2.1; sent with a 400 as well
		{Words: "server_error:", Kind: failure.Transient},
		{Code: "AADSTS90002", Kind: failure.Unauthorized, Hint: hintTenant},
		{Code: "AADSTS900021", Kind: failure.Unauthorized, Hint: hintTenant},
		{Code: "AADSTS900023", Kind: failure.Unauthorized, Hint: hintTenant},
		{Code: "AADSTS700016", Kind: failure.Unauthorized,
			Hint: "the tenant SENTINEL_TENANT_ID has no application SENTINEL_CLIENT_ID"},
		{Code: "AADSTS7000112", Kind: failure.Unauthorized, Hint: "the application SENTINEL_CLIENT_ID is disabled"},
		{Code: "AADSTS7000215", Kind: failure.Unauthorized,
			Hint: "SENTINEL_CLIENT_SECRET is wrong: it must be the secret's value, not its ID"},
		{Code: "AADSTS7000222", Kind: failure.Unauthorized,
			Hint: "SENTINEL_CLIENT_SECRET has expired: make a new one in the app registration SENTINEL_CLIENT_ID"},
		{Code: "AADSTS70011", Kind: failure.Unauthorized, Hint: hintScope},
		{Code: "AADSTS500011", Kind: failure.Unauthorized, Hint: hintScope},
		{Code: "AADSTS1002012", Kind: failure.Unauthorized, Hint: hintScope},
		{Code: "AADSTS70021", Kind: failure.Unauthorized, Hint: hintFederated},
		{Code: "AADSTS700211", Kind: failure.Unauthorized, Hint: hintFederated},
		{Code: "AADSTS700212", Kind: failure.Unauthorized, Hint: hintFederated},
		{Code: "AADSTS700213", Kind: failure.Unauthorized, Hint: hintFederated},
		{Status: 400, Code: httpsend.Any, Kind: failure.Unauthorized, Hint: hintToken},
		{Status: 401, Kind: failure.Unauthorized, Hint: hintToken},
		{Status: 403, Kind: failure.Unauthorized, Hint: hintToken},
		{Status: 404, Kind: failure.Misconfigured, Hint: hintOAuth},
		{Status: 405, Kind: failure.Misconfigured, Hint: hintOAuth},
		{Status: 413, Kind: failure.Misconfigured, Hint: hintOAuth},
		{Status: 422, Kind: failure.Misconfigured, Hint: hintOAuth},
	}, Hint: hintOAuth}

// sendable reports whether the token can be sent in a header (RFC 6750: visible ASCII).
func sendable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

const (
	// renewBefore is how long before its expiry a token is renewed.
	renewBefore = 5 * time.Minute

	// renewAgain is the pause after a failed renewal, while the old token is still valid.
	renewAgain = 30 * time.Second
)

// token is an access token, ready for use.
type token struct {
	text   secret.Value
	header http.Header // of an ingestion request
}

// token returns an access token to use now. It makes a request only if there is none, or it is about to expire.
func (c *connector) token(ctx context.Context, m *telemetry.Meter) (*token, error) {
	if t, ok := c.tokens.Fresh(); ok { // without the allocation of a function
		return t, nil
	}
	t, err := c.tokens.Get(ctx, func(ctx context.Context) (*token, refresh.Life, error) {
		return c.requestToken(ctx, m)
	})
	if f := (*failure.Error)(nil); err != nil && !errors.As(err, &f) {
		err = &failure.Error{Step: failure.Auth, Detail: "no access token in time", Err: err}
	}
	return t, err
}

var tokenHeader = map[string][]string{
	"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"},
}

// requestToken requests a token. Its lifetime counts from the request, not from the response.
func (c *connector) requestToken(ctx context.Context, m *telemetry.Meter) (*token, refresh.Life, error) {
	from := c.entra.Now()
	form, proof, err := c.cfg.form(ctx)
	if err != nil {
		return nil, refresh.Life{}, err
	}
	r := httpsend.Request{
		URL: c.cfg.authority, Header: tokenHeader, Body: []byte(form), Plain: true, Meter: m, Secret: proof,
	}
	a, err := c.entra.Call(ctx, r, tokenCodes)
	if err != nil {
		if a != nil { // no event is in the request, so none can be at fault
			f := failure.Of(err)
			f.Step, f.Foreign = failure.Auth, false
		}
		return nil, refresh.Life{}, err
	}
	g, life := parseGrant(a)
	return &token{
		text: secret.New(g.AccessToken),
		header: http.Header{
			"Authorization": {"Bearer " + g.AccessToken},
			"Content-Type":  {"application/json"},
		},
	}, refresh.Life{Renew: from.Add(life - renewBefore), Expire: from.Add(life)}, nil
}
