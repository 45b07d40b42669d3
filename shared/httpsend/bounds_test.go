package httpsend

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
)

// TestKindOf: what a status means where a SIEM's documents say nothing else.
func TestKindOf(t *testing.T) {
	want := map[int]failure.Kind{
		301: failure.Misconfigured, 302: failure.Misconfigured, 304: failure.Misconfigured, 307: failure.Misconfigured,
		308: failure.Misconfigured,
		400: failure.Rejected, 422: failure.Rejected, 401: failure.Unauthorized, 403: failure.Unauthorized,
		404: failure.Misconfigured, 405: failure.Misconfigured, 407: failure.Misconfigured, 410: failure.Misconfigured,
		415: failure.Misconfigured,
		413: failure.TooLarge, 429: failure.Throttled,
		0: failure.Transient, 100: failure.Transient, 200: failure.Transient, 402: failure.Transient, 408: failure.Transient,
		418: failure.Transient,
		500: failure.Transient, 501: failure.Transient, 502: failure.Transient, 503: failure.Transient,
		504: failure.Transient, 599: failure.Transient, 999: failure.Transient,
	}
	for status, kind := range want {
		if got := KindOf(status); got != kind {
			t.Errorf("%d is %s, want %s", status, got, kind)
		}
	}
}

// TestAnswerIsNotReadOn: Do stops reading an endless response at the limit.
func TestAnswerIsNotReadOn(t *testing.T) {
	const most = 32 << 20 // more than the sockets between can hold
	var written atomic.Int64
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		filler := bytes.Repeat([]byte("x"), 64<<10)
		for written.Load() < 4*most { // ends, so that a client without a bound does not hang
			n, err := w.Write(filler)
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	before := allocated()
	a, err := New(Config{Timeout: 5 * time.Second}).Do(context.Background(), Request{URL: mustParse(t, srv.URL)})
	if err != nil || !errors.Is(a.BodyErr, errTooLong) || len(a.Body) != defaultMaxResponse {
		t.Fatalf("%v, %+v", err, a)
	}
	if n := written.Load(); n > most {
		t.Errorf("%d bytes of it were taken, want at most %d", n, most)
	}
	if n := allocated() - before; n > most {
		t.Errorf("%d bytes were allocated for it, want at most %d", n, most)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestAnswerHeaderIsBounded: a header that goes on and on is given up.
func TestAnswerHeaderIsBounded(t *testing.T) {
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 200<<10))
	})
	if a, err := New(Config{Timeout: 5 * time.Second}).Do(context.Background(),
		Request{URL: mustParse(t, srv.URL)}); err == nil {
		t.Errorf("an answer with a header of 200 KiB is taken: %d", a.Status)
	}
}

// TestGzipResponse: the client asks for uncompressed responses, and reads a compressed one within the bound.
func TestGzipResponse(t *testing.T) {
	zip := func(text []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(text)
		_ = z.Close()
		return b.Bytes()
	}
	success := []byte(`{"text":"Success","code":0}`)
	for name, test := range map[string]struct {
		encoding   string
		sent, want []byte
		broken     bool
	}{
		"gzip":     {"gzip", zip(success), success, false},
		"x-gzip":   {" X-GZIP", zip(success), success, false},
		"a bomb":   {"gzip", zip(make([]byte, 10<<20)), make([]byte, defaultMaxResponse), true},
		"cut off":  {"gzip", zip(success)[:len(zip(success))-4], success, true},
		"not gzip": {"gzip", success, success, true},
		"other":    {"br", zip(success), zip(success), false},
		"unmarked": {"", zip(success), zip(success), false},
		"no body":  {"gzip", nil, nil, false},
		"too long": {"gzip", zip(noise(200 << 10)), noise(200 << 10)[:defaultMaxResponse], true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			srv := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
				asked = r.Header.Get("Accept-Encoding")
				if w.Header().Set("Content-Encoding", test.encoding); test.encoding == "" {
					w.Header().Del("Content-Encoding")
				}
				_, _ = w.Write(test.sent)
			})
			before := allocated()
			a, err := New(Config{Timeout: 5 * time.Second}).Do(t.Context(), Request{URL: mustParse(t, srv.URL)})
			if err != nil || !bytes.HasPrefix(test.want, a.Body) || len(a.Body) < min(len(test.want), 60<<10) ||
				(a.BodyErr != nil) != test.broken || asked != "identity" {
				t.Errorf("%v, %d bytes, want %d, %v, Accept-Encoding %q", err, len(a.Body), len(test.want), a.BodyErr, asked)
			}
			if n := allocated() - before; n > 8<<20 {
				t.Errorf("%d bytes were allocated for it", n)
			}
		})
	}
}

