package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

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

const (
	notHEC       = "SPLUNK_HEC_URL does not lead to a HEC event endpoint"
	unknownToken = "Splunk does not know the token SPLUNK_HEC_TOKEN"
	tokenOff     = "the token SPLUNK_HEC_TOKEN is disabled in Splunk"
	hintAck      = "the token SPLUNK_HEC_TOKEN has no indexer acknowledgement: enable it in Splunk, or set " +
		"SPLUNK_HEC_ACK=false"
)

// codes are HEC's reply codes. A 400 with another code is retried: nothing shows that an event is at fault.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
var codes = &httpsend.Codes{SIEM: "Splunk HEC", Read: read, Hint: notHEC,
	Rows: []httpsend.Code{
		{Code: "1", Kind: failure.Unauthorized, Hint: tokenOff},
		{Code: "2", Kind: failure.Unauthorized,
			Hint: "SPLUNK_HEC_TOKEN is needed: an intermediary removes the Authorization header"},
		{Code: "3", Kind: failure.Unauthorized, Hint: "SPLUNK_HEC_TOKEN does not have the form of a token"},
		{Code: "4", Kind: failure.Unauthorized, Hint: unknownToken},
		{Code: "5", Kind: failure.Transient, Hint: "an intermediary removes the request's body"},
		{Status: 400, Code: "6", Kind: failure.Rejected},
		{Code: "7", Kind: failure.Misconfigured,
			Hint: "the index SPLUNK_HEC_INDEX does not exist, or the token may not write to it"},
		{Code: "10", Kind: failure.Misconfigured, Hint: "an intermediary removes the X-Splunk-Request-Channel header"},
		{Code: "11", Kind: failure.Misconfigured, Hint: "an intermediary changes the X-Splunk-Request-Channel header"},
		{Status: 400, Code: "12", Kind: failure.Rejected},
		{Status: 400, Code: "13", Kind: failure.Rejected},
		{Code: "14", Kind: failure.Misconfigured, Hint: hintAck},
		{Status: 400, Code: "15", Kind: failure.Rejected},
		{Code: "16", Kind: failure.Misconfigured, Hint: "SPLUNK_HEC_URL must not contain a token"},
		{Code: "17", Kind: failure.Misconfigured,
			Hint: "SPLUNK_HEC_URL leads to the health endpoint, not to the event endpoint"},
		{Code: "21", Kind: failure.Unauthorized, Hint: unknownToken},
		{Code: "22", Kind: failure.Unauthorized, Hint: tokenOff},
		{Code: "26", Kind: failure.Throttled},
		{Code: "27", Kind: failure.Throttled},
		{Status: 400, Code: httpsend.Any, Kind: failure.Transient},
		{Status: 422, Code: httpsend.Any, Kind: failure.Transient},
		{Status: 404, Kind: failure.Misconfigured, Hint: notHEC},
		{Status: 405, Kind: failure.Misconfigured, Hint: notHEC},
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
	r := httpsend.Request{URL: c.cfg.ackURL, Header: c.header, Body: body, Plain: true, Meter: m}
	a, err := c.client.Call(ctx, r, ackCodes)
	if err != nil {
		return nil, err
	}
	return readAcks(a), nil
}

// Confirm implements deliver.Confirmer: it polls until all ids are acknowledged, the time for that is over, or a poll
// shows that they never will be.
func (c *connector) Confirm(ctx context.Context, ids []int64, m *telemetry.Meter) []error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ackTimeout)
	defer cancel()
	left := slices.Clone(ids)
	late := &failure.Error{
		Step: failure.Request, Detail: fmt.Sprintf("the indexers did not acknowledge the events within %s", c.cfg.ackTimeout),
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
		if slices.Contains(left, id) {
			results[i] = late
		}
	}
	return results
}
