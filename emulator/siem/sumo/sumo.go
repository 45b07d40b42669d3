// Package sumo simulates an HTTP source of a Sumo Logic hosted collector, configured as the connector's README
// describes: one message per line, no multiline processing.
//
// The source's URL is the credential; the response to a revoked one is 401. The code of a product fault
// ("header.invalid", for example) is the code in the body of a 200, which accepts the events. "408" accepts the first
// half of a request and times out.
//
// https://www.sumologic.com/help/docs/send-data/hosted-collectors/http-source/troubleshooting/
package sumo

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxRequest is the limit before compression: the smaller interpretation of the documented "1 MB".
const maxRequest = 1_000_000

const sourcePath = "/receiver/v1/http/"

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is an HTTP source.
type Simulator struct {
	*siem.Server

	jobs jobs

	mu   sync.Mutex
	code string
}

// New starts a simulator.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{code: newCode()}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxRequest})
	if err != nil {
		return nil, fmt.Errorf("starting the sumo simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "sumo" }

// Settings implements siem.Simulator. The address is in the secret.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{"SUMO_CATEGORY": "arbitex/audit"}
	s.Trust(settings)
	return settings
}

// Secret implements siem.Simulator: the source's URL.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"SUMO_HTTP_SOURCE_URL": s.URL() + sourcePath + s.code}
}

// Rotate implements siem.Simulator.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = newCode()
}

// newCode returns the last element of a URL: base64 with padding, as in Sumo Logic's.
func newCode() string {
	var b [64]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.URLEncoding.EncodeToString(b[:])
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if strings.HasPrefix(r.URL.Path, jobsPath) {
		return s.search(r)
	}
	code, ok := strings.CutPrefix(r.URL.Path, sourcePath)
	if !ok {
		return siem.Answer{Status: http.StatusNotFound, Detail: "not the path of a source"}
	}
	s.mu.Lock()
	valid := code == s.code
	s.mu.Unlock()
	if !valid {
		return refuse(http.StatusUnauthorized, "unauthorized", "the URL is not valid")
	}
	switch r.Method {
	case http.MethodGet:
		return siem.Answer{Status: http.StatusOK}
	case http.MethodPost:
		return s.post(r)
	}
	return refuse(http.StatusMethodNotAllowed, "method.unsupported", r.Method)
}

func (s *Simulator) post(r *siem.Request) siem.Answer {
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "request.too.large", "over 1 MB before compression")
	case r.Problem != nil:
		return refuse(http.StatusBadRequest, "encoding.invalid", r.Problem.Error())
	}
	s.judgeRequest(r)
	return s.take(r)
}

// refuse returns a refusal in Sumo Logic's error format.
func refuse(status int, code, detail string) siem.Answer {
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: reply(status, code),
		Reason: fmt.Sprintf("%d %s", status, code), Detail: detail,
	}
}

// reply returns the body of an error, or of a warning with status 200.
func reply(status int, code string) string {
	return fmt.Sprintf(`{"id":"5KTZW-FIJ9S-V4LXM","status":%d,"code":%q,"message":"%s","errors":[]}`, status, code,
		strings.ReplaceAll(code, ".", " "))
}
