package siem

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// Kind says what goes wrong.
type Kind int

// The kinds of fault.
const (
	Heal        Kind = iota // ends all faults, or those of its Name
	Status                  // answers Status, Header and Body without looking at the request
	CloseBefore             // closes the connection without reading the body
	CloseDuring             // closes it after half of the body
	CloseAfter              // closes it after the body; nothing was accepted
	AcceptClose             // judges as ever; a request that is accepted is not answered, its connection closed
	AcceptHang              // judges as ever; a request that is accepted is never answered
	Slow                    // waits for Delay, then judges the request as ever
	Endless                 // answers Status (200 when 0) with a body that never ends; nothing was accepted
	Poison                  // refuses the events that Match, the way the product refuses one event
	Product                 // something only this product does, named by Code; see the simulator's page
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{"heal", "status", "close-before", "close-during", "close-after", "accept-close", "accept-hang", "slow", "endless", "poison", "product"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Fault is one thing going wrong. Of the faults that meet a request, the one injected first comes to bear, once per
// request, until it is used up; then the next. AcceptClose and AcceptHang do so with the requests that are accepted, Poison
// and Product faults all the time, beside the others.
type Fault struct {
	Kind Kind
	Name string // for Heal to end it by

	Times int           // for how many requests (Product: uses); 0 = until healed
	For   time.Duration // how long from its injection; 0 = until healed

	Status int               // Status, Endless
	Header map[string]string // Status: for instance Retry-After
	Body   string            // Status
	Delay  time.Duration     // Slow

	On    func(*http.Request) bool // which requests it meets; nil = all (a token endpoint, say)
	Match func(id string) bool     // Poison: which events
	Code  string                   // Product
}

// RetryAfter is the status fault a busy server shows, for a number of requests.
func RetryAfter(status int, seconds string, times int) Fault {
	return Fault{Kind: Status, Status: status, Header: map[string]string{"Retry-After": seconds}, Times: times}
}

// Faults is the list of faults in force. The zero value is ready.
type Faults struct {
	// Now is the clock that ends a fault with For; nil is the machine's. Set it before use.
	Now func() time.Time

	mu   sync.Mutex
	list []*armed
}

type armed struct {
	Fault
	until time.Time
	left  int
}

// Inject adds f, or for [Heal] takes faults away.
func (s *Faults) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Kind == Heal {
		s.remove(func(a *armed) bool { return f.Name == "" || a.Name == f.Name })
		return
	}
	a := &armed{Fault: f, left: f.Times}
	if f.For > 0 {
		a.until = s.now().Add(f.For)
	}
	s.list = append(s.list, a)
}

// Next uses and returns the fault that meets a request before it is judged, false when none does. r is nil for what is not
// HTTP.
func (s *Faults) Next(r *http.Request) (Fault, bool) {
	return s.use(func(f *Fault) bool {
		return f.meets(r) && !slices.Contains([]Kind{AcceptClose, AcceptHang, Poison, Product}, f.Kind)
	})
}

// Unanswered uses and returns the AcceptClose or AcceptHang that meets a request which was accepted.
func (s *Faults) Unanswered(r *http.Request) (Fault, bool) {
	return s.use(func(f *Fault) bool { return f.meets(r) && (f.Kind == AcceptClose || f.Kind == AcceptHang) })
}

func (f *Fault) meets(r *http.Request) bool { return f.On == nil || r == nil || f.On(r) }

// Product uses and returns the product fault of that code, false when it is not in force.
func (s *Faults) Product(code string) (Fault, bool) {
	return s.use(func(f *Fault) bool { return f.Kind == Product && f.Code == code })
}

// Poisoned tells whether the event of that id is to be refused.
func (s *Faults) Poisoned(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.over)
	for _, a := range s.list {
		if a.Kind == Poison && a.Match != nil && a.Match(id) {
			return true
		}
	}
	return false
}

func (s *Faults) use(wanted func(*Fault) bool) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.over)
	for _, a := range s.list {
		if wanted(&a.Fault) {
			a.left--
			return a.Fault, true
		}
	}
	return Fault{}, false
}

func (s *Faults) over(a *armed) bool {
	return (a.Times > 0 && a.left <= 0) || (!a.until.IsZero() && !s.now().Before(a.until))
}

func (s *Faults) remove(gone func(*armed) bool) {
	kept := s.list[:0]
	for _, a := range s.list {
		if !gone(a) {
			kept = append(kept, a)
		}
	}
	clear(s.list[len(kept):])
	s.list = kept
}

func (s *Faults) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}
