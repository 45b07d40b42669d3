package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// interrupt runs a command, sends SIGINT once a line of its output contains a text, and expects the exit code 130:
// interrupt text siemctl logs -f. The output is in the file interrupted.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt text command args...")
	}
	binary, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(binary, args[2:]...)
	cmd.Args[0] = args[1]
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"SIEMCTL_STACK", "COLUMNS"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var printed strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		printed.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), args[0]) {
			ts.Check(cmd.Process.Signal(syscall.SIGINT))
		}
	}
	err = cmd.Wait()
	ts.Logf("%s", printed.String())
	ts.Check(os.WriteFile(ts.MkAbs("interrupted"), []byte(printed.String()), 0o600))
	exit := new(exec.ExitError)
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		ts.Fatalf("%v, want exit code %d", err, exitInterrupted)
	}
	if !strings.Contains(printed.String(), args[0]) {
		ts.Fatalf("the output does not contain %q", args[0])
	}
}
