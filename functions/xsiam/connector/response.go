package connector

import (
	"net/http"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const (
	hintKey = "the key XSIAM_API_KEY was refused (wrong, expired, or its collector is disabled)"
	hintURL = "XSIAM_URL does not lead to an event endpoint (" + eventPath + ")"

	// hintFormat: the status looks like a passing failure, and mostly is a wrong setting.
	hintFormat = "the log format or the compression may not be the one the collector was made for: check XSIAM_BODY and SIEM_COMPRESSION"
)

// judge turns an answer that is no success into a verdict about all of the request's events; there is none about a
// single one. Any 2xx is a success, whatever its body says: it is 200 or 202, by endpoint.
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
func judge(a *httpsend.Response, auth string) error {
	kind := httpsend.KindOf(a.Status)
	switch {
	case kind == failure.Unauthorized:
		return a.Fault(kind, "", keyHint(a.Status, auth))
	case a.Status == http.StatusNotFound:
		return a.Fault(kind, "", hintURL)
	case a.Status == http.StatusInternalServerError:
		return a.Fault(kind, "", hintFormat)
	}
	return a.Fault(kind, "", "")
}

// keyHint adds what is the likeliest cause where the way to prove the key does not fit the endpoint.
func keyHint(status int, auth string) string {
	switch {
	case auth == authToken:
		return hintKey + "; with XSIAM_AUTH=token it must be the token of the HTTP log collector, not an API key"
	case auth == authStandard:
		return hintKey + "; XSIAM_AUTH must be the key's security level, and XSIAM_API_KEY_ID its ID"
	case auth == authAdvanced:
		return hintKey + "; XSIAM_AUTH must be the key's security level, XSIAM_API_KEY_ID its ID, and the clock right"
	case status == http.StatusUnauthorized:
		return hintKey + ", or XSIAM_API_KEY_ID is another key's; an HTTP log collector of Cortex wants XSIAM_AUTH=token"
	}
	return hintKey
}
