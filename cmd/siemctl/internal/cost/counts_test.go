package cost

import (
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	for _, fill := range []int{1, 10, 50, 100} {
		start := time.Now()
		c := run(t, 2000, fill, 0)
		t.Logf("%d: %+v in %v", fill, c, time.Since(start))
		t.Logf("mean %.0f wire/batch %.0f log/batch %.0f", c.eventBytes/c.events, c.wire/c.invocations, c.logs/c.invocations)
	}
	for _, refuse := range []int{1000, 100, 10} {
		c := run(t, 2000, 50, refuse)
		t.Logf("refuse %d: %+v", refuse, c)
	}
}
