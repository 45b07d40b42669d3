package deliver

import (
	"fmt"
	"net/http"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// request is decide's input besides the response.
type request struct {
	events  int  // number of events in it
	last    bool // at least one of them is on its last attempt
	anyLast bool // at least one event of the delivery is on its last attempt
	renewed bool // the credential was already renewed in this delivery
}

// decision is the consequence of the response to a request. Exactly one of these holds: renew is set; bisect is set;
// results has one error per event; all events have the same outcome.
type decision struct {
	renew   bool           // read the credential again, and send the same events again
	bisect  bool           // send each half of the events
	results []error        // per event, as in PartialError
	outcome Outcome        // of every event
	stop    *failure.Error // why no further request is made, nil if the delivery continues
}

// decide returns what follows from err, the result of Send for request r. It is a pure function.
func decide(r request, err error) decision {
	if err == nil {
		return decision{outcome: Outcome{State: Delivered}}
	}
	if p, ok := err.(*PartialError); ok { //nolint:errorlint // Send returns a PartialError itself, never wrapped
		if len(p.Results) != r.events {
			f := &failure.Error{Detail: fmt.Sprintf("%d results for %d events", len(p.Results), r.events)}
			return decision{outcome: Outcome{Fault: f}, stop: f}
		}
		return decision{results: p.Results, stop: overload(p.Results)}
	}
	f := failure.Of(err)
	switch {
	case f.Kind == failure.Unauthorized && !r.renewed:
		return decision{renew: true}
	case r.events > 1 && splittable(f, r.last):
		return decision{bisect: true}
	}
	d := decision{outcome: outcomeOf(f)}
	if stops(f, r.anyLast) {
		d.stop = f
	}
	return d
}

// outcomeOf returns the outcome of an event for which f was returned.
func outcomeOf(f *failure.Error) Outcome {
	switch {
	case f.Kind == failure.TooLarge, f.Kind == failure.Rejected && !f.Foreign:
		return Outcome{State: Rejected, Fault: f}
	case f.Kind == failure.Rejected:
		return Outcome{Fault: f.Held()}
	}
	return Outcome{Fault: f}
}

// splittable reports whether a request of several events that failed with f is bisected. last reports whether one of
// its events is on its last attempt.
func splittable(f *failure.Error, last bool) bool {
	refused := f.Kind == failure.TooLarge || f.Kind == failure.Rejected && !f.Foreign
	return refused || last && oneEventCanCause(f)
}

// oneEventCanCause reports whether one event can cause f, although f is not a refusal of an event by the SIEM: the
// event makes the SIEM fail, or something in front of the SIEM refuses it.
func oneEventCanCause(f *failure.Error) bool {
	if f.Step == failure.Auth && !f.Foreign { // the SIEM's own refusal of a credential, or a request for a token
		return false
	}
	switch f.Status {
	case http.StatusNotAcceptable: // web application firewalls
		return true
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable: // credential, setup or load
		return false
	}
	switch f.Status / 100 {
	case 4:
		return f.Foreign || f.Kind == failure.Transient // a code that the SIEM does not document
	case 5:
		return f.Kind == failure.Transient
	}
	return f.Disconnected
}

// stops reports whether the next request would fail in the same way. If it would, the remaining events are not sent.
// anyLast reports whether one event of the delivery is on its last attempt.
func stops(f *failure.Error, anyLast bool) bool {
	if oneEventCanCause(f) {
		return f.Disconnected && !anyLast // on a last attempt, the neighbours of the failing event are still sent
	}
	switch f.Kind {
	case failure.Transient:
		return f.Status == 0 || f.Status == http.StatusServiceUnavailable
	case failure.Throttled, failure.Unauthorized, failure.Misconfigured:
		return true
	default:
		return false
	}
}

// overload returns the first result by which the SIEM asks for fewer requests (429 or 503), or nil.
func overload(results []error) *failure.Error {
	for _, err := range results {
		f := failure.Of(err)
		if f != nil && (f.Kind == failure.Throttled || f.Kind == failure.Transient &&
			f.Status == http.StatusServiceUnavailable) {
			return f
		}
	}
	return nil
}
