package httpsend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestRequestGoesInFewWrites: a small request goes out in one piece, a large one in three, and the server gets what was
// given however long header and body are.
func TestRequestGoesInFewWrites(t *testing.T) {
	for _, test := range []struct {
		name         string
		header, body int
		writes       int64
	}{
		{"no body", 0, 0, 1},
		{"small", 0, 1, 1},
		{"to the last byte of the room", 0, writeBuffer - 1000, 1},
		{"large", 0, 1 << 20, 3},
		{"a header longer than net/http's buffer", 8 << 10, 10 << 10, 0}, // as many as net/http makes of it
	} {
		t.Run(test.name, func(t *testing.T) {
			body, value := noise(test.body), strings.Repeat("v", test.header)
			srv := serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
				if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) || r.Header.Get("X-Long") != value {
					t.Errorf("%d bytes came (%v), %d were sent; the header has %d, want %d", len(got), err, len(body),
						len(r.Header.Get("X-Long")), len(value))
				}
			})
			var writes atomic.Int64
			c := New(Config{Timeout: time.Minute, Dial: func(ctx context.Context, network, address string) (net.Conn,
				error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				return counted{conn, &writes}, err
			}})
			for range 2 { // on the kept connection too
				writes.Store(0)
				a, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL), Header: http.Header{"X-Long": {value}}, Body: body})
				if err != nil || a.Status != http.StatusOK {
					t.Fatalf("%+v, %v", a, err)
				}
				if n := writes.Load(); test.writes != 0 && n != test.writes {
					t.Errorf("%d writes, want %d", n, test.writes)
				}
			}
		})
	}
}

// counted counts what is written at a time.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// BenchmarkCompress compresses a request's body with gzip: a hundred similar records of 1 KB.
func BenchmarkCompress(b *testing.B) {
	var body []byte
	for n := range 100 {
		body = fmt.Appendf(body, `{"time":%d,"event":{"class_uid":6003,"metadata":{"uid":"evt-%d"},"message":"%x"}}`,
			1773360000000+n, n, noise(400)) // noise is the same each time
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		newBody(body, true).pool()
	}
}

// TestBodyIsTheCallersAgain: after an early response, net/http may still write the request. Do returns when that
// write has ended, so later changes of the body are not sent. The race detector reports a write that has not ended.
func TestBodyIsTheCallersAgain(t *testing.T) {
	for name, gzip := range map[string]bool{"plain": false, "gzip": true} {
		t.Run(name, func(t *testing.T) {
			to := responds(t, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			late := &lateWriter{closed: make(chan struct{}), wrote: make(chan []byte, 1)}
			c := New(Config{Timeout: time.Minute, Gzip: gzip, Dial: func(ctx context.Context, network,
				address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				late.Conn = conn
				return late, err
			}})
			body := noise(1 << 20)
			a, err := c.Do(t.Context(), Request{URL: mustParse(t, to), Body: body})
			if err != nil || a.Status != http.StatusRequestEntityTooLarge {
				t.Fatalf("%+v, %v, want a 413", a, err)
			}
			poison(body)
			for range 8 { // take what the pool has, as the next request would
				b := newBody(body[:1<<19], gzip)
				poison(b.zipped.Bytes()[:b.zipped.Cap()])
				defer b.pool()
			}
			if sent := <-late.wrote; len(sent) < 1<<19 || bytes.Contains(sent, bytes.Repeat([]byte{0xDB}, 64)) {
				t.Errorf("%d bytes were sent after Do had returned, of the next request", len(sent))
			}
		})
	}
}

// lateWriter is a connection whose second write blocks until the connection is closed, and then still reads its bytes.
type lateWriter struct {
	net.Conn
	begun  bool
	once   sync.Once
	closed chan struct{}
	wrote  chan []byte
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun = true
		return w.Conn.Write(p)
	}
	<-w.closed
	for range 1000 {
		runtime.Gosched()
	}
	w.wrote <- bytes.Clone(p)
	return 0, net.ErrClosed
}

func (w *lateWriter) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// TestResponseBeforeTheRequest: a peer responds before net/http has begun to write. Do does not wait for the write, and
// no byte of the body is sent.
func TestResponseBeforeTheRequest(t *testing.T) {
	body := noise(100)
	b := newBody(body, false)
	b.reclaim()
	poison(body)
	b.trace.WroteHeaders() // of the goroutine that writes
	if sent, err := io.ReadAll(b.of(http.MethodPost)); err != nil || len(sent) > 0 {
		t.Errorf("%d bytes of the next request are sent, %v", len(sent), err)
	}
	b.trace.WroteRequest(httptrace.WroteRequestInfo{})
}

// TestNoResponseInTime: a server that does not respond in time is told apart from a broken connection. The body is the
// caller's again.
func TestNoResponseInTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := noise(8 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = New(Config{Timeout: time.Minute}).Do(ctx, Request{URL: mustParse(t, "http://"+l.Addr().String()), Body: body})
	poison(body) // the race detector sees who else is at it
	f := failure.Of(err)
	if f == nil || !errors.Is(err, context.DeadlineExceeded) || f.Kind != failure.Transient ||
		f.Step != failure.Request || f.Disconnected || !strings.Contains(f.Error(), "in time") {
		t.Errorf("%+v", f)
	}
}

// noise returns bytes that gzip cannot compress, without the byte that poison writes.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		if b[i] = byte(x >> 24); b[i] == 0xDB {
			b[i] = 0
		}
	}
	return b
}

func poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}

// TestDeadConnectionWithALargeBody: a kept connection that has died takes the header of the next request, and fails in
// its body; the request is made again on a new connection, once.
func TestDeadConnectionWithALargeBody(t *testing.T) {
	var requests atomic.Int64
	srv := serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests.Add(1)
	})
	c := New(Config{Timeout: time.Minute})
	for n := range int64(20) {
		a, err := c.Do(context.Background(), Request{URL: mustParse(t, srv.URL), Body: noise(1 << 20)})
		if err != nil || !a.OK() {
			t.Fatalf("request %d: %+v, %v, want a success over a new connection", n, a, err)
		}
		if got := requests.Load(); got != n+1 {
			t.Fatalf("%d requests arrived whole, want %d", got, n+1)
		}
		srv.CloseClientConnections()
	}
}
