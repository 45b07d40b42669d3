// Package sumo simulates an HTTP source of a Sumo Logic hosted collector, as the connector's page says to set it up: one
// message a line, no multiline processing.
//
// The source's URL is the credential; a revoked one is answered with 401. A product fault's code is what a 200 says in its
// body ("header.invalid", say): the events are taken all the same. "408" takes the first half of a request and times out.
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

// maxRequest is the most bytes of a request before compression, by the smaller reading of the documents' "1 MB".
const maxRequest = 1_000_000

const sourcePath = "/receiver/v1/http/"

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is an HTTP source.
type Simulator struct {
	*siem.Server

	mu   sync.Mutex
	code string
}

// New starts one.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{code: newCode()}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxRequest})
	if err != nil {
		return nil, fmt.Errorf("starting the sumo simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name is "sumo".
func (s *Simulator) Name() string { return "sumo" }

// Settings is the CA to trust, and the defaults: the address is in the secret.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{"SUMO_CATEGORY": "arbitex/audit"}
	s.Trust(settings)
	return settings
}

// Secret is the source's URL.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"SUMO_HTTP_SOURCE_URL": s.URL() + sourcePath + s.code}
}

// Rotate makes a new URL, and the old one invalid.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = newCode()
}

// newCode makes the end of a URL, which in Sumo Logic's is base64 with its equals signs.
func newCode() string {
	var b [64]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.URLEncoding.EncodeToString(b[:])
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	code, ok := strings.CutPrefix(r.URL.Path, sourcePath)
	if !ok {
		return siem.Answer{Status: http.StatusNotFound, Detail: "no source's path"}
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

// refuse is an answer in the form of Sumo Logic's errors.
func refuse(status int, code, detail string) siem.Answer {
	return siem.Answer{
		Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: reply(status, code),
		Reason: fmt.Sprintf("%d %s", status, code), Detail: detail,
	}
}

// reply is the body with which Sumo Logic says that something is wrong, be it with a 200.
func reply(status int, code string) string {
	return fmt.Sprintf(`{"id":"5KTZW-FIJ9S-V4LXM","status":%d,"code":%q,"message":"%s","errors":[]}`, status, code, strings.ReplaceAll(code, ".", " "))
}
