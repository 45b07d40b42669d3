// Package connector delivers events to Microsoft Sentinel through the Logs Ingestion API of Azure Monitor: one JSON
// array of rows in one POST to a stream of a data collection rule (DCR), with an access token from Microsoft Entra ID.
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
package connector

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
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
	tokens *tokens
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector { return open(readConfig(s)) }

func open(cfg config) *connector {
	return &connector{cfg: cfg, client: httpsend.New(cfg.http), tokens: newTokens(cfg)}
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Open: "[", Separator: ",", Close: "]", MaxBytes: maxRequestBytes}
}

var errLongID = errors.New("metadata.uid: expected to fit into RawOCSF, is longer than " + strconv.Itoa(maxRawBytes) +
	" bytes")

// Append implements deliver.Connector: one row of the stream, with the columns in the order of the platform's page.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	dst = append(dst, `{"TimeGenerated":"`...)
	dst = e.AppendTime(dst)
	dst = append(dst, `","EventId":`...)
	dst = e.RequestID.AppendJSON(dst)
	dst = append(dst, `,"UserId":`...)
	dst = e.UserID.AppendJSON(dst)
	dst = append(dst, `,"UserEmail":`...)
	dst = e.UserEmail.AppendJSON(dst)
	dst = append(dst, `,"Operation":`...)
	dst = e.Operation.AppendJSON(dst)
	dst = append(dst, `,"ModelId":`...)
	dst = e.ModelID.AppendJSON(dst)
	dst = append(dst, `,"PolicyAction":`...)
	dst = e.PolicyAction.AppendJSON(dst)
	dst = append(dst, `,"DlpLabels":`...)
	start := len(dst)
	dst = event.QuoteFrom(event.AppendTexts(dst, e.DLPLabels), start)
	dst = append(dst, `,"TokensInput":`...)
	dst = e.TokensInput.AppendJSON(dst)
	dst = append(dst, `,"TokensOutput":`...)
	dst = e.TokensOutput.AppendJSON(dst)
	dst = append(dst, `,"SeverityId":`...)
	dst = strconv.AppendInt(dst, e.Severity, 10)
	dst = append(dst, `,"RawOCSF":`...)
	dst, truncated, err = appendRaw(dst, e)
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
	c.tokens.dropAll()
	return c.post(ctx, []byte("[]"), nil)
}

func (c *connector) post(ctx context.Context, body []byte, m *telemetry.Meter) error {
	t, err := c.tokens.get(ctx, m)
	if err != nil {
		return err
	}
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.url, Header: t.header, Body: body, Secret: t.text, Meter: m})
	if err != nil {
		return err
	}
	if a.Status == http.StatusUnauthorized {
		c.tokens.drop(t)
	}
	return classify(a)
}
