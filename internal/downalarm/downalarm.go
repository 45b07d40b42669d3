// Package downalarm simulates CloudWatch and EventBridge for the alarm "down" of a connector, as the template defines
// it: events were retried and none was delivered, or events were held, in two periods out of two. It reads the metrics
// that the functions print.
package downalarm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Period is the period of the template's alarm.
const Period = time.Minute

// ResetEvery is the number of periods after which one period never breaches. The alarm then enters the state ALARM
// again, which sends an event, although it fired before and the connector still fails.
const ResetEvery = 5

// Values are the sums of a period.
type Values struct{ Delivered, Retried, Held float64 }

// Breaching evaluates the expression of the alarm.
func (v Values) Breaching() bool { return v.Held > 0 || v.Retried > 0 && v.Delivered == 0 }

// Alarm is the alarm of one connector. Its zero value has the state OK.
type Alarm struct {
	Period time.Duration // 0 means Period; a shorter one for demonstrations

	firing bool
	next   int64 // the first period that is not evaluated
	last   bool  // the period before it breached
	sums   map[int64]Values
}

func (a *Alarm) index(t time.Time) int64 {
	return t.UnixNano() / int64(cmp.Or(a.Period, Period))
}

// Add adds what a batch reported at t. Values of a period that was evaluated have no effect.
func (a *Alarm) Add(t time.Time, v Values) {
	i := a.index(t)
	if i < a.next {
		return
	}
	if a.sums == nil {
		a.sums = map[int64]Values{}
	}
	old := a.sums[i]
	a.sums[i] = Values{old.Delivered + v.Delivered, old.Retried + v.Retried, old.Held + v.Held}
}

// Evaluate evaluates the periods that ended before t, and reports whether the alarm entered the state ALARM. A period
// without data does not breach.
func (a *Alarm) Evaluate(t time.Time) (fired bool) {
	end := a.index(t)
	if a.next == 0 || end-a.next > 2*ResetEvery && len(a.sums) == 0 {
		a.next = end - 2
	}
	for ; a.next < end; a.next++ {
		breaching := a.sums[a.next].Breaching() && a.next%ResetEvery != 0
		delete(a.sums, a.next)
		firing := breaching && a.last
		fired = fired || firing && !a.firing
		a.firing, a.last = firing, breaching
	}
	return fired
}

// Firing reports whether the state is ALARM.
func (a *Alarm) Firing() bool { return a.firing }

// Metrics reads a line that a function printed: the sums that it reports to CloudWatch in the embedded metric format,
// by name. ok is false for any other line.
func Metrics(line []byte) (connector string, at time.Time, sums map[string]float64, ok bool) {
	if !bytes.Contains(line, []byte(`"_aws"`)) {
		return "", at, nil, false
	}
	var m struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace string
				Metrics   []struct{ Name string }
			}
		} `json:"_aws"`
		Connector string
	}
	var all map[string]any
	if json.Unmarshal(line, &m) != nil || json.Unmarshal(line, &all) != nil || m.Connector == "" ||
		m.AWS.Timestamp == 0 {
		return "", at, nil, false
	}
	sums = map[string]float64{}
	for _, directive := range m.AWS.CloudWatchMetrics {
		for _, metric := range directive.Metrics {
			if n, ok := all[metric.Name].(float64); ok && directive.Namespace == telemetry.Namespace {
				sums[metric.Name] = n
			}
		}
	}
	return m.Connector, time.UnixMilli(m.AWS.Timestamp), sums, true
}

// Event returns the event that EventBridge delivers when an alarm enters the state ALARM.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
func Event(name, id string, at time.Time) []byte {
	text, _ := json.Marshal(map[string]any{ // strings always marshal
		"version": "0", "id": id, "detail-type": "CloudWatch Alarm State Change", "source": "aws.cloudwatch",
		"time": at.UTC().Format(time.RFC3339),
		"detail": map[string]any{
			"alarmName": name,
			"state": map[string]any{
				"value": "ALARM", "timestamp": at.UTC().Format("2006-01-02T15:04:05.000+0000"),
			},
			"previousState": map[string]any{"value": "OK"},
		},
	})
	return text
}

// Config configures Alarms. Stack, Connectors and Send are required.
type Config struct {
	Stack      string
	Connectors []string
	Period     time.Duration // of the alarms; 0: the template's
	// Send receives the event of an alarm that entered the state ALARM: what EventBridge puts on the guard's queue.
	Send func(ctx context.Context, event []byte) error
	// Problem receives the errors of Send. nil: discarded.
	Problem func(error)
}

// Alarms are the alarms <stack>-<connector>-down. Its methods may be called concurrently.
type Alarms struct {
	c Config

	mu     sync.Mutex
	alarms map[string]*Alarm // by connector
	events int
}

// New returns the alarms, in the state OK.
func New(c Config) *Alarms {
	if c.Problem == nil {
		c.Problem = func(error) {}
	}
	a := &Alarms{c: c, alarms: map[string]*Alarm{}}
	for _, name := range c.Connectors {
		a.alarms[name] = &Alarm{Period: c.Period}
	}
	return a
}

// Line reads a line that a function printed. Lines that are not metrics of a connector have no effect.
func (a *Alarms) Line(printed []byte) {
	name, at, sums, ok := Metrics(printed)
	a.mu.Lock()
	defer a.mu.Unlock()
	if alarm := a.alarms[name]; ok && alarm != nil {
		alarm.Add(at, Values{sums["Delivered"], sums["Retried"], sums["Held"]})
	}
}

// Evaluate evaluates the alarms at a time, and sends the events of those that fire.
func (a *Alarms) Evaluate(ctx context.Context, now time.Time) {
	for _, event := range a.evaluate(now) {
		if err := a.c.Send(ctx, event); err != nil {
			a.c.Problem(fmt.Errorf("sending an alarm's event: %w", err))
		}
	}
}

func (a *Alarms) evaluate(now time.Time) (events [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range a.c.Connectors {
		if a.alarms[name].Evaluate(now) {
			a.events++
			events = append(events, Event(a.c.Stack+"-"+name+"-down", fmt.Sprintf("event-%d", a.events), now))
		}
	}
	return events
}

// Firing returns the connectors whose alarm is in the state ALARM.
func (a *Alarms) Firing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.c.Connectors), func(name string) bool { return !a.alarms[name].Firing() })
}

// Run evaluates the alarms twice a period, until ctx ends.
func (a *Alarms) Run(ctx context.Context) {
	ticker := time.NewTicker(cmp.Or(a.c.Period, Period) / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			a.Evaluate(ctx, now)
		}
	}
}
