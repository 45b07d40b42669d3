// Package splunk simulates Splunk's HTTP Event Collector with a token that has indexer acknowledgement enabled (a
// channel is therefore required) and may write only to the indexes "arbitex" and "main".
//
// Like HEC, it parses the objects of a body one after the other and stops at the first invalid one: the objects before
// it are indexed, invalid-event-number in the response identifies it, the objects after it are not read. Product faults
// are HEC's codes as text: "24" and "25" are sent with a 200; "9" indexes the first half of a request and then is busy;
// any other code is sent once the token is found valid. "ack never" leaves all further acknowledgements false, "ack
// lost" forgets those that were not queried, as an indexer does that restarts.
//
// Response codes:
// https://help.splunk.com/en/data-management/collect-http-event-data/use-hec-in-splunk-cloud-platform/troubleshoot-http-event-collector
package splunk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// maxContentLength is max_content_length in limits.conf of older installations and of Splunk Cloud.
const maxContentLength = 1_000_000

const eventPath = "/services/collector/event"

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is a HEC endpoint.
type Simulator struct {
	*siem.Server

	mu      sync.Mutex
	token   string
	revoked []string

	channels map[string]*channel
}

// New starts a simulator.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{token: newToken(), channels: map[string]*channel{}}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxContentLength})
	if err != nil {
		return nil, fmt.Errorf("starting the splunk simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "splunk" }

// Settings implements siem.Simulator: the endpoint and the CA.
func (s *Simulator) Settings() map[string]string {
	if s.Options().Plain {
		return map[string]string{"SPLUNK_HEC_URL": s.URL() + eventPath, "SIEM_ALLOW_HTTP": "true"}
	}
	return map[string]string{"SPLUNK_HEC_URL": s.URL() + eventPath, "SPLUNK_HEC_TLS_CA_BUNDLE": s.CA()}
}

// Secret implements siem.Simulator: the token.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"SPLUNK_HEC_TOKEN": s.token}
}

// Rotate implements siem.Simulator. The response to a disabled token is code 1.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, s.token)
	s.token = newToken()
}

// newToken returns a token in the form of Splunk's: a version 4 UUID.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	switch r.URL.Path {
	case "/services/collector", eventPath, eventPath + "/1.0":
		return s.event(r)
	case ackPath, ackPath + "/1.0":
		return s.ack(r)
	case exportPath:
		return s.export(r)
	case "/services/collector/health", "/services/collector/health/1.0":
		return s.health(r)
	}
	return siem.Answer{Status: http.StatusNotFound,
		Body: `{"text":"The requested URL was not found on this server.","code":404}`}
}

func (s *Simulator) event(r *siem.Request) siem.Answer {
	if r.Method != http.MethodPost {
		return siem.Answer{Status: http.StatusMethodNotAllowed,
			Body: `{"text":"The requested URL was not found on this server.","code":404}`}
	}
	if code := s.authorize(r); code != 0 {
		return reply(code)
	}
	name, code := channelOf(r)
	if code != 0 {
		return reply(code)
	}
	if code := s.ordered(9, 24, 25); code != 0 {
		return reply(code)
	}
	switch {
	case errors.Is(r.Problem, siem.ErrTooLarge):
		return tooLarge()
	case errors.Is(r.Problem, siem.ErrEncoding):
		return siem.Answer{Status: http.StatusUnsupportedMediaType, Body: `{"text":"Unsupported content encoding","code":6}`,
			Detail: r.Problem.Error()}
	case r.Problem != nil:
		return reply(6)
	case len(r.Body) == 0:
		return reply(5)
	}
	s.CheckRequest(r, "application/json", "")
	return s.index(r.Body, name)
}

// authorize checks the credential in HEC's order, and returns the code of the problem, 0 if there is none.
func (s *Simulator) authorize(r *siem.Request) int {
	if r.URL.Query().Has("token") {
		return 16
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return 2
	}
	token, ok := strings.CutPrefix(header, "Splunk ")
	if !ok {
		return 3
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case token == s.token:
		return 0
	case slices.Contains(s.revoked, token):
		return 1
	}
	return 4
}

// ordered returns the code of a product fault, except for the codes that take effect later.
func (s *Simulator) ordered(except ...int) int {
	for _, r := range replies {
		if slices.Contains(except, r.code) {
			continue
		}
		if _, ok := s.Product(fmt.Sprint(r.code)); ok {
			return r.code
		}
	}
	return 0
}

func (s *Simulator) health(r *siem.Request) siem.Answer {
	if r.Method != http.MethodGet {
		return siem.Answer{Status: http.StatusMethodNotAllowed}
	}
	if code := s.ordered(9, 24, 25); code != 0 {
		return reply(code)
	}
	if r.Header.Get("Authorization") == "" { // a load balancer's probe has none
		return reply(17)
	}
	switch s.authorize(r) {
	case 0:
		return reply(17)
	case 1:
		return reply(22)
	}
	return reply(21)
}
