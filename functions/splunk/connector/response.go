package connector

import (
	"encoding/json"
	"strconv"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// reply is the body of HEC's answers.
type reply struct {
	Text    string `json:"text"`
	Code    int    `json:"code"`
	Invalid *int   `json:"invalid-event-number"` // the first event HEC did not take, counted from 0
}

// parseReply tells whether body is a reply of HEC: an object with a code.
func parseReply(body []byte) (r reply, ok bool) {
	r.Code = -1
	err := json.Unmarshal(body, &r)
	return r, err == nil && r.Code >= 0
}

const notHEC = "SPLUNK_HEC_URL does not lead to a HEC endpoint"

// accepted is HEC's answer to nearly every request, and not parsed for that.
const accepted = `{"text":"Success","code":0}`

const (
	codeNoData     = 5
	codeServerBusy = 9
)

// meaning is what one of HEC's codes means for us.
type meaning struct {
	code    int
	success bool
	kind    failure.Kind
	partial bool // events before invalid-event-number are indexed
	hint    string
}

// meanings are HEC's reply codes. A code that is not here is judged by its status.
// https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
var meanings = [...]meaning{
	{code: 0, success: true},
	{code: 1, kind: failure.Unauthorized, hint: "the token SPLUNK_HEC_TOKEN is disabled in Splunk"},
	{code: 2, kind: failure.Unauthorized, hint: "SPLUNK_HEC_TOKEN is needed"},
	{code: 3, kind: failure.Unauthorized, hint: "SPLUNK_HEC_TOKEN does not have the form of a token"},
	{code: 4, kind: failure.Unauthorized, hint: "Splunk does not know the token SPLUNK_HEC_TOKEN"},
	{code: 5, kind: failure.Transient},
	{code: 6, kind: failure.Rejected, partial: true},
	{code: 7, kind: failure.Misconfigured, hint: "the index SPLUNK_HEC_INDEX does not exist or the token may not write to it"},
	{code: 8, kind: failure.Transient},
	{code: 9, kind: failure.Transient, partial: true},
	{code: 10, kind: failure.Misconfigured, hint: "something on the way takes the X-Splunk-Request-Channel header away"},
	{code: 11, kind: failure.Misconfigured, hint: "something on the way changes the X-Splunk-Request-Channel header"},
	{code: 12, kind: failure.Rejected, partial: true},
	{code: 13, kind: failure.Rejected, partial: true},
	{code: 14, kind: failure.Misconfigured, hint: "SPLUNK_HEC_URL must lead to the event endpoint"},
	{code: 15, kind: failure.Rejected, partial: true},
	{code: 16, kind: failure.Misconfigured, hint: "SPLUNK_HEC_URL must not hold a token"},
	{code: 17, kind: failure.Misconfigured, hint: "SPLUNK_HEC_URL leads to the health endpoint, not to the event endpoint"},
	{code: 18, kind: failure.Transient},
	{code: 19, kind: failure.Transient},
	{code: 20, kind: failure.Transient},
	{code: 21, kind: failure.Unauthorized, hint: "Splunk does not know the token SPLUNK_HEC_TOKEN"},
	{code: 22, kind: failure.Unauthorized, hint: "the token SPLUNK_HEC_TOKEN is disabled in Splunk"},
	{code: 23, kind: failure.Transient},
	{code: 24, success: true},
	{code: 25, success: true},
	{code: 26, kind: failure.Throttled},
	{code: 27, kind: failure.Throttled},
}

// judge turns HEC's answer to a request of n records into a verdict.
func judge(a *httpsend.Response, n int) error {
	if a.OK() && string(a.Body) == accepted {
		return nil
	}
	r, ok := parseReply(a.Body)
	if !ok {
		return judgeStatus(a)
	}
	code := strconv.Itoa(r.Code)
	for _, m := range meanings {
		switch {
		case m.code != r.Code:
			continue
		case m.success && a.OK():
			return nil
		case m.success || a.OK() && m.code != 17: // status and code contradict each other
			return a.Fault(failure.Transient, code, "")
		case m.partial && r.Invalid != nil && 0 <= *r.Invalid && *r.Invalid < n:
			return partial(a.Fault(m.kind, code, m.hint), *r.Invalid, n)
		}
		return a.Fault(m.kind, code, m.hint)
	}
	kind, hint := httpsend.KindOf(a.Status), ""
	switch {
	case kind == failure.Rejected: // of a code we do not know, only a guess could say that the event is at fault
		kind = failure.Transient
	case kind == failure.Misconfigured && a.Status/100 != 3: // splunkd's own 404 has a code, too
		hint = notHEC
	}
	return a.Fault(kind, code, hint)
}

// judgeStatus judges an answer that is not HEC's: a proxy's, a web page, or cut off. None of them is a success.
func judgeStatus(a *httpsend.Response) error {
	switch kind := httpsend.KindOf(a.Status); kind {
	case failure.Misconfigured:
		if a.Status/100 == 3 {
			return a.Fault(kind, "", "")
		}
		return a.Fault(kind, "", notHEC)
	case failure.Transient, failure.Throttled, failure.Unauthorized, failure.TooLarge, failure.Rejected, failure.Unprocessed:
		return a.Fault(kind, "", "")
	}
	return a.Fault(failure.Transient, "", "")
}

// partial makes verdicts for n records of which HEC took those before the first it did not take. Of those behind it, HEC
// has looked at none; when it is only busy, they fare as the first does.
func partial(f *failure.Error, first, n int) error {
	p := &deliver.PartialError{Results: make([]error, n)}
	for i := first; i < n; i++ {
		p.Results[i] = f
		if f.Kind == failure.Rejected && i > first {
			p.Results[i] = &failure.Error{Kind: failure.Unprocessed}
		}
	}
	return p
}
