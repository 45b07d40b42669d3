package sqsbatch

import (
	"math"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Backoff is the schedule of attempts.
type Backoff struct {
	Attempts     int           // an event gets so many attempts, and is a dead letter after the last
	Initial, Max time.Duration // the wait after the first attempt, and after the last but one
}

// maxRetryAfter is how long a SIEM may make us wait.
const maxRetryAfter = 900 * time.Second

// maxVisibility is the longest time SQS hides a message: 12 hours from its receipt.
const maxVisibility = 43_200

// ReadBackoff reads the schedule's settings.
func ReadBackoff(s *settings.Settings) Backoff {
	b := Backoff{
		Attempts: s.Int("SIEM_MAX_ATTEMPTS", 5, 1, 1000),
		Initial:  time.Duration(s.Int("SIEM_BACKOFF_INITIAL_SECONDS", 1, 1, maxVisibility/2)) * time.Second,
		Max:      time.Duration(s.Int("SIEM_BACKOFF_MAX_SECONDS", 300, 1, maxVisibility/2)) * time.Second,
	}
	if b.Max < b.Initial {
		s.Problem("SIEM_BACKOFF_MAX_SECONDS", b.Max.String(), "at least SIEM_BACKOFF_INITIAL_SECONDS, which is "+b.Initial.String())
	}
	return b
}

// Exhausted tells whether attempt was the last.
func (b Backoff) Exhausted(attempt int) bool { return attempt >= b.Attempts }

// Wait is how long to wait after the failed attempt (1 is the first), in whole seconds: it grows geometrically from
// Initial to Max over the waits there are, is Max at once when the set-up is at fault, and is never shorter than what
// the SIEM asked for.
func (b Backoff) Wait(attempt int, f *failure.Error) time.Duration {
	wait := b.grow(attempt)
	if f == nil {
		return wait
	}
	if f.Kind == failure.Misconfigured || f.Kind == failure.Unauthorized {
		wait = b.Max
	}
	return max(wait, min(f.RetryAfter, maxRetryAfter))
}

func (b Backoff) grow(attempt int) time.Duration {
	waits := b.Attempts - 1
	switch {
	case waits <= 1 || attempt <= 1:
		return b.Initial
	case attempt >= waits:
		return b.Max
	}
	ratio := b.Max.Seconds() / b.Initial.Seconds()
	seconds := b.Initial.Seconds() * math.Pow(ratio, float64(attempt-1)/float64(waits-1))
	return time.Duration(math.Round(seconds)) * time.Second
}
