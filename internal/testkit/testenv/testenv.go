// Package testenv is for tests that depend on the machine or on the test run. A test that needs a missing program is
// skipped with a visible message; if REQUIRE_TOOLS is set, as in .ci/run, it fails.
package testenv

import (
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// Race reports whether the race detector is on: everything is about ten times slower, and sync.Pool drops objects.
func Race() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Scale returns n, or underRace if the race detector is on.
func Scale(n, underRace int) int {
	if Race() {
		return underRace
	}
	return n
}

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

// Eventually waits until check returns nil. It ends the test after that time.
func Eventually(t testing.TB, most time.Duration, what string, check func() error) {
	t.Helper()
	late := time.After(most)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %s: %s: %v", most, what, err)
		case <-t.Context().Done():
			t.Fatalf("waiting for %s: %v", what, t.Context().Err())
		}
	}
}
