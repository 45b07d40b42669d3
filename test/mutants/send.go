package main

func sendMutants() []source {
	return []source{
		{file: "shared/httpsend/client.go", mutants: clientMutants()},
		{file: "shared/httpsend/dial.go", mutants: []mutant{
			{
				name: "any-name", does: "a certificate for any name is good",
				old: "cfg.ServerName = host", new: "cfg.ServerName, cfg.InsecureSkipVerify = host, true",
			}, {
				name: "handshake-unmarked", does: "a handshake that hangs is blamed on the request",
				old: "return nil, &failure.HandshakeError{Err: err}", new: "return nil, (&failure.HandshakeError{Err: err}).Err",
			},
		}},
		{file: "shared/httpsend/body.go", mutants: []mutant{{
			name: "body-not-called-in", does: "a buffer is written to by the next request while this one's is still being sent", race: true,
			old: "l.bytes, l.ended = nil, true", new: "",
		}, {
			name: "beginning-sent-twice", does: "what went out with the header goes out again",
			old: "n, rest = int64(with), rest[with:]", new: "n = int64(with)",
		}, {
			name: "header-forgotten", does: "a body goes out without its header",
			old: "c.head = append(c.room, p...)", new: "c.head = c.room",
		}}},
		{file: "shared/httpsend/gzip.go", mutants: []mutant{{
			name: "gzip-not-ended", does: "a body ends early, and the SIEM takes a part of it or nothing",
			old: "_ = z.w.Close()", new: "_ = z.w.Flush()",
		}}},
		{file: "shared/httpsend/response.go", mutants: httpAnswerMutants()},
		{file: "shared/failure/network.go", tests: []string{"shared/httpsend", "shared/syslogsend"}, mutants: []mutant{
			{
				name: "certificate-as-retry", does: "the attempts are over before an operator can mend the CA bundle",
				old: "return failure.TLS, failure.Misconfigured, certificateHint(", new: "return failure.TLS, failure.Transient, certificateHint(",
			}, {
				name: "dns-as-connect", does: "the check blames the firewall for a wrong name",
				old: "return failure.DNS, failure.Transient", new: "return failure.Connect, failure.Transient",
			}, {
				name: "handshake-as-request", does: "the check blames the SIEM for what stands before it",
				old: "return failure.TLS, failure.Transient, \"the TLS handshake did not", new: "return failure.Request, failure.Transient, \"the TLS handshake did not",
			}, {
				name: "not-tls-as-retry", does: "a wrong port is retried as an outage",
				old: "return failure.TLS, failure.Misconfigured, \"what listens", new: "return failure.TLS, failure.Transient, \"what listens",
			},
		}},
	}
}

