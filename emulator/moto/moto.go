// Package moto runs moto's server (https://docs.getmoto.org) with SQS, S3 and Secrets Manager in one Python process on
// a loopback port, and installs its Python environment.
package moto

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed requirements.txt
var requirements []byte

//go:embed server.py
var script string

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 3 * time.Second
	pollInterval = 50 * time.Millisecond
)

// Server is a running moto.
type Server struct {
	endpoint string
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	errors   *ring
	exited   chan struct{}
	stop     sync.Once
}

// Start starts moto's server from the venv at dir (see Install) and returns once it responds. The server ends with
// Stop, and always with this process: it runs only as long as its standard input is open.
func Start(ctx context.Context, dir string) (*Server, error) { return start(ctx, dir, script) }

func start(ctx context.Context, dir, script string) (*Server, error) {
	s := &Server{errors: &ring{}, exited: make(chan struct{})}
	s.cmd = exec.Command(venvPython(dir), "-c", script)
	s.cmd.Env = append(os.Environ(),
		"S3_IGNORE_SUBDOMAIN_BUCKETNAME=true", // a bucket is always the first part of the path
		"PYTHONUNBUFFERED=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches us alone: moto is needed until the end
	s.cmd.Stderr = s.errors
	if err := s.launch(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("starting moto: %w%s", err, s.errors.suffix())
	}
	return s, nil
}

// launch starts the process, reads its port and waits for its first response.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, stdout, err := os.Pipe() // not StdoutPipe: Wait must not close it under the reader
	if err != nil {
		return err
	}
	s.cmd.Stdout, s.stdin = stdout, stdin
	err = s.cmd.Start()
	_ = stdout.Close()
	if err != nil {
		close(s.exited)
		_ = out.Close()
		return err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	port := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		port <- strings.TrimSpace(line)
		_, _ = io.Copy(io.Discard, out)
		_ = out.Close()
	}()
	select {
	case p := <-port:
		if p == "" {
			return fmt.Errorf("it ended before it listened")
		}
		s.endpoint = "http://127.0.0.1:" + p
	case <-ctx.Done():
		return fmt.Errorf("waiting for its port: %w", ctx.Err())
	}
	return s.waitForAnswer(ctx)
}

func (s *Server) waitForAnswer(ctx context.Context) error {
	client := &http.Client{Timeout: startTimeout}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+"/moto-api/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return fmt.Errorf("it ended before it answered")
		case <-ctx.Done():
			return fmt.Errorf("waiting for its first answer: %w", err)
		}
	}
}

// Endpoint is the server's base URL, for the SDK's AWS_ENDPOINT_URL. It names an address and not "localhost", for which
// the SDK would put an S3 bucket's name into the host.
func (s *Server) Endpoint() string { return s.endpoint }

// Stop ends the server and discards its state. It may be called more than once.
func (s *Server) Stop() {
	s.stop.Do(func() {
		if s.cmd.Process == nil {
			return
		}
		_ = s.stdin.Close()
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // the whole group
			<-s.exited
		}
	})
}

// ring keeps about the last KiB of moto's output, for errors.
type ring struct {
	mu   sync.Mutex
	last []byte
}

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = append(r.last, p...)
	if len(r.last) > 4096 {
		r.last = append(r.last[:0], r.last[len(r.last)-1024:]...)
	}
	return len(p), nil
}

func (r *ring) suffix() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == 0 {
		return ""
	}
	return ": " + tail(r.last)
}

// stampFile, in the venv, holds the hash of the requirements that were installed in it. It is written last, so that
// its absence means that making the venv was cut short.
const stampFile = ".requirements.sha256"

// Install makes the Python virtual environment of moto at dir; see [InstallVenv].
func Install(ctx context.Context, dir string, progress io.Writer) error {
	return InstallVenv(ctx, dir, requirements, progress)
}

// InstallVenv makes a Python virtual environment at dir and installs pinned requirements in it, which must be complete.
// One that holds exactly these is left as it is. What is done goes to progress. Several processes may call it at once
// for one dir.
func InstallVenv(ctx context.Context, dir string, requirements []byte, progress io.Writer) error {
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if ready(dir, requirements) {
		return nil
	}
	python, err := findPython(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the outdated venv %s: %w", dir, err)
	}
	_, _ = fmt.Fprintf(progress, "making a Python venv in %s\n", dir)
	if err := run(ctx, "making a venv (Debian has it in the package python3-venv)", python, "-m", "venv",
		dir); err != nil {
		return err
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o600); err != nil {
		return fmt.Errorf("writing the requirements: %w", err)
	}
	_, _ = fmt.Fprintf(progress, "installing %d Python packages, once\n", bytes.Count(requirements,
		[]byte("==")))
	// The list is complete, so pip need not resolve anything; compiling what is never imported is the slowest part.
	err = run(ctx, "installing them with pip", venvPython(dir), "-m", "pip", "install",
		"--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--requirement", list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, stampFile), []byte(hash(requirements)), 0o600); err != nil {
		return fmt.Errorf("marking the venv as complete: %w", err)
	}
	return nil
}

func venvPython(dir string) string { return filepath.Join(dir, "bin", "python") }

func hash(requirements []byte) string {
	sum := sha256.Sum256(requirements)
	return hex.EncodeToString(sum[:])
}

// ready reports whether dir has these requirements and an existing Python.
func ready(dir string, requirements []byte) bool {
	stamp, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil || string(stamp) != hash(requirements) {
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
