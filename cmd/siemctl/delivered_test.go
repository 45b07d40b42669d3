package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// noQueue refuses every call: nothing is retried or rejected.
type noQueue struct{ lambdahost.SQS }

func (noQueue) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (
	*sqs.SendMessageBatchOutput, error) {
	return nil, fmt.Errorf("there is no queue")
}

// deliverByFunction delivers events with the connector's own function, and keeps its receipts. The SIEM loses some of
// them.
func (a *audit) deliverByFunction(events [][]byte, lost int) {
	a.t.Helper()
	list, err := find([]string{a.connector})
	if err != nil {
		a.t.Fatal(err)
	}
	env := a.siem.Settings()
	maps.Copy(env, a.siem.Secret())
	maps.Copy(env, map[string]string{"SIEM_RECEIPTS": "true", "SIEM_STACK": "receipts",
		"SIEM_QUEUE_URL": "https://sqs/q", "SIEM_DEAD_LETTER_QUEUE_URL": "https://sqs/dlq"})
	var out bytes.Buffer
	f := lambdahost.NewConnector(list[0].Name, list[0].Open, lambdahost.Deps{Out: &out, Now: time.Now, SQS: noQueue{},
		Env: func(name string) string { return env[name] }})
	accepted := len(a.siem.Accepted()) + len(events) - lost
	for start := 0; start < len(events); start += 100 {
		var records []any
		for i, body := range events[start:min(start+100, len(events))] {
			records = append(records, map[string]any{"messageId": fmt.Sprint("m-", start+i), "receiptHandle": "r",
				"body": string(body), "attributes": map[string]string{"ApproximateReceiveCount": "1"}})
		}
		payload, err := json.Marshal(map[string]any{"Records": records})
		if err != nil {
			a.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(a.t.Context(), time.Minute)
		answer, err := f.Invoke(ctx, payload)
		cancel()
		if err != nil || strings.Contains(string(answer), "itemIdentifier") {
			a.t.Fatalf("%s %v: %s", answer, err, &out)
		}
	}
	if a.connector == "qradar" { // its host acknowledges what QRadar has not read yet
		a.waitUntilAccepted(accepted)
	}
	for line := range strings.Lines(out.String()) {
		a.stack.receipts = append(a.stack.receipts, strings.TrimSpace(line))
	}
}

func (a *audit) waitUntilAccepted(n int) {
	a.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); len(a.siem.Accepted()) < n; {
		select {
		case <-tick.C:
		case <-limit:
			a.t.Fatalf("QRadar has read %d of %d events", len(a.siem.Accepted()), n)
		}
	}
}

// TestReconcileDelivered: reconcile finds delivered events unchanged: generated events, and events with white space,
// without metadata.uid, with a long one, and over the SIEM's limit. It names each event that the SIEM loses after a
// success response.
func TestReconcileDelivered(t *testing.T) {
	eachSIEM(t, func(t *testing.T, a *audit) {
		a.start, a.ahead = time.Now().Add(-30*time.Minute), time.Hour
		g := ocsfgen.New(7)
		g.Now = time.Now
		var events [][]byte
		for range 200 {
			events = append(events, g.Next())
		}
		now := time.Now().UnixMilli()
		events = append(events,
			fmt.Appendf(nil, " {\n \"time\": %d, \"metadata\" : { \"uid\" : \"spaced \\u00e9 \\\"=|\" } } ", now),
			fmt.Appendf(nil, `{"time":%d,"class_uid":1}`, now),
			fmt.Appendf(nil, `{"@timestamp":"2026-03-13T00:00:00.000Z","time":%d,"metadata":{"uid":"own"}}`, now),
			fmt.Appendf(nil, `{"time":%d,"metadata":{"uid":"large"},"raw":%q}`, now, strings.Repeat("x", 70_000)))
		if a.connector != "elastic" { // its _id is not known from the receipt of a long id
			events = append(events, fmt.Appendf(nil, `{"time":%d,"metadata":{"uid":%q}}`, now, strings.Repeat("long", 20)))
		}
		if a.connector == "qradar" { // CEF replaces line breaks, and cuts; ids must survive
			events = events[:len(events)-1]
		}
		a.deliverByFunction(events, 0)
		if code := a.reconcile("--output", "json", "--settle", "0s"); code != exitOK {
			t.Errorf("exit code %d: %s", code, &a.stderr)
		}
		r := a.evidence()
		if c := r.Counts; c.Missing+c.Altered+c.Repeated != 0 || c.Delivered != len(events) ||
			c.Present != len(events) {
			t.Fatalf("%+v %+v", c, r.Lists)
		}
		var lost []string
		events = events[:0]
		for n := range 120 {
			events = append(events, g.Next())
			if n%3 == 0 {
				lost = append(lost, siem.EventID(events[n]))
			}
		}
		a.siem.Inject(siem.Fault{Kind: siem.Lose, Match: func(id string) bool { return slices.Contains(lost, id) }})
		a.deliverByFunction(events, len(lost))
		if code := a.reconcile("--output", "json", "--settle", "0s"); code != exitProblems {
			t.Errorf("40 lost: exit code %d: %s", code, &a.stderr)
		}
		r = a.evidence()
		slices.Sort(lost)
		if got := idsOf(r.MissingEvents); !slices.Equal(got, lost) || r.Counts.Altered != 0 {
			t.Errorf("missing %q, want %q: %+v", got, lost, r.Counts)
		}
	})
}
