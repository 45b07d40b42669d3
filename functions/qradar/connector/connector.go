// Package connector delivers events to IBM QRadar: one CEF message per event, in a syslog header (RFC 5424), over UDP,
// TCP or TLS. Syslog has no responses. Over TCP and TLS, a batch is delivered if the TCP stack of QRadar's host has
// acknowledged every byte; over UDP, if it was sent. A batch that is not confirmed is retried whole.
// https://www.ibm.com/docs/SS42VS_DSM/com.ibm.dsm.doc/c_dsm_guide_universal_cef_overview.html
package connector

import (
	"context"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/syslogsend"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
)

// maxBatchBytes bounds what is confirmed together, and sent again if it is not.
const maxBatchBytes = 1 << 20

type connector struct {
	cfg    config
	client *syslogsend.Sender
	keys   *keys
	origin []byte // of the syslog header, between TIMESTAMP and MSGID
	device []byte // of the CEF header, from MSGID to the event class
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	cfg := readConfig(s)
	c := &connector{cfg: cfg, client: syslogsend.New(cfg.sender), keys: &keySets[cfg.keys]}
	c.origin = appendOrigin(nil, cfg.host, cfg.product)
	c.device = appendDevice(nil, cfg.vendor, cfg.product, cfg.version)
	return c
}

// Format implements deliver.Connector. A datagram holds one message and needs no frame.
func (c *connector) Format() deliver.Format {
	switch {
	case c.cfg.sender.Network == syslogsend.UDP:
		return deliver.Format{Stream: true, MaxRecordBytes: c.cfg.maxMessage}
	case c.cfg.octets:
		return deliver.Format{Stream: true, MaxBytes: maxBatchBytes, MaxRecordBytes: c.cfg.maxMessage + len("9999999 ")}
	}
	return deliver.Format{Stream: true, Separator: "\n", Close: "\n", MaxBytes: maxBatchBytes,
		MaxRecordBytes: c.cfg.maxMessage}
}

// Append implements deliver.Connector: one message, with its length before it for octet counting.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	start := len(dst)
	dst, truncated, err = c.appendMessage(dst, e)
	if err == nil && c.cfg.octets {
		dst = insertLength(dst, start)
	}
	return dst, truncated, err
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	if c.cfg.sender.Network == syslogsend.UDP {
		return c.client.SendDatagrams(ctx, b.Len(), b.Record, b.Meter)
	}
	return c.client.Send(ctx, b.Body, b.Meter)
}

// Check implements deliver.Checker. Syslog proves only that QRadar does not refuse the connection.
func (c *connector) Check(ctx context.Context) error { return c.client.Check(ctx) }
