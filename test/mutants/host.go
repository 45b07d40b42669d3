package main

func hostMutants() []source {
	return []source{
		{file: "shared/lambdahost/holder.go", mutants: holderMutants()},
		{file: "shared/lambdahost/connector.go", mutants: []mutant{
			{
				name: "misconfigured-consumes", does: "a misconfigured function deletes its messages",
				old: "opened, err := c.holder.ready(ctx)\n\tif err != nil {\n\t\treturn nil, err", new: "opened, err := c.holder.ready(ctx)\n\tif err != nil {\n\t\treturn []byte(`{\"batchItemFailures\":[]}`), nil",
			}, {
				name: "panic-consumes", does: "a panic deletes its batch",
				old: "response, err = nil, Recovered(", new: "response, err = []byte(`{\"batchItemFailures\":[]}`), nil\n_ = Recovered(",
			}, {
				name: "payload-not-read", does: "a payload that cannot be read is answered as if all were well",
				old: "if err := p.Read(payload); err != nil {\n\t\treturn nil, err", new: "if err := p.Read(payload); err != nil {\n\t\treturn []byte(`{}`), nil",
			},
		}},
		{file: "shared/lambdahost/host.go", mutants: []mutant{{
			name: "panic-tells-all", does: "what a panic says goes into the log, a secret too",
			old: "text := fmt.Sprintf(\"%T\", p)", new: "text := fmt.Sprintf(\"%v\", p)",
		}}},
		{file: "shared/lambdahost/secret.go", mutants: []mutant{
			{
				name: "secret-quoted", does: "a secret that is no JSON stands in the error",
				old: "errors.New(\"is not JSON\")", new: "errors.New(\"is not JSON: \" + trimmed)",
			}, {
				name: "binary-secret-ignored", does: "a secret stored as bytes is empty",
				old: "text = string(out.SecretBinary)", new: "",
			},
		}},
		{file: "shared/lambdahost/check.go", mutants: []mutant{{
			name: "check-with-old-secret", does: "the check does not show what has just been mended",
			old: "opened, err := c.holder.renew(ctx)", new: "opened, err := c.holder.ready(ctx)",
		}}},
		{file: "shared/settings/settings.go", mutants: settingsMutants()},
		{file: "shared/secret/secret.go", mutants: secretMutants()},
		{file: "shared/secret/escaped.go", mutants: []mutant{
			{
				name: "one-layer-cut", does: "a secret in an answer that quotes an answer stands in the dead letter",
				old: "if layers > 1 {", new: "if layers > maxLayers {",
			}, {
				name: "cut-from-the-middle", does: "a part of an escaped secret stays",
				old: "[2]int{under.at[i], under.at[i+len(form)]}", new: "[2]int{under.at[i+1], under.at[i+len(form)]}",
			},
		}},
	}
}

func holderMutants() []mutant {
	return []mutant{
		{
			name: "secret-kept-for-ever", does: "a rotated secret is not noticed until the SIEM refuses it",
			old: "|| h.world.Now().Before(h.due)) {", new: "|| !h.due.IsZero()) {",
		}, {
			name: "secret-read-each-time", does: "every batch waits for Secrets Manager, and pays",
			old: "|| h.world.Now().Before(h.due)) {", new: ") {",
		}, {
			name: "renew-reads-nothing", does: "the refused credential is tried once more",
			old: "err := h.reopen(ctx)\n\treturn h.opened, err", new: "var err error\n\treturn h.opened, err",
		}, {
			name: "new-secret-not-opened", does: "the new secret is read, and the old one is used",
			old: "(h.opened == nil || text != h.secret)", new: "(h.opened == nil)",
		}, {
			name: "failed-reread-gives-up", does: "Secrets Manager's outage stops a connector that has all it needs",
			old: "if err != nil && h.opened != nil {\n", new: "if err != nil && h.opened != nil {\ndefer func() { h.opened = nil }()\n",
		}, {
			name: "failed-reread-not-repeated", does: "a secret that could not be read is old for five minutes more",
			old: "h.due = h.world.Now().Add(secretPause)", new: "",
		}, {
			name: "holder-unlocked", does: "two invocations open the connector at once", race: true,
			old: "h.mu.Lock()\n\tdefer h.mu.Unlock()\n\tif h.opened", new: "if h.opened",
		},
	}
}

func settingsMutants() []mutant {
	return []mutant{
		{
			name: "secret-shown-in-problem", does: "a wrong value that came from the secret stands in the error",
			old: "case s.hidden(name):", new: "case false:",
		}, {
			name: "url-password-shown", does: "a URL with a password in it stands in the error",
			old: "if strings.ContainsAny(v, \"@?#\") {", new: "if false {",
		}, {
			name: "secret-wins", does: "the environment does not win over the secret",
			old: "if v := strings.TrimSpace(s.env(name)); v != \"\" {\n\t\treturn v", new: "if v := strings.TrimSpace(s.env(name)); v != \"\" && s.secret[name] == \"\" {\n\t\treturn v",
		}, {
			name: "http-allowed", does: "a credential goes over the wire in the clear",
			old: "case u.Scheme == \"http\" && !s.allowed:", new: "case false:",
		}, {
			name: "header-injection", does: "a line break in a setting adds a header of its own",
			old: "return r < 0x20 || r == 0x7f", new: "return r == 0x7f",
		}, {
			name: "one-problem-a-time", does: "an operator mends one variable, deploys, and learns of the next",
			old: "Problems: slices.Clone(s.problems)", new: "Problems: slices.Clone(s.problems[:1])",
		}, {
			name: "bounds-ignored", does: "a number is taken whatever it is",
			old: "err != nil || n < lowest || n > highest", new: "err != nil",
		}, {
			name: "verification-off-unsaid", does: "nobody is told that certificates are not verified",
			old: "\tif !verify {", new: "\tif false {",
		},
	}
}

func secretMutants() []mutant {
	return []mutant{
		{
			name: "secret-prints", does: "a secret can be printed",
			old: "func (Value) String() string { return redacted }", new: "func (v Value) String() string { return v.Reveal() }",
		}, {
			name: "secret-marshals", does: "a secret can be written as JSON",
			old: "func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }", new: "func (v Value) MarshalText() ([]byte, error) { return []byte(v.Reveal()), nil }",
		}, {
			name: "secret-logs", does: "a secret can be logged",
			old: "func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }", new: "func (v Value) LogValue() slog.Value { return slog.StringValue(v.Reveal()) }",
		}, {
			name: "short-form-first", does: "a secret that holds another is cut in part, and its rest stands",
			old: "return len(all[i]) > len(all[j]) ||", new: "return len(all[i]) < len(all[j]) ||",
		}, {
			name: "base64-not-cut", does: "a secret echoed in base64 stands in the dead letter",
			old: "strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), \"=\"),", new: "",
		}, {
			name: "escaped-not-cut", does: "a secret echoed with escapes stands in the dead letter",
			old: "return r.cutEscaped(r.replace.Replace(text))", new: "return r.replace.Replace(text)",
		},
	}
}
