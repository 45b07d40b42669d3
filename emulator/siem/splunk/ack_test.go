package splunk_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	"github.com/arbitex/siem-connectors/emulator/siem/splunk"
)

// acks asks for acknowledgements on the channel of the headers.
func (h *hec) acks(query string) (int, string) {
	h.t.Helper()
	status, text := siemtest.Do(h.t, h.client, http.MethodPost, h.URL()+"/services/collector/ack", query, h.headers)
	var reply struct{ Acks json.RawMessage }
	if json.Unmarshal([]byte(text), &reply) == nil && reply.Acks != nil {
		text = string(bytes.TrimSpace(reply.Acks))
	}
	return status, text
}

// TestAcks: ids start at 0 in each channel, are true once, and are lost with an idle channel.
func TestAcks(t *testing.T) {
	now := time.Now()
	s, err := splunk.New(siem.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	h := newHEC(t)
	h.Simulator = s
	h.client = siemtest.Client(s)
	h.headers["Authorization"] = "Splunk " + s.Secret()["SPLUNK_HEC_TOKEN"]
	first := h.headers["X-Splunk-Request-Channel"]
	for want := range 3 {
		if _, a := h.post(named("e")); a.AckID == nil || *a.AckID != want {
			t.Fatalf("ackId %v, want %d", a.AckID, want)
		}
	}
	h.headers["X-Splunk-Request-Channel"] = strings.Replace(first, "3f", "4f", 1)
	if _, a := h.post(named("e")); *a.AckID != 0 {
		t.Errorf("the first ackId of another channel is %d", *a.AckID)
	}
	h.headers["X-Splunk-Request-Channel"] = first
	h.want(`{"acks":[0,2,9]}`, `{"0":true,"2":true,"9":false}`)
	h.want(`{"acks":[0,1]}`, `{"0":false,"1":true}`)
	h.post(named("e"))
	now = now.Add(11 * time.Minute)
	h.want(`{"acks":[3]}`, `{"3":false}`)
	h.Inject(siem.Fault{Kind: siem.Product, Code: "ack never", Times: 1})
	h.post(named("e"))
	h.want(`{"acks":[0]}`, `{"0":false}`)
	h.post(named("e"))
	h.Inject(siem.Fault{Kind: siem.Product, Code: "ack lost", Times: 1})
	h.want(`{"acks":[1]}`, `{"1":false}`)
}

func (h *hec) want(query, want string) {
	h.t.Helper()
	if status, got := h.acks(query); status != 200 || got != want {
		h.t.Errorf("%s: %d %s, want %s", query, status, got, want)
	}
}

func TestAckRefuses(t *testing.T) {
	h := newHEC(t)
	if status, text := h.acks(`{}`); status != 400 || !strings.Contains(text, `"code":6`) {
		t.Errorf("without acks: %d %s", status, text)
	}
	delete(h.headers, "X-Splunk-Request-Channel")
	if status, text := h.acks(`{"acks":[0]}`); status != 400 || !strings.Contains(text, `"code":10`) {
		t.Errorf("without a channel: %d %s", status, text)
	}
	h.headers["Authorization"] = "Splunk x"
	if status, _ := h.acks(`{"acks":[0]}`); status != 403 {
		t.Errorf("with another token: %d", status)
	}
}
