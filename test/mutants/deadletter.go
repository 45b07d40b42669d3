package main

func deadLetterMutants() []source {
	const dir = "shared/deadletter/"
	return []source{
		{file: dir + "drain.go", mutants: drainMutants()},
		{file: dir + "key.go", mutants: []mutant{{
			name: "name-by-order", does: "a repeated batch in another order is kept twice",
			old: "slices.Sort(ids)", new: "",
		}}},
		{file: dir + "store.go", mutants: storeMutants()},
		{file: dir + "lease.go", mutants: []mutant{
			{
				name: "lock-ignored", does: "two replays run at once",
				old: "case note.Expires.Add(leaseSkew).After(l.now()):", new: "case false:",
			}, {
				name: "lock-unconditional", does: "the second replay takes the lock of the first",
				old: "condition := whenAbsent", new: "condition := always",
			}, {
				name: "renewed-unconditionally", does: "a replay that was overtaken takes the lock back",
				old: "err := l.write(ctx, l.etag)", new: "err := l.write(ctx, always)",
			}, {
				name: "lock-not-released", does: "after each replay the next is refused for half a minute",
				old: "if err := l.bucket.delete(ctx, lockName); err != nil {", new: "if err := error(nil); err != nil {",
			}, {
				name: "lock-never-renewed", does: "a long replay loses its lock and does not know",
				old: "if l.expires.Sub(l.now()) > leaseRenew {\n\t\treturn nil", new: "if l.expires.Sub(l.now()) > -leaseRenew {\n\t\treturn nil",
			},
		}},
		{file: dir + "ledger.go", mutants: []mutant{
			{
				name: "ledger-not-written", does: "a crash puts every event back again",
				old: "if !s.dirty {\n\t\t\tcontinue", new: "if s.dirty {\n\t\t\tcontinue",
			}, {
				name: "ledger-other-days", does: "two records of one message, dated apart, are both put back",
				old: "windowDays = 5", new: "windowDays = 0",
			}, {
				name: "merge-deletes-first", does: "a failing merge of the ledger forgets what was put back",
				old: "if err := l.write(ctx, l.newSegment(day), ids); err != nil {\n\t\treturn err\n\t}", new: "l.newSegment(day)",
			},
		}},
		{file: dir + "lines.go", mutants: []mutant{
			{
				name: "last-line-lost", does: "the last line of an object without a newline is lost",
				old: "\t\tline := rest\n", new: "\t\tline := rest[:0]\n",
			}, {
				name: "line-cut-at-piece", does: "the line that two pieces of an object share is lost",
				old: "left := copy(r.buf, r.buf[r.pos:])", new: "left := 0",
			}, {
				name: "long-line-taken", does: "a line without end takes all memory",
				old: "if r.skip = r.skip || len(rest) > maxLine; r.skip {", new: "if r.skip = r.skip || len(rest) > 100*maxLine; r.skip {",
			},
		}},
	}
}

func replayMutants() []source {
	const dir = "shared/deadletter/"
	return []source{
		{file: dir + "run.go", mutants: runMutants()},
		{file: dir + "chunk.go", mutants: chunkMutants()},
		{file: dir + "settle.go", mutants: []mutant{
			{
				name: "moved-with-lines-left", does: "an object is moved away although lines of it wait",
				old: "case st.whole && st.left == 0 && st.done == st.lines:", new: "case st.whole:",
			}, {
				name: "deleted-though-not-copied", does: "an object that could not be copied is deleted",
				old: "\tif err != nil {\n\t\treturn err\n\t}\n\tif err := s.bucket.delete", new: "\t_ = err\n\tif err := s.bucket.delete",
			}, {
				name: "replayed-not-deleted", does: "a replayed object stays pending, and is counted for ever",
				old: "if err := s.bucket.delete(ctx, pendingFolder+o.tail); err != nil {", new: "if err := error(nil); err != nil {",
			},
		}},
		{file: dir + "request.go", mutants: requestMutants()},
		{file: dir + "record.go", mutants: []mutant{
			{
				name: "invalid-bytes-as-text", does: "a body that is not UTF-8 makes a line that nobody can read",
				old: "case utf8.Valid(r.Body):", new: "case utf8.Valid(r.Body) || true:",
			}, {
				name: "record-over-lines", does: "a dead letter in several lines is several broken ones",
				old: "dst = jsonscan.AppendCompact(dst, r.Body)", new: "dst = append(dst, r.Body...)",
			}, {
				name: "required-keys-unchecked", does: "a line without an event is put back as nothing",
				old: "if !seen[key] {", new: "if !seen[key] && false {",
			},
		}},
	}
}

