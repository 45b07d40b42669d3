package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	datadog "github.com/arbitex/siem-connectors/functions/datadog/connector"
	elastic "github.com/arbitex/siem-connectors/functions/elastic/connector"
	qradar "github.com/arbitex/siem-connectors/functions/qradar/connector"
	sentinel "github.com/arbitex/siem-connectors/functions/sentinel/connector"
	splunk "github.com/arbitex/siem-connectors/functions/splunk/connector"
	sumo "github.com/arbitex/siem-connectors/functions/sumo/connector"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

// guards is what of each connector's cost does not depend on the machine.
var guards = map[string]struct {
	open     lambdahost.OpenFunc
	perBatch float64 // most allocations of a batch of 100 events, of which net/http makes about forty and the contexts sixteen
	requests [2]int  // of a batch of 100 events: of 907 bytes; of 20,000 bytes
}{
	"splunk":   {splunk.Open, 72, [2]int{1, 3}},
	"elastic":  {elastic.Open, 73, [2]int{1, 1}},
	"sumo":     {sumo.Open, 66, [2]int{1, 3}},
	"datadog":  {datadog.Open, 71, [2]int{1, 1}},
	"sentinel": {sentinel.Open, 66, [2]int{1, 2}},
	"xsiam":    {xsiam.Open, 82, [2]int{1, 2}},
	"qradar":   {qradar.Open, 47, [2]int{}},
}

// noAWS is SQS and Secrets Manager when they are not needed.
type noAWS struct{}

var errNoAWS = errors.New("AWS was called, and nothing had failed")

func (noAWS) ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return nil, errNoAWS
}

func (noAWS) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	return nil, errNoAWS
}

func (noAWS) GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return nil, errNoAWS
}

// handler is a connector's handler with a SIEM in memory; QRadar, which asks the kernel, has one on loopback.
func handler(t testing.TB, name, compression string) (*lambdahost.Connector, *memory) {
	t.Helper()
	s, err := newSink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	m := &memory{records: 100}
	env := map[string]string{"SIEM_QUEUE_URL": s.url("/q"), "SIEM_DEAD_LETTER_QUEUE_URL": s.url("/d"), "SIEM_ALLOW_HTTP": "true", "SIEM_COMPRESSION": compression}
	for _, c := range connectors {
		if c.name == name {
			maps.Copy(env, c.env(s))
		}
	}
	w := lambdahost.Deps{Env: func(n string) string { return env[n] }, Out: io.Discard, Now: time.Now, SQS: noAWS{}, Secrets: noAWS{}}
	if name != "qradar" {
		w.Dial = m.dial
	}
	return lambdahost.NewConnector(name, guards[name].open, w), m
}

// invoke hands over a copy of the payload, which the handler decodes in place.
func invoke(ctx context.Context, t testing.TB, h *lambdahost.Connector, payload, scratch []byte) {
	t.Helper()
	answer, err := h.Invoke(ctx, append(scratch[:0], payload...))
	if err != nil || string(answer) != `{"batchItemFailures":[]}` {
		t.Fatalf("%.200s, %v, want all delivered", answer, err)
	}
}

// TestAllocations: in the steady state a connector allocates for a batch, and nothing for an event.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools; `make guards` runs this without it")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	for name, guard := range guards {
		for _, compression := range []string{"none", "gzip"} {
			half, full := allocations(t, name, compression, 50), allocations(t, name, compression, 100)
			t.Logf("%-8s %s: %.1f a batch of 100, %.2f for one event more", name, compression, full, (full-half)/50)
			if full > guard.perBatch {
				t.Errorf("%s, %s: %.1f allocations a batch of 100 events, want at most %.0f", name, compression, full, guard.perBatch)
			}
			if full-half > 1 {
				t.Errorf("%s, %s: 50 events more make %.1f allocations more, want none", name, compression, full-half)
			}
		}
	}
}

// allocations is how many a batch of n events makes.
func allocations(t *testing.T, name, compression string, n int) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // Lambda's context has a deadline as well
	defer cancel()
	h, m := handler(t, name, compression)
	m.records = n
	payload := makePayloads(n, n, 907)[0]
	scratch := make([]byte, len(payload))
	for range warmUp {
		invoke(ctx, t, h, payload, scratch)
	}
	return testing.AllocsPerRun(50, func() { invoke(ctx, t, h, payload, scratch) })
}

// TestRequests: a batch takes as few requests as the SIEM's limits allow, and AWS is not called for what is delivered.
func TestRequests(t *testing.T) {
	ctx := t.Context()
	for i, size := range []int{907, 20_000} {
		payload := makePayloads(100, 100, size)[0]
		scratch := make([]byte, len(payload))
		for name, guard := range guards {
			if name == "qradar" {
				continue // no requests: a stream of messages
			}
			h, m := handler(t, name, "gzip")
			for range 3 {
				invoke(ctx, t, h, payload, scratch)
				if n := m.count(); n != guard.requests[i] {
					t.Errorf("%s: 100 events of %d bytes take %d requests, want %d", name, size, n, guard.requests[i])
				}
			}
		}
	}
}

// TestAnswerOutlivesItsBuffers: what a handler returns and what it sent to SQS hold nothing of the payload, nor of the
// pooled buffers: those are overwritten, by a hostile hand and by the next batch, before they are looked at.
func TestAnswerOutlivesItsBuffers(t *testing.T) {
	payloads := makePayloads(20, 10, 907)
	for name := range guards {
		if name == "qradar" {
			continue // its SIEM answers nothing
		}
		h, m := handler(t, name, "gzip")
		m.mu.Lock()
		m.down = true
		m.mu.Unlock()
		scratch := bytes.Clone(payloads[0])
		answer, err := h.Invoke(t.Context(), scratch)
		if err != nil {
			t.Fatal(err)
		}
		for i := range scratch {
			scratch[i] = 0xDB
		}
		if _, err := h.Invoke(t.Context(), bytes.Clone(payloads[1])); err != nil {
			t.Fatal(err)
		}
		if got := string(answer); got != allListed(10) {
			t.Errorf("%s: the answer has become %q, want %s", name, got, allListed(10))
		}
	}
}

// allListed is the answer that keeps the first n messages.
func allListed(n int) string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf(`{"itemIdentifier":"059f36b4-87a3-44ab-83d2-%012d"}`, i))
	}
	return `{"batchItemFailures":[` + strings.Join(ids, ",") + `]}`
}
