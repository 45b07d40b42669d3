// Package connector delivers events to Splunk's HTTP Event Collector (HEC): one JSON object per event, separated by
// newlines, in one POST. With SPLUNK_HEC_ACK, an event is delivered once the indexers acknowledge it.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
package connector

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

var (
	_ deliver.Connector = (*connector)(nil)
	_ deliver.Checker   = (*connector)(nil)
	_ deliver.Confirmer = (*connector)(nil)
	_ deliver.Noter     = (*connector)(nil)
)

const (
	// maxRequestBytes is accepted by every HEC: Splunk Cloud's limit, and the oldest default of max_content_length.
	maxRequestBytes = 1_000_000

	// maxEventBytes is the default of maxEventSize in inputs.conf. A request with one such event passes if
	// max_content_length allows it, as it does by default since 8.x; otherwise HEC responds with 413.
	maxEventBytes = 5_000_000
)

type connector struct {
	cfg      config
	client   *httpsend.Client
	pause    func(context.Context, time.Duration) // between polls; it returns early when the context ends
	header   http.Header
	envelope []byte // of every record, between an event's time and the event
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	cfg := readConfig(s)
	c := &connector{cfg: cfg, client: httpsend.New(cfg.http)}
	c.pause = func(ctx context.Context, d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	c.header = http.Header{
		"Authorization":            {"Splunk " + cfg.token.Reveal()},
		"Content-Type":             {"application/json"},
		"X-Splunk-Request-Channel": {newChannel()},
	}
	for _, field := range [...]struct{ key, value string }{
		{"host", cfg.host}, {"source", cfg.source}, {"sourcetype", cfg.sourcetype}, {"index", cfg.index},
	} {
		c.envelope = append(c.envelope, `,"`+field.key+`":`...)
		c.envelope = jsonscan.AppendQuoted(c.envelope, field.value)
	}
	c.envelope = append(c.envelope, `,"event":`...)
	return c
}

// newChannel makes a channel identifier, a GUID.
func newChannel() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Format implements deliver.Connector.
func (c *connector) Format() deliver.Format {
	return deliver.Format{Separator: "\n", MaxBytes: maxRequestBytes, MaxRecordBytes: maxEventBytes}
}

// Append implements deliver.Connector: HEC's envelope around the event's own bytes.
func (c *connector) Append(dst []byte, e *event.Event) (record []byte, truncated bool, err error) {
	dst = append(dst, `{"time":`...)
	dst = appendSeconds(dst, e.Time)
	dst = append(dst, c.envelope...)
	dst = e.AppendCompact(dst)
	return append(dst, '}'), false, nil
}

// appendSeconds writes Unix milliseconds as seconds with exactly three decimals.
func appendSeconds(dst []byte, ms int64) []byte {
	dst = strconv.AppendInt(dst, ms/1000, 10)
	ms %= 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

// Send implements deliver.Connector.
func (c *connector) Send(ctx context.Context, b *deliver.Batch) error {
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.cfg.url, Header: c.header, Body: b.Body, Meter: b.Meter})
	if err != nil {
		return err
	}
	acks := c.cfg.ackURL != nil
	if err := classify(a, b.Len(), acks); err != nil || !acks && string(a.Body) == accepted {
		return err
	}
	r, _ := parseReply(a.Body)
	if r.Code != codeSuccess {
		b.Meter.AddBackpressure()
		b.Warn("Splunk's queues are nearly full: code " + strconv.Itoa(r.Code))
	}
	switch {
	case !acks:
		return nil
	case r.AckID == nil:
		return &failure.Error{Kind: failure.Misconfigured, Step: failure.Request, Status: a.Status,
			Detail: "the response has no ackId", Hint: hintAck}
	}
	return &deliver.PendingError{ID: *r.AckID}
}

// Check implements deliver.Checker. An empty body proves the token and writes nothing: HEC refuses it as such only
// after it accepted the token. A poll shows whether the token has acknowledgement.
func (c *connector) Check(ctx context.Context) error {
	a, err := c.client.Call(ctx, httpsend.Request{URL: c.cfg.url, Header: c.header}, codes)
	if a == nil {
		return err
	}
	if r, ok := parseReply(a.Body); ok && r.Code == codeNoData {
		if c.cfg.ackURL == nil {
			return nil
		}
		_, err = c.poll(ctx, []int64{0}, nil)
		return err
	}
	if err == nil {
		err = &failure.Error{Kind: failure.Misconfigured, Step: failure.Request, Status: a.Status,
			Hint: "an empty request was accepted: " + notHEC}
	}
	return err
}

