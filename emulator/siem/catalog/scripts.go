package catalog

import (
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
)

// Names of faults that a later act ends.
const (
	outage = "outage"
	fault  = "fault"
)

func down() siem.Fault {
	return siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: outage}
}

// hangUp accepts one request without a response: its events arrive again.
func hangUp() func(*Stage) { return begin(siem.Fault{Kind: siem.AcceptClose, Times: 1}) }

func product(name, code string, times int) siem.Fault {
	return siem.Fault{Kind: siem.Product, Name: name, Code: code, Times: times}
}

func splunkScript() []Act {
	return []Act{
		{At: 0, Say: "refuses one event for its content at every attempt (400 code 6)", Do: poison},
		{At: 3 * time.Second, After: "400 code 6", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "has recovered and is busy: two requests get 429, Retry-After: 2",
			Do: both(end(outage), begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2)))},
		{At: 11 * time.Second, After: "429", Say: "has its token revoked: 403 code 1", Do: revoke},
		{At: 14 * time.Second, After: "403 code 1", Say: "has a new token, stored in Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "indexes half of a request, then is busy (503 code 9); compresses its next responses",
			Do: begin(product(fault, "9", 1), siem.Fault{Kind: siem.Compressed, Times: 5})},
		{At: 16 * time.Second, After: "503 code 9", Say: "indexes a request and closes the connection without a response",
			Do: hangUp()},
	}
}

func sentinelScript() []Act {
	busy := siem.RetryAfter(http.StatusTooManyRequests, "2", 2)
	busy.On = sentinel.Ingests
	return []Act{
		{At: 0, Say: "refuses every request with one event (400 InvalidPayload)", Do: poison},
		{At: 3 * time.Second, After: "400 InvalidPayload", Say: "loses the role on the rule: 403 OperationFailed",
			Do: begin(product(fault, "OperationFailed", 0))},
		{At: 9 * time.Second, After: "403 OperationFailed", Say: "has the role again, and throttles: 429, Retry-After: 2",
			Do: both(end(fault), begin(busy))},
		{At: 12 * time.Second, After: "429", Say: "expires its client secret and revokes its tokens: AADSTS7000222",
			Do: revoke},
		{At: 15 * time.Second, After: "401 AADSTS7000222", Say: "has a new client secret, stored in Secrets Manager",
			Do: publish},
	}
}

func elasticScript() []Act {
	return []Act{
		{At: 0, Say: "cannot map one event (item 400 document_parsing_exception)", Do: poison},
		{At: 3 * time.Second, After: "item 400 document_parsing_exception",
			Say: "is short of memory: every second document gets 429", Do: begin(product(fault, "item 429", 0))},
		{At: 8 * time.Second, After: "item 429 es_rejected_execution_exception",
			Say: "has memory again, and its index becomes a data stream: create only",
			Do: both(end(fault), func(s *Stage) {
				if s.Distinct { // a data stream keeps only the first document of an _id
					s.SIEM.Inject(product("", "data-stream", 0))
				}
			})},
		{At: 11 * time.Second, Say: "invalidates its API key: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 security_exception", Say: "has a new API key, stored in Secrets Manager",
			Do: publish},
		{At: 16 * time.Second, Say: "stores a request and closes the connection: the same _id arrives again", Do: hangUp()},
	}
}

func datadogScript() []Act {
	busy := siem.Fault{Kind: siem.Status, Status: http.StatusTooManyRequests,
		Header: map[string]string{"X-RateLimit-Reset": "2"}, Times: 2}
	return []Act{
		{At: 0, Say: "refuses every payload with one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "has recovered and limits: 429, X-RateLimit-Reset: 2, no Retry-After",
			Do: both(end(outage), begin(busy))},
		{At: 11 * time.Second, After: "429", Say: "revokes its API key: 403", Do: revoke},
		{At: 14 * time.Second, After: "403", Say: "has a new API key, stored in Secrets Manager", Do: publish},
		{At: 16 * time.Second, Say: "accepts a payload and closes the connection without a response", Do: hangUp()},
	}
}

func sumoScript() []Act {
	busy := siem.Fault{Kind: siem.Early, Status: http.StatusTooManyRequests, Times: 3}
	return []Act{
		{At: 0, Say: "refuses every request with one event (400 parameter.invalid)", Do: poison},
		{At: 3 * time.Second, After: "400 parameter.invalid", Say: "accepts half of a request, then times out (408)",
			Do: begin(product(fault, "408", 1))},
		{At: 7 * time.Second, After: "408 timeout",
			Say: "responds 429 to three requests before it has read them, without Retry-After", Do: begin(busy)},
		{At: 11 * time.Second, After: "429", Say: "replaces its URL, which is the credential: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 unauthorized", Say: "has a new URL, stored in Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "accepts a request with a warning: 200 with a body (header.invalid)",
			Do: begin(product(fault, "header.invalid", 1))},
	}
}

func qradarScript() []Act {
	return []Act{
		{At: 0, Say: "closes the connection after a batch, three times",
			Do: begin(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{At: 3 * time.Second, Say: "is down: resets every connection",
			Do: begin(siem.Fault{Kind: siem.CloseBefore, Name: outage})},
		{At: 8 * time.Second, After: "close-before", Say: "has recovered, and stops reading what its kernel accepts",
			Do: both(end(outage), begin(siem.Fault{Kind: siem.AcceptHang, Name: fault}))},
		{At: 12 * time.Second, Say: "reads again", Do: end(fault)},
		{At: 13 * time.Second, Say: "revokes the client certificate", Do: revoke},
		{At: 15 * time.Second, After: "certificate", Say: "has a new client certificate, stored in Secrets Manager",
			Do: publish},
	}
}

// xsiamScript ends with an outage that is longer than all attempts of an event in the demo: such events become dead
// letters.
func xsiamScript() []Act {
	return []Act{
		{At: 0, Say: "refuses every request with one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "throttles two requests: 429, Retry-After: 2",
			Do: begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2))},
		{At: 5 * time.Second, After: "429", Say: "replaces its key and key id: 401", Do: revoke},
		{At: 8 * time.Second, After: "401", Say: "has the new pair stored in Secrets Manager", Do: publish},
		{At: 9 * time.Second, Say: "closes the connection within the body of a request",
			Do: begin(siem.Fault{Kind: siem.CloseDuring, Times: 1})},
		{At: 10 * time.Second, Say: "responds 500 to everything, beyond an event's last attempt",
			Do: begin(siem.Fault{Kind: siem.Status, Status: http.StatusInternalServerError, Name: outage})},
		// the refused event, the invalid one, and an exhausted one
		{At: 25 * time.Second, Dead: 3, Say: "has recovered", Do: end(outage)},
	}
}
