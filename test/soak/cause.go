package main

// cause is the reason why a SIEM has an event twice.
type cause int

const (
	causeAnswer  cause = iota // the SIEM accepted it and the response was lost
	causePartial              // the SIEM accepted a part of the request and responded 408
	causeKilled
	causeTimedOut
	causeFailed
	causeQueue  // SQS delivered it again after its deletion
	causeWithin // the response was lost on a kept connection, and the request was repeated in the same attempt
)

// String returns the text of the report.
func (c cause) String() string {
	return [...]string{
		"the response was lost after the SIEM had accepted them",
		"the SIEM accepted half of a request and responded 408",
		"the function was killed",
		"the function reached its time limit", "the function failed", "SQS delivered them again",
		"the response was lost on a kept connection, and the request was repeated in the same attempt",
	}[c]
}

// cause returns why the SIEM accepted an event again: how the attempt ended in which it accepted it before. A lost
// response and a 408 differ by the plan: only Sumo Logic responds 408, and it loses no other response.
func (e *entry) cause() cause {
	how := e.blame
	if e.accepted-1 > e.seen {
		how = e.last // it was taken after its attempt had ended, or twice in one
	}
	switch how {
	case finished:
		return causeQueue
	case listed:
		if e.pipeline != nil && e.pipeline.Name == sumo {
			return causePartial
		}
		return causeAnswer
	case killed:
		return causeKilled
	case timedOut:
		return causeTimedOut
	case failed:
		return causeFailed
	case never:
	}
	return causeWithin
}
