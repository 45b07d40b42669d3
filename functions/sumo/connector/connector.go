// Package connector delivers events to a Sumo Logic HTTP source: one event per line, in one POST. The source's URL is
// the credential: errors, warnings and hints contain only its host.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
package connector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var _ deliver.Checker = (*connector)(nil)

// maxRequestBytes is the maximum of a request, before compression. The documents say 1 MB; this is the smaller
// megabyte.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/#data-payload-considerations
const maxRequestBytes = 1_000_000

// sourcePath precedes the code in the path of a source's URL.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/logs-metrics/upload-logs/
const sourcePath = "/receiver/v1/http/"

type connector struct {
	url    *url.URL // of the source; it is the credential
	client *httpsend.Client
	header http.Header
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	const expected = "the HTTP source's URL, such as https://collectors.sumologic.com" + sourcePath + "<code>"
	c := &connector{url: s.SecretURL("SUMO_HTTP_SOURCE_URL", expected)}
	c.header = http.Header{
		"Content-Type":    {"application/json"},
		"X-Sumo-Category": {s.String("SUMO_CATEGORY", "arbitex/audit")},
		"X-Sumo-Host":     {s.String("SUMO_HOST", "platform.arbitex.ai")},
	}
	s.Conceal(credentials(c.url)...)
	if c.url.Host != "" && strings.HasPrefix(sourcePath, strings.TrimRight(c.url.Path, "/")+"/") {
		s.Problem("SUMO_HTTP_SOURCE_URL", c.url.String(), expected+" (there is no code at its end)")
	}
	c.client = httpsend.New(httpsend.Configure(s, "gzip", "SUMO_HTTP_SOURCE_URL"))
	return c
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
	r := httpsend.Request{URL: c.url, Header: c.header, Body: b.Body, Meter: b.Meter}
	a, err := c.client.Call(ctx, r, codes)
	if err == nil && !a.Empty() {
		b.Warn(warning(a))
	}
	return err
}

// Check implements deliver.Checker. A source responds to a GET, and writes nothing.
func (c *connector) Check(ctx context.Context) error {
	a, err := c.client.Call(ctx, httpsend.Request{Method: http.MethodGet, URL: c.url, Header: c.header}, codes)
	if a != nil && a.OK() && a.Status == http.StatusOK && !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<")) {
		return nil // whatever the text
	}
	return err
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
		decoded, _ := url.PathUnescape(written) // EscapedPath is valid
		all = append(all, secret.New(written), secret.New(decoded))
	}
	return all
}

const renewURL = "SUMO_HTTP_SOURCE_URL is not valid any more: a source's new URL replaces the old one at once"

// codes are the responses of an HTTP source, which accepts or refuses a request as a whole.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
var codes = &httpsend.Codes{SIEM: "a Sumo Logic HTTP source", Read: read,
	Hint: "there is no HTTP source at the address in SUMO_HTTP_SOURCE_URL",
	Rows: []httpsend.Code{
		{Status: 401, Kind: failure.Unauthorized, Hint: renewURL},
		{Status: 403, Kind: failure.Unauthorized, Hint: renewURL},
		{Status: 408, Kind: failure.Transient,
			Hint: "the source may have taken part of the events, which are then stored twice"},
	}}

// read reads a source's response: nothing for a success, and
// {"id":"…","code":"…","message":"…","errors":[{"code":"…"}]} for a refusal or a success with a warning.
func read(a *httpsend.Response) httpsend.Reply {
	if a.Empty() {
		return httpsend.Reply{Success: a.Status == http.StatusOK}
	}
	r := httpsend.Reply{Success: a.Status == http.StatusOK && json.Valid(a.Body)}
	var e struct {
		ID, Code, Message string
		Errors            []struct{ Code, Message string }
	}
	if a.Object() == nil || json.Unmarshal(a.Body, &e) != nil {
		return r
	}
	if len(e.Errors) > 0 {
		e.Code, e.Message = cmp.Or(e.Code, e.Errors[0].Code), cmp.Or(e.Message, e.Errors[0].Message)
	}
	r.Own = e.Code != "" && cmp.Or(e.ID, e.Message) != ""
	r.Code, r.Text = e.Code, e.Message
	return r
}

// warning describes a success that has a body: this is how Sumo Logic reports what it dropped.
func warning(a *httpsend.Response) string {
	return "accepted with status 200 and code " + cmp.Or(a.Word(read(a).Code), "unknown")
}
