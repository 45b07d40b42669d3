// Package sentinel simulates the two services of Microsoft Sentinel that a connector uses, on one server: the token
// endpoint of Microsoft Entra ID and the Logs Ingestion API of Azure Monitor.
//
// The API accepts all rows of a request or none. Values that Azure changes silently (a value over 64 KB, a column that
// the stream does not declare, a value of another type) are violations. Product faults: "OperationFailed" (403, the
// role is missing), "InvalidToken" (401, although the token is valid), "InvalidStream" (400) and "AADSTS7000222" (401
// of the token endpoint, the client secret has expired).
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

	// maxValue is the size of a column; Azure cuts longer values.
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
	federated bool

	mu      sync.Mutex
	secret  string
	revoked []string
	tokens  map[string]time.Time // expiry
	issued  int

	summary summary
}

// New starts a simulator whose application has a client secret.
func New(o siem.Options) (*Simulator, error) { return start(o, false) }

// NewFederated starts a simulator whose application has no client secret, but a federated credential; see [Assertion].
func NewFederated(o siem.Options) (*Simulator, error) { return start(o, true) }

func start(o siem.Options, federated bool) (*Simulator, error) {
	s := &Simulator{federated: federated, secret: newSecret(), tokens: map[string]time.Time{}}
	server, err := siem.Serve(o, siem.Config{Handle: s.handle, MaxBody: maxContent, MaxWire: maxContent})
	if err != nil {
		return nil, fmt.Errorf("starting the sentinel simulator: %w", err)
	}
	s.Server = server
	return s, nil
}

// Name implements siem.Simulator.
func (s *Simulator) Name() string { return "sentinel" }

// Settings implements siem.Simulator. The connector has no setting for a CA, so SSL_CERT_FILE contains it.
func (s *Simulator) Settings() map[string]string {
	settings := map[string]string{
		"SENTINEL_TENANT_ID": tenant, "SENTINEL_CLIENT_ID": clientID,
		"SENTINEL_DCR_ENDPOINT": s.URL(), "SENTINEL_DCR_RULE_ID": ruleID, "SENTINEL_DCR_STREAM_NAME": stream,
		"SENTINEL_AUTHORITY_HOST": s.URL(),
	}
	if s.federated {
		settings["SENTINEL_AUTH"] = "federated"
	}
	s.Trust(settings)
	return settings
}

// Secret implements siem.Simulator: the client secret.
func (s *Simulator) Secret() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.federated {
		return map[string]string{}
	}
	return map[string]string{"SENTINEL_CLIENT_SECRET": s.secret}
}

// Rotate implements siem.Simulator. Entra ID no longer issues tokens for the old secret, and the tokens that it has
// issued are refused at once, as after the revocation of the application's sessions.
func (s *Simulator) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, s.secret)
	s.secret = newSecret()
	clear(s.tokens)
}

// Issued returns the number of issued tokens.
func (s *Simulator) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// IsToken reports whether a request is for the token endpoint; for Fault.On.
func IsToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }

// Ingests reports whether a request contains rows; for Fault.On.
func Ingests(r *http.Request) bool { return !IsToken(r) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if isSearch(r) {
		return s.search(r)
	}
	if IsToken(r.Request) {
		return s.grant(r)
	}
	return s.ingest(r)
}

// newSecret returns a client secret in the form of Entra ID's.
func newSecret() string { return randomText(7) + "~" + randomText(21) }

func randomText(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
