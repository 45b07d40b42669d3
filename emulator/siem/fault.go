package siem

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is a kind of fault.
type Kind int

// The kinds of fault. "Accepted" requests are those that the simulator processes and accepts.
const (
	Heal        Kind = iota // removes all faults, or those with its Name
	Status                  // sends Status, Header and Body instead of processing the request
	Early                   // sends them after Read bytes of the body, then closes the connection; Stay: reads no more
	CloseBefore             // closes the connection without reading the body
	CloseDuring             // closes it after half of the body
	CloseAfter              // closes it after the body; nothing is accepted
	AcceptClose             // closes the connection of an accepted request without a response
	AcceptHang              // never responds to an accepted request
	AcceptCut               // sends half of the response to an accepted request, with the Content-Length of all of it
	Compressed              // compresses the response to an accepted request with gzip, although nobody asked for it
	Slow                    // waits for Delay before processing the request
	Endless                 // sends Status (200 when 0) with a body that never ends; nothing is accepted
	Poison                  // refuses the events that Match, in the product's own error format
	Lose                    // reports success for the events that Match, and does not store them
	Product                 // a behaviour of this product, named by Code; see the simulator's package comment
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [...]string{
		"heal", "status", "early", "close-before", "close-during", "close-after", "accept-close", "accept-hang", "accept-cut",
		"compressed",
		"slow", "endless", "poison", "lose", "product",
	}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// accepted reports whether the kind applies to requests that the simulator has accepted.
func (k Kind) accepted() bool {
	return slices.Contains([]Kind{AcceptClose, AcceptHang, AcceptCut, Compressed}, k)
}

// Fault is one fault. If several faults apply to a request, only the one that was injected first takes effect. Faults
// of accepted requests, Poison, Lose and Product faults are independent of the others.
type Fault struct {
	Kind Kind
	Name string // identifies the fault for Heal

	Times int           // number of requests (Product: uses) that it applies to; 0: until healed
	For   time.Duration // its duration from the injection; 0: until healed

	Status int               // Status, Early, Endless
	Header map[string]string // Status, Early; for example Retry-After
	Body   string            // Status, Early
	Read   int64             // Early: bytes of the body that are read before the response
	Stay   bool              // Early: keeps the connection open
	Delay  time.Duration     // Slow

	On    func(*http.Request) bool // the requests that it applies to, for example those to a token endpoint; nil: all
	Holds func(body []byte) bool   // Status, CloseAfter: only requests with such a decoded body; nil: all
	Match func(id string) bool     // Poison, Lose: the events
	Code  string                   // Product
}

// RetryAfter is a Status fault with a Retry-After header, for a number of requests.
func RetryAfter(status int, seconds string, times int) Fault {
	return Fault{Kind: Status, Status: status, Header: map[string]string{"Retry-After": seconds}, Times: times}
}

// PoisonEvent is the fault that refuses the event with that id.
func PoisonEvent(id string) Fault {
	return Fault{Kind: Poison, Match: func(other string) bool { return other == id }}
}

// Faults is the list of active faults. The zero value is ready to use.
type Faults struct {
	// Now is the clock for Fault.For; nil: time.Now. Set it before use.
	Now func() time.Time

	mu   sync.Mutex
	list []*armed
}

type armed struct {
	Fault
	until time.Time
	left  int
}

// Inject adds f, or for [Heal] removes faults.
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

// Next uses and returns the fault that applies to a request before its body is read. r is nil for other protocols than
// HTTP.
func (s *Faults) Next(r *http.Request) (Fault, bool) {
	return s.use(func(f *Fault) bool {
		return f.meets(r) && f.Holds == nil && !f.Kind.accepted() &&
			f.Kind != Poison && f.Kind != Lose && f.Kind != Product
	})
}

// Holding uses and returns the fault that applies to a request because of its body.
func (s *Faults) Holding(r *http.Request, body []byte) (Fault, bool) {
	return s.use(func(f *Fault) bool { return f.Holds != nil && f.meets(r) && f.Holds(body) })
}

// OfAccepted uses and returns the fault that applies to an accepted request.
func (s *Faults) OfAccepted(r *http.Request) (Fault, bool) {
	return s.use(func(f *Fault) bool { return f.Kind.accepted() && f.meets(r) })
}

func (f *Fault) meets(r *http.Request) bool { return f.On == nil || r == nil || f.On(r) }

// Product uses the product fault with that code, and reports whether there is one.
func (s *Faults) Product(code string) bool {
	_, ok := s.use(func(f *Fault) bool { return f.Kind == Product && f.Code == code })
	return ok
}

// Poisoned reports whether the event with that id is to be refused.
func (s *Faults) Poisoned(id string) bool { return s.matches(Poison, id) }

// Loses reports whether the event with that id is lost after the SIEM has reported success.
func (s *Faults) Loses(id string) bool { return s.matches(Lose, id) }

func (s *Faults) matches(kind Kind, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.over)
	return slices.ContainsFunc(s.list, func(a *armed) bool { return a.Kind == kind && a.Match != nil && a.Match(id) })
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

func (s *Faults) remove(gone func(*armed) bool) { s.list = slices.DeleteFunc(s.list, gone) }

func (s *Faults) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// beforeBody applies the faults that take effect before the body is read completely. It reports whether it has sent the
// response. To drop a connection it panics with [http.ErrAbortHandler], which net/http supports for HTTP/1 and HTTP/2.
func (s *Server) beforeBody(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case CloseBefore:
		s.broken(f, 0)
	case CloseDuring:
		n, _ := io.CopyN(io.Discard, r.Body, cmp.Or(max(0, r.ContentLength/2), 512)) // -1: unknown
		s.broken(f, n)
	case Early:
		n, _ := io.CopyN(io.Discard, r.Body, f.Read)
		s.Arrived(n)
		s.early(w, r, f)
		return true
	case Slow:
		s.wait(r, time.After(f.Delay))
	}
	return false
}

