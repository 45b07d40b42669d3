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

// respond has the simulator process the request, and sends its response unless a fault applies.
func (x *request) respond() {
	rec, accepted, a := x.ask()
	success := rec.Code/100 == 2
	lied := success && len(accepted) > 0 && x.inject(lie)
	for _, e := range accepted {
		x.inv.keep(e, !lied)
	}
	_ = x.p.step("when the SIEM has processed the request")
	after := x.after(rec, len(accepted) > 0)
	if after == "" {
		x.pass(time.Millisecond, 30*time.Millisecond, "answers")
	}
	x.record(rec, accepted, after)
	if after != "" {
		x.lose(rec, after)
		return
	}
	if x.conn.gone() {
		x.network()
		return
	}
	x.inv.answer(x.events, a)
	if rec.Code >= http.StatusBadRequest {
		x.tell("%s: %s responds %d", x.inv, x.name, rec.Code)
	}
	if x.inject(compressed) {
		compress(rec)
	}
	write(x.w, rec)
}

// compress replaces a response by its gzip form.
func compress(rec *httptest.ResponseRecorder) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(rec.Body.Bytes())
	_ = z.Close()
	if rec.Code != http.StatusNoContent {
		rec.Body = &out
		rec.Header().Set("Content-Encoding", "gzip")
	}
}

// ask has the simulator process the request, perhaps with a product fault. It returns the response, the accepted
// events, and the response for the checks.
func (x *request) ask() (*httptest.ResponseRecorder, []*event, answer) {
	x.judging.Lock()
	defer x.judging.Unlock()
	a := answer{own: true, events: len(x.events)}
	if codes := vendorFaults[x.name]; len(codes) > 0 {
		if f, ok := x.fault(vendor, x.name, x.p.name, x.inv.number, x.n); ok {
			code := codes[f.N%len(codes)].code
			a.class = codes[f.N%len(codes)].class
			x.tell("%s: %s has its fault %q", x.inv, x.name, code)
			x.count("fault: "+string(vendor)+": "+x.name+" "+code, 1)
			x.Inject(siem.Fault{Kind: siem.Product, Name: "once", Code: code, Times: 1})
			defer x.Inject(siem.Fault{Kind: siem.Heal, Name: "once"})
		}
	}
	if strings.HasSuffix(x.r.URL.Path, "/health") && x.rng.chance(0.3, "queues", x.p.name, x.inv.number) {
		x.count("checks while Splunk's queues are full", 1)
		x.Inject(siem.Fault{Kind: siem.Product, Name: "queues", Code: "18", Times: 1})
		defer x.Inject(siem.Fault{Kind: siem.Heal, Name: "queues"})
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
	a.status = rec.Code
	if a.class == growing && rec.Code == http.StatusUnauthorized {
		a.class = longest // the credential is checked before the fault takes effect
	}
	return rec, accepted, a
}

// after returns the fault that applies to the response to an accepted request, "" for none.
func (x *request) after(rec *httptest.ResponseRecorder, some bool) Kind {
	if rec.Code/100 != 2 || !some {
		return ""
	}
	for _, kind := range []Kind{acceptedReset, acceptedHang, acceptedCut, acceptedDenied} {
		if x.inject(kind) {
			return kind
		}
	}
	return ""
}

// record records the acceptances, and whether the function will know of them.
func (x *request) record(rec *httptest.ResponseRecorder, accepted []*event, after Kind) {
	state, cause := known, ""
	switch {
	case after != "":
		state, cause = unknown, string(after)
	case x.p.isDead():
		state, cause = unknown, "the function's process died"
	case x.conn.gone() || x.conn.isFaulty():
		state, cause = unknown, "the function had closed the connection"
	case rec.Code/100 != 2 && x.name != "splunk":
		state, cause = unknown, fmt.Sprintf("%s accepted a part and responded %d", x.name, rec.Code)
	case x.name == "elastic" && !json.Valid(rec.Body.Bytes()):
		state, cause = unknown, "the response was cut off"
	}
	for _, e := range accepted {
		x.inv.learn(e, state, cause)
	}
	if x.name == "elastic" {
		x.alreadyThere(rec, accepted, state)
	}
}

// alreadyThere records events that Elasticsearch had stored before and confirms.
func (x *request) alreadyThere(rec *httptest.ResponseRecorder, accepted []*event, s knowledge) {
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
	ids := actionUIDs(x.text)
	x.mu.Lock()
	defer x.mu.Unlock()
	for n, item := range reply.Items {
		for op, it := range item {
			e := x.byUID[ids[n][:min(len(ids[n]), uuidLength)]]
			taken := it.Status/100 == 2 || it.Status == http.StatusConflict && op == "create"
			if e == nil || !taken {
				continue
			}
			if isNew[e]--; isNew[e] >= 0 {
				continue
			}
			x.inv.took[e]++
			x.inv.acked[e]++
			x.counts["events that Elasticsearch had stored before"]++
		}
	}
}

// actionUIDs are the ids of the events in a bulk request, by position: an _id without the hash at its end.
func actionUIDs(body []byte) []string {
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
			uid := a.ID
			if end := strings.LastIndexByte(uid, '-'); end >= 0 && end == len(uid)-len("-0123456789abcdef") {
				uid = uid[:end]
			}
			ids = append(ids, uid)
		}
	}
	return ids
}

// lose keeps the response to an accepted request from arriving.
func (x *request) lose(rec *httptest.ResponseRecorder, kind Kind) {
	if kind != acceptedDenied { // its connection continues
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
		x.cut(rec)
	default:
		x.send(http.StatusServiceUnavailable, "", "application/json", ownBody(x.name, x.r.URL.Path, 503, x.token),
			answer{class: growing, own: true})
	}
}

// cut sends half of a response, whose Content-Length announces all of it.
func (x *request) cut(rec *httptest.ResponseRecorder) {
	code, body := rec.Code, rec.Body.Bytes()
	if code == http.StatusNoContent {
		code = http.StatusOK // a 204 has no body
	}
	if len(body) < 2 {
		body = []byte("{}\n")
	}
	x.inv.answer(x.events, answer{status: code, class: growing})
	x.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	x.w.WriteHeader(code)
	_, _ = x.w.Write(body[:len(body)/2])
	_ = http.NewResponseController(x.w).Flush()
	x.abort()
}

func write(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}
