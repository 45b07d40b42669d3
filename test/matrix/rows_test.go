package matrix

import (
	"net"
	"net/http"
	"strings"
	"time"
)

// row is one fault, and the expected outcome of the events in the words of the tables: "delivered", "dead letter", or
// "7 s" if they are retried after so long; joined by " · " if the events have different outcomes.
type row struct {
	name string

	fault   fault
	proxy   *proxyCase
	respond responder // HTTP: to the requests; nil means a success
	once    bool      // only to the first request
	token   responder // Sentinel: to requests for access tokens
	stream  func(net.Conn)
	hang    bool // Secrets Manager responds to the first read only
	env     map[string]string
	events  int // 2 unless set
	filler  string

	only       string // connector; "" means all
	large      bool   // only connectors with large requests
	syslogOnly bool
	want       string // on the first attempt
	syslogWant string // if it differs
	reason     string // part of the reason on the last attempt
	last       string // on the last attempt; "" means a dead letter for each event that is retried on the first
	alone      string // of one event after an accepted part; "" means want
	requests   int    // on the first attempt; 0 is not checked
	renewed    bool   // the secret is read again
	slow       bool   // a timeout ends the cell
	part       bool   // also tried after an accepted part
}

const (
	again  = "1 s"   // the shortest back-off
	held   = "300 s" // the longest
	failed = "error" // the function returns an error, and SQS redelivers the batch
	none   = "–"     // not tried
)

// routeRows break the network path to the SIEM.
func routeRows() []row {
	return []row{
		{name: "name cannot be resolved", fault: noName, want: again, reason: "no-such-host.invalid"},
		{name: "connection refused", fault: refused, want: again, reason: "connection refused"},
		{name: "connection times out", fault: noConnect, slow: true, want: again, reason: "i/o timeout"},
		{name: "certificate expired", fault: expired, want: held, reason: "expired"},
		{name: "certificate for another name", fault: wrongName, want: held, reason: "another name"},
		{name: "certificate of an unknown CA", fault: unknownCA, want: held, reason: "another CA"},
		{name: "only TLS 1.1", fault: oldTLS, want: held, reason: "TLS"},
		{name: "no TLS", fault: noTLS, stream: greet, want: held, reason: "does not use TLS"},
		{name: "client certificate required (TLS 1.2)", fault: clientCertificate12, want: held, reason: "client certificate"},
		{name: "client certificate required (TLS 1.3)", fault: clientCertificate, syslogOnly: true, want: held,
			reason: "client certificate"},
		{name: "no response to the TLS handshake", fault: silentHandshake, slow: true, want: again, reason: "handshake"},
		{name: "closed in the TLS handshake", fault: closedHandshake, want: again, reason: "handshake"},
		{
			name: "UDP: port unreachable", fault: refused, env: map[string]string{"QRADAR_SYSLOG_PROTOCOL": "udp"},
			only: "qradar",
			want: again, reason: "nothing listens there",
		},
	}
}

// requestRows break one request. An event that the SIEM may have is sent again: at-least-once delivery. Where a syslog
// receiver stops reading, the batch is larger than the kernel's buffers, which would otherwise confirm it. A receiver
// that closes after it has read the batch is not tested: whether the connector sees that in time depends on the
// scheduler.
func requestRows() []row {
	return []row{
		{name: "reset before the body is read", respond: resetBefore, stream: resetAtOnce, events: maxEvents,
			filler: longName, want: again, part: true},
		{name: "closed before the body is read", respond: closeBefore, stream: closeAtOnce, events: maxEvents,
			filler: longName, want: again, part: true},
		{name: "reset within the body", respond: resetDuring, stream: resetWithin, events: maxEvents, filler: longName,
			want: again, part: true},
		{name: "closed within the body", respond: closeDuring, stream: closeWithin, events: maxEvents, filler: longName,
			want: again, part: true},
		{name: "reset after the body", respond: resetAfter, want: again, part: true},
		{name: "closed after the body", respond: closeAfter, want: again, part: true},
		{name: "closed within the response's header", respond: closeInHeader, want: again, part: true},
		{name: "no response", respond: blackHole, slow: true, want: again, reason: "in time", part: true},
		{name: "a response that does not end in time", respond: drip, slow: true, want: again, reason: "in time", part: true},
		{name: "a late response", respond: late, stream: readLate, want: "delivered", part: true},
		{name: "endless response header", respond: endlessHeader, want: again, part: true},
		{name: "endless provisional responses", respond: endlessContinue, want: again, part: true},
		{name: "a response in another protocol", respond: notHTTP, stream: greet, want: again, syslogWant: "delivered",
			part: true},
		{name: "the peer reads nothing; its buffer has room", stream: readNothing, want: "delivered"},
		{
			name: "the peer reads nothing; its buffer is full", stream: readNothing, slow: true, events: maxEvents,
			filler: longName, want: again, reason: "acknowledged",
		},
	}
}

