package simulation

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// request is a request that a simulated SIEM receives.
type request struct {
	*web
	w      http.ResponseWriter
	r      *http.Request
	conn   *conn
	p      *process
	inv    *invocation
	n      int
	body   []byte // on the wire
	text   []byte // decoded
	events []*event
	token  string // a text that only the response to this request contains
}

func (s *web) serve(w http.ResponseWriter, r *http.Request) {
	s.wg.Add(1)
	defer s.wg.Done()
	c := r.Context().Value(connKey{}).(*conn)
	x := &request{web: s, w: w, r: r, conn: c, p: c.process}
	if x.p.isDead() {
		panic(http.ErrAbortHandler)
	}
	x.inv, x.n = x.p.next("request")
	x.token = fmt.Sprintf("t%d-%s-%d-%d", s.plan.Seed, x.p.name, x.inv.number, x.n)
	s.count("requests", 1)
	x.pass(time.Millisecond, 30*time.Millisecond, "arrives")
	if !x.read() {
		return
	}
	if f, ok := s.fault(slow, x.p.lane, x.p.name, x.inv.number, x.n); ok {
		s.tell("%s: %s takes %d s", x.inv, s.name, f.N)
		x.pass(time.Duration(f.N)*time.Second, time.Duration(f.N+1)*time.Second, "slow")
	}
	_ = x.p.step("while the SIEM has the request")
	if x.replaced() {
		return
	}
	x.respond() //nolint:contextcheck // the request carries its context
}

// inject reports whether a fault applies to the request, and logs it.
func (x *request) inject(kind Kind) bool {
	_, ok := x.injected(kind)
	return ok
}

func (x *request) injected(kind Kind) (Fault, bool) {
	f, ok := x.fault(kind, x.p.lane, x.p.name, x.inv.number, x.n)
	if ok {
		x.tell("%s: %s (%d)", x.inv, kind, f.N)
	}
	return f, ok
}

// pass takes a time that no other request takes.
func (x *request) pass(least, most time.Duration, what string) {
	timer := time.NewTimer(x.rng.between(least, most, what, x.p.name, x.inv.number, x.n))
	defer timer.Stop()
	<-timer.C
}

func (x *request) abort() {
	panic(http.ErrAbortHandler)
}

func (x *request) network() { x.inv.answer(x.events, answer{network: true}) }

// read reads the request. It returns false if there is no complete request to respond to.
func (x *request) read() bool {
	switch {
	case x.inject(resetBefore):
		x.reset()
	case x.inject(resetDuring):
		_, _ = io.CopyN(io.Discard, x.r.Body, max(1, x.r.ContentLength/2))
		x.pass(time.Microsecond, time.Millisecond, "reset") // the client fills the buffers again
		x.reset()
	case x.early():
		return false
	}
	body, err := io.ReadAll(x.r.Body)
	if err != nil {
		return false
	}
	x.body, x.text = body, x.decode(body)
	if got := x.r.Header.Get("Accept-Encoding"); got != "identity" {
		x.broken("nothing breaks the wire format", "%s: %s gets Accept-Encoding %q", x.inv, x.name, got)
	}
	x.events = x.find(string(x.text))
	x.network() // until there is a response
	x.tell("%s sends %d events to %s in request %d", x.inv, len(x.events), x.name, x.n)
	return true
}

func (x *request) reset() {
	x.network()
	x.conn.markFaulty()
	x.conn.reset()
	x.abort()
}

// decode returns a body without its compression.
func (x *request) decode(body []byte) []byte {
	if x.r.Header.Get("Content-Encoding") != "gzip" {
		return body
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return body
	}
	text, _ := io.ReadAll(z) // the simulator checks it
	return text
}

