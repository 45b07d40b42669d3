package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// memory is a network with one SIEM that responds at once and allocates nothing per request, so that only the
// connector's allocations are counted. It implements the part of HTTP that the connectors use.
type memory struct {
	records int // in a response of Elasticsearch

	mu       sync.Mutex
	requests int // token requests are not counted
	down     bool
}

func (m *memory) dial(context.Context, string, string) (net.Conn, error) {
	c := &memoryConn{m: m}
	c.cond.L = &c.mu
	return c, nil
}

// count returns the number of requests since the last call.
func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.requests
	m.requests = 0
	return n
}

// reply returns the response of the SIEM at path.
func (m *memory) reply(path string) string {
	m.mu.Lock()
	down := m.down
	m.mu.Unlock()
	status, body := success(path, m.records)
	if down && !strings.HasSuffix(path, "/token") {
		status, body = 503, "busy"
	}
	return fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// memoryConn is both ends of a connection.
type memoryConn struct {
	m    *memory
	mu   sync.Mutex
	cond sync.Cond

	header []byte // of the request that is coming in
	left   int    // bytes of its body that are to come; only when the header is complete
	whole  bool   // the header is complete
	target string // the path the answer was made for
	answer string // made once
	out    string // of the answer, to be read
	closed bool
}

// Write implements net.Conn.
func (c *memoryConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	for len(p) > 0 && !c.closed {
		p = c.take(p)
	}
	return n, nil
}

// take consumes the part of p that belongs to the header or the body.
func (c *memoryConn) take(p []byte) (rest []byte) {
	if !c.whole {
		before := len(c.header)
		c.header = append(c.header, p...)
		end := bytes.Index(c.header, []byte("\r\n\r\n"))
		if end < 0 {
			return nil
		}
		end += 4
		c.header, p, c.whole = c.header[:end], p[end-before:], true
		c.left = contentLength(c.header)
	}
	n := min(c.left, len(p))
	if c.left -= n; c.left == 0 {
		c.respond()
	}
	return p[n:]
}

func (c *memoryConn) respond() {
	_, path, _ := bytes.Cut(c.header, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte(" "))
	path, _, _ = bytes.Cut(path, []byte("?"))
	if c.target != string(path) || c.answer == "" {
		c.target = string(path)
		c.answer = c.m.reply(c.target)
	}
	if !strings.HasSuffix(c.target, "/token") {
		c.m.mu.Lock()
		c.m.requests++
		c.m.mu.Unlock()
	}
	c.header, c.whole, c.out = c.header[:0], false, c.answer
	c.cond.Broadcast()
}

func contentLength(header []byte) (n int) {
	_, value, _ := bytes.Cut(header, []byte("\r\nContent-Length: "))
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			break
		}
		n = n*10 + int(digit-'0')
	}
	return n
}

// Read implements net.Conn.
func (c *memoryConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out == "" && !c.closed {
		c.cond.Wait()
	}
	if c.closed {
		return 0, io.EOF
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// Close implements net.Conn.
func (c *memoryConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.cond.Broadcast()
	return nil
}

// LocalAddr and the methods after it implement net.Conn.
func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

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
	if testenv.Race() {
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
	if testenv.Race() {
		t.Skip("the same processes again; `make guards` looks at them")
	}
	const megabyte = 1 << 20
	s, err := newSink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, c := range senders {
		binary := build(t, c.name)
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
			r, err := lambda(binary, c.with("gzip"))(s,
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
