// Package connector delivers events to Palo Alto Networks Cortex XSIAM: one JSON object per event, in an envelope
// {"events":[…]}, or one per line for an HTTP log collector.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
package connector

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var _ deliver.Checker = (*connector)(nil)

// The limits are those of an HTTP log collector.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
const (
	// maxRequestBytes is the recommended size; requests over 10 MB get a 413.
	maxRequestBytes = 1 << 20

	// maxRecordBytes is the maximum of a record. One over maxRequestBytes is sent alone.
	maxRecordBytes = 5_000_000
)

// The ways to prove the key.
const (
	authHMAC     = "hmac"     // signed headers
	authToken    = "token"    // an HTTP log collector's own token
	authStandard = "standard" // a Cortex API key of security level standard
	authAdvanced = "advanced" // a Cortex API key of security level advanced
)

// eventPath is the path of the event endpoint; a URL without a path gets it.
const eventPath = "/logs/v1/event"

type connector struct {
	url      *url.URL // of the event endpoint
	client   *httpsend.Client
	codes    *httpsend.Codes
	auth     string // the way to prove the key
	key      secret.Value
	keyID    string
	envelope bool   // XSIAM_BODY
	header   []byte // of every record, between an event's time and its request id
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	c := &connector{
		url:  s.URL("XSIAM_URL", "", "the tenant's API URL, such as https://api-tenant.xsiam.paloaltonetworks.com"),
		key:  s.Secret("XSIAM_API_KEY", true, "the API key, or the token of the HTTP log collector"),
		auth: s.OneOf("XSIAM_AUTH", authHMAC, authToken, authStandard, authAdvanced),
	}
	if strings.Trim(c.url.Path, "/") == "" {
		c.url.Path = eventPath
	}
	c.header = append(c.header, `","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":`...)
	c.header = jsonscan.AppendQuoted(c.header, s.String("XSIAM_DATASET", "arbitex_audit_raw"))
	c.header = append(c.header, `,"log_type":`...)
	c.header = jsonscan.AppendQuoted(c.header, s.String("XSIAM_LOG_TYPE", "arbitex_audit"))
	c.header = append(c.header, `,"event_id":`...)
	formats := []string{"envelope", "ndjson"} // the first is the default
	if c.auth == authToken {
		formats = []string{"ndjson", "envelope"}
		c.keyID = s.String("XSIAM_API_KEY_ID", "")
	} else {
		c.keyID = s.Required("XSIAM_API_KEY_ID", "the ID of the API key, a number; only XSIAM_AUTH=token needs none")
		if strings.Trim(c.keyID, "0123456789") != "" {
			s.Problem("XSIAM_API_KEY_ID", c.keyID, "a number")
		}
	}
	c.envelope = s.OneOf("XSIAM_BODY", formats...) == "envelope"
	c.client = httpsend.New(httpsend.Configure(s, "none", "XSIAM_URL"))
	c.codes = newCodes(c.auth)
	return c
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	f := deliver.Format{Separator: "\n", MaxBytes: maxRequestBytes, MaxRecordBytes: maxRecordBytes}
	if c.envelope {
		f.Open, f.Separator, f.Close = `{"events":[`, ",", `]}`
	}
	return f
}

// Append implements deliver.Connector: one object with the keys in the order of the platform's page.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	dst = e.AppendTime(append(dst, `{"_time":"`...))
	dst = e.RequestID.AppendJSON(append(dst, c.header...))
	dst = e.UserID.AppendJSON(append(dst, `,"user_id":`...))
	dst = e.UserEmail.AppendJSON(append(dst, `,"user_email":`...))
	dst = e.Operation.AppendJSON(append(dst, `,"operation":`...))
	dst = e.ModelID.AppendJSON(append(dst, `,"model_id":`...))
	dst = e.PolicyAction.AppendJSON(append(dst, `,"policy_action":`...))
	dst = event.AppendTexts(append(dst, `,"dlp_labels":`...), e.DLPLabels)
	dst = e.TokensInput.AppendJSON(append(dst, `,"tokens_input":`...))
	dst = e.TokensOutput.AppendJSON(append(dst, `,"tokens_output":`...))
	dst = append(append(dst, `,"severity":"`...), severity(e.Severity)...)
	dst = e.AppendQuoted(append(dst, `","raw_ocsf":`...))
	return append(dst, '}'), false, nil
}

// severity is the caption of an OCSF severity_id, in lower case.
// https://schema.ocsf.io/1.1.0/classes/base_event
func severity(id int64) string {
	captions := [...]string{"unknown", "informational", "low", "medium", "high", "critical", "fatal"}
	if 0 <= id && id < int64(len(captions)) {
		return captions[id]
	}
	return "other"
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	header, signature := c.sign(nonce(), c.client.Now())
	r := httpsend.Request{URL: c.url, Header: header, Body: b.Body, Secret: signature, Meter: b.Meter}
	_, err := c.client.Call(ctx, r, c.codes)
	return err
}

// Check implements deliver.Checker. XSIAM documents no request that proves the key and writes nothing. It reads the key
// before the body, so a request without an event usually does. Only if that is refused for its content, the check
// writes one small record that says what it is.
func (c *connector) Check(ctx context.Context) error {
	f := c.Format()
	err := c.Send(ctx, deliver.NewBatch(f, nil, nil))
	if err == nil || !aboutContent(failure.Of(err)) {
		return err
	}
	record, err := c.checkRecord()
	if err != nil {
		return err
	}
	return c.Send(ctx, deliver.NewBatch(f, [][]byte{record}, nil))
}

