package matrix

import (
	"net"
	"net/http"
	"time"
)

// row is one fault, and by hand what has to become of the events that meet it, in the words of the tables: "delivered",
// "dead letter", or "7 s" for those that are kept and come back after so long; joined by " · " where events fare
// differently.
type row struct {
	name string

	way    way
	answer answer         // HTTP: to the requests; nil is the best
	once   bool           // to the first of them alone
	token  answer         // Sentinel: for access tokens
	syslog func(net.Conn) // QRadar
	env    map[string]string
	events int // 2 unless set
	filler string

	want     string            // of the first attempt
	but      map[string]string // for some connectors; "–" is not tried
	says     string            // what the dead letters of the last attempt must say
	last     string            // of the last attempt; "" is a dead letter for all that is kept at first
	alone    string            // of an event that meets it alone, behind an accepted part; "" is want
	requests int               // so many and no more; 0 is not counted
	renewed  bool              // the secret is read again
	slow     bool              // ends by a time-out, which is made short
	part     bool              // tried behind an accepted part as well
}

const (
	again = "1 s"   // the back-off's first wait
	held  = "300 s" // its longest
	none  = "–"
)

var httpOnly = map[string]string{"qradar": none}

func butHTTP(more ...string) map[string]string {
	but := map[string]string{"qradar": none}
	for i := 0; i+1 < len(more); i += 2 {
		but[more[i]] = more[i+1]
	}
	return but
}

func syslogOnly(want string) map[string]string {
	return map[string]string{"splunk": none, "sentinel": none, "elastic": none, "datadog": none, "sumo": none, "xsiam": none, "qradar": want}
}

// only tries a row with one connector.
func only(name, want string) map[string]string {
	but := syslogOnly(none)
	but[name] = want
	return but
}

// wayRows break the way to the SIEM. No event is at fault: what may pass is tried again soon, what an operator has to mend
// later.
func wayRows() []row {
	return []row{
		{name: "the name cannot be resolved", way: noName, want: again, says: "no-such-host.invalid"},
		{name: "connection refused", way: refused, want: again, says: "connection refused"},
		{name: "connecting times out", way: noConnect, slow: true, want: again, says: "i/o timeout"},
		{name: "certificate expired", way: expired, want: held, says: "expired"},
		{name: "certificate for another name", way: wrongName, want: held, says: "another name"},
		{name: "certificate of an unknown CA", way: unknownCA, want: held, says: "another CA"},
		{name: "TLS 1.1 and no later", way: oldTLS, want: held, says: "TLS"},
		{name: "no TLS at all", way: noTLS, syslog: greet, want: held, says: "does not use TLS"},
		{name: "a client certificate is wanted (TLS 1.2)", way: clientCertificate12, want: held, says: "client certificate"},
		{name: "a client certificate is wanted (TLS 1.3)", way: clientCertificate, but: syslogOnly(held), says: "client certificate"},
		{name: "the TLS handshake is never answered", way: silentHandshake, slow: true, want: again, says: "handshake"},
		{name: "closed in the TLS handshake", way: closedHandshake, want: again, says: "handshake"},
	}
}

// requestRows break one request. Whatever the SIEM may have taken is sent again: at least once.
func requestRows() []row {
	lenient := butHTTP("sentinel", "delivered", "sumo", "delivered", "xsiam", "delivered")
	strict := butHTTP("sentinel", none, "sumo", none, "xsiam", "delivered")
	return []row{
		{name: "reset before the body is read", answer: resetBefore, syslog: resetAtOnce, want: again, part: true},
		{name: "closed before the body is read", answer: func(e *exchange) { _ = e.hijack().Close() }, syslog: closeAtOnce, want: again, part: true},
		{name: "reset within the body", answer: resetDuring, syslog: resetWithin, want: again, part: true},
		{name: "closed within the body", answer: closeDuring, syslog: closeWithin, want: again, part: true},
		{name: "reset behind the body", answer: resetAfter, syslog: resetBehind, want: again, part: true},
		{name: "closed behind the body", answer: closeAfter, syslog: closeBehind, want: again, part: true},
		{name: "closed within the answer's header", answer: closeInHeader, want: again, but: httpOnly, part: true},
		{name: "closed within the answer's body", answer: closeInBody, want: again, but: lenient, part: true},
		{name: "no answer", answer: blackHole, slow: true, want: again, but: httpOnly, says: "in time", part: true},
		{name: "an answer too slow to end in time", answer: drip, slow: true, want: again, but: httpOnly, says: "in time", part: true},
		{name: "an answer that is late, and in time", answer: late, syslog: readLate, want: "delivered", part: true},
		{name: "an answer without end", answer: endless, want: again, but: lenient, part: true},
		{name: "an answer's header without end", answer: endlessHeader, want: again, but: httpOnly, part: true},
		{name: "provisional answers without end", answer: endlessContinue, want: again, but: httpOnly, part: true},
		{name: "an answer in another protocol", answer: notHTTP, syslog: greet, want: again, but: map[string]string{"qradar": "delivered"}, part: true},
		{name: "a success cut in half", answer: truncated, want: again, but: strict, part: true},
		{name: "a success that is a web page", answer: garbage, want: again, but: lenient, part: true},
		{name: "a success that unpacks to 64 MiB", answer: bomb(), want: again, but: lenient, part: true},
		{name: "the peer reads nothing, and its kernel has room", syslog: readNothing, but: syslogOnly("delivered")},
		{name: "the peer reads nothing, and its kernel has no room", syslog: readNothing, slow: true, events: maxEvents, filler: longName, but: syslogOnly(again), says: "acknowledged"},
		{name: "UDP: nothing listens", way: refused, env: map[string]string{"QRADAR_SYSLOG_PROTOCOL": "udp"}, but: syslogOnly(again), says: "nothing listens there"},
	}
}

