package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/term"
)

// use is one use of a command.
type use struct {
	args    string // RELEASE is a folder with the files of a release
	stdin   string
	code    int  // of the exit
	offline bool // makes no request to AWS, and cannot be interrupted
	long    bool // prints sentences or foreign text, which the terminal wraps
}

// uses has a row for every command.
func uses() []use {
	return []use{
		{args: "check", code: exitProblems}, // the fake's functions do not answer a check
		{args: "status"},
		{args: "logs", long: true},
		{args: "trace stored", code: exitProblems},
		{args: "reconcile splunk --from 1h", code: exitUsage}, // there is no credential
		{args: "send --to sumo --generate 3"},
		{args: "send --to sumo --generate 1 --wait", code: exitProblems, long: true},
		{args: "dead-letters ls"},
		{args: "dead-letters show m-1", long: true},
		{args: "dead-letters export", long: true},
		{args: "dead-letters replay --yes"},
		{args: "dead-letters discard --all --yes"},
		{args: "replay --dry-run"},
		{args: "replay", code: exitUsage},
		{args: "pause splunk --stack guarded"},
		{args: "resume splunk --stack guarded"},
		{args: "configure splunk --stdin", stdin: "SPLUNK_HEC_INDEX=audit"},
		{args: "configure splunk --unset SPLUNK_HEC_TOKEN", code: exitProblems, long: true},
		{args: "configure --search sumo --stdin", stdin: "SUMO_SEARCH_ACCESS_ID=i", code: exitProblems, long: true},
		{args: "configure splunk", code: exitUsage, offline: true},
		{args: "init splunk --release RELEASE", code: exitUsage, offline: true},
		{args: "deploy --connectors splunk --release RELEASE", offline: true},
		{args: "validate splunk --settings -", stdin: "SPLUNK_HEC_URL=x", code: exitProblems, offline: true},
		{args: "estimate", offline: true, long: true},
		{args: "docs", offline: true, long: true},
		{args: "version", offline: true},
	}
}

// TestEveryCommand: each command of uses has a help with examples and a documented exit code. Without a terminal, it
// asks nothing and prints no escape sequence. A table fits 60 columns. With --output json, all of its output is JSON.
// Ctrl-C ends it. It names missing credentials, a missing region and a missing stack.
func TestEveryCommand(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	for _, file := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(file, filepath.Join(t.TempDir(), "none"))
	}
	for _, u := range uses() {
		t.Run(u.args, func(t *testing.T) {
			f := newFakeStack(t)
			args := strings.Fields(strings.ReplaceAll(u.args, "RELEASE", fakeSAM(t, f)))
			for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
				"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f.server.URL} {
				t.Setenv(name, value)
			}
			env := func(name string) string { return map[string]string{"SIEMCTL_STACK": "siem", "COLUMNS": "60"}[name] }
			do := func(ctx context.Context, want int, says string, more ...string) (stdout, stderr string) {
				t.Helper()
				var out, notes bytes.Buffer
				code := run(ctx, append(args, more...), env, strings.NewReader(u.stdin), &out, &notes)
				if code != want || !strings.Contains(out.String()+notes.String(), says) || strings.Contains(out.String()+
					notes.String(), "\x1b") {
					t.Errorf("%v: exit code %d, want %d and %q: %s%s", more, code, want, says, &out, &notes)
				}
				return out.String(), notes.String()
			}
			if help, _ := do(t.Context(), exitOK, "Examples:\n  siemctl ", "--help"); !strings.Contains(help, "Usage:") {
				t.Errorf("help %s", help)
			}
			out, _ := do(t.Context(), u.code, "")
			for line := range strings.Lines(out) {
				if n := utf8.RuneCountInString(line); n > 61 && !u.long {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			out, notes := do(t.Context(), u.code, "", "-o", "json")
			onlyJSON(t, out)
			onlyJSON(t, notes)

			if u.offline {
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			f.mu.Lock()
			f.asked = cancel
			f.mu.Unlock()
			do(ctx, exitInterrupted, "interrupted")
			do(t.Context(), exitAWS, `looking for the stack "nosuch" in eu-west-3`, "--stack", "nosuch", "--region", "eu-west-3")
			do(t.Context(), exitAWS, "check --region, --endpoint-url and the network", "--endpoint-url", "http://127.0.0.1:1")
			t.Setenv("AWS_REGION", "")
			do(t.Context(), exitUsage, "--region is not set")
			t.Setenv("AWS_REGION", "us-east-1")
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			do(t.Context(), exitAWS, "reading the AWS credentials")
		})
	}
}

// onlyJSON requires that a text is a sequence of JSON values.
func onlyJSON(t *testing.T, text string) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var value any
		if err := d.Decode(&value); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("not JSON: %v: %s", err, text)
			return
		}
	}
}

// TestEveryCommandIsUsed: uses has every command, and no help puts a credential on a command line.
func TestEveryCommandIsUsed(t *testing.T) {
	a := &app{env: func(string) string { return "" }, out: &term.Output{}}
	credential := regexp.MustCompile(`(TOKEN|KEY|SECRET|PASSWORD)[A-Z_]*=`)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := strings.TrimPrefix(c.CommandPath(), "siemctl ")
		if c.Runnable() && !c.HasSubCommands() && !slices.ContainsFunc(uses(), func(u use) bool {
			return u.args == name || strings.HasPrefix(u.args, name+" ")
		}) {
			t.Errorf("%s is not in uses", name)
		}
		if c.Runnable() && c.HasParent() && c.Example == "" {
			t.Errorf("%s has no example", name)
		}
		if credential.MatchString(c.Example + c.Long) {
			t.Errorf("%s: the help puts a credential on a command line: %s", name, c.Example)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
}

// TestNoColour: with NO_COLOR, there is no colour on a terminal.
func TestNoColour(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	colour := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for _, u := range uses() {
		f := newFakeStack(t)
		args := strings.Fields(strings.ReplaceAll(u.args, "RELEASE", fakeSAM(t, f)))
		if args[0] == "configure" || u.stdin != "" || u.code == exitUsage { // waits for input on a terminal
			continue
		}
		shown, code := f.onTerminal(t, 60, args...).End()
		if code != u.code || colour.MatchString(shown) {
			t.Errorf("%s: exit code %d, want %d: %q", u.args, code, u.code, shown)
		}
	}
}
