package main

// cause is the reason why a SIEM has an event twice.
type cause int

const (
	causeAnswer  cause = iota // the SIEM took it and its answer was lost
	causePartial              // the SIEM took a part of the request and answered 408
	causeKilled
	causeTimedOut
	causeFailed
	causeQueue  // SQS handed it out again although it was done
	causeWithin // its answer was lost on a kept connection, and the request made again in the same attempt
)

// String returns the text of the report.
func (c cause) String() string {
	return [...]string{
		"the answer was lost after the SIEM took them", "the SIEM took half of a request and answered 408",
		"the function was killed",
		"the function ran into its time limit", "the function failed", "SQS handed them out again",
		"the answer was lost on a kept connection, and the request made again in the same attempt",
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
