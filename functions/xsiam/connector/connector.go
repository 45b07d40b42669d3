// Package connector delivers events to Palo Alto Networks Cortex XSIAM: one JSON object per event, in an envelope
// {"events":[…]}, or one per line for an HTTP log collector.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
package connector

import (
	"context"
	"net/http"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
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
