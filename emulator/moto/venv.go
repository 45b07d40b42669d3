package moto

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// stampFile, in the venv, holds the hash of the requirements that were installed in it. It is written last, so that
// its absence means that making the venv was cut short.
const stampFile = ".requirements.sha256"

// Install makes the Python virtual environment at dir and installs this package's pinned requirements in it. One that
// holds exactly these is left as it is. What is done goes to progress. Several processes may call it at once for one
// dir.
func Install(ctx context.Context, dir string, progress io.Writer) error {
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if ready(dir) {
		return nil
	}
	python, err := findPython(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the outdated venv %s: %w", dir, err)
	}
	_, _ = fmt.Fprintf(progress, "making a Python venv for moto in %s\n", dir)
	if err := run(ctx, "making a venv (Debian has it in the package python3-venv)", python, "-m", "venv",
		dir); err != nil {
		return err
	}
	return installRequirements(ctx, dir, progress)
}

func installRequirements(ctx context.Context, dir string, progress io.Writer) error {
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o600); err != nil {
		return fmt.Errorf("writing the requirements: %w", err)
	}
	_, _ = fmt.Fprintf(progress, "installing moto and what it needs (%d packages, once)\n", bytes.Count(requirements,
		[]byte("==")))
	// The list is complete, so pip need not resolve anything; compiling what is never imported is the slowest part.
	err := run(ctx, "installing moto with pip", venvPython(dir), "-m", "pip", "install",
		"--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--requirement", list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, stampFile), []byte(requirementsHash()), 0o600); err != nil {
		return fmt.Errorf("marking the venv as complete: %w", err)
	}
	return nil
}

func venvPython(dir string) string { return filepath.Join(dir, "bin", "python") }

func requirementsHash() string {
	sum := sha256.Sum256(requirements)
	return hex.EncodeToString(sum[:])
}

// ready reports whether dir has the current requirements and an existing Python.
func ready(dir string) bool {
	stamp, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil || string(stamp) != requirementsHash() {
		return false
	}
	_, err = os.Stat(venvPython(dir)) // a link into a Python that was since removed is not there
	return err == nil
}

// lock takes an exclusive lock on a file, and returns a function that releases it.
func lock(path string) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making the venv's folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the venv's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks
}

// findPython returns a Python 3.9 or later.
func findPython(ctx context.Context) (string, error) {
	var seen []string
	for _, name := range []string{"python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		err = run(ctx, "asking for its version", path, "-c", "import sys; sys.exit(sys.version_info < (3, 9))")
		if err == nil {
			return path, nil
		}
		seen = append(seen, path)
	}
	if len(seen) > 0 {
		return "", fmt.Errorf("looking for Python: want 3.9 or later, have only %s", strings.Join(seen, ", "))
	}
	return "", errors.New("looking for Python: want python3 (3.9 or later) in PATH, found none")
}

// run runs a command. Its error ends with the end of the command's output.
func run(ctx context.Context, doing, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", doing, err, tail(out))
	}
	return nil
}

// tail returns the last KiB of a command's output.
func tail(out []byte) string {
	out = bytes.TrimSpace(out)
	return string(out[max(0, len(out)-1024):])
}
