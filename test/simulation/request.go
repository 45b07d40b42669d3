package simulation

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// request is one request on its way.
type request struct {
	*web
	w      http.ResponseWriter
	r      *http.Request
	conn   *conn
	p      *process
	inv    *invocation
	n      int
	body   []byte // as it came
	text   []byte // decoded
	events []*event
	token  string
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
	if f, ok := s.fault(slow, s.name, x.p.name, x.inv.number, x.n); ok {
		s.tell("%s: %s takes %d s", x.inv, s.name, f.N)
		x.pass(time.Duration(f.N)*time.Second, time.Duration(f.N+1)*time.Second, "slow")
	}
	_ = x.p.step("while the SIEM has the request")
	if x.instead() {
		return
	}
	x.judge() //nolint:contextcheck // the request carries its context
}

// inject reports whether a fault applies to the request, and logs it.
func (x *request) inject(kind Kind) bool {
	struck := x.injects(kind, x.name, x.p.name, x.inv.number, x.n)
	if struck {
		x.tell("%s: %s", x.inv, kind)
	}
	return struck
}

// pass takes a time of its own.
func (x *request) pass(least, most time.Duration, what string) {
	timer := time.NewTimer(x.rng.between(least, most, what, x.p.name, x.inv.number, x.n))
	defer timer.Stop()
	<-timer.C
}

func (x *request) abort() {
	panic(http.ErrAbortHandler)
}

func (x *request) network() { x.inv.answer(x.events, answer{network: true}) }

// read takes the request in. It is false when there was none to its end.
func (x *request) read() bool {
	if x.inject(resetBefore) {
		x.network()
		x.conn.markFaulty()
		x.conn.reset()
		x.abort()
	}
	if x.inject(resetDuring) {
		_, _ = io.CopyN(io.Discard, x.r.Body, max(1, x.r.ContentLength/2))
		x.network()
		x.conn.markFaulty()
		x.conn.reset()
		x.abort()
	}
	body, err := io.ReadAll(x.r.Body)
	if err != nil {
		return false
	}
	x.body, x.text = body, body
	if x.r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			x.text, _ = io.ReadAll(z)
		}
	}
	x.events = x.find(string(x.text))
	x.network() // until there is an answer
	x.tell("%s sends %d events to %s in request %d", x.inv, len(x.events), x.name, x.n)
	return true
}

// instead applies the faults that keep the simulator from seeing the request.
func (x *request) instead() bool {
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
	case (x.name == "splunk" || x.name == "elastic") && x.inject(garbage):
		x.inv.answer(x.events, answer{status: http.StatusOK, token: x.token, class: growing})
		fmt.Fprintf(x.w, "<html>welcome %s</html>", x.token)
		return true
	}
	if x.conn.gone() { // who is slow answers nobody
		return false
	}
	f, ok := x.fault(status, x.name, x.p.name, x.inv.number, x.n)
	if !ok {
		return false
	}
	s := statuses[f.N]
	x.tell("%s: %s answers %d %s", x.inv, x.name, s.code, s.retryAfter)
	a := answer{status: s.code, token: x.token, class: s.class}
	if s.retryAfter != "" {
		x.w.Header().Set("Retry-After", s.retryAfter)
		_, _ = fmt.Sscan(s.retryAfter, &a.retry)
	}
	if strings.Contains(x.r.URL.Path, "oauth2") {
		a.class = unsure
	}
	x.inv.answer(x.events, a)
	x.w.WriteHeader(s.code)
	body := s.body
	if strings.Contains(body, "%s") {
		body = fmt.Sprintf(body, x.token)
	}
	_, _ = io.WriteString(x.w, body)
	return true
}

// judge has the simulator judge the request, and sees to it that its answer arrives, or does not.
func (x *request) judge() {
	rec, accepted := x.ask()
	success := rec.Code/100 == 2
	lied := success && len(accepted) > 0 && x.inject(lie)
	for _, e := range accepted {
		x.inv.keep(e, !lied)
	}
	_ = x.p.step("when the SIEM has judged the request")
	after := x.after(rec, len(accepted) > 0)
	if after == "" {
		x.pass(time.Millisecond, 30*time.Millisecond, "answers")
	}
	x.settle(rec, accepted, after)
	if after == "" {
		if x.conn.gone() {
			x.network()
			return
		}
		x.inv.answer(x.events, x.answered(rec))
		if rec.Code >= http.StatusBadRequest {
			x.tell("%s: %s answers %d", x.inv, x.name, rec.Code)
		}
		write(x.w, rec)
		return
	}
	x.suffer(rec, after)
}

func (x *request) answered(rec *httptest.ResponseRecorder) answer {
	return answer{status: rec.Code, class: unsure}
}