// aboutContent reports whether a refusal may be about a body without an event.
func aboutContent(f *failure.Error) bool {
	switch f.Status {
	case http.StatusBadRequest, http.StatusLengthRequired, http.StatusUnprocessableEntity, http.StatusInternalServerError:
		return true
	}
	return false
}

// checkRecord makes the record that a check may write: an informational OCSF base event.
func (c *connector) checkRecord() ([]byte, error) {
	body := `{"class_uid":0,"category_uid":0,"activity_id":99,"activity_name":"connection_check","type_uid":99,"severity_id":1,` +
		`"time":` + strconv.FormatInt(c.client.Now().UnixMilli(), 10) +
		`,"message":"ArbitexSIEM connection check, not an event",` +
		`"metadata":{"version":"1.1.0","product":{"name":"ArbitexSIEM","vendor_name":"Arbitex"}}}`
	var e event.Event
	if err := new(event.Parser).Parse([]byte(body), &e); err != nil {
		return nil, err
	}
	record, _, err := c.Append(nil, &e)
	return record, err
}

// sign makes the headers that prove the key in one request, and returns the secret in them that is not the key.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Make-your-first-API-call
func (c *connector) sign(nonce string, now time.Time) (http.Header, secret.Value) {
	key, id := c.key.Reveal(), c.keyID
	switch c.auth {
	case authToken:
		return header("Authorization", key), secret.Value{}
	case authStandard:
		return header("Authorization", key, "X-Xdr-Auth-Id", id), secret.Value{}
	case authAdvanced:
		at := strconv.FormatInt(now.UnixMilli(), 10)
		sum := sha256.Sum256([]byte(key + nonce + at))
		signature := hex.EncodeToString(sum[:])
		return header("X-Xdr-Auth-Id", id, "X-Xdr-Nonce", nonce, "X-Xdr-Timestamp", at, "Authorization", signature),
			secret.New(signature)
	}
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(id + nonce + key)) // a hash takes everything
	signature := hex.EncodeToString(mac.Sum(nil))
	return header("X-Xdr-Auth-Id", id, "X-Xdr-Nonce", nonce, "X-Xdr-Hmac-Sha256", signature), secret.New(signature)
}

func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = pairs[i+1 : i+2 : i+2]
	}
	return h
}

// nonce makes 64 random letters and digits, new for each request.
func nonce() string {
	var random [40]byte
	_, _ = rand.Read(random[:]) // never fails
	return base32.StdEncoding.EncodeToString(random[:])
}

// newCodes makes the response table. XSIAM accepts or refuses a request as a whole.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
func newCodes(auth string) *httpsend.Codes {
	return &httpsend.Codes{SIEM: "XSIAM", Read: read, Rows: []httpsend.Code{
		{Status: http.StatusUnauthorized, Kind: failure.Unauthorized, Hint: keyHint(http.StatusUnauthorized, auth)},
		{Status: http.StatusForbidden, Kind: failure.Unauthorized, Hint: keyHint(http.StatusForbidden, auth)},
		{Status: http.StatusInternalServerError, Kind: failure.Transient, // a wrong setting is the usual cause
			Hint: "the log format or the compression may not be the one the collector was made for: check XSIAM_BODY " +
				"and SIEM_COMPRESSION"},
	}, Hint: "XSIAM_URL does not lead to an event endpoint (" + eventPath + ")"}
}

// read reads a response: {"error":"…"} and nothing else, where "false" is a success, or the public API's
// {"reply":{"err_code":500,"err_msg":"…"}}.
func read(a *httpsend.Response) httpsend.Reply {
	members := a.Object()
	raw := members["error"]
	text, isText := httpsend.Text(raw)
	none := httpsend.Absent(raw) || string(raw) == "false" || isText && (text == "false" || text == "")
	if none && a.OK() {
		return httpsend.Reply{Success: a.Empty() || json.Valid(a.Body)}
	}
	if none {
		var reply struct {
			Code json.Number `json:"err_code"`
			Text string      `json:"err_msg"`
		}
		if json.Unmarshal(members["reply"], &reply) == nil && reply.Code != "" {
			return httpsend.Reply{Own: true, Code: reply.Code.String(), Text: reply.Text}
		}
		return httpsend.Reply{}
	}
	return httpsend.Reply{Own: isText && len(members) == 1, Text: text}
}

// keyHint adds the likeliest cause if the kind of key does not fit the endpoint.
func keyHint(status int, auth string) string {
	const hintKey = "the key XSIAM_API_KEY was refused (wrong, expired, or its collector is disabled)"
	switch {
	case auth == authToken:
		return hintKey + "; with XSIAM_AUTH=token it must be the token of the HTTP log collector, not an API key"
	case auth == authStandard:
		return hintKey + "; XSIAM_AUTH must be the key's security level, and XSIAM_API_KEY_ID its ID"
	case auth == authAdvanced:
		return hintKey + "; XSIAM_AUTH must be the key's security level, XSIAM_API_KEY_ID its ID, and the clock right"
	case status == http.StatusUnauthorized:
		return hintKey + ", or XSIAM_API_KEY_ID belongs to another key; an HTTP log collector of Cortex needs " +
			"XSIAM_AUTH=token"
	}
	return hintKey
}
