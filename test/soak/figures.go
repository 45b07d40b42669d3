package main

import (
	"math"
	"slices"
	"time"
)

// percentile returns the smallest value that at least p percent of the values do not exceed (nearest rank); 0 if there
// are none.
func percentile(of []time.Duration, p float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is a summary of delays.
type spread struct {
	count      int
	median     time.Duration
	ninetyNine time.Duration
}

func spreadOf(d []time.Duration) spread {
	return spread{count: len(d), median: percentile(d, 50), ninetyNine: percentile(d, 99)}
}

// The bounds of the delays of other connectors during a burst. An event waits up to the 5 s of the batching window, and
// the median depends on its phase.
const (
	medianBound     = time.Second
	ninetyNineBound = 2500 * time.Millisecond
)

// unmoved reports whether delays are unchanged, within the bounds.
func unmoved(before, during spread) bool {
	return before.count > 0 && during.count > 0 &&
		during.median <= before.median+medianBound && during.ninetyNine <= before.ninetyNine+ninetyNineBound
}
