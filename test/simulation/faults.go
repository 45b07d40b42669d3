package simulation

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Kind is a kind of fault.
type Kind string

// The kinds of fault. The comment is the meaning of the parameter.
const (
	duplicateDelivery Kind = "a message is delivered twice"
	throttled         Kind = "an invocation is throttled after its messages were received"
	late              Kind = "an invocation begins after the visibility timeout"
	deleteLost        Kind = "finished messages are not deleted"
	mappingLost       Kind = "a function's response does not reach the event source mapping"

	visibilityFails Kind = "ChangeMessageVisibilityBatch fails"
	visibilityEntry Kind = "an entry of ChangeMessageVisibilityBatch fails"
	sendFails       Kind = "SendMessageBatch fails"
	sendLost        Kind = "SendMessageBatch succeeds and its response is lost"
	sendEntry       Kind = "an entry of SendMessageBatch fails"
	awsSlow         Kind = "AWS is slow" // seconds

	crash     Kind = "the function's process dies at a step" // among this number of steps
	frozen    Kind = "connections die while the function is frozen"
	clockStep Kind = "the wall clock steps" // seconds, minus 3600

	secretFails Kind = "Secrets Manager fails"
	secretHangs Kind = "Secrets Manager does not respond"

	lambdaFails Kind = "a call of the Lambda API fails" // of the guard

	s3Fails    Kind = "S3 fails"
	s3Lost     Kind = "S3 succeeds and its response is lost"
	s3Conflict Kind = "S3 has a conflict of conditional writes"
	s3Breaks   Kind = "an S3 object's stream breaks"

	refused      Kind = "the SIEM refuses connections"
	unreachable  Kind = "connections to the SIEM time out"
	noName       Kind = "the SIEM's name does not resolve"
	resetBefore  Kind = "the connection is reset before the request is read"
	resetDuring  Kind = "the connection is reset within the request"
	closedBefore Kind = "the connection is closed after the request is read, nothing was accepted"
	vanished     Kind = "the peer vanishes"
	slow         Kind = "the SIEM is slow"                                             // seconds
	status       Kind = "the SIEM responds with an error"                              // index into statuses
	vendor       Kind = "a fault of this SIEM only"                                    // index into the SIEM's
	early        Kind = "the SIEM responds before it has read the request, and closes" // index into statuses
	earlySuccess Kind = "a success arrives before the request is sent"
	foreignOK    Kind = "a success that is not the SIEM's" // index into siem.ForeignSuccesses
	foreignNo    Kind = "a refusal that is not the SIEM's" // index into siem.ForeignRefusals
	compressed   Kind = "the SIEM compresses its response"

	proxyRefuses    Kind = "the proxy refuses the tunnel" // index into proxyRefusals
	proxyUnparsable Kind = "the proxy setting cannot be parsed"

	acceptedReset  Kind = "the SIEM accepts, and the connection is reset before the response"
	acceptedHang   Kind = "the SIEM accepts and never responds"
	acceptedCut    Kind = "the SIEM accepts, and its response is cut off"
	acceptedDenied Kind = "the SIEM accepts and responds 503"
	lie            Kind = "the SIEM accepts and loses the events (unknowable)"
)

// kinds lists the kinds with the range of the parameter. Rare kinds are never certain, because nothing would be
// delivered.
var kinds = [...]struct {
	kind    Kind
	measure [2]int
	rare    bool
}{
	{kind: duplicateDelivery, rare: true}, {kind: throttled}, {kind: late, rare: true}, {kind: deleteLost},
	{kind: mappingLost},
	{kind: visibilityFails}, {kind: visibilityEntry}, {kind: sendFails}, {kind: sendLost}, {kind: sendEntry},
	{kind: awsSlow, measure: [2]int{1, 20}},
	{kind: crash, measure: [2]int{2, 30}}, {kind: crash, measure: [2]int{2, 30}}, {kind: crash, measure: [2]int{2, 10}},
	{kind: frozen}, {kind: clockStep, measure: [2]int{0, 7200}}, {kind: secretFails}, {kind: secretHangs},
	{kind: s3Fails}, {kind: s3Lost}, {kind: s3Conflict}, {kind: s3Breaks},
	{kind: refused}, {kind: unreachable}, {kind: noName}, {kind: resetBefore}, {kind: resetDuring}, {kind: closedBefore},
	{kind: vanished},
	{kind: slow, measure: [2]int{1, 25}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: vendor, measure: [2]int{0, 9}}, {kind: vendor, measure: [2]int{0, 9}},
	{kind: early, measure: [2]int{0, len(statuses) - 1}}, {kind: early, measure: [2]int{0, len(statuses) - 1}},
	{kind: earlySuccess},
	{kind: foreignOK, measure: [2]int{0, 6}}, {kind: foreignNo, measure: [2]int{0, 6}},
	{kind: foreignNo, measure: [2]int{0, 6}},
	{kind: compressed}, {kind: proxyRefuses, measure: [2]int{0, len(proxyRefusals) - 1}}, {kind: proxyUnparsable},
	{kind: acceptedReset}, {kind: acceptedHang}, {kind: acceptedCut}, {kind: acceptedDenied}, {kind: lie, rare: true},
}

// rng draws numbers that depend only on the seed and on a key.
type rng uint64

// roll returns a hash of the key: FNV-1a with the finalizer of SplitMix64.
func (d rng) roll(key ...any) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037) ^ uint64(d)*0x9e3779b97f4a7c15
	for _, part := range key {
		switch v := part.(type) {
		case string:
			for i := range len(v) {
				h = (h ^ uint64(v[i])) * prime
			}
		case int:
			h = (h ^ uint64(v)) * prime //nolint:gosec // any bits will do
		default:
			panic("simulation: a key is made of strings and ints")
		}
		h = (h ^ 0xff) * prime
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// chance returns true with probability p.
func (d rng) chance(p float64, key ...any) bool {
	return d.fraction(key...) < p
}

// fraction returns a number from 0 to 1.
func (d rng) fraction(key ...any) float64 { return float64(d.roll(key...)>>11) / (1 << 53) }

// below returns a number from 0 to n-1.
func (d rng) below(n int, key ...any) int {
	return int(d.roll(key...) % uint64(n)) //nolint:gosec // n is above 0
}

// between returns a time from least to most, to the nanosecond.
func (d rng) between(least, most time.Duration, key ...any) time.Duration {
	return least + time.Duration(d.roll(key...)%uint64(most-least)) //nolint:gosec // most is above least
}

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
	{502, "", growing}, {504, "", growing}, {408, "", growing}, {401, "", longest},
	{403, "", longest}, {404, "", longest},
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
