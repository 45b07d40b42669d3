// Package siem provides the common parts of the simulated SIEMs: their interface, the faults that can be injected, the
// journal of accepted events, and the HTTPS server of those that use HTTP.
//
// A simulator is strict. It refuses what the product refuses, with the product's codes. It accepts what the product
// accepts, and records a violation if the wire format on the connector's page forbids it, so that a test or the demo
// can require that there is none. It shares no code with the connectors (it uses encoding/json, not their parser), so
// that both cannot have the same mistake.
package siem

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
)

// Simulator is a SIEM on loopback. It processes requests as the product does and keeps the accepted events. All methods
// are safe for concurrent use.
type Simulator interface {
	// Name returns the connector's name, as in functions/<name>.
	Name() string
	// Settings returns the environment that its connector needs to reach and trust it, without secrets.
	Settings() map[string]string
	// Secret returns the valid credential by variable name: the content of the connector's secret.
	Secret() map[string]string
	// Rotate revokes the credential and creates a new one, which Secret then returns.
	Rotate()
	// Accepted returns the accepted events in their order. The caller must not change them.
	Accepted() []Accepted
	// Stats returns the counts so far.
	Stats() Stats
	// Inject adds a fault, or removes faults if its kind is [Heal].
	Inject(f Fault)
	// Close stops listening and drops every connection.
	Close() error
}

// Accepted is an event that the SIEM accepted.
type Accepted struct {
	// ID is the event's id as the wire format carries it; see [EventID].
	ID string
	// Event is the bytes of the OCSF event; nil if the wire format does not carry the whole event (CEF).
	Event []byte
	// Fields are the columns or envelope keys, if the format has them.
	Fields map[string]string
	// Truncated reports whether the event was replaced because it is too large.
	Truncated bool
}

// Stats counts what a simulator received.
type Stats struct {
	Requests     int            // requests (or syslog messages) that arrived, including those with a fault
	Accepted     int            // events accepted
	Refused      map[string]int // refusals by reason, such as "403 code 4" or "503"
	AuthFailures int            // requests that were refused for their credential
	Bytes        int64          // body bytes on the wire
	LastProblem  string         // description of the last refusal or violation
	Violations   []string       // what the product accepts and the wire format forbids; the first 100 different ones
}

// Options are the options of every simulator. The zero value is usable.
type Options struct {
	// Authority signs the simulator's certificates; nil: a new one.
	Authority *pki.Authority
	// CAFile is a file with Authority's certificate. Settings contains it as SSL_CERT_FILE if the connector has no
	// variable for a CA bundle.
	CAFile string
	// Plain serves http instead of https. Settings then allows it (SIEM_ALLOW_HTTP).
	Plain bool
	// Listen returns the listener, whose address Settings contains; nil: a free port of loopback.
	Listen func() (net.Listener, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Listen == nil {
		o.Listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	if o.Authority == nil {
		o.Authority = pki.New("ArbitexSIEM simulator CA")
	}
	return o
}

// Credential is the credential of a simulator. Its methods may be called concurrently.
type Credential struct {
	generate func() string

	mu      sync.Mutex
	value   string
	revoked []string
}

// NewCredential generates a credential.
func NewCredential(generate func() string) *Credential {
	return &Credential{generate: generate, value: generate()}
}

// Rotate implements [Simulator]: it revokes the credential and generates another.
func (c *Credential) Rotate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked = append(c.revoked, c.value)
	c.value = c.generate()
}

// Value returns the valid credential.
func (c *Credential) Value() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// Check reports whether a text is the credential, or one that was revoked.
func (c *Credential) Check(text string) (valid, revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return text == c.value, slices.Contains(c.revoked, text)
}

// Random returns random bytes.
func Random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// SearchToken is the credential of every simulator's search API.
const SearchToken = "search-token"

// Product faults of every search API: "search late" has not indexed the last tenth of the events yet; "search limit"
// refuses the request with a 429 and a Retry-After of one second.
const (
	SearchLate  = "search late"
	SearchLimit = "search limit"
)

// Searchable is a simulator with a search API.
type Searchable interface {
	Simulator
	// SearchSettings returns siemctl's search settings for the API, with the credential.
	SearchSettings() map[string]string
	// AcceptAt records events, with the time of their arrival.
	AcceptAt(at time.Time, events ...Accepted)
}

// Searches keeps the results of searches for further requests. The zero value is ready to use.
type Searches struct {
	list sync.Map // of *Search by id
	last atomic.Int64
}

// Search is a search that was started.
type Search struct {
	Found []Accepted
	asked atomic.Bool
}

// Add keeps results under a new id.
func (s *Searches) Add(found []Accepted) (id string) {
	id = strconv.FormatInt(s.last.Add(1), 10)
	s.list.Store(id, &Search{Found: found})
	return id
}

// Get returns the search with that id, nil if there is none.
func (s *Searches) Get(id string) *Search {
	value, _ := s.list.Load(id)
	search, _ := value.(*Search)
	return search
}

// Delete removes a search.
func (s *Searches) Delete(id string) { s.list.Delete(id) }

// Done reports whether the search is done: not when it is asked for the first time.
func (s *Search) Done() bool { return s.asked.Swap(true) }

// Page returns the results from a position, at most n.
func (s *Search) Page(from, n int) []Accepted {
	return s.Found[min(from, len(s.Found)):min(from+n, len(s.Found))]
}

// Base is the journal and the faults of a simulator.
type Base struct {
	Journal
	Faults
}

// Accept records the events that no fault loses.
func (b *Base) Accept(events ...Accepted) {
	b.Journal.Accept(slices.DeleteFunc(events, func(e Accepted) bool { return b.Loses(e.ID) })...)
}

// Find returns the indexed events of a span of time that match, at most n; 0: all.
func (b *Base) Find(from, to time.Time, n int, match func(Accepted) bool) (found []Accepted) {
	for _, a := range b.Indexed(b.ArrivedIn(from, to)) {
		if (n == 0 || len(found) < n) && match(a) {
			found = append(found, a)
		}
	}
	return found
}

// Holds reports whether the event's bytes contain a text.
func (a Accepted) Holds(text string) bool { return strings.Contains(string(a.Event), text) }

// ArrivedIn returns the accepted events that arrived from one time, inclusive, to another, exclusive, in their order.
func (j *Journal) ArrivedIn(from, to time.Time) []Accepted {
	j.mu.Lock()
	defer j.mu.Unlock()
	found := make([]Accepted, 0, len(j.accepted))
	for i, at := range j.arrived {
		if from.UnixMilli() <= at && at < to.UnixMilli() {
			found = append(found, j.accepted[i])
		}
	}
	return found
}

// Indexed returns the events that a search can find.
func (s *Faults) Indexed(events []Accepted) []Accepted {
	if s.Product(SearchLate) {
		return events[:len(events)-len(events)/10]
	}
	return events
}

// SearchLimited returns the refusal of a search because of a limit.
func (s *Faults) SearchLimited() (Answer, bool) {
	if !s.Product(SearchLimit) {
		return Answer{}, false
	}
	return Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "1"},
		Reason: "search limit"}, true
}

