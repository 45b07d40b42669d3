package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/internal/testkit/terminal"
)

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
)

// onTerminal starts siemctl on a pseudo terminal with so many columns.
func (f *fakeStack) onTerminal(t *testing.T, columns int, args ...string) *terminal.Session {
	t.Helper()
	return terminal.Start(t, columns, siemctlCommand(t.Context(), t, f.server.URL, args...))
}

// TestOnTerminal: colour, the terminal's width, and the question before a change, which Ctrl-C and Ctrl-D end.
func TestOnTerminal(t *testing.T) {
	f := newFakeStack(t)
	shown, code := f.onTerminal(t, 100, "status").End()
	if code != exitOK || !strings.Contains(shown, "\x1b[32mrunning\x1b[0m") {
		t.Errorf("exit code %d, %q", code, shown)
	}
	for typed, want := range map[string]int{ctrlC: exitInterrupted, ctrlD: exitInterrupted,
		"y" + ctrlD + ctrlD: exitInterrupted, "n\r": exitOK, "y\r": exitOK} {
		before := f.changed()
		s := f.onTerminal(t, 100, "replay")
		s.Type("[y/N] ", typed)
		shown, code = s.End()
		if changed := f.changed() > before; code != want || changed != (typed == "y\r") ||
			!strings.Contains(shown, "Replay them? [y/N]") {
			t.Errorf("typed %q: exit code %d, changed %v, %q", typed, code, changed, shown)
		}
	}
	t.Setenv("NO_COLOR", "1")
	if shown, _ = f.onTerminal(t, 60, "status").End(); strings.Contains(shown, "\x1b") ||
		!strings.Contains(shown, "splunk: running") {
		t.Errorf("with NO_COLOR and 60 columns: %q", shown)
	}
}

// TestConfigureOnTerminal: a credential is not shown, another setting is.
func TestConfigureOnTerminal(t *testing.T) {
	f := newFakeStack(t)
	s := f.onTerminal(t, 200, "configure", "splunk", "--set", "SPLUNK_HEC_INDEX")
	s.Answer("SPLUNK_HEC_INDEX (not set): ", "audit")
	s.Answer("SPLUNK_HEC_TOKEN (set; Enter keeps it): ", "new-token")
	shown, code := s.End()
	if code != exitOK || !strings.Contains(shown, "audit") || strings.Contains(shown, "new-token") ||
		!strings.Contains(shown, "SPLUNK_HEC_TOKEN is the HEC token") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	s = f.onTerminal(t, 200, "configure", "--search", "splunk")
	s.Answer("SPLUNK_SEARCH_TOKEN (not set): ", "search-token")
	s.Answer("SPLUNK_SEARCH_URL (not set): ", "https://splunk.example.com:8089")
	shown, code = s.End()
	if code != exitOK || !strings.Contains(shown, "8089") || strings.Contains(shown, "search-token") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := `{"SPLUNK_HEC_INDEX":"audit","SPLUNK_HEC_TOKEN":"new-token"}`; f.secret != want {
		t.Errorf("the secret is %s, want %s", f.secret, want)
	}
	want := `{"SPLUNK_SEARCH_TOKEN":"search-token","SPLUNK_SEARCH_URL":"https://splunk.example.com:8089"}`
	if f.search != want {
		t.Errorf("the search secret is %s, want %s", f.search, want)
	}
}

