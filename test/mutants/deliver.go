package main

func deliverMutants() []source {
	return []source{{file: "shared/deliver/engine.go", mutants: append(engineMutants(), packMutants()...)}, {file: "shared/deliver/bisect.go", mutants: isolateMutants()}, {
		file: "shared/failure/failure.go", tests: []string{"shared/deliver", "shared/sqsbatch", "shared/httpsend"}, mutants: []mutant{
			{
				name: "unknown-is-rejected", does: "an error nobody has understood throws the event away",
				old: "return &Fault{Kind: Transient, Err: err}", new: "return &Fault{Kind: Rejected, Err: err}",
			}, {
				name: "quote-unbounded", does: "a SIEM's whole answer goes into the dead letter",
				old: "text = text[:MaxQuote]", new: "",
			}, {
				name: "alike-by-status", does: "two refusals with different codes count as one and the same",
				old: "f.Status == g.Status && f.Code == g.Code", new: "f.Status == g.Status",
			},
		},
	}}
}

func engineMutants() []mutant {
	return []mutant{
		{
			name: "unknown-is-delivered", does: "what failed for an unknown reason counts as delivered",
			old: "state := Retry\n\tswitch f.Kind {", new: "state := Delivered\n\tswitch f.Kind {",
		}, {
			name: "verdict-unknown-is-delivered", does: "a record whose verdict is a failure counts as delivered",
			old: "\t\treturn Rejected\n\t}\n\treturn Retry\n}", new: "\t\treturn Rejected\n\t}\n\treturn Delivered\n}",
		}, {
			name: "stale-outcomes", does: "what became of the last batch is what becomes of this one",
			old: "clear(outcomes)\n", new: "",
		}, {
			name: "verdicts-too-few", does: "an answer with too few verdicts is taken",
			old: "len(p.Results) != len(r.sent)", new: "len(p.Results) > len(r.sent)",
		}, {
			name: "partial-takes-all-before", does: "one accepted record makes those before it accepted",
			old: "r.accept(items[n : n+1])", new: "r.accept(items[:n+1])",
		}, {
			name: "unjudged-not-sent-again", does: "records behind a refused one wait for the next attempt",
			old: "again = append(again, i)", new: "_ = again",
		}, {
			name: "secret-not-reread", does: "a refused credential is not renewed",
			old: "case f.Kind == failure.Unauthorized && !r.renewed:", new: "case false:",
		}, {
			name: "renewed-forever", does: "a credential is renewed again and again",
			old: "r.renewed = true\n", new: "if r.meter.Requests > 50 {\nr.renewed = true\n}\nr.meter.Requests++\n",
		}, {
			name: "renewed-not-used", does: "the request is tried again with the old credential",
			old: "r.use(r.source.Renew(r.ctx))", new: "r.source.Renew(r.ctx)",
		},
	}
}

func packMutants() []mutant {
	return []mutant{
		{
			name: "close-not-counted", does: "a body is over the SIEM's limit by its last bracket",
			old: "len(b.Body)+len(f.Close) > f.MaxBytes", new: "len(b.Body) > f.MaxBytes",
		}, {
			name: "one-record-too-many", does: "a request has one record more than the SIEM takes",
			old: "len(r.sent) == f.MaxRecords", new: "len(r.sent) == f.MaxRecords+1",
		}, {
			name: "record-at-limit-refused", does: "a record of just the allowed size is thrown away",
			old: "limit > 0 && size > limit", new: "limit > 0 && size >= limit",
		}, {
			name: "record-over-limit-sent", does: "a record that the SIEM would cut is sent",
			old: "limit > 0 && size > limit", new: "false && size > limit",
		}, {
			name: "no-separator", does: "records run into each other",
			old: "b.Body = append(b.Body, f.Separator...)", new: "",
		}, {
			name: "time-not-looked-at", does: "requests are begun after the time is up",
			old: "if err := r.ctx.Err(); err != nil {", new: "if err := r.ctx.Err(); err != nil && false {",
		}, {
			name: "truncated-forgotten", does: "a truncated event counts as a whole one",
			old: "Outcome{State: Delivered, Truncated: r.outcomes[i].Truncated}", new: "Outcome{State: Delivered}",
		}, {
			name: "outage-asked-again", does: "every request of a batch waits for a SIEM that is down",
			old: "return f.Status == 0 || f.Status == unavailable", new: "return false",
		}, {
			name: "throttled-asked-again", does: "a SIEM that asks for less gets the rest of the batch",
			old: "case failure.Throttled, failure.Unauthorized, failure.Misconfigured:\n\t\treturn true", new: "case failure.Throttled, failure.Unauthorized, failure.Misconfigured:\n\t\treturn false",
		}, {
			name: "run-state-leaks", does: "the next batch does not renew its credential, since the last one did",
			old: "*r = run{\n", new: "*r = run{renewed: r.renewed,\n",
		}, {
			name: "configuration-not-blamed", does: "a wrong setting makes dead letters of whole batches",
			old: "r.blameConfiguration()\n", new: "",
		},
	}
}

func isolateMutants() []mutant {
	return []mutant{
		{
			name: "half-loses-one", does: "the event in the middle of a refused batch is not tried",
			old: "part[len(part)/2:]}", new: "part[len(part)/2+1:]}",
		}, {
			name: "culprit-drags-neighbour", does: "two refused events are not taken apart",
			old: "if len(r.sent) < 2 {", new: "if len(r.sent) < 3 {",
		}, {
			name: "last-500-not-isolated", does: "an event that breaks the SIEM makes dead letters of its neighbours",
			old: "return f.Status == broken && slices", new: "return false && slices",
		}, {
			name: "always-alike", does: "events refused for different reasons are held",
			old: "\t\tif !r.outcomes[i].Fault.Alike(r.outcomes[items[0]].Fault) {\n\t\t\treturn false\n\t\t}\n", new: "\t\t_ = i\n",
		}, {
			name: "lone-event-blames-configuration", does: "the only event of a batch, refused, is held and not a dead letter",
			old: "if len(items) < 2 || !r.alike() {", new: "if len(items) < 1 || !r.alike() {",
		}, {
			name: "some-accepted-and-held", does: "two poisoned events among good ones are held and come for ever",
			old: "if r.accepted > 0 {\n\t\treturn\n\t}\n\titems := r.refused()", new: "items := r.refused()",
		}, {
			name: "no-sample", does: "a wrong setting costs a request for each event",
			old: "return !r.sampled && r.accepted == 0", new: "return false && r.accepted == 0",
		},
	}
}