func clientMutants() []mutant {
	return []mutant{
		{
			name: "redirect-followed", does: "events and credential go wherever an answer says",
			old: "resp, err := c.transport.RoundTrip(", new: "resp, err := (&http.Client{Transport: c.transport}).Do(",
		}, {
			name: "answer-unbounded", does: "an answer that never ends takes all memory",
			old: "int64(c.cfg.MaxAnswer)+1)", new: "int64(c.cfg.MaxAnswer)+1<<50)",
		}, {
			name: "long-answer-whole", does: "an answer that goes on beyond the bound counts as whole",
			old: "[:c.cfg.MaxAnswer], errTooLong", new: "[:c.cfg.MaxAnswer], nil",
		}, {
			name: "broken-answer-whole", does: "an answer that broke off counts as whole",
			old: "return buf.Bytes(), err\n", new: "return buf.Bytes(), nil\n",
		}, {
			name: "answer-header-unbounded", does: "a header that never ends takes all memory",
			old: "MaxResponseHeaderBytes: maxHeaderBytes,", new: "MaxResponseHeaderBytes: 1 << 40,",
		}, {
			name: "answer-inflated", does: "a small compressed answer becomes a large one",
			old: "DisableCompression:     true,", new: "DisableCompression:     false,",
		}, {
			name: "gzip-header-missing", does: "the SIEM reads compressed bytes as JSON",
			old: "header[\"Content-Encoding\"] = ", new: "header[\"X-Encoding\"] = ",
		}, {
			name: "compressed-though-plain", does: "a token request is compressed, which its endpoint cannot read",
			old: "c.cfg.Gzip && !r.Plain && len(body) > 0", new: "c.cfg.Gzip && len(body) > 0",
		}, {
			name: "buffer-given-away", does: "a body is overwritten by the next one while it is being sent", race: true,
			old: "defer z.release()", new: "z.release()",
		}, {
			name: "tls-1.1", does: "a peer may talk the connection down to broken TLS",
			old: "MinVersion:         tls.VersionTLS12,", new: "MinVersion:         tls.VersionTLS10,",
		}, {
			name: "certificates-not-verified", does: "whoever stands between reads and changes everything",
			old: "InsecureSkipVerify: cfg.Insecure,", new: "InsecureSkipVerify: true,",
		}, {
			name: "no-deadline", does: "a silent SIEM takes the whole time of the batch",
			old: "context.WithTimeout(ctx, c.cfg.Timeout)", new: "context.WithCancel(ctx)",
		}, {
			name: "stale-connection-used", does: "after a pause the first request goes into a dead connection",
			old: "before != 0 && (gap > idleTimeout.Milliseconds() || gap < 0)", new: "gap < -1<<60",
		}, {
			name: "dead-connection-fails", does: "a kept connection that has died costs the batch an attempt",
			old: "header[\"Idempotency-Key\"] = []string{}", new: "",
		}, {
			name: "header-shared", does: "two requests write into one header at once", race: true,
			old: "header := make(http.Header, len(r.Header)+3)\n", new: "header := r.Header\nif header == nil {\nheader = http.Header{}\n}\n",
		},
	}
}

func httpAnswerMutants() []mutant {
	return []mutant{
		{
			name: "unknown-status-rejected", does: "an answer nobody knows throws the event away",
			old: "\t\treturn failure.Misconfigured\n\t}\n\treturn failure.Transient\n}", new: "\t\treturn failure.Misconfigured\n\t}\n\treturn failure.Rejected\n}",
		}, {
			name: "redirect-as-retry", does: "a moved SIEM uses up the attempts",
			old: "if status/100 == 3 {\n\t\treturn failure.Misconfigured", new: "if status/100 == 3 {\n\t\treturn failure.Transient",
		}, {
			name: "too-large-rejected", does: "a request that is too large throws its events away",
			old: "return failure.TooLarge", new: "return failure.Rejected",
		}, {
			name: "throttled-as-transient", does: "a SIEM that asks for less gets more",
			old: "return failure.Throttled", new: "return failure.Transient",
		}, {
			name: "forbidden-as-rejected", does: "a credential that expired throws events away",
			old: "case http.StatusUnauthorized, http.StatusForbidden:\n\t\treturn failure.Unauthorized", new: "case http.StatusUnauthorized, http.StatusForbidden:\n\t\treturn failure.Rejected",
		}, {
			name: "not-found-as-rejected", does: "a wrong path throws events away",
			old: "http.StatusUnsupportedMediaType:\n\t\treturn failure.Misconfigured", new: "http.StatusUnsupportedMediaType:\n\t\treturn failure.Rejected",
		}, {
			name: "retry-after-date-unread", does: "a SIEM that names a time is asked again at once",
			old: "at, err := http.ParseTime(value)", new: "at, err := time.Parse(time.RFC3339, value)",
		}, {
			name: "answer-not-redacted", does: "a SIEM that echoes the credential puts it into the dead letter",
			old: "failure.Quote(a.client.cut(body, a.secret))", new: "failure.Quote(body)",
		}, {
			name: "network-error-not-redacted", does: "a URL that is a credential stands in the error",
			old: "if cut := c.cut(text, own); cut != text {", new: "if cut := c.cut(text, own); false {",
		}, {
			name: "redirect-told-whole", does: "the path of a redirect, which may be a credential, stands in the dead letter",
			old: "strconv.Quote(c.cut(u.Host, own))", new: "strconv.Quote(u.String())",
		}, {
			name: "own-secret-not-cut", does: "a token or signature made for one request stands in the dead letter when it is echoed",
			old: "if own.Empty() {", new: "if true {",
		},
	}
}