// TestLongReasonIsBounded: redacting a response of megabytes of escapes costs only as much as its quotation.
func TestLongReasonIsBounded(t *testing.T) {
	body := strings.Repeat(`\\u005c&amp;%2525\"&#38;`, 4<<20/24)
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, body)
	})
	c := New(Config{Timeout: 5 * time.Second, MaxResponse: 5 << 20,
		Redactor: secret.NewRedactor(secret.New("feather-and-tar"))})
	a, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL)})
	if err != nil || len(a.Body) != len(body) {
		t.Fatal(err)
	}
	took := time.Hour // the shortest of several, since the machine may be busy
	var f *failure.Error
	var quoted string
	for range 10 {
		start := time.Now()
		f, quoted = a.failure(failure.Rejected, Reply{Own: true, Text: string(a.Body)}, ""), a.Quote(string(a.Body))
		took = min(took, time.Since(start))
	}
	if took > 50*time.Millisecond || len(f.Error()) > 4*failure.MaxQuote || len(quoted) > 4*failure.MaxQuote {
		t.Errorf("%v for %d and %d bytes", took, len(f.Error()), len(quoted))
	}
}

// TestBrokenAnswers: a response that ends early has an error.
func TestBrokenAnswers(t *testing.T) {
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	a, err := New(Config{Timeout: 5 * time.Second}).Do(context.Background(), Request{URL: mustParse(t, srv.URL)})
	if err != nil || a.OK() || !errors.Is(a.BodyErr, io.ErrUnexpectedEOF) ||
		string(a.Body) != `{"text":"Success","code":0}` {
		t.Errorf("%v, %+v", err, a)
	}
}

// TestPlainStaysPlain: a request that wants no compression gets none.
func TestPlainStaysPlain(t *testing.T) {
	var encoding string
	var body []byte
	srv := serve(t, false, func(_ http.ResponseWriter, r *http.Request) {
		encoding = r.Header.Get("Content-Encoding")
		body, _ = io.ReadAll(r.Body)
	})
	_, err := New(Config{Timeout: 5 * time.Second, Gzip: true}).Do(context.Background(),
		Request{URL: mustParse(t, srv.URL), Body: []byte("grant"), Plain: true})
	if err != nil || encoding != "" || string(body) != "grant" {
		t.Errorf("%v, Content-Encoding %q, body %q", err, encoding, body)
	}
}

// TestConcurrentBodies: each request has its own body and its own header, however many there are at once.
func TestConcurrentBodies(t *testing.T) {
	srv := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			_, err = io.Copy(w, z)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	c := New(Config{Timeout: 30 * time.Second, Gzip: true, MaxResponse: 1 << 20})
	header := http.Header{"Authorization": {"x"}}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				body := bytes.Repeat(fmt.Appendf(nil, "request %d.%d ", i, j), 5000)
				a, err := c.Do(context.Background(), Request{URL: mustParse(t, srv.URL), Header: header, Body: body})
				if err != nil || !bytes.Equal(a.Body, body) {
					t.Errorf("request %d.%d did not arrive as it was sent: %v", i, j, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestDeadConnection: a kept connection that the peer has closed costs no attempt.
func TestDeadConnection(t *testing.T) {
	var requests atomic.Int32
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) != 2 {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack() // before a byte of an answer
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	})
	c := New(Config{Timeout: 5 * time.Second})
	for i := range 2 {
		if _, err := c.Do(context.Background(), Request{URL: mustParse(t, srv.URL), Body: []byte("x")}); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests arrived, want the second one twice", n)
	}
}

// TestOwnSecretIsCut: a secret of a single request, such as a signature, is redacted in its response.
func TestOwnSecretIsCut(t *testing.T) {
	srv := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization"))
	})
	a, err := New(Config{Timeout: 5 * time.Second}).Do(context.Background(), Request{URL: mustParse(t, srv.URL),
		Header: http.Header{"Authorization": {"Bearer only-once"}}, Secret: secret.New("only-once")})
	if err != nil {
		t.Fatal(err)
	}
	if f := a.failure(failure.Rejected, Reply{Own: true, Code: "only-once"},
		"ask for only-once"); strings.Contains(f.Error()+f.Brief(), "only-once") {
		t.Errorf("a code or a hint that holds the secret: %v", f)
	}
	if text := a.failure(failure.Rejected, Reply{Own: true, Text: string(a.Body)}, "").Error(); strings.Contains(text,
		"only-once") || !strings.Contains(text, "Bearer [redacted]") {
		t.Errorf("fault: %s", text)
	}
}