// earlyRows respond before the request is read. The response decides, although the connection breaks.
func earlyRows() []row {
	const limit = 200_000
	body := strings.Repeat("x", 72_000) // 4.6 MB in all, more than the kernel buffers
	rows := []row{
		{name: "401", respond: early(401), want: held, requests: 2, renewed: true, reason: "status 401"},
		{name: "403", respond: early(403), want: held, renewed: true, reason: "status 403"},
		{name: "413 to more than 200 kB", respond: earlyAbove(limit, 413), events: 8, want: "delivered"},
		{name: "429, `Retry-After: 60`", respond: early(429, "Retry-After: 60"), want: "60 s", requests: 1,
			reason: "status 429"},
		{name: "503, `Retry-After: 20`", respond: early(503, "Retry-After: 20"), want: "20 s", requests: 1,
			reason: "status 503"},
		{name: "a success", respond: earlySuccess, large: true, slow: true, want: again,
			reason: "before the request had been written"},
	}
	for i := range rows {
		r := &rows[i]
		r.env, r.filler = map[string]string{"SIEM_COMPRESSION": "none"}, body
		if r.events == 0 {
			r.events = maxEvents
		}
	}
	return rows
}

// successRows are responses with the status of a success. target.accepts names those that confirm acceptance.
func successRows() []row {
	rows := []row{
		{name: "200, empty", respond: reply(200, "")},
		{name: "202, empty", respond: reply(202, "")},
		{name: "204", respond: reply(204, "")},
		{name: "200, another product's JSON", respond: reply(200, `{"status":"ok"}`)},
		{name: "200, JSON with `error`", respond: reply(200, `{"error":"license expired"}`)},
		{name: "200, a JSON array", respond: reply(200, `[]`)},
		{name: "200, a web page", respond: webPage},
		{name: "202, a web page", respond: reply(202, page)},
		{name: "the SIEM's own, in gzip", respond: zipped(200, (*request).goodText), want: "delivered"},
		{name: "half of a JSON object, in gzip", respond: zipped(200, func(*request) string { return `{"code":0,` })},
		{name: "half of a JSON object", respond: reply(200, `{"code":0,`)},
		{name: "shorter than its Content-Length", respond: closeInBody},
		{name: "endless", respond: endless},
		{name: "64 MiB, in gzip", respond: bomb()},
	}
	for i := range rows {
		if r := &rows[i]; r.want == "" {
			r.want, r.requests = again, 1
		}
		rows[i].part = true
	}
	return rows
}

// refusalRows are refusals of every event, and of one of three events.
func refusalRows() []row {
	own := func(q *request) string { return q.s.target.refusal }
	format := "Invalid data format" // in every target's refusal
	rows := []row{
		{name: "400 in the SIEM's format", respond: refusal(400, own), want: held, alone: "dead letter", part: true,
			reason: format},
		{name: "400 in the SIEM's format, one event", respond: refuses(1, refusal(400, own)), want: dead, reason: format},
		{name: "400 in the SIEM's format and in gzip, one event", respond: refuses(1, zipped(400, own)), want: dead,
			reason: format},
		{name: "400, a web page", respond: reply(400, page), want: held, requests: 1, part: true, reason: "status 400"},
		{name: "400, another product's JSON", respond: reply(400, `{"statusCode":400,"message":"Bad Request"}`), want: held,
			requests: 1, part: true, reason: "status 400"},
		{name: "422, a web page", respond: reply(422, page), want: held, requests: 1, part: true, reason: "status 422"},
		{name: "413, one event", respond: refuses(1, status(413)), want: dead, reason: "status 413"},
		// On the last attempt, one event that fails its batch becomes the only dead letter.
		{name: "400, a web page, one event", respond: refuses(1, reply(400, page)), want: held, last: dead,
			reason: "status 400"},
		{name: "403, a web page, one event", respond: refuses(1, reply(403, page)), want: held, last: dead, renewed: true,
			reason: "status 403"},
		{name: "406, a web page, one event", respond: refuses(1, reply(406, page)), want: held, last: dead,
			reason: "status 406"},
		{name: "500, one event", respond: refuses(1, status(500)), want: again, last: dead, reason: "status 500"},
		{name: "502, one event", respond: refuses(1, status(502)), want: again, last: dead, reason: "status 502"},
		{name: "503, one event", respond: refuses(1, status(503)), want: again, requests: 1, reason: "status 503"},
		{name: "reset after the body, one event", respond: refuses(1, resetAfter), want: again, last: dead},
		{name: "closed after the body, one event", respond: refuses(1, closeAfter), want: again, last: dead},
	}
	for i := range rows {
		rows[i].events = 3
	}
	return rows
}

