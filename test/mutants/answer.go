package main

func answerMutants() []source {
	return []source{
		{file: "functions/splunk/connector/response.go", mutants: splunkMutants()},
		{file: "functions/elastic/connector/response.go", mutants: elasticMutants()},
		{file: "functions/sentinel/connector/response.go", mutants: sentinelMutants()},
		{file: "functions/sentinel/connector/token.go", mutants: []mutant{
			{
				name: "token-not-early", does: "a token expires while a request is on its way",
				old: "from.Add(life - early)", new: "from.Add(life - 0*early)",
			}, {
				name: "token-kept-after-refusal", does: "a refused token is used until it expires",
				old: "ts.current.text == t.text {", new: "ts.current.text != t.text {",
			}, {
				name: "token-raced", does: "two requests renew the token at once", race: true,
				old: "ts.mu.Lock()\n\tdefer ts.mu.Unlock()\n\tif ts.current != nil && ts.now()", new: "if ts.current != nil && ts.now()",
			},
		}},
	}
}

func otherAnswerMutants() []source {
	return []source{
		{file: "functions/datadog/connector/response.go", mutants: []mutant{
			{
				name: "datadog-any-success", does: "a 200 of whatever listens there counts as delivered",
				old: "\t\tif understood(a) {", new: "\t\tif true {",
			}, {
				name: "datadog-reset-unread", does: "Datadog's own way to say how long to wait is not heard",
				old: "f.RetryAfter = rateLimitWait(a.Header)", new: "",
			}, {
				name: "datadog-broken-success", does: "a success that broke off counts as one",
				old: "case a.BodyErr != nil:\n\t\treturn false", new: "case false:",
			}, {
				name: "datadog-403-rejected", does: "a revoked key throws events away",
				old: "{status: http.StatusForbidden, kind: failure.Unauthorized,", new: "{status: http.StatusForbidden, kind: failure.Rejected,",
			},
		}},
		{file: "functions/sumo/connector/response.go", mutants: []mutant{
			{
				name: "sumo-any-2xx", does: "a 202 that Sumo Logic never sends counts as delivered",
				old: "if a.Status != http.StatusOK && a.Status != http.StatusNoContent {", new: "if !a.OK() {",
			}, {
				name: "sumo-silent", does: "nobody is told of a code that came with a success",
				old: "len(bytes.TrimSpace(a.Body)) == 0 && a.BodyErr == nil:", new: "a.BodyErr == nil:",
			}, {
				name: "sumo-404-rejected", does: "a replaced URL throws events away",
				old: "{status: http.StatusNotFound, kind: failure.Misconfigured,", new: "{status: http.StatusNotFound, kind: failure.Rejected,",
			}, {
				name: "sumo-code-unredacted", does: "an answer that echoes the URL's secret puts it into the log",
				old: "return c.cfg.http.Redactor.Cut(code)", new: "return code",
			},
		}},
		{file: "functions/xsiam/connector/response.go", mutants: []mutant{{
			name: "xsiam-no-hint", does: "a wrong body format looks like an outage",
			old: "return a.Fault(kind, \"\", hintFormat)", new: "return a.Fault(kind, \"\", \"\")",
		}}},
		{file: "functions/xsiam/connector/connector.go", mutants: []mutant{{
			name: "xsiam-any-answer", does: "any answer of XSIAM counts as delivered",
			old: "if a.OK() {", new: "if a.Status != 0 {",
		}}},
		{file: "functions/qradar/connector/escape.go", mutants: []mutant{
			{
				name: "cef-mark-bare", does: "an event's text makes a CEF field of its own",
				old: "case b == '\\\\' || b == p.mark:", new: "case b == '\\\\':",
			}, {
				name: "cef-line-break", does: "an event's text makes a syslog message of its own",
				old: "for b := range 0x20 {\n", new: "for b := range 0 {\n",
			}, {
				name: "unicode-line-break", does: "a receiver that knows U+2028 cuts the message in two",
				old: "return 3\n", new: "return 0\n",
			}, {
				name: "message-id-with-blanks", does: "a request id moves the fields of the syslog header",
				old: "if '!' <= b && b <= '~' {", new: "if ' ' <= b && b <= '~' {",
			},
		}},
		{file: "functions/qradar/connector/message.go", mutants: []mutant{{
			name: "truncated-unsaid", does: "a message gives up groups and does not say so",
			old: "return append(dst, truncatedKey...), true, nil", new: "return dst, false, nil",
		}}},
	}
}