func (s *Server) broken(f Fault, wire int64) {
	s.Arrived(wire)
	s.Refuse(f.Kind.String(), "")
	panic(http.ErrAbortHandler)
}

// early sends a response while the client is still sending. It writes to the connection, because net/http would read
// the rest of the body first. The kernel of a server that closes with unread data resets the connection.
func (s *Server) early(w http.ResponseWriter, r *http.Request, f Fault) {
	s.refused(f.response())
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2
		write(w, f.response())
		return
	}
	defer conn.Close()
	if f.Stay {
		_, _ = io.WriteString(conn, raw(f.response()))
		s.wait(r, nil)
	} else {
		_, _ = io.WriteString(conn, raw(f.response().with("Connection", "close")))
	}
}

// raw returns a response as it is on the wire.
func raw(a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, a.Header[name])
	}
	if a.Status != http.StatusNoContent {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.Body))
	}
	return b.String() + "\r\n" + a.Body
}

func (f Fault) response() Answer { return Answer{Status: f.Status, Header: f.Header, Body: f.Body} }

// instead sends the response of a fault instead of processing the request, and reports whether it did.
func (s *Server) instead(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case Status:
		s.refused(f.response())
		write(w, f.response())
	case CloseAfter:
		s.Refuse(f.Kind.String(), "")
		panic(http.ErrAbortHandler)
	case Endless:
		s.Refuse(f.Kind.String(), "")
		s.endless(w, r, f.Status)
	default:
		return false
	}
	return true
}

// afterAccepting applies a fault to the response to an accepted request.
func (s *Server) afterAccepting(w http.ResponseWriter, r *http.Request, f Fault, a Answer) {
	if f.Kind == Compressed {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = io.WriteString(z, a.Body)
		_ = z.Close()
		a.Body = out.String()
		write(w, a.with("Content-Encoding", "gzip"))
		return
	}
	s.Refuse("no answer", "")
	switch f.Kind {
	case AcceptHang:
		s.wait(r, nil)
	case AcceptCut:
		cut(w, a)
	}
	panic(http.ErrAbortHandler)
}