// statusRows respond with a status, and a body that is not in the SIEM's own format.
func statusRows() []row {
	redirected := "redirects are not followed"
	rows := []row{
		{name: "301", respond: redirect(301), want: held, requests: 1, reason: redirected},
		{name: "302", respond: redirect(302), want: held, requests: 1, reason: redirected},
		{name: "307", respond: redirect(307), want: held, requests: 1, reason: redirected},
		{name: "308", respond: redirect(308), want: held, requests: 1, reason: redirected},
		{name: "401", respond: status(401), want: held, requests: 2, renewed: true, reason: "status 401"},
		{name: "401, and Secrets Manager hangs", respond: status(401), hang: true, want: held, renewed: true,
			reason: "status 401"},
		{name: "401 to the first request", respond: status(401), once: true, want: "delivered", requests: 2, renewed: true},
		{
			name: "401 to the first request, and Secrets Manager hangs", respond: status(401), once: true, hang: true,
			want: "delivered", requests: 2, renewed: true,
		},
		{name: "403", respond: status(403), want: held, requests: 2, renewed: true, reason: "status 403"},
		{name: "404", respond: status(404), want: held, requests: 1, reason: "status 404"},
		{name: "405", respond: status(405), want: held, requests: 1, reason: "status 405"},
		{name: "407", respond: status(407), want: held, requests: 1, reason: "status 407"},
		{name: "408", respond: status(408), want: again, reason: "status 408"},
		{name: "413 to more than one event", respond: tooMany, events: 3, want: "delivered", requests: 5},
		{name: "418", respond: status(418), want: held, requests: 1, reason: "status 418"},
		{name: "429", respond: status(429), want: again, requests: 1, reason: "status 429"},
		{name: "429, `Retry-After: 60`", respond: status(429, "Retry-After", "60"), want: "60 s", requests: 1,
			reason: "status 429"},
		{name: "429, `Retry-After:` in two minutes", respond: inTwoMinutes, want: "120 s", requests: 1, reason: "status 429"},
		{name: "429, `Retry-After: 86400`", respond: status(429, "Retry-After", "86400"), want: "900 s", requests: 1,
			reason: "status 429"},
		{name: "429, `Retry-After: 299.997`", respond: status(429, "Retry-After", "299.997"), want: "300 s", requests: 1,
			reason: "status 429"},
		{name: "429, `Retry-After:` of 20 digits", respond: status(429, "Retry-After", "99999999999999999999"), want: "900 s",
			requests: 1, reason: "status 429"},
		{name: "429, `Retry-After: soon`", respond: status(429, "Retry-After", "soon"), want: again, requests: 1,
			reason: "status 429"},
		{name: "500", respond: status(500), want: again, requests: 1, reason: "status 500"},
		{name: "501", respond: status(501), want: again, reason: "status 501"},
		{name: "502", respond: status(502), want: again, reason: "status 502"},
		{name: "503", respond: status(503), want: again, requests: 1, reason: "status 503"},
		{name: "503, `Retry-After: 20`", respond: status(503, "Retry-After", "20"), want: "20 s", requests: 1,
			reason: "status 503"},
		{name: "504", respond: status(504), want: again, reason: "status 504"},
	}
	for i := range rows {
		r := &rows[i]
		r.part = r.events == 0 && !r.once
	}
	return rows
}

// tooMany refuses a request of more than one event as too large.
func tooMany(q *request) {
	if q.read(); len(q.ids) > 1 {
		status(http.StatusRequestEntityTooLarge)(q)
		return
	}
	q.accept()
}

func inTwoMinutes(q *request) {
	status(http.StatusTooManyRequests, "Retry-After", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat))(q)
}
