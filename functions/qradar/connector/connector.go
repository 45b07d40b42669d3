// Package connector delivers events to IBM QRadar: one CEF message per event, in a syslog header (RFC 5424), over UDP,
// TCP or TLS. Syslog has no responses. Over TCP and TLS, a batch is delivered if the TCP stack of QRadar's host has
// acknowledged every byte; over UDP, if it was sent. A batch that is not confirmed is retried whole.
// https://www.ibm.com/docs/SS42VS_DSM/com.ibm.dsm.doc/c_dsm_guide_universal_cef_overview.html
package connector

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/syslogsend"
)

var _ deliver.Checker = (*connector)(nil)

const (
	// maxBatchBytes bounds what is confirmed together, and sent again if it is not.
	maxBatchBytes = 1 << 20

	// QRadar accepts payloads of 4096 bytes over TCP and 1024 over UDP, unless an administrator raises the limit in the
	// system settings (to 32,000 over TCP). RFC 5424, section 6.1, requires 480 and recommends 2048.
	defaultMaxMessage    = 4096
	defaultMaxMessageUDP = 1024

	// The bounds of QRADAR_MAX_MESSAGE_BYTES. A datagram has at most 65,507 bytes.
	leastMaxMessage   = 100
	mostMaxMessage    = 9_999_999
	mostMaxMessageUDP = 65_507
)

type connector struct {
	client     *syslogsend.Sender
	datagrams  bool // UDP
	octets     bool // frame by octet counting, else by newlines
	maxMessage int  // bytes, framing not counted
	keys       *keys
	origin     []byte // of the syslog header, between TIMESTAMP and MSGID
	device     []byte // of the CEF header, from MSGID to the event class
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	host := readHost(s)
	network := syslogsend.Network(s.OneOf("QRADAR_SYSLOG_PROTOCOL", "tcp", "udp", "tls"))
	c := &connector{datagrams: network == syslogsend.UDP}
	port, maxMessage, mostMessage := 514, defaultMaxMessage, mostMaxMessage
	switch {
	case network == syslogsend.TLS:
		port = 6514
	case c.datagrams:
		maxMessage, mostMessage = defaultMaxMessageUDP, mostMaxMessageUDP
		s.Warn("QRADAR_SYSLOG_PROTOCOL=udp: UDP confirms nothing, so an event counts as delivered once it is sent")
	}
	if !c.datagrams && !syslogsend.Confirms {
		s.Warn("this system does not report what QRadar's host has acknowledged: an event may be lost when a " +
			"connection breaks")
	}
	port = s.Int("QRADAR_SYSLOG_PORT", port, 1, 65535)
	c.octets = s.OneOf("QRADAR_SYSLOG_FRAMING", "newline", "octet-counted") == "octet-counted" && !c.datagrams
	c.maxMessage = s.Int("QRADAR_MAX_MESSAGE_BYTES", maxMessage, leastMaxMessage, mostMessage)
	c.keys = keySets[s.OneOf("QRADAR_CEF_KEYS", "page", "standard")]
	product := s.String("QRADAR_CEF_DEVICE_PRODUCT", "ArbitexPlatform")
	c.origin = origin(s.String("SIEM_HOST", "platform.arbitex.ai"), product)
	c.device = device(s.String("QRADAR_CEF_DEVICE_VENDOR", "Arbitex"), product,
		s.String("QRADAR_CEF_DEVICE_VERSION", "1.0"))
	cfg := syslogsend.Config{
		Network: network,
		Address: net.JoinHostPort(host, strconv.Itoa(port)),
		Timeout: time.Duration(s.Int("SIEM_REQUEST_TIMEOUT_SECONDS", 10, 1, 300)) * time.Second,
		Dial:    s.Dial,
	}
	readTLS(s, &cfg)
	s.Proxy() // syslog needs none; a wrong value would make every request to SQS fail
	c.client = syslogsend.New(cfg)
	return c
}

// Format implements deliver.Connector. A datagram holds one message and needs no frame.
func (c *connector) Format() deliver.Format {
	switch {
	case c.datagrams:
		return deliver.Format{Stream: true, MaxRecordBytes: c.maxMessage}
	case c.octets:
		return deliver.Format{Stream: true, MaxBytes: maxBatchBytes, MaxRecordBytes: c.maxMessage + len("9999999 ")}
	}
	return deliver.Format{Stream: true, Separator: "\n", Close: "\n", MaxBytes: maxBatchBytes,
		MaxRecordBytes: c.maxMessage}
}

// Append implements deliver.Connector: one message, with its length before it for octet counting.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	start := len(dst)
	dst, truncated, err = c.appendMessage(dst, e)
	if err == nil && c.octets {
		dst = insertLength(dst, start)
	}
	return dst, truncated, err
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	if c.datagrams {
		return c.client.SendDatagrams(ctx, b.Len(), b.Record, b.Meter)
	}
	return c.client.Send(ctx, b.Body, b.Meter)
}

// Check implements deliver.Checker. Syslog proves only that QRadar does not refuse the connection.
func (c *connector) Check(ctx context.Context) error { return c.client.Check(ctx) }

// readHost reads the host, without a port.
func readHost(s *settings.Settings) string {
	const expected = "the host name or address of the QRadar Console or Event Collector, without scheme and port"
	name := "QRADAR_SYSLOG_HOST"
	host := s.Required(name, expected)
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare
	}
	if strings.ContainsAny(host, "/:@[] ") {
		s.Problem(name, host, expected)
	}
	return host
}

// readTLS reads the settings of TLS.
func readTLS(s *settings.Settings, cfg *syslogsend.Config) {
	cfg.RootCAs = s.CABundle("QRADAR_TLS_CA_BUNDLE")
	if cfg.Network == syslogsend.TLS && !s.Set("QRADAR_TLS_CA_BUNDLE") {
		s.Problem("QRADAR_TLS_CA_BUNDLE", "",
			"the CA that signed QRadar's certificate, PEM text or a file's path, as QRADAR_SYSLOG_PROTOCOL is tls")
	}
	cfg.ServerName = s.String("QRADAR_TLS_SERVER_NAME", "")
	cfg.Certificate = s.ClientCertificate("QRADAR_TLS_CLIENT_CERT", "QRADAR_TLS_CLIENT_KEY")
	cfg.Settings = syslogsend.Settings{
		Host: "QRADAR_SYSLOG_HOST and QRADAR_SYSLOG_PORT", CABundle: "QRADAR_TLS_CA_BUNDLE",
		ServerName: "QRADAR_TLS_SERVER_NAME", Certificate: "QRADAR_TLS_CLIENT_CERT and QRADAR_TLS_CLIENT_KEY",
	}
}