func drainMutants() []mutant {
	return []mutant{
		{
			name: "drained-unconfirmed", does: "a dead letter that S3 did not take is deleted",
			old: "batches[i].err = err", new: "_, _ = i, err",
		}, {
			name: "repeated-batch-fails", does: "a batch that is there already comes back for ever",
			old: "if err == errExists {", new: "if false {",
		}, {
			name: "drain-overwrites", does: "a repeated batch writes over what a replay is reading",
			old: "key, whenAbsent, ndjson", new: "key, always, ndjson",
		}, {
			name: "any-connector-name", does: "a dead letter's attribute chooses where in the bucket it is written",
			old: "if slices.Contains(connectors[:], name) {", new: "if name != unknown {",
		}, {
			name: "same-message-twice", does: "a message that stands in an event twice is kept twice",
			old: "\t\tif seen[id] {\n\t\t\tcontinue\n\t\t}\n", new: "",
		}, {
			name: "replays-not-kept", does: "the count of replays ends at the next dead letter",
			old: "count(m.Attribute(\"replays\"))", new: "0",
		}, {
			name: "original-id-lost", does: "a dead letter bears the id of its copy, and one event is replayed twice",
			old: "MessageID: bound(string(m.Attribute(\"message_id\")), maxError),", new: "",
		}, {
			name: "redriven-unknown", does: "what SQS itself moved belongs to no connector",
			old: "if c, ok := d.queues[arn[strings.LastIndexByte(arn, ':')+1:]]; ok {", new: "if c, ok := d.queues[arn]; ok {",
		},
	}
}

func storeMutants() []mutant {
	return []mutant{
		{
			name: "page-skipped", does: "what stands behind the first thousand objects is not there",
			old: "if !aws.ToBool(out.IsTruncated) ||", new: "if aws.ToBool(out.IsTruncated) ||",
		}, {
			name: "absent-not-asked", does: "a write that must not replace anything does",
			old: "in.IfNoneMatch = aws.String(condition)", new: "",
		}, {
			name: "etag-not-asked", does: "a write that must replace one version replaces any",
			old: "in.IfMatch = &condition", new: "",
		}, {
			name: "conflict-is-success", does: "a conditional write that lost counts as one that won",
			old: "case \"PreconditionFailed\":\n\t\treturn errExists", new: "case \"PreconditionFailed\":\n\t\treturn nil",
		}, {
			name: "other-version-read", does: "the pieces of an object come from two versions of it",
			old: "Key: aws.String(b.prefix + key), IfMatch: &etag}", new: "Key: aws.String(b.prefix + key)}",
		}, {
			name: "other-version-copied", does: "what is moved is not what was read",
			old: "CopySourceIfMatch: &etag,", new: "",
		}, {
			name: "broken-stream-fails", does: "a stream that breaks ends the replay",
			old: "if n == tries || b.pause(ctx, wait(n)) != nil {\n\t\t\treturn fmt", new: "if true {\n\t\t\treturn fmt",
		}, {
			name: "conflict-not-tried-again", does: "S3's request to try again fails the batch",
			old: "errorCode(err) != \"ConditionalRequestConflict\" ||", new: "true ||",
		},
	}
}

