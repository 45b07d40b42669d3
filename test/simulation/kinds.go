package simulation

// Kind is a kind of fault.
type Kind string

// The kinds of fault. What a measure means stands behind it.
const (
	duplicateDelivery Kind = "a message is delivered twice"
	throttled         Kind = "an invocation is throttled, its messages are received for nothing"
	late              Kind = "an invocation begins when its messages are visible again"
	deleteLost        Kind = "messages are done and not deleted"
	mappingLost       Kind = "a function's answer is lost on its way to the event source mapping"

	visibilityFails Kind = "ChangeMessageVisibilityBatch fails"
	visibilityEntry Kind = "an entry of ChangeMessageVisibilityBatch fails"
	sendFails       Kind = "SendMessageBatch fails"
	sendLost        Kind = "SendMessageBatch takes effect and its answer is lost"
	sendEntry       Kind = "an entry of SendMessageBatch fails"
	awsSlow         Kind = "AWS is slow" // seconds

	crash     Kind = "the function's process dies at a step" // among so many steps
	frozen    Kind = "connections die while the function is frozen"
	clockStep Kind = "the wall clock steps" // seconds, less 3600

	secretFails Kind = "Secrets Manager cannot be reached"

	s3Fails    Kind = "S3 fails"
	s3Lost     Kind = "S3 takes effect and its answer is lost"
	s3Conflict Kind = "S3 has a conflict of conditional writes"
	s3Breaks   Kind = "an S3 object's stream breaks"

	refused      Kind = "the SIEM refuses connections"
	unreachable  Kind = "connections to the SIEM time out"
	noName       Kind = "the SIEM's name does not resolve"
	resetBefore  Kind = "the connection is reset before the request is read"
	resetDuring  Kind = "the connection is reset in the midst of the request"
	closedBefore Kind = "the connection is closed after the request is read, nothing was accepted"
	vanished     Kind = "the peer vanishes without a word"
	slow         Kind = "the SIEM is slow"                // seconds
	status       Kind = "the SIEM answers with a status"  // index into statuses
	vendor       Kind = "the SIEM has a fault of its own" // index into the SIEM's
	garbage      Kind = "the SIEM answers 200 and garbage, nothing was accepted"

	acceptedReset  Kind = "the SIEM accepts, and the connection is reset before the answer"
	acceptedHang   Kind = "the SIEM accepts and never answers"
	acceptedCut    Kind = "the SIEM accepts, and its answer is cut off"
	acceptedDenied Kind = "the SIEM accepts and says 503"
	lie            Kind = "the SIEM says 200 and loses the events (unknowable)"
)

// kinds are all of them, with the range of the measure. Rare ones are never certain: with them, nothing would get done.
var kinds = [...]struct {
	kind    Kind
	measure [2]int
	rare    bool
}{
	{kind: duplicateDelivery, rare: true}, {kind: throttled}, {kind: late, rare: true}, {kind: deleteLost}, {kind: mappingLost},
	{kind: visibilityFails}, {kind: visibilityEntry}, {kind: sendFails}, {kind: sendLost}, {kind: sendEntry},
	{kind: awsSlow, measure: [2]int{1, 20}},
	{kind: crash, measure: [2]int{2, 30}}, {kind: crash, measure: [2]int{2, 30}}, {kind: crash, measure: [2]int{2, 10}},
	{kind: frozen}, {kind: clockStep, measure: [2]int{0, 7200}}, {kind: secretFails},
	{kind: s3Fails}, {kind: s3Lost}, {kind: s3Conflict}, {kind: s3Breaks},
	{kind: refused}, {kind: unreachable}, {kind: noName}, {kind: resetBefore}, {kind: resetDuring}, {kind: closedBefore}, {kind: vanished},
	{kind: slow, measure: [2]int{1, 25}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: vendor, measure: [2]int{0, 9}}, {kind: vendor, measure: [2]int{0, 9}}, {kind: garbage},
	{kind: acceptedReset}, {kind: acceptedHang}, {kind: acceptedCut}, {kind: acceptedDenied}, {kind: lie, rare: true},
}

// wait classes of an answer: what the contract makes of it, when events are retried because of it.
type class uint8

const (
	unsure   class = iota // the vendor's own words decide
	growing               // back-off by the schedule
	longest               // the set-up is at fault: the longest back-off at once
	contents              // the events are at fault, or when all are refused, the set-up
)

// statuses are the answers of the kind of that name.
var statuses = [...]struct {
	code       int
	retryAfter string // seconds
	body       string // %s is a token that the dead letter's reason must hold
	class      class
}{
	{429, "", `{"error":"slow down %s"}`, growing},
	{429, "20", `{"error":"slow down %s"}`, growing},
	{429, "100000", `slow down %s`, growing},
	{503, "", `<html>unavailable %s</html>`, growing},
	{503, "400", `unavailable %s`, growing},
	{500, "", `oops %s`, growing},
	{502, "", `<html>bad gateway %s</html>`, growing},
	{504, "", `gateway time-out %s`, growing},
	{408, "", `request time-out %s`, growing},
	{401, "", `who are you %s`, longest},
	{403, "", `not you %s`, longest},
	{404, "", `not here %s`, longest},
	{302, "", `elsewhere %s`, longest},
	{413, "", `too large %s`, unsure},
	{400, "", `bad request %s`, contents},
	{418, "", `teapot %s`, growing},
}

// vendorFaults are codes of the simulators' Product faults.
var vendorFaults = map[string][]string{
	"splunk":   {"9", "24", "25", "18", "26", "7", "1"},
	"sentinel": {"OperationFailed", "InvalidToken", "InvalidStream", "AADSTS7000222"},
	"elastic":  {"item 429", "item 503", "item 403", "item 404", "pretty", "cut", "data-stream", "failure-store"},
	"sumo":     {"408", "header.invalid"},
}
