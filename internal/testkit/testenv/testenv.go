// Package need is for tests that need a tool of the machine. Where it is missing they are skipped, and say so; where
// REQUIRE_TOOLS is set, as .ci/run does, they fail: it has installed the tools.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Python needs python3, for moto.
func Python(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		Missing(t, "the local AWS needs python3, which is not installed")
	}
}

// Missing ends a test for which something is not there.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") != "" { //nolint:forbidigo // tests are run by people and CI, who say it there
		t.Fatalf("REQUIRE_TOOLS is set, and %s", what)
	}
	t.Skip("NOT TESTED: " + what)
}
