package siem

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// maxViolations bounds what is kept of them: one kind of mistake tends to be made a thousand times.
const maxViolations = 100

// Journal is what a simulator took and refused. The zero value is ready.
type Journal struct {
	mu       sync.Mutex
	accepted []Accepted
	stats    Stats
}

// Arrived counts a request of that many bytes on the wire.
func (j *Journal) Arrived(wireBytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.Requests++
	j.stats.Bytes += wireBytes
}

// Accept keeps events. The caller must not change their bytes afterwards.
func (j *Journal) Accept(events ...Accepted) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accepted = append(j.accepted, events...)
	j.stats.Accepted = len(j.accepted)
}

// Refuse counts one refusal under a short, stable reason; the detail is for people.
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

// AuthFailed counts one request refused for its credential.
func (j *Journal) AuthFailed() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.AuthFailures++
}

// Violate notes something the product takes and the contract forbids.
func (j *Journal) Violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stats.LastProblem = "violation: " + text
	if len(j.stats.Violations) < maxViolations && !slices.Contains(j.stats.Violations, text) {
		j.stats.Violations = append(j.stats.Violations, text)
	}
}

// Accepted returns what was taken so far, in order.
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
