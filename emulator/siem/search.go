package siem

import (
	"net/http"
	"time"
)

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
	if _, late := s.Product(SearchLate); late {
		return events[:len(events)-len(events)/10]
	}
	return events
}

// SearchLimited returns the refusal of a search because of a limit.
func (s *Faults) SearchLimited() (Answer, bool) {
	if _, limited := s.Product(SearchLimit); !limited {
		return Answer{}, false
	}
	return Answer{Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "1"},
		Reason: "search limit"}, true
}
