package simulation

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// class is the expected kind of failure of the events that a response concerns, if they are retried.
type class uint8

const (
	unsure   class = iota // depends on the SIEM's codes
	growing               // the back-off of the schedule
	longest               // the setup is at fault: the longest back-off at once
	contents              // the events are at fault, or if all are refused, the setup
)

// statuses are the responses of the kinds status and early. They are in the SIEM's own error format.
var statuses = [...]struct {
	code       int
	retryAfter string
	class      class
}{
	{429, "", growing}, {429, "20", growing}, {429, "100000", growing}, {503, "", growing}, {503, "400", growing},
	{500, "", growing},
	{502, "", growing}, {504, "", growing}, {408, "", growing}, {401, "", longest}, {403, "", longest}, {404, "", longest},
	{302, "", longest},
	{413, "", unsure}, {400, "", contents}, {418, "", growing},
}

// hecCodes are Splunk's codes for these statuses; 8 is an internal error.
var hecCodes = map[int]int{400: 6, 401: 2, 403: 4, 429: 26, 503: 9}

// ownBody returns a refusal in the error format of the connector's SIEM, with a text that only this response has.
func ownBody(connector, path string, status int, text string) string {
	switch {
	case strings.Contains(path, "oauth2"):
		return fmt.Sprintf(`{"error":"invalid_client","error_description":%q}`, text)
	case connector == "splunk":
		code, ok := hecCodes[status]
		if !ok {
			code = 8
		}
		return fmt.Sprintf(`{"text":%q,"code":%d}`, text, code)
	case connector == "sentinel":
		return fmt.Sprintf(`{"error":{"code":"Simulated","message":%q}}`, text)
	case connector == "elastic":
		return fmt.Sprintf(`{"error":{"type":"simulated_exception","reason":%q},"status":%d}`, text, status)
	case connector == "datadog":
		return fmt.Sprintf(`{"errors":[{"status":"%d","title":"Simulated","detail":%q}]}`, status, text)
	case connector == "sumo":
		return fmt.Sprintf(`{"id":"SIMUL","status":%d,"code":"simulated","message":%q,"errors":[]}`, status, text)
	}
	return fmt.Sprintf(`{"error":%q}`, text)
}

// successes are the success responses of the SIEMs, as far as they do not depend on the request.
var successes = map[string]siem.Answer{
	"splunk": {Status: http.StatusOK, Body: `{"text":"Success","code":0}`}, "sentinel": {Status: http.StatusNoContent},
	"datadog": {Status: http.StatusAccepted, Body: "{}"}, "sumo": {Status: http.StatusOK},
	"xsiam": {Status: http.StatusAccepted},
}

// vendorFaults are the codes of the simulators' Product faults, with the class of the responses.
var vendorFaults = map[string][]struct {
	code  string
	class class
}{
	"splunk": {{"9", unsure}, {"24", unsure}, {"25", unsure}, {"18", unsure}, {"26", unsure}, {"7", longest},
		{"1", unsure}, {"23", unsure}},
	"sentinel": {{"OperationFailed", unsure}, {"InvalidToken", unsure}, {"InvalidStream", longest},
		{"AADSTS7000222", unsure}},
	"elastic": {
		{"item 429", unsure}, {"item 503", unsure}, {"item 403", unsure}, {"item 404", unsure}, {"pretty", unsure},
		{"cut", unsure},
		{"data-stream", unsure}, {"failure-store", unsure}, {"total fields", longest}, {"flood stage", growing},
	},
	"datadog": {{"empty", unsure}, {"204", unsure}},
	"sumo":    {{"408", unsure}, {"header.invalid", unsure}},
}

// foreignClass is the class of a refusal that is not the SIEM's.
func foreignClass(status int) class {
	if status/100 == 5 {
		return growing
	}
	return longest
}