func splunkMutants() []mutant {
	return []mutant{
		{
			name: "partial-prefix-short", does: "the refused event counts as indexed",
			old: "for i := first; i < n; i++ {", new: "for i := first + 1; i < n; i++ {",
		}, {
			name: "partial-prefix-long", does: "the last indexed event is sent again",
			old: "for i := first; i < n; i++ {", new: "for i := max(0, first-1); i < n; i++ {",
		}, {
			name: "refused-as-unjudged", does: "the refused event is sent again and again",
			old: "f.Kind == failure.Rejected && i > first {", new: "f.Kind == failure.Rejected && i >= first {",
		}, {
			name: "neighbours-refused", does: "the events behind a refused one are refused with it",
			old: "f.Kind == failure.Rejected && i > first {", new: "false {",
		}, {
			name: "busy-prefix-again", does: "what a busy indexer took is sent again",
			old: "{code: 9, kind: failure.Transient, partial: true},", new: "{code: 9, kind: failure.Transient},",
		}, {
			name: "warning-is-failure", does: "what HEC took with a warning is sent again and again",
			old: "{code: 24, success: true},", new: "{code: 24, kind: failure.Transient},",
		}, {
			name: "index-rejected", does: "a misspelt index throws events away",
			old: "{code: 7, kind: failure.Misconfigured,", new: "{code: 7, kind: failure.Rejected,",
		}, {
			name: "hec-any-success", does: "a 200 of whatever listens there counts as delivered",
			old: "\tif !ok {\n\t\treturn judgeStatus(a)", new: "\tif !ok {\n\t\tif a.OK() {\n\t\t\treturn nil\n\t\t}\n\t\treturn judgeStatus(a)",
		}, {
			name: "contradiction-is-success", does: "code 0 on a 500 counts as delivered",
			old: "case m.success && a.OK():", new: "case m.success:",
		}, {
			name: "number-unchecked", does: "an event number beyond the batch ends the function",
			old: "*r.Invalid < n:", new: "*r.Invalid <= n+9:",
		},
	}
}

func elasticMutants() []mutant {
	return []mutant{
		{
			name: "conflict-of-index", does: "a version conflict of an index action counts as delivered",
			old: "t.status == http.StatusConflict && t.create:", new: "t.status == http.StatusConflict:",
		}, {
			name: "conflict-is-failure", does: "an event that is there already is sent again and again",
			old: "t.status == http.StatusConflict && t.create:", new: "false:",
		}, {
			name: "items-not-counted", does: "an answer with too few items accepts the rest",
			old: "if p.seen != n ||", new: "if p.seen > n ||",
		}, {
			name: "errors-flag-ignored", does: "an answer that contradicts itself is believed",
			old: "|| p.errors != (p.verdicts != nil || p.conflicts > 0) {", new: "{",
		}, {
			name: "failed-item-accepted", does: "an item with an error and a good status counts as delivered",
			old: "case t.status/100 == 2 && !t.failed:", new: "case t.status/100 == 2:",
		}, {
			name: "broken-bulk-accepted", does: "an answer that cannot be parsed counts as a success",
			old: "if a.BodyErr != nil || !readItems(a.Body, &p) {\n\t\treturn judgement{err:", new: "if !readItems(a.Body, &p) {\n\t\treturn judgement{}\n\t}\n\tif a.BodyErr != nil {\n\t\treturn judgement{err:",
		}, {
			name: "verdicts-shifted", does: "the event behind a refused one is the dead letter",
			old: "p.verdicts[i] = p.verdict(t)", new: "p.verdicts[min(i+1, p.of-1)] = p.verdict(t)",
		}, {
			name: "missing-index-rejected", does: "a missing index throws events away",
			old: "case item && status == http.StatusNotFound:\n\t\treturn failure.Misconfigured", new: "case item && status == http.StatusNotFound:\n\t\treturn failure.Rejected",
		}, {
			name: "reason-unredacted", does: "a reason that echoes the key puts it into the dead letter",
			old: "failure.Quote(p.redactor.Cut(reason))", new: "failure.Quote(reason)",
		},
	}
}

func sentinelMutants() []mutant {
	return []mutant{
		{
			name: "stream-rejected", does: "a misspelt stream throws events away",
			old: "case c == codeInvalidStream && kind == failure.Rejected:\n\t\treturn a.Fault(failure.Misconfigured,", new: "case c == codeInvalidStream && kind == failure.Rejected:\n\t\treturn a.Fault(failure.Rejected,",
		}, {
			name: "token-refusal-rejected", does: "an expired client secret throws events away",
			old: "case kind == failure.Rejected && g.Error != \"\":\n\t\tkind = failure.Unauthorized", new: "case kind == failure.Rejected && g.Error != \"\":\n\t\tkind = failure.Rejected",
		}, {
			name: "token-in-fault", does: "an access token stands in the dead letter",
			old: "a.Body = nil // whatever", new: "// whatever",
		}, {
			name: "token-unsendable", does: "a token with a line break adds a header",
			old: "if text[i] <= ' ' || text[i] > '~' {", new: "if text[i] > '~' {",
		}, {
			name: "token-outage-denied", does: "Entra's outage reads as a wrong credential",
			old: "g.Error == \"temporarily_unavailable\" || g.Error == \"server_error\":", new: "false:",
		},
	}
}
