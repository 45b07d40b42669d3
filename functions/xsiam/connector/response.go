package connector

import (
	"encoding/json"
	"net/http"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const (
	hintKey = "the key XSIAM_API_KEY was refused (wrong, expired, or its collector is disabled)"
	hintURL = "XSIAM_URL does not lead to an event endpoint (" + eventPath + ")"

	// hintFormat: a wrong setting is the usual cause of this status.
	hintFormat = "the log format or the compression may not be the one the collector was made for: check XSIAM_BODY and " +
		"SIEM_COMPRESSION"
)

// newCodes makes the response table. XSIAM accepts or refuses a request as a whole.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
func newCodes(auth string) *httpsend.Codes {
	return &httpsend.Codes{SIEM: "XSIAM", Read: read, Hint: hintURL, Rows: []httpsend.Code{
		{Status: http.StatusUnauthorized, Kind: failure.Unauthorized, Hint: keyHint(http.StatusUnauthorized, auth)},
		{Status: http.StatusForbidden, Kind: failure.Unauthorized, Hint: keyHint(http.StatusForbidden, auth)},
		{Status: http.StatusNotFound, Kind: failure.Misconfigured, Hint: hintURL},
		{Status: http.StatusInternalServerError, Kind: failure.Transient, Hint: hintFormat},
	}}
}

// read reads a response: {"error":"…"} and nothing else, where "false" is a success, or the public API's
// {"reply":{"err_code":500,"err_msg":"…"}}.
func read(a *httpsend.Response) httpsend.Reply {
	members := a.Object()
	raw := members["error"]
	text, isText := httpsend.Text(raw)
	none := httpsend.Absent(raw) || string(raw) == "false" || isText && (text == "false" || text == "")
	if none && a.OK() {
		return httpsend.Reply{Success: a.Empty() || json.Valid(a.Body)}
	}
	if none {
		var reply struct {
			Code json.Number `json:"err_code"`
			Text string      `json:"err_msg"`
		}
		if json.Unmarshal(members["reply"], &reply) == nil && reply.Code != "" {
			return httpsend.Reply{Own: true, Code: reply.Code.String(), Text: reply.Text}
		}
		return httpsend.Reply{}
	}
	return httpsend.Reply{Own: isText && len(members) == 1, Text: text}
}

// keyHint adds the likeliest cause if the kind of key does not fit the endpoint.
func keyHint(status int, auth string) string {
	switch {
	case auth == authToken:
		return hintKey + "; with XSIAM_AUTH=token it must be the token of the HTTP log collector, not an API key"
	case auth == authStandard:
		return hintKey + "; XSIAM_AUTH must be the key's security level, and XSIAM_API_KEY_ID its ID"
	case auth == authAdvanced:
		return hintKey + "; XSIAM_AUTH must be the key's security level, XSIAM_API_KEY_ID its ID, and the clock right"
	case status == http.StatusUnauthorized:
		return hintKey + ", or XSIAM_API_KEY_ID belongs to another key; an HTTP log collector of Cortex needs " +
			"XSIAM_AUTH=token"
	}
	return hintKey
}