// early sends a response before the request is read, and reports whether it did. The connection writes it, because
// net/http would read the request first.
func (x *request) early() bool {
	const unsent = 2*sendBuffer + 4<<10 // of a request of this size, some is still with the client
	var a answer
	var response string
	success := false
	if f, ok := x.injected(early); ok {
		s := statuses[f.N]
		a = answer{status: s.code, token: x.token, class: s.class, own: true}
		_, _ = fmt.Sscan(s.retryAfter, &a.retry)
		header := "Connection: close\r\n"
		if s.retryAfter != "" {
			header += "Retry-After: " + s.retryAfter + "\r\n"
		}
		response = raw(s.code, header, ownBody(x.name, x.r.URL.Path, s.code, x.token))
	} else if reply, ok := successes[x.name]; ok && x.r.ContentLength > unsent && x.inject(earlySuccess) {
		a, success = answer{status: reply.Status, class: growing}, true
		response = raw(reply.Status, "", reply.Body)
	} else {
		return false
	}
	c, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(err) // the server is HTTP/1.1
	}
	prefix, _ := buffered.Peek(buffered.Reader.Buffered())
	prefix = append(bytes.Clone(prefix), x.conn.unread()...)
	x.events = x.find(string(x.decode(prefix)))
	x.conn.markFaulty()
	if x.proxied() || int64(len(prefix)) < x.r.ContentLength || strings.Contains(x.r.URL.Path, "oauth2") {
		a.class = unsure
		x.inv.answer(nil, a)
	}
	x.inv.answer(x.events, a)
	x.tell("%s: %s responds %d early, %d of %d bytes have arrived", x.inv, x.name, a.status, len(prefix),
		x.r.ContentLength)
	_, _ = io.WriteString(c, response)
	if success {
		x.pass(40*time.Second, 50*time.Second, "stays")
	}
	x.conn.resetBehind()
	return true
}

// raw returns a response as it is on the wire.
func raw(status int, header, body string) string {
	if status != http.StatusNoContent {
		header += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%s\r\n%s", status, http.StatusText(status), header, body)
}

// replaced applies the faults for which the simulator does not process the request, and reports whether one did.
func (x *request) replaced() bool {
	switch {
	case x.inject(closedBefore):
		x.network()
		x.conn.markFaulty()
		_ = x.conn.Close()
		x.abort()
	case x.inject(vanished):
		x.network()
		x.conn.vanish()
		x.pass(40*time.Second, 50*time.Second, "vanished")
		x.abort()
	}
	if x.conn.gone() { // nobody waits for the response
		return false
	}
	if f, ok := x.injected(status); ok {
		s := statuses[f.N]
		x.send(s.code, s.retryAfter, "application/json", ownBody(x.name, x.r.URL.Path, s.code, x.token),
			answer{class: s.class, own: true})
		return true
	}
	return x.foreign()
}

// foreign applies the faults of intermediaries.
func (x *request) foreign() bool {
	if f, ok := x.injected(foreignOK); ok {
		all := siem.ForeignSuccesses()
		if r := all[f.N%len(all)]; !siem.Succeeds(x.name, r.Status, []byte(r.Body), len(x.events)) {
			x.send(r.Status, "", r.Header["Content-Type"], r.Body, answer{class: growing})
			return true
		}
	}
	all := siem.ForeignRefusals()
	if f, ok := x.injected(foreignNo); ok {
		r := all[f.N%len(all)]
		x.send(r.Status, "", r.Header["Content-Type"], r.Body, answer{class: foreignClass(r.Status)})
		return true
	}
	blocked := slices.ContainsFunc(x.events, func(e *event) bool { return e.sort == blocked })
	if !blocked {
		return false
	}
	x.count("fault: an intermediary refuses a request for one of its events", 1)
	n := x.rng.below(len(all)+1, "blocked", x.name)
	if n == len(all) {
		x.reset()
	}
	r := all[n]
	x.send(r.Status, "", r.Header["Content-Type"], r.Body, answer{class: foreignClass(r.Status), blocked: true})
	return true
}

// send sends a response instead of the simulator's.
func (x *request) send(code int, retryAfter, contentType, body string, a answer) {
	x.tell("%s: %s responds %d %s", x.inv, x.name, code, retryAfter)
	a.status, a.token, a.events = code, x.token, len(x.events)
	if retryAfter != "" {
		x.w.Header().Set("Retry-After", retryAfter)
		_, _ = fmt.Sscan(retryAfter, &a.retry)
	}
	if strings.Contains(x.r.URL.Path, "oauth2") {
		a.class = unsure
	}
	x.inv.answer(x.events, a)
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(code)
	_, _ = io.WriteString(x.w, body)
}
