package main

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// freshStack is the stack named fresh of a fakeStack. It does not exist before sam, a script, has deployed it. Its
// check succeeds if the secret has the token "right".
type freshStack struct {
	mu      sync.Mutex
	calls   []string // what siemctl did, in order
	bodies  []string // of the messages that siemctl sent to any stack
	running bool
	sam     string // file with a line for each call of sam
	read    int    // lines of it that are in calls
}

// readCalls appends new calls of sam to calls. The caller holds the lock.
func (s *freshStack) readCalls() {
	text, _ := os.ReadFile(s.sam) // there is none before the first call
	lines := strings.Split(string(text), "\n")
	for _, line := range lines[s.read : len(lines)-1] {
		s.calls, s.running = append(s.calls, "sam "+line), true
	}
	s.read = len(lines) - 1
}

func (s *freshStack) deployed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readCalls()
	return s.read > 0
}

// did returns the calls.
func (s *freshStack) did() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readCalls()
	return strings.Join(s.calls, "\n")
}

func (s *freshStack) serve(w http.ResponseWriter, r *http.Request, body []byte, f *fakeStack) {
	f.mu.Lock()
	right := strings.Contains(f.secret, `"right"`)
	f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readCalls()
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/configuration"):
		_, _ = io.WriteString(w, `{"Environment":{"Variables":{"SIEM_DEAD_LETTER_PATH":"s3://bucket/dead"}}}`)
	case strings.HasSuffix(path, "/invocations"):
		s.calls = append(s.calls, "check")
		if right {
			_, _ = io.WriteString(w, `{"connector":"splunk","ok":true,"milliseconds":1}`)
		} else {
			_, _ = io.WriteString(w, `{"connector":"splunk","ok":false,"step":"auth","detail":"status 403","milliseconds":1}`)
		}
	case strings.Contains(path, "/event-source-mappings/"):
		if r.Method == http.MethodPut {
			s.running = strings.Contains(string(body), `"Enabled":true`)
			s.calls = append(s.calls, map[bool]string{true: "resume", false: "pause"}[s.running])
		}
		fmt.Fprintf(w, `{"State":%q}`, map[bool]string{true: "Enabled", false: "Disabled"}[s.running])
	default:
		s.send(w, body)
	}
}

// send answers SendMessageBatch.
func (s *freshStack) send(w http.ResponseWriter, body []byte) {
	var in struct {
		Entries []struct{ ID, MessageBody string }
	}
	_ = json.Unmarshal(body, &in) // the SDK writes JSON
	type entry struct {
		ID               string `json:"Id"`
		MessageID        string `json:"MessageId"`
		MD5OfMessageBody string
	}
	var out struct{ Successful []entry }
	for _, e := range in.Entries {
		s.bodies = append(s.bodies, e.MessageBody)
		sum := md5.Sum([]byte(e.MessageBody))
		out.Successful = append(out.Successful, entry{e.ID, e.ID, fmt.Sprintf("%x", sum)})
	}
	s.calls = append(s.calls, fmt.Sprintf("send %d", len(in.Entries)))
	_ = json.NewEncoder(w).Encode(out)
}

// fakeSAM puts a script named sam on the PATH, which writes its arguments to a file, and returns the folder of a
// release's files.
func fakeSAM(t *testing.T, f *fakeStack) (release string) {
	t.Helper()
	bin, release := t.TempDir(), t.TempDir()
	f.fresh.sam = filepath.Join(bin, "calls")
	script := "#!/bin/sh\necho \"$*\" >> " + f.fresh.sam + "\n"
	for file, text := range map[string]string{
		filepath.Join(bin, "sam"): script, filepath.Join(release, "template.yaml"): "",
		filepath.Join(release, "function-replay-arm64.zip"): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return release
}
