// Package connector delivers events to Splunk's HTTP Event Collector (HEC): one JSON object per event, separated by
// newlines, in one POST. With SPLUNK_HEC_ACK, an event is delivered once the indexers acknowledge it.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector
package connector

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/jsonscan"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

var (
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

// HEC's endpoints. https://docs.splunk.com/Documentation/Splunk/latest/Data/HECRESTendpoints
const (
	basePath  = "/services/collector"
	eventPath = basePath + "/event" // also of a URL without a path
	rawPath   = basePath + "/raw"
)

type connector struct {
	url        *url.URL // of the event endpoint
	ackURL     *url.URL // of the acknowledgement endpoint; nil if SPLUNK_HEC_ACK is false
	ackTimeout time.Duration
	pause      func(context.Context, time.Duration) // between polls; it returns early when the context ends
	client     *httpsend.Client
	header     http.Header
	envelope   []byte // of every record, between an event's time and the event
}

// Open makes the connector from settings, without a connection. If s.Err() is not nil afterwards, it must not be used.
func Open(s *settings.Settings) deliver.Connector {
	c := &connector{pause: pause}
	c.url = s.URLWithQuery("SPLUNK_HEC_URL", "", "the HEC endpoint, such as https://splunk.example.com:8088"+eventPath)
	switch {
	case c.url.Path == "/":
		c.url = c.url.JoinPath(eventPath)
	case strings.Contains(c.url.Path, rawPath):
		s.Problem("SPLUNK_HEC_URL", c.url.Path, "the event endpoint "+eventPath+", not the raw endpoint")
	}
	if c.url.Query().Has("token") {
		s.Problem("SPLUNK_HEC_URL", "something else (hidden)",
			"a URL without a token, which belongs in SPLUNK_HEC_TOKEN")
	}
	token := s.Secret("SPLUNK_HEC_TOKEN", true, "the HEC token")
	c.header = http.Header{
		"Authorization":            {"Splunk " + token.Reveal()},
		"Content-Type":             {"application/json"},
		"X-Splunk-Request-Channel": {newChannel()},
	}
	for _, field := range [...]struct{ key, value string }{
		{`,"host":`, s.String("SIEM_HOST", "platform.arbitex.ai")},
		{`,"source":`, s.String("SPLUNK_HEC_SOURCE", "arbitex-platform")},
		{`,"sourcetype":`, s.String("SPLUNK_HEC_SOURCETYPE", "arbitex:audit")},
		{`,"index":`, s.String("SPLUNK_HEC_INDEX", "arbitex")},
	} {
		c.envelope = append(c.envelope, field.key...)
		c.envelope = jsonscan.AppendQuoted(c.envelope, field.value)
	}
	c.envelope = append(c.envelope, `,"event":`...)
	acks := s.Bool("SPLUNK_HEC_ACK", false)
	c.ackTimeout = time.Duration(s.Int("SPLUNK_HEC_ACK_TIMEOUT_SECONDS", 20, 1, 300)) * time.Second
	cfg := httpsend.Configure(s, "gzip", "SPLUNK_HEC_URL")
	cfg.ReadTLS(s, "SPLUNK_HEC")
	if acks {
		c.ackURL = c.endpoint("ack")
		cfg.Jar, _ = cookiejar.New(nil) // a load balancer's cookies lead to the node that knows the channel's ids
	}
	c.client = httpsend.New(cfg)
	return c
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// endpoint returns the URL of another endpoint, with the query of the event endpoint.
func (c *connector) endpoint(name string) *url.URL {
	u := *c.url
	if before, _, found := strings.Cut(u.Path, basePath); found {
		u.Path = path.Join(before, basePath, name)
	} else {
		u.Path = path.Join(path.Dir(u.Path), name)
	}
	u.RawPath = ""
	return &u
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
	a, err := c.client.Do(ctx, httpsend.Request{URL: c.url, Header: c.header, Body: b.Body, Meter: b.Meter})
	if err != nil {
		return err
	}
	acks := c.ackURL != nil
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
	a, err := c.client.Call(ctx, httpsend.Request{URL: c.url, Header: c.header}, codes)
	if a == nil {
		return err
	}
	if r, ok := parseReply(a.Body); ok && r.Code == codeNoData {
		if c.ackURL == nil {
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
	a, err := c.client.Do(ctx, httpsend.Request{Method: http.MethodGet, URL: c.endpoint("health"), Header: c.header})
	if err != nil {
		return deliver.Note{}
	}
	switch r, _ := parseReply(a.Body); r.Code {
	case codeQueuesFull, codeQueuesAndAcksFull, codeQueueFilled, codeAcksFilled:
		return deliver.Note{Text: "Splunk's queues are full or nearly full: code " + strconv.Itoa(r.Code), Backpressure: true}
	}
	return deliver.Note{}
}

// reply is the body of HEC's responses.
type reply struct {
	Text    string `json:"text"`
	Code    int    `json:"code"`
	Invalid *int   `json:"invalid-event-number"` // the first event that HEC did not take, counted from 0
	AckID   *int64 `json:"ackId"`                // of a token with indexer acknowledgement
}

// parseReply reports whether body is a reply of HEC: an object with a code.
func parseReply(body []byte) (r reply, ok bool) {
	r.Code = -1
	err := json.Unmarshal(body, &r)
	return r, err == nil && r.Code >= 0
}

// accepted is HEC's response to nearly every request. It is not parsed.
const accepted = `{"text":"Success","code":0}`

const (
	codeSuccess           = 0
	codeNoData            = 5
	codeBusy              = 9
	codeQueuesFull        = 18
	codeQueuesAndAcksFull = 20
	codeQueueFilled       = 24
	codeAcksFilled        = 25
)

func read(a *httpsend.Response) httpsend.Reply {
	if string(a.Body) == accepted {
		return httpsend.Reply{Success: true, Own: true, Code: "0"}
	}
	r, ok := parseReply(a.Body)
	if !ok {
		return httpsend.Reply{}
	}
	nearlyFull := (r.Code == codeQueueFilled || r.Code == codeAcksFilled) && a.Status == 200
	return httpsend.Reply{Success: r.Code == codeSuccess || nearlyFull, Own: true, Code: strconv.Itoa(r.Code),
		Text: r.Text}
}

// hintAck is also that of a response without an ackId.
const hintAck = "the token SPLUNK_HEC_TOKEN has no indexer acknowledgement: enable it in Splunk, or set " +
	"SPLUNK_HEC_ACK=false"

const notHEC = "SPLUNK_HEC_URL does not lead to a HEC event endpoint"

// codes are HEC's reply codes. A 400 with another code is retried: nothing shows that an event is at fault.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
var codes = &httpsend.Codes{SIEM: "Splunk HEC", Read: read, Hint: notHEC,
	Rows: []httpsend.Code{
		{Code: "1 22", Kind: failure.Unauthorized, Hint: "the token SPLUNK_HEC_TOKEN is disabled in Splunk"},
		{Code: "2", Kind: failure.Unauthorized,
			Hint: "SPLUNK_HEC_TOKEN is needed: an intermediary removes the Authorization header"},
		{Code: "3", Kind: failure.Unauthorized, Hint: "SPLUNK_HEC_TOKEN does not have the form of a token"},
		{Code: "4 21", Kind: failure.Unauthorized, Hint: "Splunk does not know the token SPLUNK_HEC_TOKEN"},
		{Code: "5", Kind: failure.Transient, Hint: "an intermediary removes the request's body"},
		{Status: 400, Code: "6 12 13 15", Kind: failure.Rejected},
		{Code: "7", Kind: failure.Misconfigured,
			Hint: "the index SPLUNK_HEC_INDEX does not exist, or the token may not write to it"},
		{Code: "10", Kind: failure.Misconfigured, Hint: "an intermediary removes the X-Splunk-Request-Channel header"},
		{Code: "11", Kind: failure.Misconfigured, Hint: "an intermediary changes the X-Splunk-Request-Channel header"},
		{Code: "14", Kind: failure.Misconfigured, Hint: hintAck},
		{Code: "16", Kind: failure.Misconfigured, Hint: "SPLUNK_HEC_URL must not contain a token"},
		{Code: "17", Kind: failure.Misconfigured,
			Hint: "SPLUNK_HEC_URL leads to the health endpoint, not to the event endpoint"},
		{Code: "26 27", Kind: failure.Throttled},
		{Status: 400, Code: httpsend.Any, Kind: failure.Transient},
		{Status: 422, Code: httpsend.Any, Kind: failure.Transient},
	}}

// classify turns HEC's response to a request of n records into Send's error. With acks, a record is delivered only when
// the indexers have acknowledged it.
func classify(a *httpsend.Response, n int, acks bool) error {
	f := failure.Of(codes.Classify(a))
	if f == nil {
		return nil
	}
	if f.Kind == failure.Rejected || f.Status == 503 && f.Code == strconv.Itoa(codeBusy) {
		if r, _ := parseReply(a.Body); r.Invalid != nil && 0 <= *r.Invalid && *r.Invalid < n {
			return partial(f, *r.Invalid, n, acks)
		}
	}
	return f
}

// partial makes results for n records. HEC indexes the records before first, which it refused, and has not read the
// records after it. If HEC is busy, those get the result of first. A refusal has no ackId, so that with acks, the
// records before first are sent again, too.
func partial(f *failure.Error, first, n int, acks bool) error {
	p := &deliver.PartialError{Results: make([]error, n)}
	for i := range n {
		switch {
		case i < first && !acks:
		case f.Kind == failure.Rejected && i != first:
			p.Results[i] = &failure.Error{Kind: failure.Unprocessed}
		default:
			p.Results[i] = f
		}
	}
	return p
}

// HEC answers before its indexers have an event. With acknowledgement it returns an ackId, which the acknowledgement
// endpoint reports as true once they have it. An id that is false is pending or unknown, never failed.
// https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data/about-http-event-collector-indexer-acknowledgment

// The pauses between polls. A poll costs the indexers more than a pause costs in Lambda, which bills by the
// millisecond.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 5 * time.Second
)

// ackCodes are the responses of the acknowledgement endpoint: {"acks":{"7":true}}, or HEC's codes.
var ackCodes = &httpsend.Codes{SIEM: codes.SIEM, Rows: codes.Rows, Hint: codes.Hint,
	Read: func(a *httpsend.Response) httpsend.Reply {
		if readAcks(a) != nil {
			return httpsend.Reply{Success: true}
		}
		r := read(a)
		r.Success = false
		return r
	}}

func readAcks(a *httpsend.Response) map[string]bool {
	var body struct{ Acks map[string]bool }
	if json.Unmarshal(a.Body, &body) != nil {
		return nil
	}
	return body.Acks
}

// poll asks once which ids are acknowledged.
func (c *connector) poll(ctx context.Context, ids []int64, m *telemetry.Meter) (map[string]bool, error) {
	body, _ := json.Marshal(map[string][]int64{"acks": ids}) // numbers always marshal
	r := httpsend.Request{URL: c.ackURL, Header: c.header, Body: body, Plain: true, Meter: m}
	a, err := c.client.Call(ctx, r, ackCodes)
	if err != nil {
		return nil, err
	}
	return readAcks(a), nil
}

// Confirm implements deliver.Confirmer: it polls until all ids are acknowledged, the time for that is over, or a poll
// shows that they never will be.
func (c *connector) Confirm(ctx context.Context, ids []int64, m *telemetry.Meter) []error {
	ctx, cancel := context.WithTimeout(ctx, c.ackTimeout)
	defer cancel()
	// Every indexer counts ids from 0, so two requests with the same id went to two indexers, and a poll reaches one.
	ambiguous := &failure.Error{
		Step:   failure.Request,
		Detail: "two requests have the same acknowledgement id: they went to different indexers",
		Hint:   "a load balancer in front of the indexers must keep sessions",
	}
	uses := make(map[int64]int, len(ids))
	for _, id := range ids {
		uses[id]++
	}
	left := slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return uses[id] > 1 })
	late := &failure.Error{
		Step:   failure.Request,
		Detail: fmt.Sprintf("the indexers did not acknowledge the events within %s", c.ackTimeout),
		Hint: "check the indexers, and that a load balancer in front of them keeps sessions; or raise " +
			"SPLUNK_HEC_ACK_TIMEOUT_SECONDS",
	}
	for pause := firstPause; len(left) > 0; pause = min(2*pause, maxPause) {
		if c.pause(ctx, pause); ctx.Err() != nil {
			break
		}
		done, err := c.poll(ctx, left, m)
		if f := failure.Of(err); f != nil && (f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized) {
			late = f
			break
		}
		late.Err = err
		left = slices.DeleteFunc(left, func(id int64) bool { return done[strconv.FormatInt(id, 10)] })
	}
	results := make([]error, len(ids))
	for i, id := range ids {
		switch {
		case uses[id] > 1:
			results[i] = ambiguous
		case slices.Contains(left, id):
			results[i] = late
		}
	}
	return results
}
