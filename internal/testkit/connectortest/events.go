package connectortest

import (
	"compress/gzip"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
)

// SampleEvent is the event of the platform's page on its connectors, one line.
const SampleEvent = `{"class_uid":6003,"category_uid":6,"activity_id":1,"time":1741824000123,"severity_id":1,` +
	`"actor":{"user":{"uid":"user_abc","email_addr":"alice@example.com"}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},` +
	`"metadata":{"version":"1.1.0","product":{"name":"Arbitex","vendor_name":"Arbitex"}}}`

// FullEvent is an event that has a value for every field a connector reads, as the page's samples show them.
const FullEvent = `{"class_uid":6003,"category_uid":6,"activity_id":1,"time":1741824000123,"severity_id":1,` +
	`"actor":{"user":{"uid":"user_abc","email_addr":"alice@example.com","groups":[{"uid":"finance-team"}]}},` +
	`"api":{"request":{"uid":"req_xyz"},"operation":"chat_completion"},` +
	`"metadata":{"uid":"evt-1","version":"1.1.0","product":{"name":"Arbitex","vendor_name":"Arbitex"}},` +
	`"unmapped":{"model_id":"gpt-4o","policy_action":"allow","dlp_labels":[],"tokens_input":512,"tokens_output":256}}`

// Event makes event n, whose text holds mark.
func Event(n int, mark string) string {
	return fmt.Sprintf(`{"class_uid":3002,"time":%d,"severity_id":2,"metadata":{"uid":"event-%d"},"message":%q}`,
		1741824000000+n, n, mark)
}

// Events makes n events; those whose numbers are in bad hold badMark.
func Events(n int, bad ...int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = Event(i, "good")
	}
	for _, i := range bad {
		all[i] = Event(i, badMark)
	}
	return all
}

// badMark marks the events that Suite.Refuse refuses. It survives every wire format: letters only.
const badMark = "POISONOUS"

// quiet discards a test server's messages about connections that tests break on purpose.
var quiet = log.New(io.Discard, "", 0)

// readBody reads a request's body, decompressed.
func readBody(r *http.Request) ([]byte, bool) {
	var from io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, false
		}
		from = z
	}
	body, err := io.ReadAll(from)
	return body, err == nil
}

// dump is a request as the server saw it, to prove that a secret was sent at all.
func dump(r *http.Request, body []byte) string {
	head, err := httputil.DumpRequest(r, false)
	if err != nil {
		return string(body)
	}
	return string(head) + string(body)
}

// Parse makes an event of a body.
func Parse(t testing.TB, body string) *event.Event {
	t.Helper()
	e := new(event.Event)
	if err := new(event.Parser).Parse([]byte(body), e); err != nil {
		t.Fatal(err)
	}
	return e
}

// Batch makes a batch of events as the engine does.
func Batch(t testing.TB, c deliver.Connector, bodies ...string) *deliver.Batch {
	t.Helper()
	var records [][]byte
	var events []*event.Event
	for _, body := range bodies {
		e := Parse(t, body)
		record, _, err := c.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		records, events = append(records, record), append(events, e)
	}
	return deliver.NewBatch(c.Format(), records, events)
}

// Status answers every request with a status, a body and pairs of header names and values.
func Status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}
