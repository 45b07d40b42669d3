package connector

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
)

// reply is the body of the Logs Ingestion API's refusals.
type reply struct {
	Error struct {
		Code string `json:"code"`
	} `json:"error"`
}

// code returns Azure's error code, which stands in a header and, with most answers, in the body; "" when there is none.
func code(a *httpsend.Response) string {
	if c := a.Header.Get("X-Ms-Error-Code"); c != "" {
		return bound(c)
	}
	var r reply
	if json.Unmarshal(a.Body, &r) != nil {
		return ""
	}
	return bound(r.Error.Code)
}

// bound keeps a code short and plain: it goes into logs, where a SIEM's words do not.
func bound(code string) string {
	const most = 64
	if len(code) > most {
		return ""
	}
	for _, c := range code {
		if c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return code
}

// codeInvalidStream is a 400 that no event is to blame for.
const codeInvalidStream = "InvalidStream"

const (
	hintToken = "the access token was refused: check that SENTINEL_AUTHORITY_HOST and SENTINEL_SCOPE are those of the cloud of SENTINEL_DCR_ENDPOINT"
	hintRole  = "the app registration needs the role Monitoring Metrics Publisher on the data collection rule (DCR), not on the data collection endpoint (DCE); " +
		"a new assignment takes up to 30 minutes to work"
	hintRule   = "check SENTINEL_DCR_ENDPOINT, SENTINEL_DCR_RULE_ID (the immutable ID) and SENTINEL_DCR_STREAM_NAME: Azure does not know one of them"
	hintStream = "the data collection rule has no stream SENTINEL_DCR_STREAM_NAME"
)

// judge turns an answer that is no success into a verdict about all of the request's rows; there is none about a single
// one. Any 2xx is a success: it is 204 without a body, and Microsoft's pages speak of 200 and 202 as well.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
func judge(a *httpsend.Response) error {
	c := code(a)
	switch kind := httpsend.KindOf(a.Status); {
	case c == codeInvalidStream && kind == failure.Rejected:
		return a.Fault(failure.Misconfigured, c, hintStream)
	case a.Status == http.StatusUnauthorized:
		return a.Fault(kind, c, hintToken)
	case a.Status == http.StatusForbidden:
		return a.Fault(kind, c, hintRole)
	case a.Status == http.StatusNotFound:
		return a.Fault(kind, c, hintRule)
	default:
		return a.Fault(kind, c, "")
	}
}

// grant is the body of the token endpoint's answers.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow#successful-response-1
type grant struct {
	AccessToken string      `json:"access_token"`
	ExpiresIn   json.Number `json:"expires_in"` // seconds; a string in the older endpoint
	Error       string      `json:"error"`
	ErrorCodes  []int       `json:"error_codes"`
}

// judgeToken turns the token endpoint's answer into a token. from is when it was asked for.
func judgeToken(a *httpsend.Response, from time.Time) (*token, error) {
	var g grant
	parsed := json.Unmarshal(a.Body, &g) == nil
	if !a.OK() {
		return nil, refuseToken(a, g)
	}
	seconds, err := g.ExpiresIn.Int64()
	const longest = 10 * 24 * 60 * 60
	if a.BodyErr == nil && parsed && err == nil && 0 < seconds && seconds <= longest && sendable(g.AccessToken) {
		return newToken(secret.New(g.AccessToken), from, time.Duration(seconds)*time.Second), nil
	}
	a.Body = nil // whatever it is, there may be a token in it
	f := a.Fault(failure.Transient, "", "what answers at SENTINEL_AUTHORITY_HOST does not give access tokens")
	f.Step = failure.Auth
	return nil, f
}

// sendable tells whether the token can stand in a header (RFC 6750: visible ASCII).
func sendable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

// refuseToken judges a refusal of the token endpoint. A request for a token holds no event, so none is to blame.
func refuseToken(a *httpsend.Response, g grant) error {
	c := bound(g.Error)
	if len(g.ErrorCodes) > 0 {
		c = "AADSTS" + strconv.Itoa(g.ErrorCodes[0])
	}
	kind, hint := httpsend.KindOf(a.Status), ""
	switch {
	case g.Error == "temporarily_unavailable" || g.Error == "server_error": // RFC 6749, 4.1.2.1; sent with a 400, too
		kind = failure.Transient
	case kind == failure.Rejected && g.Error != "":
		kind = failure.Unauthorized
	case kind == failure.Rejected || kind == failure.TooLarge: // not an answer of OAuth
		kind = failure.Transient
	}
	if kind == failure.Unauthorized {
		hint = hintOf(g)
	}
	if kind == failure.Misconfigured && a.Status/100 != 3 {
		hint = "SENTINEL_AUTHORITY_HOST does not lead to a token endpoint"
	}
	f := a.Fault(kind, c, hint)
	f.Step = failure.Auth
	return f
}

// hintOf names the setting that Microsoft Entra ID's error code speaks of. The codes may change, says their page: nothing
// else depends on them. https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func hintOf(g grant) string {
	for _, code := range g.ErrorCodes {
		switch code {
		case 90002, 900021, 900023:
			return "Microsoft Entra ID knows no tenant SENTINEL_TENANT_ID in this cloud"
		case 700016:
			return "the tenant SENTINEL_TENANT_ID has no application SENTINEL_CLIENT_ID"
		case 7000112:
			return "the application SENTINEL_CLIENT_ID is disabled"
		case 7000215:
			return "SENTINEL_CLIENT_SECRET is wrong: it must be the secret's value, not its ID"
		case 7000222:
			return "SENTINEL_CLIENT_SECRET has expired: make a new one in the app registration SENTINEL_CLIENT_ID"
		case 70011, 500011, 1002012:
			return "SENTINEL_SCOPE must be the cloud's Azure Monitor with /.default behind it"
		}
	}
	return "Microsoft Entra ID gives no token: check SENTINEL_TENANT_ID, SENTINEL_CLIENT_ID, SENTINEL_CLIENT_SECRET (expired?) and SENTINEL_SCOPE"
}