// maxViolations bounds the violations that are kept: one mistake is usually repeated.
const maxViolations = 100

// Journal records what a simulator accepted and refused. The zero value is ready to use.
type Journal struct {
	mu       sync.Mutex
	accepted []Accepted
	arrived  []int64 // Unix milliseconds, of each accepted event
	stats    Stats
}

// Arrived counts a request with its bytes on the wire.
func (j *Journal) Arrived(wireBytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.Requests++
	j.stats.Bytes += wireBytes
}

// Accept records events. The caller must not change their bytes afterwards.
func (j *Journal) Accept(events ...Accepted) { j.AcceptAt(time.Now(), events...) }

// AcceptAt is Accept with the time of arrival, which searches use.
func (j *Journal) AcceptAt(at time.Time, events ...Accepted) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accepted = append(j.accepted, events...)
	for range events {
		j.arrived = append(j.arrived, at.UnixMilli())
	}
	j.stats.Accepted = len(j.accepted)
}

// Refuse counts a refusal under a short, stable reason. The detail is for display.
func (j *Journal) Refuse(reason, detail string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stats.Refused == nil {
		j.stats.Refused = map[string]int{}
	}
	j.stats.Refused[reason]++
	j.stats.LastProblem = reason
	if detail != "" {
		j.stats.LastProblem += ": " + detail
	}
}

// AuthFailed counts a request that was refused for its credential.
func (j *Journal) AuthFailed() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.AuthFailures++
}

// Violate records something that the product accepts and the wire format forbids.
func (j *Journal) Violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.LastProblem = "violation: " + text
	if len(j.stats.Violations) < maxViolations && !slices.Contains(j.stats.Violations, text) {
		j.stats.Violations = append(j.stats.Violations, text)
	}
}

// Accepted returns the accepted events in their order.
func (j *Journal) Accepted() []Accepted {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clip(j.accepted)
}

// Stats returns a copy of the counts.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Refused = maps.Clone(s.Refused)
	s.Violations = slices.Clone(s.Violations)
	return s
}

// Succeeds reports whether a response is a success of the connector's SIEM. n is the number of events in the request.
// The rules are those of the table of the wire format; they are written again here, so that a connector cannot share a
// mistake with the test that uses them.
func Succeeds(connector string, status int, body []byte, n int) bool {
	body = bytes.TrimSpace(body)
	var reply map[string]json.RawMessage
	isObject := json.Unmarshal(body, &reply) == nil && reply != nil
	isJSON := json.Valid(body)
	empty := len(body) == 0
	switch connector {
	case "splunk":
		code := strings.TrimSpace(string(reply["code"]))
		return isObject && (code == "0" || status == http.StatusOK && (code == "24" || code == "25")) && status/100 == 2
	case "sentinel":
		return status/100 == 2 && (empty || isJSON && reply["error"] == nil)
	case "elastic":
		var items []json.RawMessage
		return status/100 == 2 && isObject && json.Unmarshal(reply["items"], &items) == nil && len(items) == n
	case "datadog": // DATADOG_INTAKE_URL is set
		return status/100 == 2 && (empty || isObject && reply["errors"] == nil)
	case "sumo":
		return status == http.StatusOK && (empty || isJSON)
	case "xsiam":
		switch string(reply["error"]) {
		case "", "null", "false", `"false"`, `""`:
			return status/100 == 2 && (empty || isJSON)
		}
	}
	return false
}
