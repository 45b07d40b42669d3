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
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
)

// The limits are those of an HTTP log collector.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
const (
	// maxRequestBytes is the recommended size; requests over 10 MB get a 413.
	maxRequestBytes = 1 << 20

	// maxRecordBytes is the maximum of a record. One over maxRequestBytes is sent alone.
	maxRecordBytes = 5_000_000
)

type connector struct {
	cfg    config
	client *httpsend.Client
	codes  *httpsend.Codes
	signer *signer
	header []byte // of every record, between an event's time and its request id
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector { return open(readConfig(s)) }

func open(cfg config) *connector {
	c := &connector{cfg: cfg, client: httpsend.New(cfg.http), codes: newCodes(cfg.auth), signer: newSigner(cfg)}
	c.header = append(c.header, `","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":`...)
	c.header = jsonscan.AppendQuoted(c.header, cfg.dataset)
	c.header = append(c.header, `,"log_type":`...)
	c.header = jsonscan.AppendQuoted(c.header, cfg.logType)
	c.header = append(c.header, `,"event_id":`...)
	return c
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	f := deliver.Format{Separator: "\n", MaxBytes: maxRequestBytes, MaxRecordBytes: maxRecordBytes}
	if c.cfg.envelope {
		f.Open, f.Separator, f.Close = `{"events":[`, ",", `]}`
	}
	return f
}

// Append implements deliver.Connector: one object with the keys in the order of the platform's page.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	dst = append(dst, `{"_time":"`...)
	dst = e.AppendTime(dst)
	dst = append(dst, c.header...)
	dst = e.RequestID.AppendJSON(dst)
	dst = append(dst, `,"user_id":`...)
	dst = e.UserID.AppendJSON(dst)
	dst = append(dst, `,"user_email":`...)
	dst = e.UserEmail.AppendJSON(dst)
	dst = append(dst, `,"operation":`...)
	dst = e.Operation.AppendJSON(dst)
	dst = append(dst, `,"model_id":`...)
	dst = e.ModelID.AppendJSON(dst)
	dst = append(dst, `,"policy_action":`...)
	dst = e.PolicyAction.AppendJSON(dst)
	dst = append(dst, `,"dlp_labels":`...)
	dst = event.AppendTexts(dst, e.DLPLabels)
	dst = append(dst, `,"tokens_input":`...)
	dst = e.TokensInput.AppendJSON(dst)
	dst = append(dst, `,"tokens_output":`...)
	dst = e.TokensOutput.AppendJSON(dst)
	dst = append(dst, `,"severity":"`...)
	dst = append(dst, severity(e.Severity)...)
	dst = append(dst, `","raw_ocsf":`...)
	dst = e.AppendQuoted(dst)
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
	return c.post(ctx, b.Body, b.Meter)
}

func (c *connector) post(ctx context.Context, body []byte, m *telemetry.Meter) error {
	s := c.signer.sign(c.client.Now())
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.url, Header: s.header, Body: body, Secret: s.signature,
		Meter: m})
	if err != nil {
		return err
	}
	return c.classify(a)
}

