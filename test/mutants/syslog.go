package main

func syslogMutants() []source {
	return []source{
		{file: "shared/syslogsend/conn.go", mutants: []mutant{
			{
				name: "not-confirmed", does: "what is still on its way counts as delivered",
				old: "err != nil || open == 0 {", new: "err != nil || open >= 0 {",
			}, {
				name: "close-not-seen", does: "what a closed connection swallowed counts as delivered",
				old: "if err := c.look(ctx); err != nil || open == 0 {\n\t\t\treturn err", new: "if open == 0 {\n\t\t\treturn nil",
			}, {
				name: "no-settling", does: "a peer that hangs up at once has the batch",
				old: "return c.watch(ctx, settling)", new: "return nil",
			}, {
				name: "write-unbounded", does: "a peer that does not read holds the function until its end",
				old: "return context.AfterFunc(ctx, func() { _ = c.raw.SetWriteDeadline(time.Unix(1, 0)) })", new: "_ = c.raw.SetWriteDeadline(time.Time{})\nreturn func() bool { return true }",
			}, {
				name: "talker-heard-for-ever", does: "a peer that never stops talking holds the function",
				old: "for total := 0; total < maxTalk; {", new: "for total := 0; total < 1<<40; {",
			},
		}},
		{file: "shared/syslogsend/sender.go", mutants: []mutant{
			{
				name: "dead-connection-kept", does: "a batch goes into the connection that has just failed",
				old: "\t\tc.abort()\n\t\treturn s.explain(err)", new: "\t\ts.keep(c)\n\t\treturn s.explain(err)",
			}, {
				name: "reuse-unchecked", does: "a batch goes into a connection the peer has closed",
				old: "if err := c.look(ctx); err != nil {\n\t\t\tc.abort()", new: "if err := c.look(ctx); err != nil && false {\n\t\t\tc.abort()",
			}, {
				name: "old-connection-used", does: "a batch goes into a flow that a firewall has forgotten",
				old: "pause < 0 || pause > maxPause.Milliseconds()", new: "pause < 0",
			}, {
				name: "idle-list-raced", does: "two batches take the same connection", race: true,
				old: "s.mu.Lock()\n\tdefer s.mu.Unlock()\n\tn := len(s.idle)", new: "n := len(s.idle)",
			},
		}},
		{file: "shared/syslogsend/dial.go", mutants: []mutant{
			{
				name: "refusal-not-awaited", does: "a peer that refuses our certificate has the batch",
				old: "return onceAsked(asked, c.watch(ctx, grace))", new: "return nil",
			}, {
				name: "syslog-certificate-not-verified", does: "whoever stands between reads everything",
				old: "MinVersion: tls.VersionTLS12,", new: "MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,",
			}, {
				name: "syslog-tls-1.1", does: "a peer may talk the connection down to broken TLS",
				old: "MinVersion: tls.VersionTLS12,", new: "MinVersion: tls.VersionTLS10,",
			},
		}},
	}
}
