package main

func eventMutants() []source {
	return []source{
		{file: "shared/event/parse.go", mutants: parseMutants()},
		{file: "shared/event/event.go", tests: []string{"shared/event", "functions/splunk/connector"}, mutants: []mutant{
			{
				name: "white-space-kept", does: "an event in several lines becomes several records",
				old: "if !e.spaced {\n\t\treturn append(dst, e.Body...)", new: "if true {\n\t\treturn append(dst, e.Body...)",
			}, {
				name: "hash-id-short", does: "two events share an id sooner than they should",
				old: "const idHashDigits = 32", new: "const idHashDigits = 16",
			}, {
				name: "truncated-hash-wrong", does: "a truncated event cannot be found by its hash",
				old: "sum := sha256.Sum256(e.Body)\n\tdst = append(dst, `{\"trunc", new: "sum := sha256.Sum256(e.AppendCompact([]byte(\" \")))\n\tdst = append(dst, `{\"trunc",
			},
		}},
		{file: "shared/jsonscan/scan.go", tests: []string{"shared/jsonscan", "shared/event"}, mutants: []mutant{
			{
				name: "depth-unbounded", does: "a deeply nested event ends the process",
				old: "if depth > MaxDepth {", new: "if false {",
			}, {
				name: "control-characters-taken", does: "a line break within a string cuts a record in two",
				old: "| (word-ones*0x20)&^word) & highs", new: ") & highs",
			}, {
				name: "leading-zero-taken", does: "a number the SIEM refuses is passed on",
				old: "i == first || b[first] == '0' && i > first+1", new: "i == first",
			}, {
				name: "escape-unchecked", does: "a broken escape is passed on",
				old: "hex4(b[i+2:i+6]) >= 0 {", new: "hex4(b[i+2:i+6]) >= -1 {",
			}, {
				name: "spaced-not-told", does: "white space in a nested value is not noticed",
				old: "spaced = spaced || before || inside || behind", new: "spaced = spaced || before || inside && false || behind",
			},
		}},
		{file: "shared/jsonscan/text.go", tests: []string{"shared/jsonscan", "shared/event", "shared/sqsbatch"}, mutants: []mutant{
			{
				name: "control-characters-plain", does: "a log or a dead letter gets a line it should not have",
				old: "t[c] = c >= 0x20 && c != '\"' && c != '\\\\'", new: "t[c] = c != '\"' && c != '\\\\'",
			}, {
				name: "slide-loses-byte", does: "a body loses a byte before an escape",
				old: "return w + n, r + n", new: "return w + max(0, n-1), r + n",
			}, {
				name: "surrogates-apart", does: "an emoji becomes two replacement characters",
				old: "if !utf16.IsSurrogate(char) {", new: "if true {",
			},
		}},
	}
}

func parseMutants() []mutant {
	return []mutant{
		{
			name: "utf8-unchecked", does: "bytes that are not UTF-8 are sent, and the SIEM refuses the batch",
			old: "if !utf8.Valid(body) {", new: "if false {",
		}, {
			name: "bom-taken", does: "a byte order mark, or anything else, stands in the place of the opening brace",
			old: "if p.i < len(p.b) && p.b[p.i] != '{' {", new: "if false {",
		}, {
			name: "tail-taken", does: "what follows the event is sent along",
			old: "if p.space(); p.i != len(p.b) {", new: "if false {",
		}, {
			name: "size-unchecked", does: "a body over the limit is taken",
			old: "if len(body) > MaxBytes {", new: "if len(body) > 2*MaxBytes {",
		}, {
			name: "size-off-by-one", does: "a body of just 1 MiB is thrown away",
			old: "if len(body) > MaxBytes {", new: "if len(body) >= MaxBytes {",
		}, {
			name: "no-time-taken", does: "an event without a time is dated 1969",
			old: "if e.Time < 0 {", new: "if e.Time < -1 {",
		}, {
			name: "time-text-taken", does: "a time that is a text is read as none, and the event is sent",
			old: "if p.timeSeen != \"\" {", new: "if false && p.timeSeen != \"\" {",
		}, {
			name: "wrong-type-fails", does: "a user id that is a number keeps the one before it",
			old: "if t := p.target(f); t != nil {\n\t\t\t*t = nil", new: "if t := p.target(f); t != nil {\n\t\t\t_ = t",
		}, {
			name: "event-depth-unbounded", does: "a deeply nested known field is read without a bound",
			old: "return p.depth < jsonscan.MaxDepth && p.object(n)", new: "return p.depth < 3 && p.object(n)",
		},
	}
}
