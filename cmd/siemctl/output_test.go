package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/deployed"
)

// fullDisk accepts no byte.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestFullDisk: a command whose result could not be written does not succeed, whatever writes the result.
func TestFullDisk(t *testing.T) {
	for _, args := range []string{"version", "docs", "estimate", "estimate -o json", "validate splunk", "--help",
		"check --help", "help check", "completion bash"} {
		var errs bytes.Buffer
		code := run(t.Context(), strings.Fields(args), func(string) string { return "" }, strings.NewReader(""),
			fullDisk{}, &errs)
		const want = "the output is not complete: no space left on device"
		if code != exitProblems || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit code %d, %s", args, code, &errs)
		}
	}
}

// TestFullDiskEndsTheLoop: a command that runs until Ctrl-C ends when nothing can be written.
func TestFullDiskEndsTheLoop(t *testing.T) {
	f := newFakeStack(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	env := func(name string) string { return map[string]string{"SIEMCTL_STACK": "siem"}[name] }
	for _, args := range []string{"logs splunk -f", "status --watch"} {
		var errs bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		code := run(ctx, append(strings.Fields(args), "--region", "us-east-1", "--endpoint-url", f.server.URL), env,
			strings.NewReader(""), fullDisk{}, &errs)
		cancel()
		if code != exitProblems || !strings.Contains(errs.String(), "the output is not complete") {
			t.Errorf("%s: exit code %d, %s", args, code, &errs)
		}
	}
}

// TestLogOfEveryConnector: the replay of all connectors logs an empty connector.
func TestLogOfEveryConnector(t *testing.T) {
	for connector, want := range map[string]string{"": "replay: replayed 2", "sumo": "replay sumo: replayed 2"} {
		line := parseLogLine("replay", deployed.LogLine{Text: `{"msg":"replay","connector":"` + connector + `","replayed":2}`})
		if got := line.summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
