// Package connector delivers events to a Sumo Logic HTTP source: one event per line, in one POST. The source's URL is
// the credential: errors, warnings and hints contain only its host.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
package connector

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
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
	r := httpsend.Request{URL: c.cfg.url, Header: c.header, Body: b.Body, Meter: b.Meter}
	a, err := c.client.Call(ctx, r, codes)
	if err == nil && !a.Empty() {
		b.Warn(warning(a))
	}
	return err
}

// Check implements deliver.Checker. A source responds to a GET, and writes nothing.
func (c *connector) Check(ctx context.Context) error {
	a, err := c.client.Call(ctx, httpsend.Request{Method: http.MethodGet, URL: c.cfg.url, Header: c.header}, codes)
	if a != nil && a.OK() && a.Status == http.StatusOK && !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<")) {
		return nil // whatever the text
	}
	return err
}

// config holds the settings.
type config struct {
	url      *url.URL // of the source; it is the credential
	category string
	host     string
	http     httpsend.Config
}

// sourcePath precedes the code in the path of a source's URL.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
const sourcePath = "/receiver/v1/http/"

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	const expected = "the HTTP source's URL, such as https://collectors.sumologic.com" + sourcePath + "<code>"
	cfg := config{
		url:      s.SecretURL("SUMO_HTTP_SOURCE_URL", expected),
		category: s.String("SUMO_CATEGORY", "arbitex/audit"),
		host:     s.String("SUMO_HOST", "platform.arbitex.ai"),
	}
	if cfg.url != nil {
		s.Conceal(credentials(cfg.url)...)
		if strings.HasPrefix(sourcePath, strings.TrimRight(cfg.url.Path, "/")+"/") {
			s.Problem("SUMO_HTTP_SOURCE_URL", cfg.url.String(), expected+" (there is no code at its end)")
		}
	}
	cfg.http = httpsend.Configure(s, "gzip", "SUMO_HTTP_SOURCE_URL")
	return cfg
}

// credentials are the parts of the URL's path that identify the source: the code at its end, and any other part that
// may be one, as written and decoded. The rest of the URL is not secret: if it were treated so, no host of Sumo Logic
// could be named.
func credentials(u *url.URL) []secret.Value {
	const word = 16 // bytes; a shorter part, such as "receiver", is not a code
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	var all []secret.Value
	for i, written := range parts {
		if i < len(parts)-1 && len(written) < word {
			continue
		}
		decoded, err := url.PathUnescape(written)
		if err != nil {
			decoded = written
		}
		all = append(all, secret.New(written), secret.New(decoded))
	}
	return all
}
