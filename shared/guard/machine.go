package guard

import "time"

// Next returns the next action for a message. The caller performs it, observes the result and calls Next again until
// the action is Wait or Drop. Everything that must survive the end of the process is in the tag and in the mapping
// before the next action depends on it, so that the guard can stop between any two actions and continue when SQS
// redelivers the message.
func Next(in *Input) Action {
	h := in.Hold
	switch {
	case in.Mapping.gone():
		return drop("the event source mapping does not exist")
	case !in.Mapping.on() && !in.Mapping.off():
		return wait(settleTime, "the mapping is "+in.Mapping.State)
	case h == nil:
		return begin(in, FirstWait, outageStart(in))
	case h.Message == in.Message.ID:
		return owned(in)
	case in.Message.Sent < h.Sent, in.Message.Sent == h.Sent && in.Message.Receives > 1:
		return drop("a newer message is the hold")
	}
	return another(in)
}

// outageStart returns when an outage began: when the alarm fired, if the guard was not prevented from acting for a
// day or more.
func outageStart(in *Input) time.Time {
	sent := time.UnixMilli(in.Message.Sent)
	if late := in.Now.Sub(sent); 0 < late && late < 24*time.Hour {
		return sent
	}
	return in.Now
}

// begin starts a hold. wait is the time before its first check, since the beginning of the outage.
func begin(in *Input, wait time.Duration, since time.Time) Action {
	if in.Mapping.off() {
		return drop("an operator disabled the mapping")
	}
	h := Hold{
		State: Holding, Since: since, At: in.Now, Next: in.Now.Add(wait), Wait: wait, Interval: wait,
		Concurrency: in.Mapping.Concurrency, BatchSize: in.Mapping.BatchSize,
		Sent: in.Message.Sent, Message: in.Message.ID,
	}
	if in.Hold != nil && since.Equal(in.Hold.Since) {
		h.Trials = in.Hold.Trials
	}
	if restore, needed := restored(in); needed {
		h.Reduced = true
		if restore.Concurrency != nil {
			h.Concurrency = *restore.Concurrency
		}
		if restore.BatchSize != nil {
			h.BatchSize = *restore.BatchSize
		}
	}
	return Action{Kind: Write, Hold: h, Reason: "the alarm fired"}
}

// another decides about an alarm's message while another message is or was the hold.
func another(in *Input) Action {
	h, on := in.Hold, in.Mapping.on()
	switch h.State {
	case Done, Operator:
		return begin(in, FirstWait, outageStart(in))
	case Ended:
		if since := in.Now.Sub(h.At); 0 <= since && since < in.Retention/7 {
			return drop("the outage reached its maximum age")
		}
		return begin(in, FirstWait, outageStart(in))
	case Resumed, Running, Held: // held: an operator or a deployment enabled the mapping
		if on {
			return begin(in, min(2*h.Wait, MaxWait), h.Since)
		}
	case Trial: // the check was right
		if on {
			return begin(in, h.Wait, h.Since)
		}
	case Replaying:
		if on {
			return begin(in, FirstWait, h.Since)
		}
	case Holding: // the invocation that wrote this ended before it disabled the mapping
		if on && !h.Next.After(in.Now) {
			return adopt(in)
		}
	case None:
	}
	if in.Now.Sub(h.Next) < overdue {
		return drop("another message is the hold")
	}
	return adopt(in)
}

// adopt makes the message the hold, in the place of a message that does not return, or not soon.
func adopt(in *Input) Action {
	h := *in.Hold
	h.Sent, h.Message = in.Message.Sent, in.Message.ID
	return Action{Kind: Write, Hold: h, Reason: "the message of the hold is overdue"}
}

