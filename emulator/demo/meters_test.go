package demo

import (
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

const embedded = `{"_aws":{"Timestamp":1},"Connector":"splunk","Received":100,"Delivered":60,"Retried":40}`

func TestMetersReadWhatFunctionsPrint(t *testing.T) {
	var log strings.Builder
	m := newMeters(&log)
	text := "splunk | " + embedded + "\nreplay | {\"_aws\":{},\"Connector\":\"splunk\",\"Replayed\":7}\nsplunk | " +
		embedded + "\nsplunk | words\nno bar\n"
	for i := 0; i < len(text); i += 50 { // lines come in pieces
		if n, err := m.Write([]byte(text[i:min(i+50, len(text))])); n == 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if got := m.tally("splunk"); got != (tally{Received: 200, Retried: 80}) {
		t.Errorf("%+v", got)
	}
	if log.String() != text {
		t.Errorf("handed on %q", log.String())
	}
}

// TestSteadyCountsWarmFullBatchesInWhichNothingFails: each of the other batches would make it an hour.
func TestSteadyCountsWarmFullBatchesInWhichNothingFails(t *testing.T) {
	m := newMeters(&strings.Builder{})
	batch := func(events int) []byte { return []byte(`{"Records":[` + strings.Repeat("{},", events-1) + "{}]}") }
	fine := []byte(`{"batchItemFailures":[]}`)
	see := func(events int, r runtimeapi.Result) { m.observe("F", batch(events), r) }
	for _, cpu := range []time.Duration{3 * time.Millisecond, 5 * time.Millisecond, 4 * time.Millisecond} {
		if got := m.steady("F"); got != 0 {
			t.Errorf("too few batches give %s", got)
		}
		see(fullBatch, runtimeapi.Result{CPU: cpu, Payload: fine})
	}
	for range 4 {
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: fine, Init: 1})
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: []byte(`{"batchItemFailures":[{"itemIdentifier":"1"}]}`)})
		see(fullBatch, runtimeapi.Result{CPU: time.Hour, Payload: fine, Error: &runtimeapi.Error{}})
		see(fullBatch-1, runtimeapi.Result{CPU: time.Hour, Payload: fine})
		see(fullBatch, runtimeapi.Result{Payload: fine}) // a system that does not tell
	}
	if got, want := m.steady("F"), 4*time.Millisecond*1000/fullBatch; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if m.start() != time.Hour {
		t.Errorf("a process's start takes %s", m.start())
	}
}
