// Package alarms is CloudWatch's evaluation of the alarms that the guard acts on, and EventBridge's delivery of their
// events. It reads the metrics that the functions print.
package alarms

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/arbitex/siem-connectors/internal/downalarm"
)

// Config configures Alarms. Stack, Connectors and Send are required.
type Config struct {
	Stack      string
	Connectors []string
	Period     time.Duration // of the alarms; 0 = the template's
	// Send receives the event of an alarm that entered the state ALARM: what EventBridge puts on the guard's queue.
	Send func(ctx context.Context, event []byte) error
	// Problem receives the errors of Send. nil: discarded.
	Problem func(error)
}

// Alarms are the alarms <stack>-<connector>-down. Its methods may be called concurrently.
type Alarms struct {
	c Config

	mu     sync.Mutex
	alarms map[string]*downalarm.Alarm // by connector
	events int
}

// New returns the alarms, in the state OK.
func New(c Config) *Alarms {
	if c.Period <= 0 {
		c.Period = downalarm.Period
	}
	if c.Problem == nil {
		c.Problem = func(error) {}
	}
	a := &Alarms{c: c, alarms: map[string]*downalarm.Alarm{}}
	for _, name := range c.Connectors {
		a.alarms[name] = &downalarm.Alarm{Period: c.Period}
	}
	return a
}

// Line reads a line that a function printed. Lines that are not metrics of a connector have no effect.
func (a *Alarms) Line(printed []byte) {
	name, at, values, ok := downalarm.ParseLine(printed)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if alarm := a.alarms[name]; alarm != nil {
		alarm.Add(at, values)
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
			events = append(events, downalarm.Event(a.c.Stack+"-"+name+"-down", fmt.Sprintf("event-%d", a.events), now))
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
	ticker := time.NewTicker(a.c.Period / 2)
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