// owned decides about the message that is the hold.
func owned(in *Input) Action {
	h := in.Hold
	switch h.State {
	case Done, Ended:
		return drop("the hold is over")
	case Operator:
		if in.Mapping.off() {
			return stopped(in, "the hold is the operator's")
		}
		a := enter(in, Running, ProbationTime, "the operator resumed the connector")
		a.Hold.Trials = 0
		return a
	case Holding:
		return holding(in)
	case Held:
		return held(in)
	case Resumed, Trial, Running, Replaying, None:
	}
	switch {
	case in.Mapping.off():
		return stopped(in, "an operator disabled the mapping")
	case !due(in):
		return wait(h.Next.Sub(in.Now), "next try")
	case h.State == Replaying && tooOld(in): // the replay failed for days; SQS is about to delete the message
		return end(in)
	case h.State == Replaying:
		return replaying(in)
	}
	change, needed := restored(in)
	if h.State == Resumed { // the batch size follows at the end of the probation
		change.BatchSize, needed = nil, change.Concurrency != nil
	}
	switch {
	case needed && h.State == Resumed && in.Check == NoResult:
		return Action{Kind: Check}
	case needed && h.State == Resumed && in.Check == Busy && !tooOld(in):
		return enter(in, Resumed, GradualTime, "the queues of the SIEM are nearly full")
	case needed:
		return set(change, "the previous settings")
	case h.State == Resumed:
		return enter(in, Running, ProbationTime-GradualTime, "the first minute is over")
	case h.State == Running && h.Trials > 0, h.Trials > 1:
		return unsure(in)
	}
	return enter(in, Replaying, 0, "the connector ran for six minutes without an alarm")
}

// unsure decides about a connector that runs after a trial. That no alarm fired proves that deliveries work only if
// there were enough events to deliver. A replay to a SIEM that is down would use up the replays of the dead letters, so
// only the first trial of an outage is followed by one. The last replay follows when the check succeeds.
func unsure(in *Input) Action {
	switch {
	case tooOld(in):
		return end(in)
	case in.Check == NoResult:
		return Action{Kind: Check}
	case in.Check == Failed:
		return enter(in, Running, MaxInterval, "the check fails, the connector runs")
	}
	a := enter(in, Replaying, 0, "the check succeeded")
	a.Hold.Trials = 0
	return a
}

// stopped ends a hold whose mapping an operator disabled. The mapping first gets its own settings, and stays disabled:
// otherwise it would run with the reduced ones when the operator enables it.
func stopped(in *Input, reason string) Action {
	change, needed := restored(in)
	switch {
	case needed && in.Mapping.State == "Disabling":
		return wait(settleTime, "the mapping is Disabling")
	case needed:
		return set(change, "the previous settings")
	}
	return enter(in, Done, 0, reason)
}

func holding(in *Input) Action {
	switch {
	case in.Mapping.off():
		return enter(in, Held, in.Hold.Wait, "the mapping is disabled")
	case in.Mapping.State == "Enabling":
		return wait(settleTime, "the mapping is Enabling")
	}
	return set(Change{Enabled: new(false)}, "the alarm fired")
}

func held(in *Input) Action {
	change, reduced := restored(in)
	switch {
	case in.Mapping.off() && reduced && !in.Hold.Reduced:
		// The guard enabled the mapping, and stopped before it wrote the tag. Restoring the settings now would hide that.
		return enter(in, Resumed, 0, "the check succeeded, and an operator disabled the mapping")
	case tooOld(in):
		return end(in)
	case in.Mapping.on():
		return resumed(in)
	case !due(in):
		return wait(in.Hold.Next.Sub(in.Now), "next try")
	case in.Hold.Reduced && in.Mapping.State == "Disabling": // it still receives messages
		return wait(settleTime, "the mapping is Disabling")
	case in.Hold.Reduced && reduced:
		return set(change, "the previous settings")
	case in.Hold.Reduced:
		h := *in.Hold
		h.Reduced, h.Next = false, in.Now
		return Action{Kind: Write, Hold: h, Reason: "the previous settings are restored"}
	case in.Mapping.Concurrency != in.Hold.Concurrency || in.Mapping.BatchSize != in.Hold.BatchSize:
		h := *in.Hold
		h.Concurrency, h.BatchSize, h.Next = in.Mapping.Concurrency, in.Mapping.BatchSize, in.Now
		return Action{Kind: Write, Hold: h, Reason: "a deployment changed the settings"}
	case in.Check == NoResult:
		return Action{Kind: Check}
	case in.Check == Failed && in.Hold.Failures+1 < in.Hold.trialFailures():
		a := enter(in, Held, nextInterval(in.Hold), "the check failed")
		a.Hold.Failures++
		return a
	case in.Mapping.State == "Disabling":
		return wait(settleTime, "the mapping is Disabling")
	}
	change = Change{Enabled: new(true)}
	if !in.Mapping.Provisioned {
		change.Concurrency = new(Gradual)
	}
	if in.Check == Failed || in.Hold.Wait > FirstWait { // deliveries are likely to fail: risk few events' attempts
		change.BatchSize = new(min(Gradual, max(in.Hold.BatchSize, 1)))
	}
	if in.Check == Failed {
		return set(change, "the check keeps failing; a delivery is the better check")
	}
	return set(change, "the check succeeded")
}

