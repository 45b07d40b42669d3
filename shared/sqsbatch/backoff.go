package sqsbatch

import (
	"math"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Backoff is the schedule of attempts.
type Backoff struct {
	Attempts     int           // an event becomes a dead letter after so many failed attempts
	Initial, Max time.Duration // the waits after the first and after the last but one attempt
}

// maxRetryAfter bounds the wait that a SIEM asks for.
const maxRetryAfter = 900 * time.Second

// ReadBackoff reads the schedule's settings.
func ReadBackoff(s *settings.Settings) Backoff {
	b := Backoff{
		Attempts: s.Int("SIEM_MAX_ATTEMPTS", 5, 1, 1000),
		Initial:  time.Duration(s.Int("SIEM_BACKOFF_INITIAL_SECONDS", 1, 1, maxVisibility/2)) * time.Second,
		Max:      time.Duration(s.Int("SIEM_BACKOFF_MAX_SECONDS", 300, 1, maxVisibility/2)) * time.Second,
	}
	if b.Max < b.Initial {
		s.Problem("SIEM_BACKOFF_MAX_SECONDS", b.Max.String(),
			"at least SIEM_BACKOFF_INITIAL_SECONDS, which is "+b.Initial.String())
	}
	return b
}

// Exhausted reports whether attempt is the last one.
func (b Backoff) Exhausted(attempt int) bool { return attempt >= b.Attempts }

// Wait returns the back-off after a failed attempt (1 is the first), in whole seconds. It grows geometrically from
// Initial to Max over the waits between the attempts. It is Max at once if the setup is at fault, and at least what the
// SIEM asked for.
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
