package httpsend

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
)

// TestBodyIsTheCallersAgain: a server may answer before it has read the request, and net/http then goes on writing. When
// Do has returned, the body belongs to its caller again: what he makes of it must not reach the server.
func TestBodyIsTheCallersAgain(t *testing.T) {
	for name, gzip := range map[string]bool{"plain": false, "gzip": true} {
		t.Run(name, func(t *testing.T) {
			address, rest := answersEarly(t)
			body := noise(8 << 20)
			c := New(Config{Timeout: 5 * time.Second, Gzip: gzip})
			a, err := c.Do(context.Background(), Request{URL: mustParse(t, "http://"+address), Body: body})
			if err != nil || a.Status != http.StatusRequestEntityTooLarge {
				t.Fatalf("%+v, %v, want a 413", a, err)
			}
			poison(body)
			for range 8 { // take what the pool has, as the next request would
				b := newBody(body[:1<<20], gzip)
				poison(b.buf.Bytes()[:b.buf.Cap()])
				defer b.release()
			}
			if sent := <-rest; bytes.Contains(sent, bytes.Repeat([]byte{0xDB}, 64)) {
				t.Error("the server got bytes that were written after Do had returned")
			}
		})
	}
}

// TestBodyIsTheCallersAfterATimeout: the same when no answer came.
func TestBodyIsTheCallersAfterATimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := noise(8 << 20)
	_, err = New(Config{Timeout: 50 * time.Millisecond}).Do(context.Background(), Request{URL: mustParse(t, "http://"+l.Addr().String()), Body: body})
	if f := failure.Of(err); f == nil || f.Kind != failure.Transient {
		t.Fatalf("%v, want a time-out", err)
	}
	poison(body) // the race detector sees who else is at it
}

// answersEarly serves one connection: it answers when it has the header, and reads the rest when the answer has had time
// to arrive. rest gets that.
func answersEarly(t *testing.T) (address string, rest <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan []byte, 1)
	go func() {
		defer close(out)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		// A window that was shut may take its time to open again: what matters has arrived long before.
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		sent, _ := io.ReadAll(&slowly{r})
		out <- sent
	}()
	return l.Addr().String(), out
}

// slowly reads in small pieces, so that the writer is held up.
type slowly struct{ r io.Reader }

func (s *slowly) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 512)]) }

// noise is what gzip cannot make smaller, without the byte that poison writes.
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

// TestDeadConnectionWithALargeBody: a kept connection that has died takes the header of the next request, and fails in its
// body; the request is made again on a new connection, once.
func TestDeadConnectionWithALargeBody(t *testing.T) {
	var requests atomic.Int64
	srv := serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests.Add(1)
	})
	c := New(Config{Timeout: 5 * time.Second})
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
