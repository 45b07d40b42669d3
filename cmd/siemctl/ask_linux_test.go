package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// askOnTerminal types a credential at configure's question on a pseudo terminal: it is stored, and never shown.
func askOnTerminal(t *testing.T, w *world) {
	key := w.simulators["elastic"].Secret()["ELASTIC_API_KEY"]
	shown, err := w.configureOnTerminal(t, key+"\r", "next: siemctl check elastic")
	if err != nil || !strings.Contains(shown, "stored ELASTIC_API_KEY in the secret of elastic") || strings.Contains(shown, key) {
		t.Errorf("%v, the terminal shows %q", err, shown)
	}
	if out, err := w.siemctl(t.Context(), t, "check", "elastic").CombinedOutput(); err != nil || !strings.Contains(string(out), "ok") {
		t.Errorf("%v: %s", err, out)
	}
	const ctrlC = "\x03"
	shown, err = w.configureOnTerminal(t, "half a key"+ctrlC, "interrupted")
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || strings.Contains(shown, "stored") {
		t.Errorf("Ctrl-C: %v, the terminal shows %q", err, shown)
	}
}

// configureOnTerminal types at the question of siemctl configure elastic, and returns what is seen up to a text.
func (w *world) configureOnTerminal(t *testing.T, typed, until string) (shown string, err error) {
	t.Helper()
	master, slave := openTerminal(t)
	cmd := w.siemctl(t.Context(), t, "configure", "elastic")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	shown = readUntil(master, "): ")
	fmt.Fprint(master, typed)
	shown += readUntil(master, until)
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
