package main

func intakeMutants() []source {
	return []source{
		{file: "shared/sqsbatch/sqsbatch.go", mutants: batchMutants()},
		{file: "shared/sqsbatch/apply.go", mutants: applyMutants()},
		{file: "shared/sqsbatch/backoff.go", mutants: backoffMutants()},
		{file: "shared/sqsevent/sqsevent.go", mutants: []mutant{
			{
				name: "receives-ignored", does: "every attempt is the first, and no event is ever given up",
				old: "m.Receives = n\n", new: "m.Receives = 1\n",
			}, {
				name: "attributes-shared", does: "a message has the attributes of those before it",
				old: "m.Attributes = r.p.attributes[start:", new: "m.Attributes = r.p.attributes[0*start:",
			}, {
				name: "payload-cut-off", does: "what stands behind a broken record is not missed",
				old: "r.err == nil && r.i != len(r.b)", new: "false",
			}, {
				name: "no-records", does: "an invocation without records succeeds",
				old: "r.err == nil && !records && !p.Check", new: "false",
			},
		}},
		{file: "shared/sqsbatch/report.go", mutants: []mutant{
			{
				name: "dead-letters-uncounted", does: "dead letters count as delivered",
				old: "\t\t\tdeadLettered++", new: "\t\t\tdelivered++",
			}, {
				name: "failure-not-logged", does: "the log does not say what failed",
				old: "r.failures[f.Brief()]++", new: "",
			},
		}},
	}
}

func batchMutants() []mutant {
	return []mutant{
		{
			name: "partial-failure-dropped", does: "SQS deletes what was not delivered",
			old: "listed = b.fates[i].state != deliver.Delivered", new: "listed = false",
		}, {
			name: "acknowledged-before-stored", does: "a message is deleted whether or not its dead letter is stored",
			old: "listed = b.fates[i].state != deliver.Delivered", new: "listed = b.fates[i].state == deliver.Retry",
		}, {
			name: "message-by-event-number", does: "behind an invalid message, each has the next one's fate",
			old: "i := b.message[n]\n\t\tf := &b.fates[i]", new: "i := n\n\t\tf := &b.fates[i]",
		}, {
			name: "invalid-is-delivered", does: "a body that is no event is deleted without a dead letter",
			old: "fate{state: deliver.Rejected, fault:", new: "fate{state: deliver.Delivered, fault:",
		}, {
			name: "no-reserve", does: "the SIEM's silence leaves no time to tell SQS anything",
			old: "deadline.Add(-min(reserve, left/5))", new: "deadline.Add(-0 * min(reserve, left/5))",
		}, {
			name: "exhausted-not-dead", does: "an event that was given up is not sent to the dead-letter queue",
			old: "f.state, f.exhausted = deliver.Rejected, true", new: "f.exhausted = true",
		}, {
			name: "empty-id", does: "a message without an id cannot be listed, and is lost",
			old: "if len(messages[i].ID) == 0 {", new: "if false {",
		}, {
			name: "last-attempt-unknown", does: "an event that breaks the SIEM takes its batch with it in the end",
			old: "Last: b.Backoff.Exhausted(m.Receives)", new: "Last: false",
		},
	}
}

func applyMutants() []mutant {
	return []mutant{
		{
			name: "dead-letter-failure-ignored", does: "a dead letter that the queue refused is deleted",
			old: "for _, i := range sent {", new: "for _, i := range g.messages {",
		}, {
			name: "dead-letter-confirmed-by-any", does: "one confirmed dead letter confirms the other nine",
			old: "if aws.ToString(ok.Id) == strconv.Itoa(i) {", new: "if ok.Id != nil {",
		}, {
			name: "eleven-entries", does: "a batch request has more entries than SQS takes",
			old: "len(all[last].messages) == maxEntries", new: "len(all[last].messages) == maxEntries+1",
		}, {
			name: "batch-bytes-ignored", does: "a batch request is larger than SQS takes",
			old: "|| all[last].bytes+n > maxBatchBytes {", new: "{",
		}, {
			name: "replays-forgotten", does: "a dead letter that was put back does not know it, and goes round for ever",
			old: "attributes[\"replays\"] = replays", new: "_ = replays",
		}, {
			name: "attempts-wrong", does: "a dead letter does not say how often it was tried",
			old: "text(strconv.Itoa(m.Receives))", new: "text(strconv.Itoa(m.Receives - 1))",
		}, {
			name: "reason-unbounded", does: "a dead letter's reason takes more than a message may carry",
			old: "if len(text) > maxReason {", new: "if false {",
		}, {
			name: "reason-control-characters", does: "SQS refuses the dead letter for a character of the SIEM's answer",
			old: "if r < 0x20 || r == 0x7f", new: "if r == 0x7f",
		}, {
			name: "queue-errors-raced", does: "two batch requests that fail write into the same list at once", race: true,
			old: "mu.Lock()\n\t\tdefer mu.Unlock()\n\t\tfor _, i", new: "_ = &mu\n\t\tfor _, i",
		}, {
			name: "waits-not-set", does: "every message comes back at once",
			old: "b.setWaits(ctx)\n", new: "",
		}, {
			name: "only-first-group-waits", does: "of a hundred messages ten get their waiting time",
			old: "for _, g := range groups {\n", new: "for _, g := range groups[:min(1, len(groups))] {\n",
		},
	}
}

func backoffMutants() []mutant {
	return []mutant{
		{
			name: "exhausted-off-by-one", does: "an event gets one attempt too many",
			old: "return attempt >= b.Attempts", new: "return attempt > b.Attempts",
		}, {
			name: "held-as-retry", does: "the attempts are over before an operator can mend the configuration",
			old: "f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized", new: "f.Kind == failure.Unauthorized",
		}, {
			name: "denied-as-retry", does: "the attempts are over before an operator can mend the credential",
			old: "f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized", new: "f.Kind == failure.Misconfigured",
		}, {
			name: "retry-after-forgotten", does: "a SIEM that asks for ten minutes is asked again after one second",
			old: "return max(wait, min(f.RetryAfter, maxRetryAfter))", new: "return wait",
		}, {
			name: "retry-after-unbounded", does: "a SIEM can hide an event for a day",
			old: "min(f.RetryAfter, maxRetryAfter)", new: "f.RetryAfter",
		}, {
			name: "retry-after-shortens", does: "a Retry-After of one second undoes the back-off",
			old: "return max(wait, min(f.RetryAfter, maxRetryAfter))", new: "if f.RetryAfter > 0 {\nreturn min(f.RetryAfter, maxRetryAfter)\n}\nreturn wait",
		}, {
			name: "growth-off-by-one", does: "the waits do not end with the longest",
			old: "float64(attempt-1)/float64(waits-1)", new: "float64(attempt-1)/float64(waits)",
		},
	}
}