func runMutants() []mutant {
	return []mutant{
		{
			name: "ledger-ignored", does: "what was put back is put back again",
			old: "\t\tif done {\n\t\t\tst.done++\n\t\t\treturn", new: "\t\tif done && false {\n\t\t\tst.done++\n\t\t\treturn",
		}, {
			name: "two-records-two-events", does: "two records of one message put it back twice",
			old: "if s.chunk.again(e, st) {", new: "if false {",
		}, {
			name: "limit-off-by-one", does: "a replay puts one event more back than it was told",
			old: ">= s.request.limit", new: "> s.request.limit",
		}, {
			name: "fourth-replay", does: "a dead letter goes round once too often",
			old: "case r.Replays >= maxReplays", new: "case r.Replays > maxReplays",
		}, {
			name: "force-ignored", does: "an operator cannot force a replay",
			old: "&& !s.request.force:", new: ":",
		}, {
			name: "time-over-not-noticed", does: "a replay is killed at its time limit",
			old: "s.halted = true\n\t}\n}\n\n// keep", new: "}\n}\n\n// keep",
		}, {
			name: "lost-lock-goes-on", does: "a replay that lost its lock goes on",
			old: "if err := s.lease.renew(ctx); err != nil {\n\t\ts.halted = true", new: "if err := s.lease.renew(ctx); err != nil {",
		}, {
			name: "other-connector-replayed", does: "a line that names another connector goes to this one's queue",
			old: "err != nil || r.Connector != st.connector", new: "err != nil",
		}, {
			name: "to-ignored", does: "an object later than what is asked for is read",
			old: "&& !time.UnixMilli(o.oldest).Before(to) {", new: "&& time.UnixMilli(o.oldest).Before(to) {",
		}, {
			name: "filtered-line-done", does: "a line outside the time asked for counts as put back, and is moved away",
			old: "if !s.request.matches(r.Time) {\n\t\tst.left++", new: "if !s.request.matches(r.Time) {\n\t\tst.done++",
		},
	}
}

func chunkMutants() []mutant {
	return []mutant{
		{
			name: "sent-unconfirmed", does: "an event the queue did not take counts as put back",
			old: "for _, ok := range out.Successful {\n\t\tat(ok.Id).state = sent", new: "for i := range entries {\n\t\tentries[i].state = sent",
		}, {
			name: "done-though-not-noted", does: "an object is moved away although the ledger could not be written",
			old: "if e.state == sent && noted {", new: "if e.state == sent {",
		}, {
			name: "replays-not-counted", does: "the fourth replay is the first for ever",
			old: "StringValue: aws.String(strconv.Itoa(e.replays + 1))", new: "StringValue: aws.String(strconv.Itoa(e.replays))",
		}, {
			name: "dry-run-sends", does: "a dry run puts events back",
			old: "func (s *run) send(ctx context.Context) {\n\tif s.request.dryRun {", new: "func (s *run) send(ctx context.Context) {\n\tif false {",
		}, {
			name: "eleven-replayed", does: "a batch request has more entries than SQS takes",
			old: "len(all[at]) == maxEntries ||", new: "len(all[at]) == maxEntries+1 ||",
		}, {
			name: "replay-batch-bytes-ignored", does: "a batch request is larger than SQS takes",
			old: "|| sizes[e.connector]+n > maxBatchBytes {", new: "{",
		}, {
			name: "attribute-over-limit", does: "the largest message can never be put back",
			old: "if len(e.body)+n > maxBatchBytes {", new: "if false {",
		}, {
			name: "moved-before-noted", does: "a crash between moving and noting loses the count",
			old: "noted := s.note(ctx)\n", new: "noted := true\ndefer s.note(ctx)\n",
		},
	}
}

func requestMutants() []mutant {
	return []mutant{
		{
			name: "from-exclusive", does: "the first event of the time asked for is left out",
			old: "return !t.Before(r.from) &&", new: "return t.After(r.from) &&",
		}, {
			name: "to-inclusive", does: "one event too many is put back",
			old: "t.Before(r.to))\n}", new: "!t.After(r.to))\n}",
		}, {
			name: "unknown-key-taken", does: "a misspelt dry_run replays everything",
			old: "return fmt.Errorf(\"%q: is not known, expected", new: "return nil\n\t\t_ = fmt.Errorf(\"%q: is not known, expected",
		}, {
			name: "query-taken", does: "?dry_run=true replays everything",
			old: "if c.Query != \"\" {", new: "if false {",
		}, {
			name: "any-path", does: "any path replays",
			old: "if c.Path != replayPath {", new: "if false {",
		}, {
			name: "request-unbounded", does: "a request of any size is parsed",
			old: "if len(body) > maxRequest {", new: "if false {",
		}, {
			name: "any-method", does: "a DELETE replays",
			old: "if method != http.MethodPost && method != http.MethodGet {", new: "if false {",
		}, {
			name: "key-twice", does: "of two limits the second counts",
			old: "if seen[key] {\n", new: "if false {\n",
		},
	}
}
