package main

import "testing"

func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{4.26: "4.3", 9.98: "10", 27.6: "28", 99.7: "100", 340: "340", 1_649: "1,600",
		78_400: "78,000", 1_250_000: "1,300,000"} {
		if got := digits(x); got != want {
			t.Errorf("%g: %s, want %s", x, got, want)
		}
	}
}

// TestEventSizes checks that events have the requested size.
func TestEventSizes(t *testing.T) {
	for _, size := range growSizes {
		if got := len(makeEvent(7, size)); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
	}
}
