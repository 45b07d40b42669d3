// Package datadog simulates Datadog's Logs Intake v2 and, on the same host, the API that validates a key.
//
// Like the intake, it checks the key first, and then accepts all entries of a payload or none. The intake changes some
// entries after its success response: it cuts an entry over 1 MB, and drops one that is dated more than 18 hours back.
// Both are violations here, and a dropped entry is not among the accepted ones.
//
// Product faults: "empty" and "204" respond to an accepted payload as Vector and other receivers of the protocol do,
// with an empty 200 or a 204.
//
// https://docs.datadoghq.com/api/latest/logs/#send-logs
package datadog

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// The intake's limits, in bytes before compression.
const (
	maxPayload = 5_000_000
	maxEntry   = 1_000_000
	maxEntries = 1_000
)

const (
	intakePath   = "/api/v2/logs"
	validatePath = "/api/v1/validate"
)

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is a site of Datadog.
type Simulator struct {
	*siem.Server

	mu  sync.Mutex
	key string

	searches [][]siem.Accepted // results, for their pages
}

// New starts a simulator.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{key: newKey()}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxPayload})
	if err != nil {
		return nil, fmt.Errorf("starting the datadog simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "datadog" }

// Settings implements siem.Simulator: the intake's address and the CA.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{"DATADOG_INTAKE_URL": s.URL()}
	s.Trust(settings)
	return settings
}

// Secret implements siem.Simulator: the API key.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"DATADOG_API_KEY": s.key}
}

// Rotate implements siem.Simulator.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = newKey()
}

// newKey returns a key in the form of Datadog's: 32 hex digits.
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	switch {
	case r.URL.Path == validatePath && r.Method == http.MethodGet:
		if refusal, ok := s.authorize(r); !ok {
			return refusal
		}
		return answer(http.StatusOK, `{"valid":true}`, "")
	case r.URL.Path == searchPath && r.Method == http.MethodPost:
		return s.search(r)
	case r.URL.Path == intakePath && r.Method == http.MethodPost:
		return s.intake(r)
	case r.URL.Path == validatePath || r.URL.Path == intakePath:
		return refuse(http.StatusMethodNotAllowed, "Method Not Allowed", "")
	}
	return refuse(http.StatusNotFound, "Not Found", r.URL.Path)
}

// authorize checks the key.
func (s *Simulator) authorize(r *siem.Request) (refusal siem.Answer, ok bool) {
	key := r.Header.Get("DD-API-KEY")
	if inURL := r.URL.Query().Get("dd-api-key"); key == "" && inURL != "" {
		s.Violate("the key is in the url")
		key = inURL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch key {
	case "":
		return refuse(http.StatusUnauthorized, "Unauthorized", "no API key"), false
	case s.key:
		return siem.Answer{}, true
	}
	return refuse(http.StatusForbidden, "Forbidden", "API key is invalid"), false
}

func (s *Simulator) intake(r *siem.Request) siem.Answer {
	if refusal, ok := s.authorize(r); !ok {
		return refusal
	}
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "Payload Too Large", "payload is above 5MB uncompressed")
	case r.Problem != nil:
		return refuse(http.StatusBadRequest, "Bad Request", r.Problem.Error())
	}
	s.CheckRequest(r, "application/json", "")
	return s.take(r.Body)
}

func answer(status int, body, detail string) siem.Answer {
	return siem.Answer{Status: status, Header: map[string]string{"Content-Type": "application/json"}, Body: body,
		Detail: detail}
}

// refuse returns a refusal in the intake's error format.
func refuse(status int, title, detail string) siem.Answer {
	return answer(status, fmt.Sprintf(`{"errors":[{"status":"%d","title":%q,"detail":%q}]}`, status, title, detail),
		detail)
}
