package catalog

import (
	"net/http"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/sentinel"
)

// Names of faults that an act ends which an earlier one began.
const (
	outage = "outage"
	fault  = "fault"
)

func down() siem.Fault {
	return siem.Fault{Kind: siem.Status, Status: http.StatusServiceUnavailable, Name: outage}
}

// hangUp takes one request and does not say so: what was delivered comes again.
func hangUp() func(*Stage) { return begin(siem.Fault{Kind: siem.AcceptClose, Times: 1}) }

func product(name, code string, times int) siem.Fault {
	return siem.Fault{Kind: siem.Product, Name: name, Code: code, Times: times}
}

func splunkScript() []Act {
	return []Act{
		{At: 0, Say: "refuses one event for its content, each time it comes (400 code 6)", Do: poison},
		{At: 3 * time.Second, After: "400 code 6", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "is up and busy: two requests get 429, Retry-After: 2",
			Do: both(end(outage), begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2)))},
		{At: 11 * time.Second, After: "429", Say: "has its token revoked: 403 code 1", Do: revoke},
		{At: 14 * time.Second, After: "403 code 1", Say: "has a new token, put into Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "indexes half of a request, then is busy (503 code 9)", Do: begin(product(fault, "9", 1))},
		{At: 16 * time.Second, After: "503 code 9", Say: "indexes a request and hangs up without an answer", Do: hangUp()},
	}
}

func sentinelScript() []Act {
	busy := siem.RetryAfter(http.StatusTooManyRequests, "2", 2)
	busy.On = sentinel.Ingests
	return []Act{
		{At: 0, Say: "refuses every request that holds one event (400 InvalidPayload)", Do: poison},
		{At: 3 * time.Second, After: "400 InvalidPayload", Say: "lets the role on the rule lapse: 403 OperationFailed", Do: begin(product(fault, "OperationFailed", 0))},
		{At: 9 * time.Second, After: "403 OperationFailed", Say: "has the role again, and throttles: 429, Retry-After: 2", Do: both(end(fault), begin(busy))},
		{At: 12 * time.Second, After: "429", Say: "has its client secret expired, its tokens revoked: AADSTS7000222", Do: revoke},
		{At: 15 * time.Second, After: "401 AADSTS7000222", Say: "has a new client secret, put into Secrets Manager", Do: publish},
	}
}

func elasticScript() []Act {
	return []Act{
		{At: 0, Say: "cannot map one event (item 400 document_parsing_exception)", Do: poison},
		{At: 3 * time.Second, After: "item 400 document_parsing_exception", Say: "is short of memory: every second document gets 429", Do: begin(product(fault, "item 429", 0))},
		{At: 8 * time.Second, After: "item 429 es_rejected_execution_exception", Say: "has memory again, and its index becomes a data stream: create only",
			Do: both(end(fault), func(s *Stage) {
				if s.Distinct { // else a data stream keeps the first of an id, and the account is about all
					s.SIEM.Inject(product("", "data-stream", 0))
				}
			})},
		{At: 11 * time.Second, Say: "has its API key invalidated: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 security_exception", Say: "has a new API key, put into Secrets Manager", Do: publish},
		{At: 16 * time.Second, Say: "stores a request and hangs up: what comes again has the same _id", Do: hangUp()},
	}
}

func datadogScript() []Act {
	busy := siem.Fault{Kind: siem.Status, Status: http.StatusTooManyRequests, Header: map[string]string{"X-RateLimit-Reset": "2"}, Times: 2}
	return []Act{
		{At: 0, Say: "refuses every payload that holds one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "is down: 503 to everything", Do: begin(down())},
		{At: 8 * time.Second, After: "503", Say: "is up and limits: 429, X-RateLimit-Reset: 2, no Retry-After", Do: both(end(outage), begin(busy))},
		{At: 11 * time.Second, After: "429", Say: "has its API key revoked: 403", Do: revoke},
		{At: 14 * time.Second, After: "403", Say: "has a new API key, put into Secrets Manager", Do: publish},
		{At: 16 * time.Second, Say: "takes a payload and hangs up without an answer", Do: hangUp()},
	}
}

func sumoScript() []Act {
	busy := siem.Fault{Kind: siem.Status, Status: http.StatusTooManyRequests, Times: 3}
	return []Act{
		{At: 0, Say: "refuses every request that holds one event (400 parameter.invalid)", Do: poison},
		{At: 3 * time.Second, After: "400 parameter.invalid", Say: "takes half of a request, then times out (408)", Do: begin(product(fault, "408", 1))},
		{At: 7 * time.Second, After: "408 timeout", Say: "throttles three requests: 429 without a word when to come again", Do: begin(busy)},
		{At: 11 * time.Second, After: "429", Say: "has its URL, which is the credential, replaced: 401", Do: revoke},
		{At: 14 * time.Second, After: "401 unauthorized", Say: "has its new URL put into Secrets Manager", Do: publish},
		{At: 15 * time.Second, Say: "takes a request and warns: 200 with a body (header.invalid)", Do: begin(product(fault, "header.invalid", 1))},
	}
}

func qradarScript() []Act {
	return []Act{
		{At: 0, Say: "closes the connection after a batch, three times", Do: begin(siem.Fault{Kind: siem.AcceptClose, Times: 3})},
		{At: 3 * time.Second, Say: "is down: resets every connection", Do: begin(siem.Fault{Kind: siem.CloseBefore, Name: outage})},
		{At: 8 * time.Second, After: "close-before", Say: "is up, and stops reading what its kernel takes",
			Do: both(end(outage), begin(siem.Fault{Kind: siem.AcceptHang, Name: fault}))},
		{At: 12 * time.Second, Say: "reads again", Do: end(fault)},
		{At: 13 * time.Second, Say: "revokes the client certificate", Do: revoke},
		{At: 15 * time.Second, After: "certificate", Say: "gets a new client certificate, put into Secrets Manager", Do: publish},
	}
}

// xsiamScript ends with an outage that outlasts all attempts of an event in the demo: such events end in dead letters.
func xsiamScript() []Act {
	return []Act{
		{At: 0, Say: "refuses every request that holds one event (400)", Do: poison},
		{At: 3 * time.Second, After: "400", Say: "throttles two requests: 429, Retry-After: 2", Do: begin(siem.RetryAfter(http.StatusTooManyRequests, "2", 2))},
		{At: 5 * time.Second, After: "429", Say: "has its key and key id replaced: 401", Do: revoke},
		{At: 8 * time.Second, After: "401", Say: "has the new pair put into Secrets Manager", Do: publish},
		{At: 9 * time.Second, Say: "cuts a request off in the midst of its body", Do: begin(siem.Fault{Kind: siem.CloseDuring, Times: 1})},
		{At: 10 * time.Second, Say: "answers 500 to everything, beyond an event's last attempt", Do: begin(siem.Fault{Kind: siem.Status, Status: http.StatusInternalServerError, Name: outage})},
		{At: 25 * time.Second, Dead: 3, Say: "is well again", Do: end(outage)}, // the poisoned event, the broken one, and one given up
	}
}
