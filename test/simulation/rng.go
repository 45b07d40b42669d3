package simulation

import (
	"time"
)

// rng draws numbers that depend only on the seed and on a key.
type rng uint64

// roll returns a hash of the key: FNV-1a with the finalizer of SplitMix64.
func (d rng) roll(key ...any) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037) ^ uint64(d)*0x9e3779b97f4a7c15
	for _, part := range key {
		switch v := part.(type) {
		case string:
			for i := range len(v) {
				h = (h ^ uint64(v[i])) * prime
			}
		case int:
			h = (h ^ uint64(v)) * prime //nolint:gosec // any bits will do
		default:
			panic("simulation: a key is made of strings and ints")
		}
		h = (h ^ 0xff) * prime
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// chance returns true with probability p.
func (d rng) chance(p float64, key ...any) bool {
	return d.fraction(key...) < p
}

// fraction returns a number from 0 to 1.
func (d rng) fraction(key ...any) float64 { return float64(d.roll(key...)>>11) / (1 << 53) }

// below returns a number from 0 to n-1.
func (d rng) below(n int, key ...any) int {
	return int(d.roll(key...) % uint64(n)) //nolint:gosec // n is above 0
}

// between returns a time from least to most, to the nanosecond.
func (d rng) between(least, most time.Duration, key ...any) time.Duration {
	return least + time.Duration(d.roll(key...)%uint64(most-least)) //nolint:gosec // most is above least
}