// resumed decides about a held connector whose mapping is enabled. The guard's own change is recognized by its
// settings if the guard stopped before it wrote the tag.
func resumed(in *Input) Action {
	_, reduced := restored(in)
	if in.Enabled && in.Check == Failed || !in.Enabled && reduced && in.Hold.Failures+1 >= in.Hold.trialFailures() {
		a := enter(in, Trial, ProbationTime, "a trial")
		a.Hold.Trials++
		return a
	}
	a := enter(in, Running, ProbationTime, "an operator or a deployment enabled the mapping")
	if in.Enabled || reduced {
		a = enter(in, Resumed, GradualTime, "the check succeeded")
	}
	a.Hold.Trials = 0
	return a
}

func replaying(in *Input) Action {
	switch in.Replay {
	case NoResult:
		return Action{Kind: Replay}
	case Succeeded:
		if in.Hold.Trials > 0 {
			return enter(in, Running, MaxInterval, "the dead letters are replayed, and the check has not succeeded")
		}
		return enter(in, Done, 0, "the dead letters are replayed")
	case Partial:
		return wait(time.Second, "more dead letters remain")
	case Failed, Busy:
	}
	return enter(in, Replaying, nextInterval(in.Hold), "the replay failed")
}

// end ends a hold of the maximum age: the connector runs, so that its events become dead letters, which are kept,
// before SQS deletes them.
func end(in *Input) Action {
	change, needed := restored(in)
	switch {
	case in.Mapping.State == "Disabling":
		return wait(settleTime, "the mapping is Disabling")
	case in.Mapping.off():
		change.Enabled, needed = new(true), true
	}
	const reason = "the outage reached its maximum age"
	if needed {
		return set(change, reason)
	}
	return enter(in, Ended, 0, reason)
}

// enter writes a state that lasts for d. Entering the state that the hold is in keeps its beginning.
func enter(in *Input, s State, d time.Duration, reason string) Action {
	h := *in.Hold
	if h.State != s {
		h.At, h.Interval = in.Now, FirstWait
		if s == Held {
			h.Interval = h.Wait
		}
	} else {
		h.Interval = d
	}
	h.State, h.Next = s, in.Now.Add(d)
	return Action{Kind: Write, Hold: h, Reason: reason}
}

// trialFailures returns the number of failed checks before the next trial.
func (h *Hold) trialFailures() int {
	return min(TrialFailures<<min(h.Trials, 8), maxTrialFailures)
}

func nextInterval(h *Hold) time.Duration { return min(2*h.Interval, MaxInterval) }

func due(in *Input) bool { return in.Due || !in.Hold.Next.After(in.Now) }

// tooOld reports whether SQS is about to delete events of the outage. In the last seventh of the retention, they become
// dead letters before that.
func tooOld(in *Input) bool { return in.Now.Sub(in.Hold.Since) > in.Retention*6/7 }

// restored returns the change that undoes a gradual resume, and reports whether there is anything to undo. Settings
// that somebody else changed in the meantime are kept.
func restored(in *Input) (c Change, needed bool) {
	h, m := in.Hold, &in.Mapping
	if h == nil || h.State == Done || h.State == Ended {
		return c, false
	}
	if m.Concurrency == Gradual && h.Concurrency != Gradual {
		c.Concurrency, needed = new(h.Concurrency), true
	}
	if m.BatchSize == Gradual && h.BatchSize > Gradual {
		c.BatchSize, needed = new(h.BatchSize), true
	}
	return c, needed
}