// Check implements deliver.Checker. XSIAM documents no request that proves the key and writes nothing. It reads the key
// before the body, so a request without an event usually does. Only if that is refused for its content, the check
// writes one small record that says what it is.
func (c *connector) Check(ctx context.Context) error {
	f := c.Format()
	err := c.post(ctx, []byte(f.Open+f.Close), nil)
	if err == nil || !aboutContent(failure.Of(err)) {
		return err
	}
	record, err := c.checkRecord()
	if err != nil {
		return err
	}
	return c.post(ctx, deliver.NewBatch(f, [][]byte{record}, nil).Body, nil)
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

// config holds the settings.
type config struct {
	url      *url.URL // of the event endpoint
	auth     string   // one of the next four
	key      secret.Value
	keyID    string
	logType  string
	dataset  string
	envelope bool
	http     httpsend.Config
}

// The ways to prove the key.
const (
	authHMAC     = "hmac"     // signed headers
	authToken    = "token"    // an HTTP log collector's own token
	authStandard = "standard" // a Cortex API key of security level standard
	authAdvanced = "advanced" // a Cortex API key of security level advanced
)

// eventPath is the path of the event endpoint; a URL without a path gets it.
const eventPath = "/logs/v1/event"

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	cfg := config{
		url:     s.URL("XSIAM_URL", "", "the tenant's API URL, such as https://api-tenant.xsiam.paloaltonetworks.com"),
		key:     s.Secret("XSIAM_API_KEY", true, "the API key, or the token of the HTTP log collector"),
		auth:    s.OneOf("XSIAM_AUTH", authHMAC, authToken, authStandard, authAdvanced),
		logType: s.String("XSIAM_LOG_TYPE", "arbitex_audit"),
		dataset: s.String("XSIAM_DATASET", "arbitex_audit_raw"),
	}
	cfg.keyID = readKeyID(s, cfg.auth != authToken)
	if bodies := [2]string{"envelope", "ndjson"}; cfg.auth != authToken {
		cfg.envelope = s.OneOf("XSIAM_BODY", bodies[0], bodies[1]) == bodies[0]
	} else {
		cfg.envelope = s.OneOf("XSIAM_BODY", bodies[1], bodies[0]) == bodies[0]
	}
	cfg.http = httpsend.Configure(s, "none")
	cfg.http.URLSetting = "XSIAM_URL"
	cfg.http.Redactor = secret.NewRedactor(cfg.key)
	if cfg.url != nil && strings.Trim(cfg.url.Path, "/") == "" {
		u := *cfg.url
		u.Path = eventPath
		cfg.url = &u
	}
	return cfg
}

// readKeyID reads the number of the API key.
func readKeyID(s *settings.Settings, required bool) string {
	const name = "XSIAM_API_KEY_ID"
	if !required {
		return s.String(name, "")
	}
	id := s.Required(name, "the ID of the API key, a number; only XSIAM_AUTH=token needs none")
	if strings.Trim(id, "0123456789") != "" {
		s.Problem(name, id, "a number")
		return ""
	}
	return id
}

// signer makes the headers that prove the key.
type signer struct {
	auth  string
	key   secret.Value
	keyID string
	fixed *signed // the headers, if they are the same for all requests
}

// signed is the header of a request, and the secret in it.
type signed struct {
	header    http.Header
	signature secret.Value // empty if it is the key, which the client knows
}

func newSigner(cfg config) *signer {
	s := &signer{auth: cfg.auth, key: cfg.key, keyID: cfg.keyID}
	switch cfg.auth {
	case authToken:
		s.fixed = &signed{header: header("Authorization", s.key.Reveal())}
	case authStandard:
		s.fixed = &signed{header: header("Authorization", s.key.Reveal(), "X-Xdr-Auth-Id", s.keyID)}
	}
	return s
}

// sign makes the headers of one request.
func (s *signer) sign(now time.Time) *signed {
	switch {
	case s.fixed != nil:
		return s.fixed
	case s.auth == authAdvanced:
		return s.advanced(nonce(), now)
	}
	return s.hmac(nonce())
}

// hmac signs ID, nonce and key with the key.
func (s *signer) hmac(nonce string) *signed {
	mac := hmac.New(sha256.New, []byte(s.key.Reveal()))
	_, _ = mac.Write([]byte(s.keyID + nonce + s.key.Reveal())) // a hash takes everything
	signature := hex.EncodeToString(mac.Sum(nil))
	return &signed{
		header:    header("X-Xdr-Auth-Id", s.keyID, "X-Xdr-Nonce", nonce, "X-Xdr-Hmac-Sha256", signature),
		signature: secret.New(signature),
	}
}

// advanced hashes key, nonce and time, as the public API of Cortex requires for keys of that level.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM-Platform-APIs/Make-your-first-API-call
func (s *signer) advanced(nonce string, now time.Time) *signed {
	at := strconv.FormatInt(now.UnixMilli(), 10)
	sum := sha256.Sum256([]byte(s.key.Reveal() + nonce + at))
	signature := hex.EncodeToString(sum[:])
	return &signed{
		header: header("X-Xdr-Auth-Id", s.keyID, "X-Xdr-Nonce", nonce, "X-Xdr-Timestamp", at,
			"Authorization", signature),
		signature: secret.New(signature),
	}
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
	var text [64]byte
	base32.StdEncoding.Encode(text[:], random[:])
	return string(text[:])
}
