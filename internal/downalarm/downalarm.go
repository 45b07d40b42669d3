// Package downalarm evaluates the alarm "down" of a connector, as the template defines it: events were retried and
// none was delivered, or events were held, in two periods out of two.
package downalarm

import (
	"encoding/json"
	"strings"
	"time"
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
	period := a.Period
	if period <= 0 {
		period = Period
	}
	return t.UnixNano() / int64(period)
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

// ParseLine reads a line of a connector in the embedded metric format. ok is false for any other line.
func ParseLine(line []byte) (connector string, at time.Time, v Values, ok bool) {
	if !strings.Contains(string(line), `"_aws"`) {
		return "", at, v, false
	}
	var m struct {
		AWS struct {
			Timestamp int64 `json:"Timestamp"`
		} `json:"_aws"`
		Connector string  `json:"Connector"`
		Delivered float64 `json:"Delivered"`
		Retried   float64 `json:"Retried"`
		Held      float64 `json:"Held"`
	}
	if err := json.Unmarshal(line, &m); err != nil || m.Connector == "" || m.AWS.Timestamp == 0 {
		return "", at, v, false
	}
	return m.Connector, time.UnixMilli(m.AWS.Timestamp), Values{m.Delivered, m.Retried, m.Held}, true
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
