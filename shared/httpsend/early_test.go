package httpsend

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// listen serves each connection with handle and returns the listener's URL.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	return "http://" + l.Addr().String()
}

// responds serves each connection: it writes text after the header of the first request, and closes the connection.
func responds(t *testing.T, text string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, text)
		}
	})
}

// TestEarlyResponseDecides: a peer that responds to the header of a request and closes the connection resets it,
// because it has not read the body. Its response counts nevertheless.
func TestEarlyResponseDecides(t *testing.T) {
	for _, test := range []struct {
		status string
		kind   failure.Kind
		wait   time.Duration
	}{
		{"413 Content Too Large", failure.TooLarge, 0},
		{"401 Unauthorized", failure.Unauthorized, 0},
		{"429 Too Many Requests\r\nRetry-After: 120", failure.Throttled, 120 * time.Second},
	} {
		t.Run(test.status[:3], func(t *testing.T) {
			to := responds(t, "HTTP/1.1 "+test.status+"\r\nConnection: close\r\nContent-Length: 4\r\n\r\nstop")
			c, body := New(Config{Timeout: time.Minute}), noise(5<<20)
			for n := range 20 {
				a, err := c.Do(t.Context(), Request{URL: mustParse(t, to), Body: body})
				if err != nil {
					t.Fatalf("request %d: %v, want the response", n, err)
				}
				if f := a.failure(KindOf(a.Status), Reply{Own: true, Text: string(a.Body)}, ""); f.Kind != test.kind ||
					f.RetryAfter != test.wait || string(a.Body) != "stop" {
					t.Fatalf("request %d: %v after %v: %q", n, f, f.RetryAfter, a.Body)
				}
			}
		})
	}
}