// cut sends half of a response, whose Content-Length announces all of it.
func cut(w http.ResponseWriter, a Answer) {
	if a.Status == http.StatusNoContent {
		a.Status = http.StatusOK // a 204 has no body
	}
	if a.Body == "" {
		a.Body = "{}\n"
	}
	a = a.with("Content-Length", strconv.Itoa(len(a.Body)))
	a.Body = a.Body[:len(a.Body)/2]
	write(w, a)
	_ = http.NewResponseController(w).Flush()
}

// maxEndless bounds an endless response that no client closes.
const maxEndless = 1 << 30

func (s *Server) endless(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(cmp.Or(status, http.StatusOK))
	chunk := []byte(strings.Repeat(" ", 32<<10))
	for sent := 0; sent < maxEndless; sent += len(chunk) {
		select {
		case <-s.done:
			return
		case <-r.Context().Done():
			return
		default:
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// wait waits for a time, nil for none, or until the client or the simulator closes.
func (s *Server) wait(r *http.Request, until <-chan time.Time) {
	select {
	case <-until:
	case <-s.done:
	case <-r.Context().Done():
	}
}

// Foreign is a response that does not come from the SIEM: from a proxy, a web application firewall, another product.
type Foreign struct {
	Name   string
	Status int
	Header map[string]string
	Body   string
}

// Fault returns the fault that sends the response.
func (f Foreign) Fault() Fault {
	return Fault{Kind: Status, Status: f.Status, Header: f.Header, Body: f.Body}
}

func html(name string, status int, body string) Foreign {
	return Foreign{name, status, map[string]string{"Content-Type": "text/html"}, body}
}

func object(name string, status int, body string) Foreign {
	return Foreign{name, status, map[string]string{"Content-Type": "application/json"}, body}
}

// ForeignSuccesses returns responses with status 2xx. None of them is a success of any SIEM; see [Succeeds].
func ForeignSuccesses() []Foreign {
	return []Foreign{
		html("login page", http.StatusOK, "<!DOCTYPE html><html><body>Please sign in to continue.</body></html>"),
		html("single-page application", http.StatusOK,
			`<!doctype html><html><div id="app"></div><script src="/app.js"></script></html>`),
		html("page of a proxy with 202", http.StatusAccepted,
			"<html><body>Your request is being scanned.</body></html>"),
		{"plain text", http.StatusOK, map[string]string{"Content-Type": "text/plain"}, "OK"},
		object("JSON array", http.StatusOK, `["ok"]`),
		object("JSON cut off", http.StatusOK, `{"status":"ok","`),
		object("errors of another product", http.StatusOK, `{"error":"license expired","errors":["license expired"]}`),
	}
}

// ForeignRefusals returns refusals that are not in the error format of any SIEM. They are not the event's fault.
func ForeignRefusals() []Foreign {
	return []Foreign{
		html("nginx: client certificate", http.StatusBadRequest,
			"<html><head><title>400 No required SSL certificate was sent</title></head></html>"),
		html("firewall page", http.StatusForbidden, "<html><body>Request blocked. Incident 4711.</body></html>"),
		html("firewall: 406", http.StatusNotAcceptable,
			"<head><title>Not Acceptable!</title></head>An appropriate representation could not be found."),
		html("load balancer: 502", http.StatusBadGateway, "<html><head><title>502 Bad Gateway</title></head></html>"),
		html("page with 422", http.StatusUnprocessableEntity,
			"<html><body>The change you wanted was rejected.</body></html>"),
		{"empty 400", http.StatusBadRequest, nil, ""},
		object("Kibana", http.StatusBadRequest, `{"statusCode":400,"message":"[request body]: expected a plain object"}`),
	}
}
