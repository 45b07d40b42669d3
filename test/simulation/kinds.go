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

	secretFails Kind = "Secrets Manager fails"
	secretHangs Kind = "Secrets Manager does not respond"

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
	slow         Kind = "the SIEM is slow"                                             // seconds
	status       Kind = "the SIEM answers with a status"                               // index into statuses
	vendor       Kind = "the SIEM has a fault of its own"                              // index into the SIEM's
	early        Kind = "the SIEM responds before it has read the request, and closes" // index into statuses
	earlySuccess Kind = "a success arrives before the request is sent"
	foreignOK    Kind = "a success that is not the SIEM's" // index into siem.ForeignSuccesses
	foreignNo    Kind = "a refusal that is not the SIEM's" // index into siem.ForeignRefusals
	compressed   Kind = "the SIEM compresses its response"

	proxyRefuses    Kind = "the proxy refuses the tunnel" // index into proxyRefusals
	proxyUnparsable Kind = "the proxy setting cannot be parsed"

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
	{kind: frozen}, {kind: clockStep, measure: [2]int{0, 7200}}, {kind: secretFails}, {kind: secretHangs},
	{kind: s3Fails}, {kind: s3Lost}, {kind: s3Conflict}, {kind: s3Breaks},
	{kind: refused}, {kind: unreachable}, {kind: noName}, {kind: resetBefore}, {kind: resetDuring}, {kind: closedBefore}, {kind: vanished},
	{kind: slow, measure: [2]int{1, 25}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: status, measure: [2]int{0, len(statuses) - 1}}, {kind: status, measure: [2]int{0, len(statuses) - 1}},
	{kind: vendor, measure: [2]int{0, 9}}, {kind: vendor, measure: [2]int{0, 9}},
	{kind: early, measure: [2]int{0, len(statuses) - 1}}, {kind: early, measure: [2]int{0, len(statuses) - 1}}, {kind: earlySuccess},
	{kind: foreignOK, measure: [2]int{0, 6}}, {kind: foreignNo, measure: [2]int{0, 6}}, {kind: foreignNo, measure: [2]int{0, 6}},
	{kind: compressed}, {kind: proxyRefuses, measure: [2]int{0, len(proxyRefusals) - 1}}, {kind: proxyUnparsable},
	{kind: acceptedReset}, {kind: acceptedHang}, {kind: acceptedCut}, {kind: acceptedDenied}, {kind: lie, rare: true},
}