// TestEarlyResponseIsNotResent: an early response on a connection that has served an earlier request is not resent.
func TestEarlyResponseIsNotResent(t *testing.T) {
	var requests atomic.Int64
	to := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			requests.Add(1)
			if req.ContentLength > 1<<20 {
				io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c, large := New(Config{Timeout: time.Minute}), noise(5<<20)
	t.Cleanup(c.transport.CloseIdleConnections)
	var m telemetry.Meter
	for n := range 20 {
		if a, err := c.Do(t.Context(), Request{URL: mustParse(t, to), Body: []byte("small"), Meter: &m}); err != nil ||
			!a.OK() {
			t.Fatalf("request %d: %+v, %v", n, a, err)
		}
		a, err := c.Do(t.Context(), Request{URL: mustParse(t, to), Body: large, Meter: &m})
		if err != nil || a.Status != http.StatusRequestEntityTooLarge {
			t.Fatalf("request %d: %+v, %v, want a 413", n, a, err)
		}
	}
	if n := requests.Load(); n != 40 || m.Requests != 40 {
		t.Errorf("%d requests arrived for 40 calls, %d were counted", n, m.Requests)
	}
}

// TestResendOnce: if all kept connections have been closed while they were idle, a request is sent twice, and both are
// counted.
func TestResendOnce(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		t.Run(method, func(t *testing.T) {
			const kept = 4
			var closing atomic.Bool
			var again atomic.Int64
			var together sync.WaitGroup
			together.Add(kept)
			to := listen(t, func(c net.Conn) {
				r := bufio.NewReader(c)
				for first := true; ; first = false {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					if closing.Load() {
						if again.Add(1); !first {
							return
						}
					} else {
						together.Done()
						together.Wait()
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			c := New(Config{Timeout: time.Minute})
			t.Cleanup(c.transport.CloseIdleConnections)
			r := Request{Method: method, URL: mustParse(t, to)}
			if method == http.MethodPost {
				r.Body = []byte("x")
			}
			var wg sync.WaitGroup
			for range kept {
				wg.Go(func() {
					if _, err := c.Do(t.Context(), r); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			closing.Store(true)
			var m telemetry.Meter
			r.Meter = &m
			if a, err := c.Do(t.Context(), r); err != nil || !a.OK() {
				t.Errorf("%+v, %v", a, err)
			}
			if n := again.Load(); n != 2 || m.Requests != 2 || m.Bytes != int64(2*len(r.Body)) {
				t.Errorf("%d requests arrived, %d of %d bytes were counted, want 2 of each", n, m.Requests, m.Bytes)
			}
		})
	}
}

// TestNoResendOnNewConnection: a peer that reads a request and closes the connection gets it once. The failure says
// that the connection broke, because one event may have caused it.
func TestNoResendOnNewConnection(t *testing.T) {
	var requests atomic.Int64
	to := listen(t, func(c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.Copy(io.Discard, req.Body)
			requests.Add(1)
		}
	})
	var m telemetry.Meter
	_, err := New(Config{Timeout: time.Minute}).Do(t.Context(), Request{URL: mustParse(t, to), Body: []byte("x"),
		Meter: &m})
	if f := failure.Of(err); f.Kind != failure.Transient || f.Step != failure.Request || !f.Disconnected ||
		requests.Load() != 1 || m.Requests != 1 {
		t.Errorf("%+v, %d requests arrived, %d were counted", f, requests.Load(), m.Requests)
	}
}

// TestEarlySuccessIsNone: a peer that has not read a request cannot have accepted it.
func TestEarlySuccessIsNone(t *testing.T) {
	for _, header := range []string{"", "Connection: close\r\n"} {
		hold := make(chan struct{})
		to := listen(t, func(c net.Conn) {
			r := bufio.NewReaderSize(c, 1000)
			if _, err := http.ReadRequest(r); err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\n"+header+"Content-Length: 27\r\n\r\n"+`{"text":"Success","code":0}`)
				<-hold
			}
		})
		a, err := New(Config{Timeout: time.Minute}).Do(t.Context(), Request{URL: mustParse(t, to), Body: noise(20 << 20)})
		if err != nil || a.OK() || !errors.Is(a.BodyErr, errEarly) {
			t.Errorf("%q: %+v, %v, want no success", header, a, err)
		}
		close(hold)
	}
}

// TestSuccessBeforeTheEndOfTheRequest: a success that comes before the end of the request is none, even if the peer
// then reads the rest.
func TestSuccessBeforeTheEndOfTheRequest(t *testing.T) {
	seen := make(chan struct{}) // the client has noticed the response
	trace := &httptrace.ClientTrace{GotFirstResponseByte: sync.OnceFunc(func() { close(seen) })}
	dial := func(context.Context, string, string) (net.Conn, error) {
		client, peer := net.Pipe() // without a buffer, which would take the request before the response is read
		go func() {
			if _, err := http.ReadRequest(bufio.NewReaderSize(peer, 1000)); err == nil {
				io.WriteString(peer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				<-seen
				io.Copy(io.Discard, peer)
			}
		}()
		return client, nil
	}
	c := New(Config{Timeout: time.Minute, Dial: dial})
	ctx := httptrace.WithClientTrace(t.Context(), trace)
	a, err := c.Do(ctx, Request{URL: mustParse(t, "http://siem.example"), Body: noise(1 << 20)})
	if err != nil || !errors.Is(a.BodyErr, errEarly) {
		t.Errorf("%+v, %v, want no success", a, err)
	}
}

// TestLateSuccessIsOne: a peer that reads the whole request before it responds has accepted it, however it closes.
func TestLateSuccessIsOne(t *testing.T) {
	to := listen(t, func(c net.Conn) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.Copy(io.Discard, req.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c := New(Config{Timeout: time.Minute})
	for _, size := range []int{0, 1, writeBuffer - 200, writeBuffer, 3 << 20} {
		body := noise(size)
		for range 20 {
			if a, err := c.Do(t.Context(), Request{URL: mustParse(t, to), Body: body}); err != nil || !a.OK() {
				t.Fatalf("%d bytes: %+v, %v", size, a, err)
			}
		}
	}
}

// TestResponseIsNotQuoted: an error quotes nothing of a response that is not HTTP. It may hold text of an event.
func TestResponseIsNotQuoted(t *testing.T) {
	for _, response := range []string{"alice\r\n", "HTTP/1.1 alice\r\n\r\n", "HTTP/1.1 200 OK\r\nalice\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: alice\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: alice\r\n\r\n"} {
		_, err := do(t, responds(t, response), "x")
		if f := failure.Of(err); f == nil || f.Kind != failure.Transient || strings.Contains(f.Error(), "alice") {
			t.Errorf("%q: %v", response, f)
		}
	}
}

// TestNewConnectionsAfterABreak: once an event has broken a connection, the requests of its batch are not sent twice,
// because each uses a new connection.
func TestNewConnectionsAfterABreak(t *testing.T) {
	srv := serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "bad" {
			panic(http.ErrAbortHandler)
		}
	})
	c, m := New(Config{Timeout: time.Minute}), &telemetry.Meter{}
	const pairs = 5
	for range pairs {
		for _, body := range []string{"good", "bad"} {
			_, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL), Body: []byte(body), Meter: m})
			if (err == nil) != (body == "good") {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
	if want := 2*pairs + 1; m.Requests != want {
		t.Errorf("%d requests, want %d: the first broken one twice", m.Requests, want)
	}
}
