package simulation

import (
	"sync"
	"time"
)

// deadline is a channel that is closed at a time, which can be changed.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	late  chan struct{}
}

func (d *deadline) init() { d.late = make(chan struct{}) }

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	old := d.late
	d.late = make(chan struct{})
	if isClosed(old) { // nobody waits
		old = nil
	}
	if !t.IsZero() {
		late := d.late
		if left := time.Until(t); left <= 0 {
			close(late)
		} else {
			d.timer = time.AfterFunc(left, func() { d.end(late) })
		}
	}
	if old != nil {
		close(old) // waiters check again
	}
}

// end closes the channel of a deadline that has passed, unless the deadline was changed.
func (d *deadline) end(late chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.late == late {
		close(late)
	}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

// passed reports whether the deadline has passed.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return isClosed(d.late)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
