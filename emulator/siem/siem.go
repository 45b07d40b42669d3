// Package siem provides the common parts of the simulated SIEMs: their interface, the faults that can be injected, the
// journal of accepted events, and the HTTPS server of those that use HTTP.
//
// A simulator is strict. It refuses what the product refuses, with the product's codes. It accepts what the product
// accepts, and records a violation if the wire format in the connector's README forbids it, so that a test or the demo
// can require that there is none. It shares no code with the connectors (it uses encoding/json, not their parser), so
// that both cannot have the same mistake.
package siem

import (
	"net"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem/pki"
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

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Listen == nil {
		o.Listen = func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	if o.Authority == nil {
		authority, err := pki.New("ArbitexSIEM simulator CA")
		if err != nil {
			return o, err
		}
		o.Authority = authority
	}
	return o, nil
}
