// Package connector delivers events to a Sumo Logic HTTP source: one event per line, in one POST. The source's URL is
// the credential: errors, warnings and hints contain only its host.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
package connector

import (
	"bytes"
	"context"
	"net/http"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
)

// maxRequestBytes is the maximum of a request, before compression. The documents say 1 MB; this is the smaller
// megabyte.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/#data-payload-considerations
const maxRequestBytes = 1_000_000

type connector struct {
	cfg    config
	client *httpsend.Client
	header http.Header
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	cfg := readConfig(s)
	return &connector{cfg: cfg, client: httpsend.New(cfg.http), header: http.Header{
		"Content-Type":    {"application/json"},
		"X-Sumo-Category": {cfg.category},
		"X-Sumo-Host":     {cfg.host},
	}}
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Separator: "\n", MaxBytes: maxRequestBytes}
}

// Append implements deliver.Connector: the event in one line, because each line is a message. Sumo Logic slices a
// message over 64 KB without loss, so such an event is not truncated.
// https://www.sumologic.com/help/docs/search/get-started-with-search/search-basics/search-large-messages/
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	return e.AppendCompact(dst), false, nil
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.url, Header: c.header, Body: b.Body, Meter: b.Meter})
	if err != nil {
		return err
	}
	warning, err := classify(a)
	if warning != "" {
		b.Warn(warning)
	}
	return err
}

// Check implements deliver.Checker. A source responds to a GET, and writes nothing.
func (c *connector) Check(ctx context.Context) error {
	a, err := c.client.Do(ctx, httpsend.Request{Method: http.MethodGet, URL: c.cfg.url, Header: c.header})
	if err != nil {
		return err
	}
	if f := codes.Classify(a); f != nil && (f.Status != http.StatusOK || a.BodyErr != nil ||
		bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<"))) {
		return f
	}
	return nil
}
