package moto

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// venv is the project's own, which the other packages' tests and the demo use too.
const venv = "../../build/venv"

func TestInstallThenStartThenStop(t *testing.T) {
	testenv.Python(t)
	var progress strings.Builder
	if err := Install(t.Context(), venv, &progress); err != nil {
		t.Fatal(err)
	}
	progress.Reset()
	if err := Install(t.Context(), venv, &progress); err != nil {
		t.Fatal(err)
	}
	if progress.Len() > 0 {
		t.Errorf("a venv that is up to date was made again: %s", progress.String())
	}
	s, err := Start(t.Context(), venv)
	if err != nil {
		t.Fatal(err)
	}
	if status := get(t, s.Endpoint()+"/moto-api/"); status != http.StatusOK {
		t.Errorf("status = %d, want 200", status)
	}
	s.Stop()
	s.Stop()
	select {
	case <-s.exited:
	default:
		t.Error("the process outlived Stop")
	}
}

func TestServerDiesWhenItsStandardInputCloses(t *testing.T) {
	testenv.Python(t)
	if err := Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), venv)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	_ = s.stdin.Close() // what the kernel does to us when we are killed
	<-s.exited
}

func TestStartSaysWhatPythonSaid(t *testing.T) {
	testenv.Python(t)
	dir := t.TempDir()
	if err := exec.CommandContext(t.Context(), "python3", "-m", "venv", "--without-pip", dir).Run(); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "No module named 'moto'") {
		t.Errorf("error = %v, want Python's own words", err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	testenv.Python(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Install(t.Context(), venv, io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(ctx, venv); err == nil {
		t.Error("started on a cancelled context")
	}
}

func TestReadyNeedsStampAndPython(t *testing.T) {
	dir := t.TempDir()
	if ready(dir) {
		t.Error("an empty folder was accepted as a venv")
	}
	write(t, filepath.Join(dir, stampFile), requirementsHash())
	if ready(dir) {
		t.Error("a venv without its Python is none")
	}
	write(t, filepath.Join(dir, "bin", "python"), "")
	if !ready(dir) {
		t.Error("a complete venv is not recognised")
	}
	write(t, filepath.Join(dir, stampFile), "of other requirements")
	if ready(dir) {
		t.Error("a venv of other requirements is not up to date")
	}
}

func TestRequirementsArePinned(t *testing.T) {
	for line := range strings.Lines(string(requirements)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.Contains(line, "==") {
			t.Errorf("%q is not pinned", line)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}
