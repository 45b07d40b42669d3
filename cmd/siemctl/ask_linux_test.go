package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// askOnTerminal types a credential at configure's question on a pseudo terminal: it is stored, and never shown.
func askOnTerminal(t *testing.T, w *world) {
	master, slave := openTerminal(t)
	cmd := w.siemctl(t.Context(), t, "configure", "elastic")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	key := w.simulators["elastic"].Secret()["ELASTIC_API_KEY"]
	shown := readUntil(master, "ELASTIC_API_KEY (not set): ")
	fmt.Fprintf(master, "%s\n", key)
	shown += readUntil(master, "try it: siemctl check elastic")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, shown)
	}
	if !strings.Contains(shown, "stored ELASTIC_API_KEY in the secret of elastic") || strings.Contains(shown, key) {
		t.Errorf("the terminal shows %q", shown)
	}
	if out, err := w.siemctl(t.Context(), t, "check", "elastic").CombinedOutput(); err != nil || !strings.Contains(string(out), "ok") {
		t.Errorf("%v: %s", err, out)
	}
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
