package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stages are the functions in which the Splunk function spends its time, by their names in the profile. They do not
// overlap, except as stated.
var stages = [...]struct{ function, what string }{
	{"lambda.(*runtimeAPIClient).next", "the Runtime API: waiting for and reading an invocation"},
	{"lambda.(*runtimeAPIClient).post", "the Runtime API: posting the response"},
	{"sqsevent.(*Payload).Read", "payload: SQS records, bodies unquoted in place"},
	{"sqsbatch.(*batch).read", "events: checked, fields found"},
	{"deliver.(*delivery).pack", "records: encoded and packed"},
	{"httpsend.compress", "gzip"},
	{"http.(*Transport).RoundTrip", "the request, as far as it runs in the caller"},
	{"sqsbatch.(*batch).write", "log line and metrics"},
	{"http.(*persistConn).writeLoop", "writing requests to sockets (SIEM and Runtime API)"},
	{"http.(*persistConn).readLoop", "reading answers from sockets (SIEM and Runtime API)"},
	{"runtime.gcBgMarkWorker", "garbage collection"},
	{"runtime.schedule", "scheduler: finding the next goroutine, waiting for the network"},
}

// profileRepeats is how often the work is repeated for the profile.
const profileRepeats = 20

// profile runs the profiled Splunk function and reports where its time is spent.
func (p *plan) profile(s *sink, w *work, dir string) (string, error) {
	file := filepath.Join(dir, "cpu.prof")
	again := *w // a profile needs seconds: a hundred samples each
	again.payloads = slices.Concat(slices.Repeat([][][]byte{w.payloads}, profileRepeats)...)
	again.count = w.count * profileRepeats
	settings := senders[0].with("gzip")
	run := lambda(filepath.Join(p.peers, "profile"), func(s *sink) map[string]string {
		env := settings(s)
		env["BENCH_PROFILE"], env["BENCH_INVOCATIONS"] = file, strconv.Itoa(warmUp+len(again.payloads))
		return env
	})
	if _, err := run(s, &again); err != nil {
		return "", fmt.Errorf("profiling: %w", err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", "-nodecount=2000", "-nodefraction=0", file).Output()
	if err != nil {
		return "", fmt.Errorf("reading the profile: %w", err)
	}
	var b strings.Builder
	b.WriteString("| share | of what | function, with all it calls |\n| ---: | --- | --- |\n")
	for _, stage := range stages {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", share(string(out), stage.function), stage.what, stage.function)
	}
	return b.String(), nil
}

// share returns a function's cumulative share in the output of `pprof -top`: flat, flat%, sum%, cum, cum%, name.
func share(top, function string) string {
	for line := range strings.Lines(top) {
		fields := strings.Fields(line)
		if len(fields) >= 6 && strings.HasSuffix(fields[5], function) {
			return fields[4]
		}
	}
	return "—"
}
