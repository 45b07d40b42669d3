package connector

import (
	"cmp"
	"encoding/json"
	"net/http"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const (
	renewURL = "SUMO_HTTP_SOURCE_URL is not valid any more: a source's new URL replaces the old one at once"
	noSource = "there is no HTTP source at the address in SUMO_HTTP_SOURCE_URL"
)

// codes are the responses of an HTTP source, which accepts or refuses a request as a whole.
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
var codes = &httpsend.Codes{SIEM: "a Sumo Logic HTTP source", Read: read, Hint: noSource,
	Rows: []httpsend.Code{
		{Status: 401, Kind: failure.Unauthorized, Hint: renewURL},
		{Status: 403, Kind: failure.Unauthorized, Hint: renewURL},
		{Status: 404, Kind: failure.Misconfigured, Hint: noSource},
		{Status: 405, Kind: failure.Misconfigured, Hint: noSource},
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
