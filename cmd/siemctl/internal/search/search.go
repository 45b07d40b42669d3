// Package search asks the SIEMs' own search APIs which events they hold, with credentials of the operator. It only
// reads.
//
// Every search streams: it holds one event at a time, and pages are bounded. A response that is not complete (a shard
// that failed, a search that was cancelled, a stream that ended early) is an error, never a smaller result.
package search

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Query selects events.
type Query struct {
	// From and To bound the arrival in the SIEM. They are wider than the window of the receipts.
	From, To time.Time
	// MaxAge is how old an event may be on its arrival. It widens the search in SIEMs that can only search by an event's
	// own time.
	MaxAge time.Duration
	// ID selects one event by its id; "" selects all events of the window.
	ID string
	// Each iterates over the delivered events, for a SIEM that is asked for ids instead of a window. Nil with ID.
	Each func(yield func(id string, hash uint64) bool)
}

// Searcher searches one SIEM.
type Searcher interface {
	// Describe returns the query as it is sent, for the evidence.
	Describe(q Query) string
	// Search calls take for every event that the query selects, in no order. It may also return events that are not
	// selected.
	Search(ctx context.Context, q Query, take func(receipts.Found)) error
}

// Options are what all searchers need.
type Options struct {
	// Function returns a setting of the connector's function, such as its index.
	Function settings.Lookup
	// Wait waits before a request is repeated.
	Wait func(context.Context, time.Duration) error
	// Note tells the operator about a wait. It may be nil.
	Note func(text string)
}

// opener makes a searcher from the operator's settings. It adds problems to s.
type opener func(s *settings.Settings, o Options) Searcher

func openers() map[string]opener {
	return map[string]opener{
		"splunk": openSplunk, "sentinel": openSentinel, "elastic": openElastic, "datadog": openDatadog, "sumo": openSumo,
		"qradar": openQRadar, "xsiam": openXSIAM,
	}
}

// Open makes the searcher of a connector. The error is a *settings.Error that names every missing or wrong setting.
func Open(connector string, s *settings.Settings, o Options) (Searcher, error) {
	open, ok := openers()[connector]
	if !ok {
		return nil, fmt.Errorf("there is no search for the connector %q", connector)
	}
	searcher := open(s, o)
	return searcher, s.Err()
}

// Configured reports whether any search setting of a connector is set.
func Configured(connector string, env settings.Lookup) bool {
	return slices.ContainsFunc(Variables(connector), func(v settings.Setting) bool { return env(v.Name) != "" })
}

// Variables lists the search settings of a connector.
func Variables(connector string) []settings.Setting {
	s := settings.New(func(string) string { return "" }, nil)
	if open, ok := openers()[connector]; ok {
		open(s, Options{Function: func(string) string { return "" }})
	}
	return slices.DeleteFunc(s.Declared(), func(v settings.Setting) bool { return !strings.Contains(v.Name, "_SEARCH_") })
}

// credential reads a credential that must be set.
func credential(s *settings.Settings, name, expected string) string {
	value := s.Secret(name, false, expected)
	if value.Empty() {
		s.Problem(name, "", expected)
	}
	return value.Reveal()
}

// function returns a setting of the function, or its default.
func (o Options) function(name, def string) string {
	if value := strings.TrimSpace(o.Function(name)); value != "" {
		return value
	}
	return def
}

// quote writes text as a double-quoted string of SPL, KQL, XQL and of the query languages of Datadog and Sumo Logic.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
