package guard

import "time"

// The times of the guard.
const (
	FirstWait    = time.Minute      // before the first check of a hold
	MaxInterval  = 5 * time.Minute  // between two checks, and between two replays that fail
	MaxWait      = time.Hour        // before the first check of a hold, after the connector failed again and again
	GradualTime  = time.Minute      // the mapping runs with MaximumConcurrency 2
	ReplayMargin = 10 * time.Minute // before the hold: dead letters from then on are replayed

	// ProbationTime is the time from the change that enables the mapping to the replay of the dead letters. The mapping
	// is Enabling for up to a minute, and the alarm fires up to four and a half minutes after the first failure: of five
	// periods one never breaches, and the alarm needs two in a row. A replay before the alarm uses up one of the three
	// replays of each dead letter in vain.
	ProbationTime = 6 * time.Minute

	settleTime = 15 * time.Second // before the guard looks again at a mapping that changes
	overdue    = 30 * time.Minute // after its time to act, a hold is without a message; SQS redelivers within 725 s
)

const (
	// Gradual is the MaximumConcurrency of the first minute, Lambda's minimum, and the BatchSize of a resume that is
	// likely to fail.
	Gradual = 2

	// TrialFailures is the number of failed checks after which the guard runs a trial: an hour of the usual intervals.
	// After each trial of an outage it is twice as large, up to maxTrialFailures, because the check was right.
	TrialFailures    = 15
	maxTrialFailures = 16 * TrialFailures
)

// Message is the SQS message of an alarm. The first one is the hold.
type Message struct {
	ID       string // as MessageID returns it
	Sent     int64  // SentTimestamp, Unix ms; 0 = unknown
	Receives int    // ApproximateReceiveCount
}

// Mapping is the state of a connector's event source mapping that the guard reads.
type Mapping struct {
	State       string // of Lambda, for example Disabling; empty if the mapping does not exist
	Concurrency int    // MaximumConcurrency; 0 = not set
	Provisioned bool   // provisioned mode, in which MaximumConcurrency cannot be set
	BatchSize   int
	Function    string // ARN of the connector's function, without a qualifier
}

func (m *Mapping) on() bool   { return m.State == "Enabled" || m.State == "Enabling" }
func (m *Mapping) gone() bool { return m.State == "" || m.State == "Deleting" }
func (m *Mapping) off() bool  { return m.State == "Disabled" || m.State == "Disabling" }

// Change is a change of an event source mapping. A nil field is left as it is.
type Change struct {
	Enabled     *bool
	Concurrency *int // 0 removes the limit
	BatchSize   *int
}

// Apply applies a change. Lambda takes up to a minute to enable or disable a mapping.
func (m *Mapping) Apply(c Change) {
	if c.Concurrency != nil {
		m.Concurrency = *c.Concurrency
	}
	if c.BatchSize != nil {
		m.BatchSize = *c.BatchSize
	}
	switch {
	case c.Enabled == nil || *c.Enabled == m.on():
	case *c.Enabled:
		m.State = "Enabling"
	default:
		m.State = "Disabling"
	}
}

// Result is the result of a check or a replay in the present invocation.
type Result int

// The results.
const (
	NoResult Result = iota
	Succeeded
	Failed
	Partial // of a replay: call again
	Busy    // of a check: deliveries work, but the SIEM's queues are full or nearly full
)

// Input is everything that a decision of the guard depends on.
type Input struct {
	Now       time.Time
	Message   Message
	Due       bool  // the message was received and the hold was not written since: its timer has ended
	Hold      *Hold // nil if there is no tag, or it is not the guard's
	Mapping   Mapping
	Retention time.Duration // of the connector's queue
	Enabled   bool          // the guard enabled the mapping in this invocation
	Check     Result        // of this invocation
	Replay    Result        // of this invocation
}

// Kind is the kind of an action.
type Kind int

// The kinds of actions. Wait and Drop end the invocation.
const (
	Wait       Kind = iota // change the message's visibility timeout to Action.Wait
	Drop                   // delete the message
	Write                  // write Action.Hold to the tag, if the tag has not changed in the meantime
	SetMapping             // change the mapping by Action.Change
	Check                  // run the connector's check
	Replay                 // replay the connector's dead letters from Hold.Since - ReplayMargin to Hold.At
)

// Action is the guard's next step.
type Action struct {
	Kind   Kind
	Wait   time.Duration
	Hold   Hold
	Change Change
	Reason string // for the log
}

func wait(d time.Duration, reason string) Action { return Action{Kind: Wait, Wait: d, Reason: reason} }
func drop(reason string) Action                  { return Action{Kind: Drop, Reason: reason} }
func set(c Change, reason string) Action         { return Action{Kind: SetMapping, Change: c, Reason: reason} }
