package httpsend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRequestGoesInFewWrites: a small request goes out in one piece, a large one in two, and the server gets what was
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
		{"large", 0, 1 << 20, 2},
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
			c := New(Config{Timeout: 5 * time.Second, Dial: func(ctx context.Context, network, address string) (net.Conn,
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