// TestInstallOnTerminal: configure offers to install the index template with another key. Neither key is shown.
func TestInstallOnTerminal(t *testing.T) {
	simulator := newSimulator(t, "elastic", siem.Options{Plain: true})
	defer simulator.Close()
	f := newFakeStack(t, func(f *fakeStack) { f.secret, f.environment = "{}", simulator.Settings() })
	key := simulator.Secret()["ELASTIC_API_KEY"]
	configure := func(typed ...string) (shown string, code int) {
		s := f.onTerminal(t, 100, "configure", "elastic", "--stack", "receipts")
		for _, text := range typed {
			s.Type("): ", text)
		}
		return s.End()
	}
	for _, admin := range []string{"", elastic.AdminKey} { // Enter: no installation
		shown, code := configure(key+"\r", admin+"\r")
		if code != exitOK || !strings.Contains(shown, "stored ELASTIC_API_KEY") ||
			!strings.Contains(shown, "next: siemctl check elastic") || strings.Contains(shown, key) ||
			strings.Contains(shown, elastic.AdminKey) || strings.Contains(shown, "installed: ") != (admin != "") {
			t.Errorf("exit code %d, the terminal shows %q", code, shown)
		}
	}
	if shown, code := configure("half a key" + ctrlC); code != exitInterrupted || strings.Contains(shown, "stored") {
		t.Errorf("Ctrl-C: exit code %d, the terminal shows %q", code, shown)
	}
}

// TestSignalAtAQuestion: a signal ends a question without a key.
func TestSignalAtAQuestion(t *testing.T) {
	s := newFakeStack(t).onTerminal(t, 100, "configure", "splunk")
	s.Interrupt("SPLUNK_HEC_TOKEN (set; Enter keeps it): ")
	if shown, code := s.End(); code != exitInterrupted || !strings.HasSuffix(shown, "interrupted\r\n") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
}

// TestDeployInterrupted: Ctrl-C ends SAM CLI, whose exit code then says nothing about the deployment.
func TestDeployInterrupted(t *testing.T) {
	f := newFakeStack(t)
	release := fakeSAM(t, f)
	const sam = "#!/bin/sh\ntrap 'exit 1' INT\necho deploying\nwhile :; do read -r line; done\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(f.fresh.sam), "sam"), []byte(sam), 0o700); err != nil {
		t.Fatal(err)
	}
	s := f.onTerminal(t, 100, "deploy", "--connectors", "splunk", "--release", release)
	s.Type("deploying", ctrlC)
	if shown, code := s.End(); code != exitInterrupted || !strings.HasSuffix(shown, "interrupted\r\n") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
}

// TestInit brings the first event to Splunk, with five questions.
func TestInit(t *testing.T) {
	f := newFakeStack(t, func(f *fakeStack) { f.secret = "{}" })
	release := fakeSAM(t, f)
	s := f.onTerminal(t, 200, "init", "--release", release, "--stack", "fresh")
	s.Answer("Connectors (splunk, ", "splunk")
	s.Answer("ARN of the topic (Enter: CloudWatch only): ", "arn:aws:sns:us-east-1:123456789012:alarms")
	s.Answer("SPLUNK_HEC_TLS_CA_BUNDLE (not set): ", "")
	s.Answer("SPLUNK_HEC_TOKEN (not set): ", "right")
	s.Answer("SPLUNK_HEC_URL (not set): ", "https://splunk.example.com:8088")
	shown, code := s.End()
	if code != exitOK || strings.Contains(shown, "right") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	for _, want := range []string{
		"docs/connectors/splunk.md", "SPLUNK_HEC_URL is the HEC endpoint", "index=arbitex",
		"next: siemctl check splunk", "delivered 98, dead-lettered 2", "searchable: no search credential",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("want %q, the terminal shows %q", want, shown)
		}
	}
	want := "sam deploy --template-file " + release + "/template.yaml --stack-name fresh --no-confirm-changeset " +
		"--parameter-overrides Connectors=splunk AlarmTopicArn=arn:aws:sns:us-east-1:123456789012:alarms\n" +
		"pause\ncheck\nresume\nsend 1"
	if got := f.fresh.did(); got != want {
		t.Errorf("did %q, want %q", got, want)
	}
}

