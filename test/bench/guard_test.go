package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/functions/all"
	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
)

func TestEveryConnectorIsMeasured(t *testing.T) {
	for _, name := range connectors.Names() {
		if !slices.ContainsFunc(senders[:], func(s sender) bool { return s.name == name }) {
			t.Errorf("test/bench/subjects.go: senders has no entry for the connector %q", name)
		}
	}
}

// open returns the code of a connector.
func open(name string) lambdahost.OpenFunc {
	for _, c := range all.Connectors() {
		if c.Name == name {
			return c.Open
		}
	}
	return nil
}

// handler returns a connector's handler with a SIEM in memory. QRadar's is on loopback, because the connector queries
// the kernel.
func handler(t testing.TB, c sender, compression string) (*lambdahost.Connector, *memory) {
	t.Helper()
	s, err := newSink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	m := &memory{records: 100}
	env := map[string]string{"SIEM_QUEUE_URL": s.url("/q"), "SIEM_DEAD_LETTER_QUEUE_URL": s.url("/d"),
		"SIEM_ALLOW_HTTP": "true", "SIEM_COMPRESSION": compression}
	maps.Copy(env, c.env(s))
	w := lambdahost.Deps{Env: func(n string) string { return env[n] }, Out: io.Discard, Now: time.Now,
		SQS: &fakeaws.SQS{}} // without queues: a call fails
	if !c.stream {
		w.Dial = m.dial
	}
	return lambdahost.NewConnector(c.name, open(c.name), w), m
}

// invoke uses a copy of the payload, because the handler overwrites it.
func invoke(ctx context.Context, t testing.TB, h *lambdahost.Connector, payload, scratch []byte) {
	t.Helper()
	answer, err := h.Invoke(ctx, append(scratch[:0], payload...))
	if err != nil || string(answer) != `{"batchItemFailures":[]}` {
		t.Fatalf("%.200s, %v, want all delivered", answer, err)
	}
}

// TestAllocations checks that a connector in the steady state allocates per batch, and nothing per event.
func TestAllocations(t *testing.T) {
	if testenv.Race() {
		t.Skip("the race detector empties pools; `make guards` runs this without it")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	for _, c := range senders {
		name := c.name
		for _, compression := range []string{"none", "gzip"} {
			half, full := allocations(t, c, compression, 50), allocations(t, c, compression, 100)
			t.Logf("%-8s %s: %.1f a batch of 100, %.2f for one event more", name, compression, full, (full-half)/50)
			if full > c.perBatch {
				t.Errorf("%s, %s: %.1f allocations a batch of 100 events, want at most %.0f", name, compression, full, c.perBatch)
			}
			if full-half > 1 {
				t.Errorf("%s, %s: 50 events more make %.1f allocations more, want none", name, compression, full-half)
			}
		}
	}
}

// allocations returns the number of allocations for a batch of n events.
func allocations(t *testing.T, c sender, compression string, n int) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // Lambda's context has a deadline as well
	defer cancel()
	h, m := handler(t, c, compression)
	m.records = n
	payload := makePayloads(n, n, 907)[0]
	scratch := make([]byte, len(payload))
	for range warmUp {
		invoke(ctx, t, h, payload, scratch)
	}
	return testing.AllocsPerRun(50, func() { invoke(ctx, t, h, payload, scratch) })
}

// TestRequests checks that a batch makes as few requests as the SIEM's limits allow, and no call to AWS if all events
// are delivered.
func TestRequests(t *testing.T) {
	ctx := t.Context()
	for i, size := range []int{907, 20_000} {
		payload := makePayloads(100, 100, size)[0]
		scratch := make([]byte, len(payload))
		for _, c := range senders {
			if c.stream {
				continue
			}
			h, m := handler(t, c, "gzip")
			for range 3 {
				invoke(ctx, t, h, payload, scratch)
				if n := m.count(); n != c.requests[i] {
					t.Errorf("%s: 100 events of %d bytes take %d requests, want %d", c.name, size, n, c.requests[i])
				}
			}
		}
	}
}

// TestAnswerOutlivesItsBuffers checks that a response does not refer to the payload or to pooled buffers: both are
// overwritten before the response is compared.
func TestAnswerOutlivesItsBuffers(t *testing.T) {
	payloads := makePayloads(20, 10, 907)
	for _, c := range senders {
		if c.stream {
			continue // no responses
		}
		h, m := handler(t, c, "gzip")
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
			t.Errorf("%s: the answer has become %q, want %s", c.name, got, allListed(10))
		}
	}
}

// allListed returns the response that retains the first n messages.
func allListed(n int) string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf(`{"itemIdentifier":"059f36b4-87a3-44ab-83d2-%012d"}`, i))
	}
	return `{"batchItemFailures":[` + strings.Join(ids, ",") + `]}`
}

func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{4.26: "4.3", 9.98: "10", 27.6: "28", 99.7: "100", 340: "340", 1_649: "1,600",
		78_400: "78,000", 1_250_000: "1,300,000"} {
		if got := digits(x); got != want {
			t.Errorf("%g: %s, want %s", x, got, want)
		}
	}
}

// TestEventSizes checks that events have the requested size.
func TestEventSizes(t *testing.T) {
	for _, size := range growSizes {
		if got := len(makeEvent(7, size)); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
	}
}

// maxZipped is the maximum size of a connector's zipped binary, which Lambda loads at every cold start.
const maxZipped = 3 << 20

// TestSizes builds each connector for arm64, as for a deployment.
func TestSizes(t *testing.T) {
	if testenv.Race() {
		t.Skip("the same binaries again; `make guards` looks at them")
	}
	for _, c := range senders {
		n := zipped(t, build(t, "arm64", c.name))
		t.Logf("%-8s %d bytes zipped", c.name, n)
		if n > maxZipped {
			t.Errorf("%s takes %d bytes zipped, want at most %d", c.name, n, maxZipped)
		}
	}
}

// build builds a connector and returns the path of its binary.
func build(t *testing.T, folders ...string) string {
	t.Helper()
	binary := filepath.Join("build", filepath.Join(folders...), "bootstrap")
	if out, err := exec.Command("make", "-s", "-C", "../..", binary).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v: %s", binary, err, out)
	}
	return filepath.Join("..", "..", binary)
}

// zipped returns the size of a file in a zip archive.
func zipped(t *testing.T, path string) int {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	entry, err := archive.Create("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
