// Package connector delivers events to Datadog's Logs Intake v2: a JSON array of log entries in one POST, each with the
// whole event as text in its message. An entry that Datadog would cut says so instead, and names the event. It asks for
// no word about single entries, since Datadog has none.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
package connector

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
)

// Datadog's limits, which count uncompressed bytes. A larger entry is cut by Datadog, and the answer is a success all the
// same. https://docs.datadoghq.com/api/latest/logs/#send-logs
const (
	maxRequestBytes = 5_000_000
	maxEntryBytes   = 1_000_000
)

// maxEventAge is how old an event may be to have its own time told. Datadog drops entries dated more than 18 hours back,
// behind a success; one hour is left for clocks and for the time an entry spends in Datadog's own queues.
// https://docs.datadoghq.com/logs/log_configuration/pipelines/#date-attribute
const maxEventAge = 17 * time.Hour

type connector struct {
	cfg    config
	client *httpsend.Client
	header http.Header
	codes  *httpsend.Codes
	prefix []byte // of every entry, up to the event
}

// Open makes the connector from settings. It makes no connection. Problems are noted in s; when s.Err() is not nil, the
// connector must not be used.
func Open(s *settings.Settings) deliver.Connector { return open(readConfig(s)) }

func open(cfg config) *connector {
	c := &connector{cfg: cfg, client: httpsend.New(cfg.http), codes: newCodes(cfg.validate == nil)}
	c.header = http.Header{
		"DD-API-KEY":   {cfg.key.Reveal()},
		"Content-Type": {"application/json"},
	}
	for _, field := range [...]struct{ key, value string }{
		{`{"ddsource":`, cfg.source}, {`,"ddtags":`, cfg.tags}, {`,"hostname":`, cfg.host}, {`,"service":`, cfg.service},
	} {
		c.prefix = append(c.prefix, field.key...)
		c.prefix = jsonscan.AppendQuoted(c.prefix, field.value)
	}
	c.prefix = append(c.prefix, `,"message":`...)
	return c
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{
		Open: "[", Separator: ",", Close: "]",
		MaxBytes: maxRequestBytes, MaxRecordBytes: maxEntryBytes,
	}
}

// Append implements deliver.Connector: a log entry with the event as its message, or with what stands in the event's
// place where the entry would be larger than Datadog keeps.
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

// appendEnd closes an entry, with the event's own time where it is wanted and Datadog takes it.
func (c *connector) appendEnd(dst []byte, e *event.Event) []byte {
	if c.cfg.eventTime && c.client.Now().UnixMilli()-e.Time < maxEventAge.Milliseconds() {
		dst = append(dst, `,"timestamp":`...)
		dst = strconv.AppendInt(dst, e.Time, 10)
	}
	return append(dst, '}')
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.intake, Header: c.header, Body: b.Body, Meter: b.Meter})
	if err != nil {
		return err
	}
	return c.classify(a)
}

// Check implements deliver.Checker. The API tells whether the key is good; an empty array, which holds nothing to write,
// shows that the intake can be reached and takes the key. Where DATADOG_INTAKE_URL is set, that alone has to do.
func (c *connector) Check(ctx context.Context) error {
	if c.cfg.validate != nil {
		a, err := c.client.Do(ctx, httpsend.Request{Method: http.MethodGet, URL: c.cfg.validate, Header: c.header})
		if err != nil {
			return err
		}
		if f := newCodes(true).Classify(a); f != nil { // {"valid":true}
			return f
		}
	}
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.intake, Header: c.header, Body: []byte("[]"), Plain: true})
	if err != nil {
		return err
	}
	if r, _ := read(a); a.Status == http.StatusBadRequest && r.Own { // the key is read before the body
		return nil
	}
	return c.classify(a)
}
