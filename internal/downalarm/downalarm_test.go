package downalarm

import (
	"strings"
	"testing"
	"time"
)

// start is the beginning of a period that never breaches.
var start = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

func TestAlarm(t *testing.T) {
	failing, delivering, mixed := Values{Retried: 3}, Values{Delivered: 3}, Values{Delivered: 3, Retried: 1}
	held, none := Values{Delivered: 3, Retried: 1, Held: 1}, Values{}
	for name, c := range map[string]struct {
		minutes []Values // from the minute 1 on
		fires   string   // x: the alarm fires at the end of the minute
	}{
		"two periods":           {[]Values{failing, failing, failing}, " x  "},
		"one period":            {[]Values{failing, delivering, failing, none}, "     "},
		"held":                  {[]Values{held, held}, " x"},
		"some delivered":        {[]Values{mixed, mixed, mixed, mixed}, "    "},
		"a quiet period":        {[]Values{failing, none, failing, failing}, "   x"},
		"again after it was OK": {[]Values{failing, failing, none, failing, none, failing, failing}, " x    x"},
		"again while it is down": {[]Values{failing, failing, failing, failing, failing, failing, failing, failing},
			" x    x "},
	} {
		t.Run(name, func(t *testing.T) {
			var a Alarm
			a.Evaluate(start)
			for i, v := range c.minutes {
				begin := start.Add(time.Duration(i+1) * Period)
				half := Values{v.Delivered / 2, v.Retried / 2, v.Held / 2}
				a.Add(begin.Add(time.Second), half)
				a.Add(begin.Add(59*time.Second), half)
				if fired, want := a.Evaluate(begin.Add(Period)), strings.HasPrefix(c.fires[min(i, len(c.fires)):],
					"x"); fired != want {
					t.Errorf("minute %d: fired %t, want %t", i+1, fired, want)
				}
			}
		})
	}
}

func TestAlarmOverGaps(t *testing.T) {
	var a Alarm
	a.Evaluate(start)
	a.Add(start.Add(Period), Values{Retried: 1})
	a.Add(start.Add(2*Period), Values{Retried: 1})
	if !a.Evaluate(start.Add(4*Period)) || a.Firing() {
		t.Error("want the alarm to have fired and to be OK again")
	}
	a.Add(start.Add(time.Minute), Values{Retried: 1}) // late: no effect
	if a.Evaluate(start.Add(24 * time.Hour)) {
		t.Error("fired without data")
	}
}

func TestParseLine(t *testing.T) {
	connector, at, v, ok := ParseLine([]byte(`{"_aws":{"Timestamp":1773396000000,"CloudWatchMetrics":[]},"Stack":"local",` +
		`"Connector":"splunk","Delivered":0,"Retried":5,"Held":2}`))
	if !ok || connector != "splunk" || at.UnixMilli() != 1773396000000 || v != (Values{0, 5, 2}) {
		t.Error(connector, at, v, ok)
	}
	for _, line := range []string{``, `{"msg":"batch"}`, `{"_aws":`, `{"_aws":{},"Connector":"x"}`} {
		if _, _, _, ok := ParseLine([]byte(line)); ok {
			t.Errorf("%s: ok", line)
		}
	}
}
