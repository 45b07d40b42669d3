package event

import (
	"bytes"
	"strconv"
	"time"
)

// MaxTime is the latest time of an event: the last millisecond that RFC 3339 can express (year 9999).
const MaxTime = 253402300799999

// The years 1990 to 2100 in Unix seconds, from the first inclusive to the last exclusive. Within these years, a value
// in seconds, milliseconds, microseconds or nanoseconds can only be in that unit: the ranges do not overlap.
const (
	firstSecond = 631152000  // 1990-01-01
	endSecond   = 4133980800 // 2101-01-01
)

// milliseconds converts the value of `time` to Unix milliseconds. converted reports whether the value is in another
// unit. problem describes an unusable value; it is "" for a usable one.
func milliseconds(n int64) (ms int64, converted bool, problem string) {
	const thousand, million, billion = 1_000, 1_000_000, 1_000_000_000
	within := func(unit int64) bool { return firstSecond*unit <= n && n < endSecond*unit }
	switch {
	case within(1):
		return n * thousand, true, ""
	case within(million):
		return n / thousand, true, ""
	case within(billion):
		return n / million, true, ""
	case n < 0:
		return 0, false, "found a negative number"
	case n > MaxTime:
		return 0, false, "found a number after the year 9999"
	}
	return n, false, ""
}

// parseInteger reads a number that is an integer, or has a fraction of zero. found names the value if it is not one.
func parseInteger(raw []byte, integer bool) (n int64, found string) {
	if !integer {
		whole, fraction, _ := bytes.Cut(raw, []byte{'.'})
		if len(bytes.Trim(fraction, "0")) > 0 || bytes.ContainsAny(whole, "eE") {
			return 0, "a number that is not an integer"
		}
		raw = whole
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, "a number out of range"
	}
	return n, ""
}

// timeLayout is RFC 3339 with milliseconds. Times are in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AppendTime appends the event's time as RFC 3339 in UTC with three decimals.
func (e *Event) AppendTime(dst []byte) []byte {
	return time.UnixMilli(e.Time).UTC().AppendFormat(dst, timeLayout)
}

// year9999 is the first millisecond of the last year that RFC 3339 can express.
const year9999 = 253370764800000

// TimePlaceholder reports whether the time is a value that senders use for "unknown" or "never": 0, or in the year
// 9999.
func (e *Event) TimePlaceholder() bool { return e.Time == 0 || e.Time >= year9999 }
