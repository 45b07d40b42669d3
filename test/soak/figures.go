package main

import (
	"math"
	"slices"
	"time"
)

// percentile is the smallest value that p of 100 are not larger than (the nearest rank); 0 of none.
func percentile(of []time.Duration, p float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is what is told of delays.
type spread struct {
	count      int
	median     time.Duration
	ninetyNine time.Duration
}

func spreadOf(d []time.Duration) spread {
	return spread{count: len(d), median: percentile(d, 50), ninetyNine: percentile(d, 99)}
}

// How much longer the others may take while one connector works off a burst. An event waits up to the 5 s of the
// batching window; with its phase the median moves by itself.
const (
	medianBound     = time.Second
	ninetyNineBound = 2500 * time.Millisecond
)

// unmoved tells whether delays are what they were before, within the bounds.
func unmoved(before, during spread) bool {
	return before.count > 0 && during.count > 0 &&
		during.median <= before.median+medianBound && during.ninetyNine <= before.ninetyNine+ninetyNineBound
}
