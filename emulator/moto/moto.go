// Package moto runs moto's server (https://docs.getmoto.org) with SQS, S3 and Secrets Manager in one Python process on
// a loopback port, and installs its Python environment.
package moto

import (
	"bufio"
	"context"
	_ "embed" // the server's script and its requirements
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
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