// ask has the simulator judge the request, with a fault of the vendor's own where one strikes. The events it has accepted
// are returned, checked.
func (x *request) ask() (*httptest.ResponseRecorder, []*event) {
	x.judging.Lock()
	defer x.judging.Unlock()
	if codes := vendorFaults[x.name]; len(codes) > 0 {
		if f, ok := x.fault(vendor, x.name, x.p.name, x.inv.number, x.n); ok {
			code := codes[f.N%len(codes)]
			x.tell("%s: %s has its fault %q", x.inv, x.name, code)
			x.count("fault: "+string(vendor)+": "+x.name+" "+code, 1)
			x.Inject(siem.Fault{Kind: siem.Product, Name: "once", Code: code, Times: 1})
			defer x.Inject(siem.Fault{Kind: siem.Heal, Name: "once"})
		}
	}
	before := len(x.Accepted())
	r := x.r.Clone(x.r.Context())
	r.Body = io.NopCloser(bytes.NewReader(x.body))
	rec := httptest.NewRecorder()
	x.ServeHTTP(rec, r)
	var accepted []*event
	for _, a := range x.Accepted()[before:] {
		if e := x.checkAccepted(x.inv, a); e != nil {
			accepted = append(accepted, e)
		}
	}
	return rec, accepted
}

// after is the fault that strikes when the SIEM has judged the request; "" is none.
func (x *request) after(rec *httptest.ResponseRecorder, some bool) Kind {
	if rec.Code/100 != 2 || !some {
		return ""
	}
	for _, kind := range []Kind{acceptedReset, acceptedHang, acceptedCut, acceptedDenied} {
		if kind == acceptedCut && x.name != "splunk" && x.name != "elastic" {
			continue // to the others a cut answer with a good status is as good as a whole one
		}
		if x.inject(kind) {
			return kind
		}
	}
	return ""
}

// settle notes what has been accepted, and whether the function will know.
func (x *request) settle(rec *httptest.ResponseRecorder, accepted []*event, after Kind) {
	standing, cause := known, ""
	switch {
	case after != "":
		standing, cause = unknown, string(after)
	case x.p.isDead():
		standing, cause = unknown, "the function's process died"
	case x.conn.gone() || x.conn.isFaulty():
		standing, cause = unknown, "the function had hung up"
	case rec.Code/100 != 2 && x.name != "splunk":
		standing, cause = unknown, fmt.Sprintf("%s took a part and said %d", x.name, rec.Code)
	case x.name == "elastic" && !json.Valid(rec.Body.Bytes()):
		standing, cause = unknown, "the answer was cut off"
	}
	for _, e := range accepted {
		x.inv.learn(e, standing, cause)
	}
	if x.name == "elastic" {
		x.alreadyThere(rec, accepted, standing)
	}
}

// alreadyThere notes the events that Elasticsearch has had before, and says so.
func (x *request) alreadyThere(rec *httptest.ResponseRecorder, accepted []*event, s standing) {
	var reply struct {
		Items []map[string]struct {
			Status int `json:"status"`
		} `json:"items"`
	}
	if json.Unmarshal(rec.Body.Bytes(), &reply) != nil || s != known {
		return
	}
	isNew := map[*event]int{}
	for _, e := range accepted {
		isNew[e]++
	}
	ids := actionIDs(x.text)
	x.mu.Lock()
	defer x.mu.Unlock()
	for n, item := range reply.Items {
		for op, it := range item {
			e := x.byUID[ids[n]]
			taken := it.Status/100 == 2 || it.Status == http.StatusConflict && op == "create"
			if e == nil || !taken {
				continue
			}
			if isNew[e]--; isNew[e] >= 0 {
				continue
			}
			x.inv.took[e]++
			x.inv.acked[e]++
			x.counts["events Elasticsearch had already"]++
		}
	}
}

// actionIDs are the ids in a bulk request, by position.
func actionIDs(body []byte) []string {
	var ids []string
	n := 0
	for line := range bytes.Lines(body) {
		if n++; n%2 == 0 {
			continue
		}
		var action map[string]struct {
			ID string `json:"_id"`
		}
		_ = json.Unmarshal(line, &action) // the simulator judges it
		for _, a := range action {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// suffer keeps the answer of a request that was accepted from arriving.
func (x *request) suffer(rec *httptest.ResponseRecorder, kind Kind) {
	if kind != acceptedDenied { // whose connection lives on
		x.conn.markFaulty()
	}
	switch kind {
	case acceptedReset:
		x.network()
		x.conn.reset()
		x.abort()
	case acceptedHang:
		x.network()
		x.pass(40*time.Second, 50*time.Second, "hang")
		x.abort()
	case acceptedCut:
		x.inv.answer(x.events, answer{status: rec.Code, class: unsure})
		x.w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		x.w.WriteHeader(rec.Code)
		_, _ = x.w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		x.abort()
	default:
		x.inv.answer(x.events, answer{status: http.StatusServiceUnavailable, token: x.token, class: growing})
		x.w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(x.w, "busy %s", x.token)
	}
}

func write(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}
