// Package connector delivers events to Datadog's Logs Intake v2: a JSON array of log entries in one POST, each with the
// whole event as text in its message. An entry that Datadog would truncate silently holds a reference to the event
// instead.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
package connector

import (
	"context"
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
	"github.com/arbitex/siem-connectors/shared/settings"
)

var _ deliver.Checker = (*connector)(nil)

// Datadog's limits, in uncompressed bytes. Datadog truncates a larger entry and still responds with a success.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
const (
	maxRequestBytes = 5_000_000
	maxEntryBytes   = 1_000_000
)

// maxEventAge is the maximum age of an event whose time is sent. Datadog drops entries dated more than 18 hours in the
// past after a success. One hour is left for clock differences and Datadog's own queues.
// https://docs.datadoghq.com/logs/log_configuration/pipelines/#date-attribute
const maxEventAge = 17 * time.Hour

// The paths of the intake and of the validation of keys.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
// https://docs.datadoghq.com/api/latest/authentication/#validate-api-key
const (
	intakePath   = "/api/v2/logs"
	validatePath = "/api/v1/validate"
)

const defaultSite = "datadoghq.com"

// sites are Datadog's, the default first. A key is valid at one of them.
// https://docs.datadoghq.com/getting_started/site/
var sites = [...]string{
	defaultSite, "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com", "ap2.datadoghq.com",
	"uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
}

type connector struct {
	intake    *url.URL // of the log intake
	validate  *url.URL // of the validation of keys; nil with DATADOG_INTAKE_URL, which is then the only host
	client    *httpsend.Client
	header    http.Header
	codes     *httpsend.Codes
	prefix    []byte // of every entry, up to the event
	eventTime bool
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	key := s.Secret("DATADOG_API_KEY", true, "the API key")
	c := &connector{header: http.Header{"DD-API-KEY": {key.Reveal()}, "Content-Type": {"application/json"}}}
	service := s.String("DATADOG_SERVICE", "arbitex")
	if strings.Contains(service, ",") {
		s.Problem("DATADOG_SERVICE", service, "a name without commas, since it becomes a tag")
	}
	for _, field := range [...]struct{ key, value string }{
		{`{"ddsource":`, s.String("DATADOG_SOURCE", "arbitex-audit")},
		{`,"ddtags":`, joinTags(s.String("DATADOG_TAGS", ""), service)},
		{`,"hostname":`, s.String("SIEM_HOST", "platform.arbitex.ai")},
		{`,"service":`, service},
	} {
		c.prefix = append(c.prefix, field.key...)
		c.prefix = jsonscan.AppendQuoted(c.prefix, field.value)
	}
	c.prefix = append(c.prefix, `,"message":`...)
	c.eventTime = s.Bool("DATADOG_EVENT_TIME", false)
	c.client = httpsend.New(httpsend.Configure(s, "gzip", c.readAddress(s)))
	c.codes = newCodes(c.validate == nil)
	return c
}

// readAddress reads the hosts: the two of the site, or that of DATADOG_INTAKE_URL, with which the site is not used. It
// returns the variable that determines them.
func (c *connector) readAddress(s *settings.Settings) string {
	const defaultIntake = "https://http-intake.logs." + defaultSite
	c.intake = s.URL("DATADOG_INTAKE_URL", defaultIntake, "the log intake's address, such as "+defaultIntake)
	if s.Set("DATADOG_INTAKE_URL") {
		_ = s.String("DATADOG_SITE", defaultSite)
		if !strings.HasSuffix(c.intake.Path, intakePath) {
			c.intake = c.intake.JoinPath(intakePath)
		}
		return "DATADOG_INTAKE_URL"
	}
	site := s.OneOf("DATADOG_SITE", sites[:]...)
	c.intake = &url.URL{Scheme: "https", Host: "http-intake.logs." + site, Path: intakePath}
	c.validate = &url.URL{Scheme: "https", Host: "api." + site, Path: validatePath}
	return "DATADOG_SITE"
}

// joinTags makes ddtags: the configured tags, then the service.
func joinTags(tags, service string) string {
	var all []string
	for tag := range strings.SplitSeq(tags, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			all = append(all, tag)
		}
	}
	return strings.Join(append(all, "service:"+service), ",")
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{
		Open: "[", Separator: ",", Close: "]",
		MaxBytes: maxRequestBytes, MaxRecordBytes: maxEntryBytes,
	}
}

