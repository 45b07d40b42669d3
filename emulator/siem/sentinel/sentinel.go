// Package sentinel simulates what a connector sees of Microsoft Sentinel: the token endpoint of Microsoft Entra ID and the
// Logs Ingestion API of Azure Monitor, on one server.
//
// The API judges a request as a whole: when one row is refused, no row is taken. What Azure would mangle without a word (a
// value over 64 KB, a column the stream does not declare, a value of another type) is a violation. Product faults, by code:
// "OperationFailed" (403, the role is missing), "InvalidToken" (401, the token is refused once it is found good),
// "InvalidStream" (400) and "AADSTS7000222" (401 of the token endpoint, the client secret has expired).
//
// https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview
package sentinel

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

const (
	// maxContent is the API's limit on a request, both compressed and uncompressed.
	maxContent = 1_048_576

	// maxValue is what a column holds; Azure cuts the rest off.
	maxValue = 64 << 10

	tenant   = "00000000-aaaa-4bbb-8ccc-0123456789ab"
	clientID = "11111111-dddd-4eee-8fff-0123456789ab"
	ruleID   = "dcr-0123456789abcdef0123456789abcdef"
	stream   = "Custom-ArbitexAudit_CL"
	scope    = "https://monitor.azure.com/.default"

	tokenPath  = "/" + tenant + "/oauth2/v2.0/token"
	ingestPath = "/dataCollectionRules/" + ruleID + "/streams/" + stream

	tokenLife = 3599 * time.Second
)

var _ siem.Simulator = (*Simulator)(nil)

// Simulator is a token endpoint and an ingestion endpoint.
type Simulator struct {
	*siem.Server

	mu      sync.Mutex
	secret  string
	revoked []string
	tokens  map[string]time.Time // expiry
	issued  int
}

// New starts one.
func New(o siem.Options) (*Simulator, error) {
	s := &Simulator{secret: newSecret(), tokens: map[string]time.Time{}}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxContent, MaxWire: maxContent})
	if err != nil {
		return nil, fmt.Errorf("starting the sentinel simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name is "sentinel".
func (s *Simulator) Name() string { return "sentinel" }

// Settings is everything but the client secret. The connector has no setting for a CA, so SSL_CERT_FILE names it.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{
		"SENTINEL_TENANT_ID": tenant, "SENTINEL_CLIENT_ID": clientID,
		"SENTINEL_DCR_ENDPOINT": s.URL(), "SENTINEL_DCR_RULE_ID": ruleID, "SENTINEL_DCR_STREAM_NAME": stream,
		"SENTINEL_AUTHORITY_HOST": s.URL(),
	}
	s.Trust(settings)
	return settings
}

// Secret is the client secret.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"SENTINEL_CLIENT_SECRET": s.secret}
}

// Rotate makes a new client secret. The old one gets no token any more, and the tokens it got are refused at once, as when
// the application's sessions are revoked along with it.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, s.secret)
	s.secret = newSecret()
	clear(s.tokens)
}

// Issued is how many tokens were given out.
func (s *Simulator) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// IsToken tells whether a request goes to the token endpoint; for a fault's On.
func IsToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }

// Ingests tells whether a request carries rows; for a fault's On.
func Ingests(r *http.Request) bool { return !IsToken(r) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if IsToken(r.Request) {
		return s.grant(r)
	}
	return s.ingest(r)
}

// newSecret makes a client secret in the form of Entra's.
func newSecret() string { return randomText(7) + "~" + randomText(21) }

func randomText(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