// TestInitStopsAtAFailedCheck: the connector stays paused, and a second init continues without deploying anew.
func TestInitStopsAtAFailedCheck(t *testing.T) {
	f := newFakeStack(t, func(f *fakeStack) { f.secret = "{}" })
	release := fakeSAM(t, f)
	s := f.onTerminal(t, 200, "init", "splunk", "--release", release, "--stack", "fresh", "--alarm-topic", "arn:x")
	s.Answer("SPLUNK_HEC_TLS_CA_BUNDLE (not set): ", "")
	s.Answer("SPLUNK_HEC_TOKEN (not set): ", "wrong")
	s.Answer("SPLUNK_HEC_URL (not set): ", "https://splunk.example.com:8088")
	shown, code := s.End()
	if code != exitProblems || !strings.Contains(shown, "splunk stays paused until") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	if got := f.fresh.did(); !strings.HasSuffix(got, "\npause\ncheck") {
		t.Errorf("did %q", got)
	}
	s = f.onTerminal(t, 200, "init", "splunk", "--release", release, "--stack", "fresh") // the stack exists: no topic
	s.Answer("SPLUNK_HEC_TLS_CA_BUNDLE (not set): ", "")
	s.Answer("SPLUNK_HEC_TOKEN (set; Enter keeps it): ", "right")
	s.Answer("SPLUNK_HEC_URL (set; Enter keeps it): ", "")
	if shown, code = s.End(); code != exitOK {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	if got := f.fresh.did(); !strings.HasSuffix(got, "Connectors=splunk,sumo\npause\ncheck\nresume\nsend 1") {
		t.Errorf("did %q", got)
	}
}

// TestInitAsksAtMostSixQuestions counts the questions of init with a connector's name: the topic and the settings.
func TestInitAsksAtMostSixQuestions(t *testing.T) {
	for _, c := range allConnectors() {
		first, ok := firstEvents()[c.Name]
		if ok && first.look == "" {
			t.Errorf("%s: init does not say how to find the event", c.Name)
		}
		env := map[string]string{}
		for name, value := range first.preset {
			if !c.reads(name) {
				t.Errorf("%s: does not read %s", c.Name, name)
			}
			env[name] = value
		}
		var also []string
		for name := range first.also {
			if !c.reads(name) {
				t.Errorf("%s: does not read %s", c.Name, name)
			}
			also = append(also, name)
		}
		if n := 1 + len(c.toAsk(env, also)); n > 6 {
			t.Errorf("%s: %d questions", c.Name, n)
		}
		_, page, _ := strings.Cut(c.page(), "/blob/main/")
		if _, err := os.Stat("../../" + page); err != nil {
			t.Errorf("%s: %s: %v", c.Name, c.page(), err)
		}
	}
}

// TestDeploy covers cases that the test of init does not: the flags, and a folder that is not a release.
func TestDeploy(t *testing.T) {
	f := newFakeStack(t)
	release := fakeSAM(t, f)
	env := func(name string) string {
		return map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
			"AWS_REGION": "us-east-1"}[name]
	}
	for _, x := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--connectors", "splunk", "--release", t.TempDir()}, exitUsage, "--release: expected the folder"},
		{[]string{"--release", release}, exitUsage, "--connectors: expected at least one"},
		{[]string{"--connectors", "splnk", "--release", release}, exitUsage, "did you mean"},
		{[]string{"--connectors", "splunk", "--release", release, "--x86"}, exitUsage, "template-x86_64.yaml"},
		{[]string{"--connectors", "sumo,splunk", "--release", release, "--region", "eu-west-1",
			"--parameter", "LogLevel=debug"}, exitOK, ""},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"deploy", "--stack", "fresh"}, x.args...)
		code := run(t.Context(), args, env, strings.NewReader(""), &out, &errs)
		if code != x.code || !strings.Contains(errs.String(), x.says) {
			t.Errorf("%v: exit code %d, %s; want %d and %q", x.args, code, errs.String(), x.code, x.says)
		}
	}
	want := "--region eu-west-1 --parameter-overrides Connectors=sumo,splunk LogLevel=debug"
	if got := f.fresh.did(); !strings.HasSuffix(got, want) || strings.Count(got, "sam ") != 1 {
		t.Errorf("did %q, want one call that ends with %q", got, want)
	}
}