// Append implements deliver.Connector: a log entry with the event as its message, or with what replaces the event if
// the entry would be too large.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	start := len(dst)
	dst = append(dst, c.prefix...)
	message := len(dst)
	dst = c.appendEnd(e.AppendQuoted(dst), e)
	if len(dst)-start <= maxEntryBytes {
		return dst, false, nil
	}
	dst = jsonscan.AppendQuoted(dst[:message], e.AppendTruncated(nil))
	return c.appendEnd(dst, e), true, nil
}

// appendEnd closes an entry, with the event's time if DATADOG_EVENT_TIME is set and the event is not too old.
func (c *connector) appendEnd(dst []byte, e *event.Event) []byte {
	if c.eventTime && c.client.Now().UnixMilli()-e.Time < maxEventAge.Milliseconds() {
		dst = append(dst, `,"timestamp":`...)
		dst = strconv.AppendInt(dst, e.Time, 10)
	}
	return append(dst, '}')
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	r := httpsend.Request{URL: c.intake, Header: c.header, Body: b.Body, Meter: b.Meter}
	_, err := c.client.Call(ctx, r, c.codes)
	return err
}

// Check implements deliver.Checker. The API reports whether the key is valid. An empty array, which writes nothing,
// shows that the intake can be reached and accepts the key. With DATADOG_INTAKE_URL, only that host is used.
func (c *connector) Check(ctx context.Context) error {
	if c.validate != nil {
		r := httpsend.Request{Method: http.MethodGet, URL: c.validate, Header: c.header}
		if _, err := c.client.Call(ctx, r, newCodes(true)); err != nil { // {"valid":true}
			return err
		}
	}
	r := httpsend.Request{URL: c.intake, Header: c.header, Body: []byte("[]"), Plain: true}
	_, err := c.client.Call(ctx, r, c.codes)
	if f := failure.Of(err); f != nil && f.Status == http.StatusBadRequest && !f.Foreign {
		return nil // the key is read before the body
	}
	return err
}

// newCodes makes the table of responses of the intake, which accepts or refuses a request as a whole. Receivers other
// than Datadog's, which only DATADOG_INTAKE_URL leads to, confirm with any 2xx and often without a body.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
func newCodes(intakeURL bool) *httpsend.Codes {
	return &httpsend.Codes{SIEM: "a log intake of Datadog",
		Hint: "DATADOG_SITE or DATADOG_INTAKE_URL does not lead to a log intake of Datadog",
		Rows: []httpsend.Code{
			{Status: 401, Kind: failure.Unauthorized,
				Hint: "DATADOG_API_KEY is needed: an intermediary removes the header DD-API-KEY"},
			{Status: 403, Kind: failure.Unauthorized,
				Hint: "DATADOG_API_KEY is not valid at this site: check the key and DATADOG_SITE"},
		},
		// https://docs.datadoghq.com/api/latest/rate-limits/
		WaitHeaders: []string{"X-RateLimit-Reset", "X-RateLimit-Period"},
		Read: func(a *httpsend.Response) httpsend.Reply {
			r, confirms := read(a)
			switch {
			case intakeURL || a.Status == http.StatusAccepted:
				r.Success = a.Empty() || confirms
			case a.Status == http.StatusOK:
				r.Success = confirms && len(a.Object()) == 0
			}
			return r
		}}
}

// read reads the intake's error format, {"errors":["…"]} or {"errors":[{"title":"…","detail":"…"}]}. confirms
// reports whether the body is a JSON object without errors.
func read(a *httpsend.Response) (r httpsend.Reply, confirms bool) {
	members := a.Object()
	raw, listed := members["errors"]
	var list []json.RawMessage
	if !httpsend.Absent(raw) && json.Unmarshal(raw, &list) != nil {
		return httpsend.Reply{}, false
	}
	var texts []string
	for _, raw := range list {
		var e struct{ Title, Detail string }
		text, ok := httpsend.Text(raw)
		if !ok && json.Unmarshal(raw, &e) == nil {
			text = strings.TrimPrefix(e.Title+": "+e.Detail, ": ")
		}
		texts = append(texts, text)
	}
	return httpsend.Reply{Own: len(list) > 0, Text: strings.Join(texts, "; ")}, members != nil && !listed
}
