package siem

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

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
