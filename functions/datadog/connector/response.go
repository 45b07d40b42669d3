package connector

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const notTheIntake = "DATADOG_SITE or DATADOG_INTAKE_URL does not lead to a log intake of Datadog"

// codes are the responses of the intake, which accepts or refuses a request as a whole.
// https://docs.datadoghq.com/api/latest/logs/#send-logs
var codes = []httpsend.Code{
	{Status: 401, Kind: failure.Unauthorized,
		Hint: "DATADOG_API_KEY is needed: an intermediary removes the header DD-API-KEY"},
	{Status: 403, Kind: failure.Unauthorized,
		Hint: "DATADOG_API_KEY is not valid at this site: check the key and DATADOG_SITE"},
	{Status: 404, Kind: failure.Misconfigured, Hint: notTheIntake},
	{Status: 405, Kind: failure.Misconfigured, Hint: notTheIntake},
}

// newCodes makes the response table. Receivers other than Datadog's, which only DATADOG_INTAKE_URL leads to, confirm
// with any 2xx and often without a body.
func newCodes(intakeURL bool) *httpsend.Codes {
	return &httpsend.Codes{SIEM: "a log intake of Datadog", Rows: codes, Hint: notTheIntake,
		// https://docs.datadoghq.com/api/latest/rate-limits/
		WaitHeaders: []string{"X-RateLimit-Reset", "X-RateLimit-Period"},
		Read: func(a *httpsend.Response) httpsend.Reply {
			r, confirms := read(a)
			switch {
			case intakeURL || a.Status == http.StatusAccepted:
				r.Success = a.Empty() || confirms
			case a.Status == http.StatusOK:
				r.Success = strings.TrimSpace(string(a.Body)) == "{}"
			}
			return r
		}}
}

// read reads the intake's error format, {"errors":["…"]} or {"errors":[{"title":"…","detail":"…"}]}. confirms
// reports whether the body is a JSON object without errors.
func read(a *httpsend.Response) (r httpsend.Reply, confirms bool) {
	members := a.Object()
	raw, listed := members["errors"]
	var list []json.RawMessage
	if !httpsend.Absent(raw) && json.Unmarshal(raw, &list) != nil {
		return httpsend.Reply{}, false
	}
	var texts []string
	for _, raw := range list {
		var e struct{ Title, Detail string }
		text, ok := httpsend.Text(raw)
		if !ok && json.Unmarshal(raw, &e) == nil {
			text = strings.TrimPrefix(e.Title+": "+e.Detail, ": ")
		}
		texts = append(texts, text)
	}
	return httpsend.Reply{Own: len(list) > 0, Text: strings.Join(texts, "; ")}, members != nil && !listed
}
