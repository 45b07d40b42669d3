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
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
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
	*siem.Credential // client secret

	federated bool

	mu     sync.Mutex
	tokens map[string]time.Time // expiry
	issued int

	summary summary
}

// New starts a simulator whose application has a client secret.
func New(o siem.Options) (*Simulator, error) { return start(o, false) }

// NewFederated starts a simulator whose application has no client secret, but a federated credential; see [Assertion].
func NewFederated(o siem.Options) (*Simulator, error) { return start(o, true) }

func start(o siem.Options, federated bool) (*Simulator, error) {
	s := &Simulator{Credential: siem.NewCredential(newSecret), federated: federated, tokens: map[string]time.Time{}}
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
	s.Trust(settings, "")
	return settings
}

// Secret implements siem.Simulator: the client secret.
func (s *Simulator) Secret() map[string]string {
	if s.federated {
		return map[string]string{}
	}
	return map[string]string{"SENTINEL_CLIENT_SECRET": s.Value()}
}

// Rotate implements siem.Simulator. Entra ID no longer issues tokens for the old secret, and the tokens that it has
// issued are refused at once, as after the revocation of the application's sessions.
func (s *Simulator) Rotate() {
	s.Credential.Rotate()
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Issued returns the number of issued tokens.
func (s *Simulator) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// isToken reports whether a request is for the token endpoint.
func isToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }

// Ingests reports whether a request contains rows; for Fault.On.
func Ingests(r *http.Request) bool { return !isToken(r) }

func (s *Simulator) handle(r *siem.Request) siem.Answer {
	if isSearch(r) {
		return s.search(r)
	}
	if isToken(r.Request) {
		return s.grant(r)
	}
	return s.ingest(r)
}

// newSecret returns a client secret in the form of Entra ID's.
func newSecret() string { return randomText(7) + "~" + randomText(21) }

func randomText(bytes int) string { return base64.RawURLEncoding.EncodeToString(siem.Random(bytes)) }

// The Log Analytics query API of one workspace, for an application of its own. It supports the query that counts the
// rows of a time of ingestion by the hash of RawOCSF.
// https://learn.microsoft.com/azure/azure-monitor/logs/api/request-format
const (
	workspace   = "22222222-dddd-4eee-8fff-0123456789ab"
	queryPath   = "/v1/workspaces/" + workspace + "/query"
	searcherID  = "33333333-dddd-4eee-8fff-0123456789ab"
	searchScope = "https://api.loganalytics.io/.default"
)

var kql = regexp.MustCompile(`^ArbitexAudit_CL
\| where ingestion_time\(\) between \(datetime\((\S+)\) \.\. datetime\((\S+)\)\)
(?:\| where RawOCSF contains_cs "([^"]*)"
)?\| extend Hash = hash_sha256\(RawOCSF\), O = parse_json\(RawOCSF\)
(?:\| where strcmp\(Hash, "([0-9a-f]*)"\) > 0
)?\| summarize Copies = count\(\) by Hash, Uid = tostring\(O\.metadata\.uid\), ` +
	`Replaced = iff\(tobool\(O\.truncated\) == true, tostring\(O\.sha256\), ""\)
\| top (\d+) by Hash asc$`)

var _ siem.Searchable = (*Simulator)(nil)

// SearchSettings implements siem.Searchable.
func (s *Simulator) SearchSettings() map[string]string {
	return s.Search("SENTINEL_SEARCH_", map[string]string{
		"AUTHORITY_HOST": s.URL(), "WORKSPACE_ID": workspace, "TENANT_ID": tenant, "CLIENT_ID": searcherID,
		"CLIENT_SECRET": siem.SearchToken,
	})
}

// isSearch reports whether a request is a query, or for a token of the application that searches.
func isSearch(r *siem.Request) bool {
	return r.URL.Path == queryPath || isToken(r.Request) && strings.Contains(string(r.Body), searcherID)
}

func (s *Simulator) search(r *siem.Request) siem.Answer {
	if r.URL.Path != queryPath {
		form, _ := url.ParseQuery(string(r.Body)) // an invalid form has no secret
		switch {
		case form.Get("client_secret") != siem.SearchToken:
			return deny(wrongSecret)
		case form.Get("scope") != searchScope || form.Get("grant_type") != "client_credentials" || r.URL.Path != tokenPath:
			return deny(wrongScope)
		}
		return siem.JSON(http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3599,
			"access_token": siem.SearchToken})
	}
	if r.Header.Get("Authorization") != "Bearer "+siem.SearchToken {
		return refuse(http.StatusForbidden, "InsufficientAccessError", "The provided credentials have insufficient access.")
	}
	if refusal, limited := s.SearchLimited(); limited {
		return refusal
	}
	var body struct{ Query string }
	_ = json.Unmarshal(r.Body, &body) // without a query, it does not match
	query := kql.FindStringSubmatch(body.Query)
	if query == nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "The request had some invalid properties.")
	}
	from, err1 := time.Parse(time.RFC3339, query[1])
	to, err2 := time.Parse(time.RFC3339, query[2])
	most, _ := strconv.Atoi(query[5])
	if err1 != nil || err2 != nil {
		return refuse(http.StatusBadRequest, "BadArgumentError", "A datetime is not valid.")
	}
	events := s.Find(from, to, 0, func(a siem.Accepted) bool { return a.Holds(query[3]) })
	return siem.JSON(http.StatusOK, s.table(events, query[4], most))
}

// row is a row of the query, without the number of copies.
type row struct{ hash, uid, replaced string }

// summary is the result of the latest query, for its pages.
type summary struct {
	rows   []row
	copies map[row]int
}

// summarize counts events by their rows.
func summarize(events []siem.Accepted) summary {
	s := summary{copies: map[row]int{}}
	for _, a := range events {
		sum := sha256.Sum256(a.Event)
		var o struct {
			Truncated bool   `json:"truncated"`
			SHA256    string `json:"sha256"`
		}
		_ = json.Unmarshal(a.Event, &o) // an event of another type is not replaced
		key := row{hash: hex.EncodeToString(sum[:]), uid: siem.OwnID(a.Event)}
		if o.Truncated {
			key.replaced = o.SHA256
		}
		s.copies[key]++
	}
	s.rows = slices.SortedFunc(maps.Keys(s.copies), func(a, b row) int { return cmp.Compare(a.hash, b.hash) })
	return s
}

// table is the page after a hash; "" is the first page, which makes the summary.
func (s *Simulator) table(events []siem.Accepted, after string, most int) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after == "" {
		s.summary = summarize(events)
	}
	start, _ := slices.BinarySearchFunc(s.summary.rows, after+"!", func(r row,
		hash string) int {
		return cmp.Compare(r.hash, hash)
	})
	rows := [][]any{}
	for _, key := range s.summary.rows[start:min(start+most, len(s.summary.rows))] {
		rows = append(rows, []any{key.hash, key.uid, key.replaced, s.summary.copies[key]})
	}
	var columns []map[string]string
	for _, name := range []string{"Hash", "Uid", "Replaced", "Copies"} {
		columns = append(columns, map[string]string{"name": name})
	}
	return map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "columns": columns, "rows": rows}}}
}
