package downalarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbitex/siem-connectors/shared/telemetry"
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

func TestMetrics(t *testing.T) {
	line := metrics(t, "splunk", start, 5)
	connector, at, sums, ok := Metrics(line)
	if want := map[string]float64{"Delivered": 0, "Retried": 5}; !ok || connector != "splunk" || !at.Equal(start) ||
		!maps.Equal(sums, want) {
		t.Error(connector, at, sums, ok)
	}
	for _, other := range []string{``, `{"msg":"batch"}`, `{"_aws":`, `{"_aws":{},"Connector":"x"}`} {
		if _, _, _, ok := Metrics([]byte(other)); ok {
			t.Errorf("%s: ok", other)
		}
	}
	// CloudWatch reads what the line declares, in our namespace.
	for _, change := range [][2]string{{telemetry.Namespace, "Other"}, {`"Name":"Retried"`, `"Name":"Other"`}} {
		other := bytes.Replace(line, []byte(change[0]), []byte(change[1]), 1)
		if _, _, sums, _ := Metrics(other); sums["Retried"] != 0 {
			t.Errorf("%s: %v", change[1], sums)
		}
	}
}

// metrics is the line of a connector whose batch failed.
func metrics(t *testing.T, connector string, at time.Time, retried float64) []byte {
	t.Helper()
	var line bytes.Buffer
	telemetry.Write(&line, at, "siem", connector, telemetry.Value{Name: "Delivered", Unit: telemetry.Count},
		telemetry.Value{Name: "Retried", Unit: telemetry.Count, Number: retried})
	return line.Bytes()
}

func TestAlarms(t *testing.T) {
	var sent []string
	var problems []error
	failure := errors.New("throttled")
	a := New(Config{
		Stack: "siem", Connectors: []string{"splunk", "elastic"},
		Send: func(_ context.Context, event []byte) error {
			var e struct {
				Source string
				Detail struct {
					AlarmName string
					State     struct{ Value string }
				}
			}
			if err := json.Unmarshal(event, &e); err != nil || e.Source != "aws.cloudwatch" ||
				e.Detail.State.Value != "ALARM" {
				t.Errorf("%s", event)
			}
			sent = append(sent, e.Detail.AlarmName)
			return failure
		},
		Problem: func(err error) { problems = append(problems, err) },
	})
	a.Evaluate(t.Context(), start)
	for minute := 1; minute <= 3; minute++ {
		at := start.Add(time.Duration(minute) * time.Minute)
		a.Line(metrics(t, "splunk", at, 5))
		a.Line(metrics(t, "elastic", at, 0))
		a.Line(metrics(t, "sumo", at, 5))
		a.Line([]byte(`{"msg":"batch","connector":"elastic","Retried":5}`))
		a.Evaluate(t.Context(), at.Add(time.Minute))
	}
	if !slices.Equal(sent, []string{"siem-splunk-down"}) || !slices.Equal(a.Firing(), []string{"splunk"}) {
		t.Errorf("sent %v, firing %v", sent, a.Firing())
	}
	if len(problems) != 1 || !errors.Is(problems[0], failure) {
		t.Errorf("problems: %v", problems)
	}
}

// TestRun: a shorter period, as in a demonstration, by the clock.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		fired := make(chan time.Duration, 10)
		begin := time.Now()
		a := New(Config{
			Stack: "siem", Connectors: []string{"splunk"}, Period: 2 * time.Second,
			Send: func(context.Context, []byte) error { fired <- time.Since(begin); return nil },
		})
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		for range 20 {
			a.Line(metrics(t, "splunk", time.Now(), 1))
			<-time.After(500 * time.Millisecond)
		}
		cancel()
		<-done
		if after := <-fired; after < 4*time.Second || after > 10*time.Second {
			t.Errorf("fired after %s", after)
		}
	})
}
