package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arbitex/siem-connectors/emulator/siem/elastic"
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
	master, slave := openTerminal(t)
	cmd := w.siemctl(t.Context(), t, "configure", "elastic")
	startOn(t, slave, cmd)
	for _, text := range typed {
		shown += readUntil(master, "): ")
		fmt.Fprint(master, text)
	}
	rest, err := endOn(master, cmd)
	return shown + rest, err
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
	master, slave := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ,
		&unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Args[0] = "siemctl"
	cmd.Env = append([]string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1",
		"SIEMCTL_STACK=siem", "TERM=xterm", "AWS_ENDPOINT_URL=" + f.server.URL}, env...)
	startOn(t, slave, cmd)
	if typed != "" {
		shown = readUntil(master, "[y/N] ")
		fmt.Fprint(master, typed)
	}
	rest, _ := endOn(master, cmd) // the exit code says it
	return shown + rest, cmd.ProcessState.ExitCode()
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
	s.answer("SPLUNK_HEC_INDEX (not set): ", "audit")
	s.answer("SPLUNK_HEC_TOKEN (set; Enter keeps it): ", "new-token")
	shown, code := s.end()
	if code != exitOK || !strings.Contains(shown, "audit") || strings.Contains(shown, "new-token") ||
		!strings.Contains(shown, "SPLUNK_HEC_TOKEN is the HEC token") {
		t.Errorf("exit code %d, the terminal shows %q", code, shown)
	}
	s = startOnTerminal(t, f, "configure", "--search", "splunk")
	s.answer("SPLUNK_SEARCH_TOKEN (not set): ", "search-token")
	s.answer("SPLUNK_SEARCH_URL (not set): ", "https://splunk.example.com:8089")
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
	cmd    *exec.Cmd
	master *os.File
	shown  strings.Builder
}

func startOnTerminal(t *testing.T, f *fakeStack, args ...string) *session {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master, slave := openTerminal(t)
	s := &session{cmd: exec.CommandContext(t.Context(), binary, args...), master: master}
	s.cmd.Args[0] = "siemctl"
	s.cmd.Env = []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1", "SIEMCTL_STACK=siem",
		"TERM=xterm", "NO_COLOR=1", "AWS_ENDPOINT_URL=" + f.server.URL, "PATH=" + os.Getenv("PATH")}
	startOn(t, slave, s.cmd)
	return s
}

// answer waits for a question and types the answer.
func (s *session) answer(question, text string) {
	s.shown.WriteString(readUntil(s.master, question))
	fmt.Fprint(s.master, text+"\r")
}

// end returns what the terminal has shown, and the exit code.
func (s *session) end() (shown string, code int) {
	rest, _ := endOn(s.master, s.cmd) // the exit code says it
	return s.shown.String() + rest, s.cmd.ProcessState.ExitCode()
}

// startOn starts siemctl on a terminal. A shell leads the session and outlives siemctl until the test has read: when
// the leader of a session exits, the kernel discards what the terminal has not shown.
func startOn(t *testing.T, slave *os.File, cmd *exec.Cmd) {
	t.Helper()
	link := filepath.Join(t.TempDir(), "siemctl") // the name makes this binary siemctl
	if err := os.Symlink(cmd.Path, link); err != nil {
		t.Fatal(err)
	}
	const script = `trap : INT; "$@"; code=$?; printf '\000'; read -r line; exit $code`
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", script, "sh", link}, cmd.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
}

// endOn returns what the terminal shows up to the end of siemctl, and the result of the process.
func endOn(master *os.File, cmd *exec.Cmd) (shown string, err error) {
	shown = strings.TrimSuffix(readUntil(master, "\x00"), "\x00")
	fmt.Fprint(master, "\r")
	return shown, cmd.Wait()
}

// readUntil reads what a terminal shows, up to a text or to its end.
func readUntil(from io.Reader, text string) string {
	var shown strings.Builder
	for b := make([]byte, 1); !strings.Contains(shown.String(), text); {
		if _, err := from.Read(b); err != nil {
			return shown.String()
		}
		shown.Write(b)
	}
	return shown.String()
}

// openTerminal opens a pseudo terminal: https://man7.org/linux/man-pages/man4/ptmx.4.html
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("NOT TESTED: there is no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}
