// Package xsiam simulates the event endpoint of Palo Alto Networks Cortex XSIAM: by default the one of the platform's
// page, which accepts an envelope signed with an HMAC; in other modes the endpoints of Cortex.
//
// The endpoint accepts all events of a request or none. The endpoint of the page refuses an event with a 400; a
// collector responds with a 500 to everything that it cannot process, including a wrong log format or compression.
// There are no product faults.
//
// https://docs-cortex.paloaltonetworks.com/r/Cortex-XSIAM/Cortex-XSIAM-Documentation/Set-up-an-HTTP-log-collector-to-receive-logs
package xsiam

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"sync"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const (
	maxRequest = 10_000_000 // refused beyond it
	advised    = 1 << 20    // a request of several events should not exceed it
	maxRecord  = 5_000_000

	eventPath = "/logs/v1/event"
)

// Mode is the configuration of the endpoint.
type Mode struct {
	Auth string // hmac, token, standard or advanced, as XSIAM_AUTH
	Body string // envelope or ndjson, as XSIAM_BODY
	Gzip bool   // bodies must be compressed; otherwise they must not be
}

// Page returns the mode of the platform's page.
func Page() Mode { return Mode{Auth: "hmac", Body: "envelope"} }

// Collector returns the mode of an HTTP log collector of Cortex with the log format JSON.
func Collector() Mode { return Mode{Auth: "token", Body: "ndjson"} }

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is an event endpoint.
type Simulator struct {
	*siem.Server
	mode Mode

	mu     sync.Mutex
	key    string
	keyID  int
	nonces map[string]bool

	queries queries
}

// New starts the endpoint of the platform's page.
func New(o siem.Options) (*Simulator, error) { return NewMode(o, Page()) }

// NewMode starts an endpoint of any mode.
func NewMode(o siem.Options, m Mode) (*Simulator, error) {
	s := &Simulator{mode: m, key: newKey(), keyID: 41, nonces: map[string]bool{}}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxRequest, MaxWire: maxRequest})
	if err != nil {
		return nil, fmt.Errorf("starting the xsiam simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "xsiam" }

// Settings implements siem.Simulator: the URL as a tenant's page shows it (without a path), and the settings of the
// mode. The connector has no setting for a CA, so SSL_CERT_FILE contains it.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{"XSIAM_URL": s.URL()}
	if s.mode != Page() {
		settings["XSIAM_AUTH"], settings["XSIAM_BODY"] = s.mode.Auth, s.mode.Body
	}
	if s.mode.Gzip {
		settings["SIEM_COMPRESSION"] = "gzip"
	}
	s.Trust(settings)
	return settings
}

// Secret implements siem.Simulator: the key and its ID, which is new for every key. A collector's token has no ID.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mode.Auth == "token" {
		return map[string]string{"XSIAM_API_KEY": s.key}
	}
	return map[string]string{"XSIAM_API_KEY": s.key, "XSIAM_API_KEY_ID": strconv.Itoa(s.keyID)}
}

// Rotate implements siem.Simulator.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = newKey()
	s.keyID++
}

// newKey returns a key of 128 characters, the length of Cortex's keys.
func newKey() string {
	var b [96]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
