package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
	"github.com/arbitex/siem-connectors/internal/testkit/terminal"
)

// askOnTerminal types a credential at configure's question on a pseudo terminal. It is stored and never shown.
func askOnTerminal(t *testing.T, w *world) {
	key := w.simulators["elastic"].Secret()["ELASTIC_API_KEY"]
	for _, admin := range []string{"", elastic.AdminKey} { // Enter: no installation
		shown, err := w.configureOnTerminal(t, key+"\r", admin+"\r")
		if err != nil || !strings.Contains(shown, "stored ELASTIC_API_KEY") ||
			!strings.Contains(shown, "next: siemctl check elastic") || strings.Contains(shown, key) ||
			strings.Contains(shown, elastic.AdminKey) || strings.Contains(shown, "installed: ") != (admin != "") {
			t.Errorf("%v, the terminal shows %q", err, shown)
		}
	}
	if out, err := w.siemctl(t.Context(), t, "check", "elastic").CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "ok") {
		t.Errorf("%v: %s", err, out)
	}
	const ctrlC = "\x03"
	shown, err := w.configureOnTerminal(t, "half a key"+ctrlC)
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted ||
		strings.Contains(shown, "stored") {
		t.Errorf("Ctrl-C: %v, the terminal shows %q", err, shown)
	}
}

// configureOnTerminal types at the questions of siemctl configure elastic, and returns what the terminal shows.
func (w *world) configureOnTerminal(t *testing.T, typed ...string) (shown string, err error) {
	t.Helper()
	master, slave := terminal.Open(t)
	s := terminal.Start(t, master, slave, w.siemctl(t.Context(), t, "configure", "elastic"))
	for _, text := range typed {
		s.Type("): ", text)
	}
	return s.End()
}

// onTerminal runs siemctl against a fake stack on a pseudo terminal with so many columns, types at the first question,
// and returns what the terminal shows.
func onTerminal(t *testing.T, f *fakeStack, columns int, typed string, env []string, args ...string) (shown string,
	code int) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master, slave := terminal.Open(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ,
		&unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Args[0] = "siemctl"
	cmd.Env = append([]string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1",
		"SIEMCTL_STACK=siem", "TERM=xterm", "AWS_ENDPOINT_URL=" + f.server.URL}, env...)
	s := terminal.Start(t, master, slave, cmd)
	if typed != "" {
		s.Type("[y/N] ", typed)
	}
	shown, _ = s.End() // the exit code says it
	return shown, cmd.ProcessState.ExitCode()
}

// TestOnTerminal: colour, the terminal's width, and the question before a change, which Ctrl-C ends.
func TestOnTerminal(t *testing.T) {
	f := newFakeStack(t)
	shown, code := onTerminal(t, f, 100, "", nil, "status")
	if code != exitOK || !strings.Contains(shown, "\x1b[32mrunning\x1b[0m") {
		t.Errorf("exit code %d, %q", code, shown)
	}
	if shown, _ = onTerminal(t, f, 60, "", []string{"NO_COLOR=1"}, "status"); strings.Contains(shown, "\x1b") ||
		!strings.Contains(shown, "splunk: running") {
		t.Errorf("with NO_COLOR and 60 columns: %q", shown)
	}
	const ctrlC = "\x03"
	for typed, want := range map[string]int{ctrlC: exitInterrupted, "n\r": exitOK, "y\r": exitOK} {
		before := f.changed()
		shown, code = onTerminal(t, f, 100, typed, nil, "replay")
		if changed := f.changed() > before; code != want || changed != (typed == "y\r") ||
			!strings.Contains(shown, "Replay them? [y/N]") {
			t.Errorf("typed %q: exit code %d, changed %v, %q", typed, code, changed, shown)
		}
	}
}

// TestConfigureOnTerminal: a credential is not shown, another setting is.
func TestConfigureOnTerminal(t *testing.T) {
	f := newFakeStack(t)
	s := startOnTerminal(t, f, "configure", "splunk", "--set", "SPLUNK_HEC_INDEX")
	s.Answer("SPLUNK_HEC_INDEX (not set): ", "audit")
	s.Answer("SPLUNK_HEC_TOKEN (set; Enter keeps it): ", "new-token")
	shown, code := s.end()
	if code != exitOK || !strings.Contains(shown, "audit") || strings.Contains(shown, "new-token") ||
		!strings.Contains(shown, "SPLUNK_HEC_TOKEN is the HEC token") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	s = startOnTerminal(t, f, "configure", "--search", "splunk")
	s.Answer("SPLUNK_SEARCH_TOKEN (not set): ", "search-token")
	s.Answer("SPLUNK_SEARCH_URL (not set): ", "https://splunk.example.com:8089")
	shown, code = s.end()
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

// session is a siemctl on a pseudo terminal that asks questions.
type session struct {
	*terminal.Session
	cmd *exec.Cmd
}

func startOnTerminal(t *testing.T, f *fakeStack, args ...string) *session {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master, slave := terminal.Open(t)
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Args[0] = "siemctl"
	cmd.Env = []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1", "SIEMCTL_STACK=siem",
		"TERM=xterm", "NO_COLOR=1", "AWS_ENDPOINT_URL=" + f.server.URL, "PATH=" + os.Getenv("PATH")}
	return &session{terminal.Start(t, master, slave, cmd), cmd}
}

// end returns what the terminal has shown, and the exit code.
func (s *session) end() (shown string, code int) {
	shown, _ = s.End() // the exit code says it
	return shown, s.cmd.ProcessState.ExitCode()
}
