// Package testenv is for tests that need a program of the machine. Without it they are skipped with a visible message;
// if REQUIRE_TOOLS is set, as in .ci/run, they fail.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Python requires python3, which runs moto.
func Python(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		Missing(t, "python3 is not installed, and moto needs it")
	}
}

// Missing ends a test that needs something that is missing.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") != "" { //nolint:forbidigo // a setting of the test run, not of a function
		t.Fatalf("REQUIRE_TOOLS is set, and %s", what)
	}
	t.Skip("NOT TESTED: " + what)
}
