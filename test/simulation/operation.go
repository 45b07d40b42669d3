package simulation

import (
	"time"

	"github.com/arbitex/siem-connectors/shared/guard"
)

// operation performs an action of an operator, and resumes a connector that the operator stopped.
func (l *pipeline) operation(o Operation) {
	defer l.operating.Add(-1)
	time.Sleep(o.After + 17*time.Nanosecond)
	l.mu.Lock()
	l.mapping.operated = true
	l.mu.Unlock()
	l.count("operator: "+o.What, 1)
	switch o.What {
	case "pause":
		l.pause(true)
	case "disable":
		l.pause(false)
	case "resume":
		l.resume()
	case "deploy":
		concurrency := 3 + l.rng.below(9, "deploy", l.name)
		l.mu.Lock()
		l.mapping.own.Concurrency = concurrency
		l.mu.Unlock()
		l.retry(guard.Change{Concurrency: &concurrency})
	}
	if o.What == "pause" || o.What == "disable" {
		time.Sleep(o.For)
		l.resume()
	}
}

// retry changes the mapping, and waits while Lambda is changing it, before and after.
func (l *pipeline) retry(c guard.Change) {
	for l.change("an operator", c) != nil {
		time.Sleep(10 * time.Second)
	}
	time.Sleep(time.Minute)
}

// hold returns the hold of the guard, nil if there is none.
func (l *pipeline) hold() *guard.Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := guard.ParseHold(l.mapping.tag)
	if err != nil || h.State == guard.Done || h.State == guard.Ended {
		return nil
	}
	return h
}

// pause stops the connector: with siemctl, which makes the hold the operator's, or in the console.
func (l *pipeline) pause(siemctl bool) {
	h := l.hold()
	if h != nil && siemctl {
		h.State = guard.Operator
		l.setTag(h.String())
	}
	l.mu.Lock()
	// Until the guard has seen the end of its hold, it cannot tell the console's change from its own.
	held := h != nil && (h.State == guard.Holding || h.State == guard.Held)
	if siemctl || l.mapping.State == "Enabled" && !held {
		l.mapping.pausedAt = time.Now()
	}
	l.mu.Unlock()
	off := false
	l.retry(guard.Change{Enabled: &off})
}

// resume is siemctl resume.
func (l *pipeline) resume() {
	on := true
	c := guard.Change{Enabled: &on}
	if h := l.hold(); h != nil {
		l.mu.Lock()
		if l.mapping.Concurrency == guard.Gradual {
			c.Concurrency = &h.Concurrency
		}
		if l.mapping.BatchSize == guard.Gradual {
			c.BatchSize = &h.BatchSize
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	l.mapping.pausedAt = time.Time{}
	l.mu.Unlock()
	l.retry(c)
}
