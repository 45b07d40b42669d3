package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// BenchmarkInvoke measures a batch from the payload to the response, with a SIEM in memory. The packages have
// benchmarks of the stages.
func BenchmarkInvoke(b *testing.B) {
	for _, c := range senders {
		for _, compression := range []string{"none", "gzip"} {
			for _, batch := range []int{100, 10} {
				if c.stream && compression == "gzip" {
					continue
				}
				b.Run(fmt.Sprintf("%s/%s/%d", c.name, compression, batch), func(b *testing.B) {
					ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
					defer cancel()
					h, m := handler(b, c, compression)
					m.records = batch
					payload := makePayloads(batch, batch, 907)[0]
					scratch := make([]byte, len(payload))
					invoke(ctx, b, h, payload, scratch) // the connection and the token
					b.SetBytes(int64(len(payload)))
					b.ReportAllocs()
					for b.Loop() {
						invoke(ctx, b, h, payload, scratch)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/event")
				})
			}
		}
	}
}

// BenchmarkMessages measures a batch of 10 events in 10 messages and in one.
func BenchmarkMessages(b *testing.B) {
	const events = 10
	for _, perMessage := range []int{1, events} {
		b.Run(strconv.Itoa(perMessage), func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			h, _ := handler(b, senders[0], "gzip")
			payload := makeMessages(events, events, perMessage, 907)[0]
			scratch := make([]byte, len(payload))
			invoke(ctx, b, h, payload, scratch) // the connection
			b.ReportAllocs()
			for b.Loop() {
				invoke(ctx, b, h, payload, scratch)
			}
		})
	}
}

// TestMemoryIsFlat checks that a function's memory does not grow with the number of batches.
func TestMemoryIsFlat(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has memory of its own; `make guards` runs this without it")
	}
	const first, slack = 1_000, 512 << 10
	for i, c := range senders {
		name, invocations := c.name, 10_000
		switch {
		case i == 0:
			invocations = 100_000
		case c.stream:
			invocations = 2_000 // each waits for the kernel
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		h, m := handler(t, c, "gzip")
		m.records = 1
		payload := makePayloads(1, 1, 907)[0]
		scratch := make([]byte, len(payload))
		for range first {
			invoke(ctx, t, h, payload, scratch)
		}
		heap, goroutines := held()
		for range invocations - first {
			invoke(ctx, t, h, payload, scratch)
		}
		heapThen, goroutinesThen := held()
		t.Logf("%-8s %d KB and %d goroutines after %d invocations, %d KB and %d after %d", name, heap>>10, goroutines, first,
			heapThen>>10, goroutinesThen, invocations)
		if heapThen > heap+slack || goroutinesThen > goroutines+2 { // one may be about to end
			t.Errorf("%s: %d bytes and %d goroutines have become %d and %d", name, heap, goroutines, heapThen, goroutinesThen)
		}
	}
}

// held returns the heap after a collection, and the number of goroutines.
func held() (heap uint64, goroutines int) {
	runtime.GC()
	runtime.GC() // pools are emptied in two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, runtime.NumGoroutine()
}

// TestPeakMemory checks the memory of each connector's process, with ordinary and with the largest batches.
func TestPeakMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the same processes again; `make guards` looks at them")
	}
	const megabyte = 1 << 20
	s, err := newSink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range senders {
		binary := filepath.Join("build", c.name, "bootstrap")
		if out, err := exec.Command("make", "-s", "-C", root, binary).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v: %s", binary, err, out)
		}
		for _, load := range []struct {
			name                            string
			events, batch, perMessage, size int
			most                            int64
		}{
			{"ordinary batches", 10_000, 100, 1, 907, 40 * megabyte},
			{"100 events of 60 KB", 1_000, 100, 1, 60_000, 100 * megabyte},
			{"4,000 events in 40 messages", 40_000, 4_000, 100, 1_400, 100 * megabyte},
		} {
			payloads := makeMessages(load.events, load.batch, load.perMessage, load.size)
			r, err := lambda(filepath.Join(root, binary), c.with("gzip"))(s,
				&work{count: load.events, batch: load.batch, payloads: payloads})
			if err != nil {
				t.Fatalf("%s, %s: %v", c.name, load.name, err)
			}
			t.Logf("%-8s %s: %d MB, payload of %d bytes", c.name, load.name, r.rss/megabyte, len(payloads[0]))
			if r.rss > load.most {
				t.Errorf("%s takes %d MB at %s, want at most %d", c.name, r.rss/megabyte, load.name, load.most/megabyte)
			}
		}
	}
}
