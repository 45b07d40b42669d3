package connector

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// meaning is what one of the intake's statuses means for us.
type meaning struct {
	status int
	kind   failure.Kind
	hint   string
}

const notTheIntake = "DATADOG_SITE or DATADOG_INTAKE_URL does not lead to a log intake of Datadog"

// meanings are the statuses of the intake's documents, and those of a wrong address. A status that is not here means what
// it means everywhere. https://docs.datadoghq.com/api/latest/logs/#send-logs
var meanings = [...]meaning{
	{status: http.StatusBadRequest, kind: failure.Rejected},
	{status: http.StatusUnauthorized, kind: failure.Unauthorized, hint: "DATADOG_API_KEY is needed: something on the way takes it away"},
	{status: http.StatusForbidden, kind: failure.Unauthorized, hint: "DATADOG_API_KEY is not good at this site: check the key and DATADOG_SITE"},
	{status: http.StatusNotFound, kind: failure.Misconfigured, hint: notTheIntake},
	{status: http.StatusMethodNotAllowed, kind: failure.Misconfigured, hint: notTheIntake},
	{status: http.StatusRequestTimeout, kind: failure.Transient},
	{status: http.StatusRequestEntityTooLarge, kind: failure.TooLarge},
	{status: http.StatusTooManyRequests, kind: failure.Throttled},
}

// judge turns the intake's answer into a verdict on the whole request: Datadog says nothing of single entries.
func judge(a *httpsend.Response) error {
	if a.OK() {
		if understood(a) {
			return nil
		}
		return a.Fault(failure.Transient, "", "the answer is a success, but not one of Datadog's: "+notTheIntake)
	}
	for _, m := range meanings {
		if m.status == a.Status {
			f := a.Fault(m.kind, "", m.hint)
			if f.Kind == failure.Throttled && f.RetryAfter == 0 {
				f.RetryAfter = rateLimitWait(a.Header)
			}
			return f
		}
	}
	return a.Fault(httpsend.KindOf(a.Status), "", "")
}

// judgeProbe judges the answer to an array of nothing. Datadog looks at the key first, so that whatever it says of the
// array proves the key: it may take nothing, or refuse it as no payload.
func judgeProbe(a *httpsend.Response) error {
	if r, ok := parseReply(a.Body); a.Status == http.StatusBadRequest && ok && len(r.Errors) > 0 {
		return nil
	}
	return judge(a)
}

// reply is the body of the intake's answers. A success has no errors.
type reply struct {
	Errors []json.RawMessage `json:"errors"`
}

// parseReply tells whether body is a reply: a JSON object.
func parseReply(body []byte) (r reply, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return reply{}, false
	}
	err := json.Unmarshal(body, &r)
	return r, err == nil
}

// understood tells whether a success is one of Datadog's: 202, as a rule with {}, or the same said otherwise by a proxy in
// its place. A page of something else that listens there is not, nor is a 200 without a word, which anything may give.
func understood(a *httpsend.Response) bool {
	switch {
	case a.BodyErr != nil:
		return false
	case string(a.Body) == "{}":
		return true
	case len(bytes.TrimSpace(a.Body)) == 0:
		return a.Status == http.StatusAccepted
	}
	r, ok := parseReply(a.Body)
	return ok && len(r.Errors) == 0
}

// rateLimitWait is how long Datadog asks to wait where it says so in its own headers, in seconds, and not in Retry-After.
// https://docs.datadoghq.com/api/latest/rate-limits/
func rateLimitWait(header http.Header) time.Duration {
	for _, name := range [...]string{"X-RateLimit-Reset", "X-RateLimit-Period"} {
		if n, err := strconv.ParseUint(header.Get(name), 10, 31); err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
	}
	return 0
}
