// Package connector delivers events to Datadog's Logs Intake v2: a JSON array of log entries in one POST, each with the
// whole event as text in its message. An entry that Datadog would truncate silently holds a reference to the event
// instead.
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

type connector struct {
	cfg    config
	client *httpsend.Client
	header http.Header
	codes  *httpsend.Codes
	prefix []byte // of every entry, up to the event
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
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

// Check implements deliver.Checker. The API reports whether the key is valid. An empty array, which writes nothing,
// shows that the intake can be reached and accepts the key. With DATADOG_INTAKE_URL, only that host is used.
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