// Note implements deliver.Noter. A load balancer that does not pass the health endpoint hides the state of the queues.
// https://docs.splunk.com/Documentation/Splunk/latest/RESTREF/RESTinput#services.2Fcollector.2Fhealth
func (c *connector) Note(ctx context.Context) deliver.Note {
	a, err := c.client.Do(ctx, httpsend.Request{Method: http.MethodGet, URL: c.cfg.healthURL, Header: c.header})
	if err != nil {
		return deliver.Note{}
	}
	switch r, _ := parseReply(a.Body); r.Code {
	case codeQueuesFull, codeQueuesAndAcksFull, codeQueueFilled, codeAcksFilled:
		return deliver.Note{Text: "Splunk's queues are full or nearly full: code " + strconv.Itoa(r.Code), Backpressure: true}
	}
	return deliver.Note{}
}

// config holds the settings.
type config struct {
	url        *url.URL // of the event endpoint
	healthURL  *url.URL
	ackURL     *url.URL // of the acknowledgement endpoint; nil if SPLUNK_HEC_ACK is false
	ackTimeout time.Duration
	token      secret.Value
	index      string
	source     string
	sourcetype string
	host       string
	http       httpsend.Config
}

// HEC's endpoints. https://docs.splunk.com/Documentation/Splunk/latest/Data/HECRESTendpoints
const (
	basePath  = "/services/collector"
	eventPath = basePath + "/event" // also of a URL without a path
	rawPath   = basePath + "/raw"
)

// readConfig reads the settings. It adds problems to s.
func readConfig(s *settings.Settings) config {
	cfg := config{
		url: s.URLWithQuery("SPLUNK_HEC_URL", "", "the HEC endpoint, such as https://splunk.example.com:8088"+
			eventPath),
		token:      s.Secret("SPLUNK_HEC_TOKEN", true, "the HEC token"),
		index:      s.String("SPLUNK_HEC_INDEX", "arbitex"),
		source:     s.String("SPLUNK_HEC_SOURCE", "arbitex-platform"),
		sourcetype: s.String("SPLUNK_HEC_SOURCETYPE", "arbitex:audit"),
		host:       s.String("SIEM_HOST", "platform.arbitex.ai"),
	}
	ack := s.Bool("SPLUNK_HEC_ACK", false)
	cfg.ackTimeout = time.Duration(s.Int("SPLUNK_HEC_ACK_TIMEOUT_SECONDS", 20, 1, 300)) * time.Second
	cfg.http = httpsend.Configure(s, "gzip", "SPLUNK_HEC_URL")
	cfg.http.ReadTLS(s, "SPLUNK_HEC")
	if cfg.url != nil {
		cfg.readURL(s, ack)
	}
	return cfg
}

// readURL completes the URL of the event endpoint, and derives those of the other endpoints. All keep the query.
func (cfg *config) readURL(s *settings.Settings, ack bool) {
	switch {
	case cfg.url.Path == "/":
		cfg.url = cfg.url.JoinPath(eventPath)
	case strings.Contains(cfg.url.Path, rawPath):
		s.Problem("SPLUNK_HEC_URL", cfg.url.Path, "the event endpoint "+eventPath+", not the raw endpoint")
	}
	if cfg.url.Query().Has("token") {
		s.Problem("SPLUNK_HEC_URL", "something else (hidden)", "a URL without a token, which belongs in SPLUNK_HEC_TOKEN")
	}
	cfg.healthURL = cfg.endpoint("health")
	if ack {
		cfg.ackURL = cfg.endpoint("ack")
		cfg.http.Jar, _ = cookiejar.New(nil) // a load balancer's cookies lead to the node that knows the channel's ids
	}
}

// endpoint returns the URL of another endpoint.
func (cfg *config) endpoint(name string) *url.URL {
	u := *cfg.url
	if before, _, found := strings.Cut(u.Path, basePath); found {
		u.Path = path.Join(before, basePath, name)
	} else {
		u.Path = path.Join(path.Dir(u.Path), name)
	}
	u.RawPath = ""
	return &u
}
