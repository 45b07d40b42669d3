// Package terminal runs a command on a pseudo terminal, for tests of the questions that siemctl asks.
package terminal

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// open opens a pseudo terminal: https://man7.org/linux/man-pages/man4/ptmx.4.html
func open(t testing.TB, columns int) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("NOT TESTED: there is no pseudo terminal here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
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
	size := &unix.Winsize{Row: 24, Col: uint16(columns)} //nolint:gosec // of a screen
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// Session is a siemctl on a pseudo terminal that asks questions.
type Session struct {
	master *os.File

	cmd   *exec.Cmd
	shown strings.Builder
}

// Start starts a command as siemctl on a terminal with so many columns. A shell leads the terminal's session and
// outlives the command until the test has read: when the leader exits, the kernel discards what the terminal has not
// shown.
func Start(t testing.TB, columns int, cmd *exec.Cmd) *Session {
	t.Helper()
	master, slave := open(t, columns)
	link := filepath.Join(t.TempDir(), "siemctl") // the name makes a test binary siemctl
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
	_ = slave.Close()
	return &Session{master: master, cmd: cmd}
}

// Type waits until the terminal shows a text, and types. It does not type if the command ends before.
func (s *Session) Type(after, typed string) {
	if s.read(after) {
		_, _ = io.WriteString(s.master, typed) // a terminal that has gone shows nothing more
	}
}

// Interrupt waits until the terminal shows a text, and sends SIGINT to the command.
func (s *Session) Interrupt(after string) {
	if s.read(after) {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT) // the shell's group; the shell ignores it
	}
}

// Answer waits for a question and types the answer.
func (s *Session) Answer(question, text string) { s.Type(question, text+"\r") }

// ended is what the terminal shows when the command has ended.
const ended = "\x00"

// End returns what the terminal has shown up to the end of the command, and the command's exit code.
func (s *Session) End() (shown string, code int) {
	s.read(ended)
	_, _ = io.WriteString(s.master, "\r")
	_ = s.cmd.Wait() // the exit code says it
	return strings.TrimSuffix(s.shown.String(), ended), s.cmd.ProcessState.ExitCode()
}

// read reads what the terminal shows, up to a text that it has not shown before, and reports whether it shows it. It
// stops at the end of the command.
func (s *Session) read(text string) bool {
	start := s.shown.Len()
	for b := make([]byte, 1); !strings.Contains(s.shown.String()[start:], text); {
		if strings.HasSuffix(s.shown.String(), ended) {
			return false
		}
		if _, err := s.master.Read(b); err != nil {
			return false
		}
		s.shown.Write(b)
	}
	return true
}
