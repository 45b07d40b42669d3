// Package siem is the frame of the simulated SIEMs: what each of them must be able to do, the faults it can be told to
// have, the journal of what it took, and the HTTPS server the HTTP ones stand on.
//
// A simulator is strict. Whatever the product refuses, it refuses with the product's codes; what the product would take
// although it is wrong by our contract is taken too, and written down as a violation, so that a test or the demo can
// demand that there be none. It judges with code of its own (encoding/json, not the connectors' parser), so that a
// connector and its judge cannot share a mistake.
package siem

import (
	"net"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem/pki"
)

// Simulator is one SIEM on loopback: it judges requests as the product does and keeps what it accepted. All methods may be
// called at any time from any goroutine.
type Simulator interface {
	// Name is the connector's name, as in functions/<name>.
	Name() string
	// Settings is the environment its connector needs to find and trust it, without secrets.
	Settings() map[string]string
	// Secret is the credential that is valid now, by variable name: what belongs into the connector's secret.
	Secret() map[string]string
	// Rotate revokes that credential at once and makes a new one, which Secret then returns.
	Rotate()
	// Accepted is what it took so far, in order. The slice and what it holds must not be changed.
	Accepted() []Accepted
	// Stats is what happened so far.
	Stats() Stats
	// Inject adds a fault; see [Fault] for the order in which faults come to bear. A fault of kind [Heal] takes faults away.
	Inject(f Fault)
	// Close stops listening and drops every connection.
	Close() error
}

// Accepted is one event the SIEM took.
type Accepted struct {
	// ID is the event's id: metadata.uid or what the wire format carries in its place; see [EventID].
	ID string
	// Event is the OCSF event's own bytes as carried, nil when the wire format does not carry it whole (CEF).
	Event []byte
	// Fields are the columns or envelope keys beside the event, where the format has them.
	Fields map[string]string
	// Truncated tells that a truncated stand-in came in the event's place.
	Truncated bool
}

// Stats is what a simulator saw.
type Stats struct {
	Requests     int            // requests (or syslog messages) that reached it, faults included
	Accepted     int            // events taken
	Refused      map[string]int // refusals by reason, such as "403 code 4" or "503"
	AuthFailures int            // requests refused for their credential
	Bytes        int64          // body bytes as they came over the wire
	LastProblem  string         // the last refusal or violation, in words
	Violations   []string       // what the product takes but the contract forbids; the first 100, each once
}

// Options are what every simulator's New takes. The zero value is good.
type Options struct {
	// Authority signs the simulator's certificates; nil makes one for it alone.
	Authority *pki.Authority
	// CAFile is a file holding Authority's certificate. Simulators whose connector has no variable for a CA bundle name it
	// in Settings as SSL_CERT_FILE.
	CAFile string
	// Plain serves http instead of https, and makes Settings allow it (SIEM_ALLOW_HTTP).
	Plain bool
	// Listen makes the listener; nil is a free port of loopback. Its address is the one that Settings name.
	Listen func() (net.Listener, error)
	// Now is the clock; nil is the machine's.
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