// statusRows answer with a status, and a body that is none of the SIEM's: a proxy's, say.
func statusRows() []row {
	rows := []row{
		{name: "200 without a word", answer: says(200, ""), want: again, but: butHTTP("sentinel", "delivered", "sumo", "delivered", "xsiam", "delivered")},
		{name: "202 without a word", answer: says(202, ""), want: again, but: butHTTP("sentinel", "delivered", "datadog", "delivered", "xsiam", "delivered")},
		{name: "204", answer: says(204, ""), want: again, but: butHTTP("sentinel", "delivered", "sumo", "delivered", "xsiam", "delivered")},
		{name: "301", answer: redirect(301), want: held, requests: 1, says: "redirects are not followed"},
		{name: "302", answer: redirect(302), want: held, requests: 1, says: "redirects are not followed"},
		{name: "307", answer: redirect(307), want: held, requests: 1, says: "redirects are not followed"},
		{name: "308", answer: redirect(308), want: held, requests: 1, says: "redirects are not followed"},
		{name: "400 to every event", answer: status(400), want: held, alone: "dead letter", says: "status 400"},
		{name: "400 to one event of three", answer: refuses(1, status(400)), events: 3, want: "delivered · dead letter · delivered", says: "status 400"},
		{name: "401", answer: status(401), want: held, requests: 2, renewed: true, says: "status 401"},
		{name: "403", answer: status(403), want: held, requests: 2, renewed: true, says: "status 403"},
		{name: "401 until the secret is read again", answer: status(401), once: true, want: "delivered", requests: 2, renewed: true},
		{name: "404", answer: status(404), want: held, requests: 1, says: "status 404"},
		{name: "405", answer: status(405), want: held, requests: 1, says: "status 405"},
		{name: "408", answer: status(408), want: again, says: "status 408"},
		{name: "413 to more than one event", answer: tooMany, events: 3, want: "delivered", requests: 5},
		{name: "413 to one event of three", answer: refuses(1, status(413)), events: 3, want: "delivered · dead letter · delivered", says: "status 413"},
		{name: "418, which nobody has promised", answer: status(418), want: again, says: "status 418"},
		{name: "429", answer: status(429), want: again, requests: 1, says: "status 429"},
		{name: "429, `Retry-After: 60`", answer: status(429, "Retry-After", "60"), want: "60 s", requests: 1, says: "status 429"},
		{name: "429, `Retry-After:` in two minutes", answer: inTwoMinutes, want: "120 s", requests: 1, says: "status 429"},
		{name: "429, `Retry-After: 86400`", answer: status(429, "Retry-After", "86400"), want: "900 s", requests: 1, says: "status 429"},
		{name: "429, `Retry-After: soon`", answer: status(429, "Retry-After", "soon"), want: again, requests: 1, says: "status 429"},
		{name: "500", answer: status(500), want: again, requests: 1, says: "status 500"},
		{name: "501", answer: status(501), want: again, says: "status 501"},
		{name: "502", answer: status(502), want: again, says: "status 502"},
		{name: "503", answer: status(503), want: again, requests: 1, says: "status 503"},
		{name: "503, `Retry-After: 20`", answer: status(503, "Retry-After", "20"), want: "20 s", requests: 1, says: "status 503"},
		{name: "504", answer: status(504), want: again, says: "status 504"},
	}
	for i := range rows {
		r := &rows[i]
		if r.but == nil {
			r.but = httpOnly
		}
		r.part = r.events == 0 && !r.once
	}
	return rows
}

// tooMany refuses a request of more than one event as too large.
func tooMany(e *exchange) {
	if e.read(); len(e.ids) > 1 {
		status(http.StatusRequestEntityTooLarge)(e)
		return
	}
	e.accept()
}

func inTwoMinutes(e *exchange) {
	status(http.StatusTooManyRequests, "Retry-After", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat))(e)
}
