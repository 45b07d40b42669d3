package alarms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// start begins a period that never breaches.
var start = time.Date(2026, 3, 13, 10, 0, 0, 0, time.UTC)

// metrics is the line of a connector whose batch failed.
func metrics(t *testing.T, connector string, at time.Time, retried float64) []byte {
	t.Helper()
	var line bytes.Buffer
	err := telemetry.Write(&line, at, "siem", connector, telemetry.Value{Name: "Delivered", Unit: telemetry.Count},
		telemetry.Value{Name: "Retried", Unit: telemetry.Count, Number: retried})
	if err != nil {
		t.Fatal(err)
	}
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
			if err := json.Unmarshal(event, &e); err != nil || e.Source != "aws.cloudwatch" || e.Detail.State.Value != "ALARM" {
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
			time.Sleep(500 * time.Millisecond)
		}
		cancel()
		<-done
		if after := <-fired; after < 4*time.Second || after > 10*time.Second {
			t.Errorf("fired after %s", after)
		}
	})
}
