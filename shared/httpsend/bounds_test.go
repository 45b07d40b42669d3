package httpsend

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// TestKindOf: what a status means where a SIEM's documents say nothing else.
func TestKindOf(t *testing.T) {
	for kind, statuses := range map[failure.Kind][]int{
		failure.Misconfigured: {301, 302, 304, 307, 308, 404, 405, 407, 410, 415},
		failure.Rejected:      {400, 422},
		failure.Unauthorized:  {401, 403},
		failure.TooLarge:      {413},
		failure.Throttled:     {429},
		failure.Transient:     {0, 100, 200, 402, 408, 418, 500, 501, 502, 503, 504, 599, 999},
	} {
		for _, status := range statuses {
			if got := KindOf(status); got != kind {
				t.Errorf("%d is %s, want %s", status, got, kind)
			}
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
	a, err := New(Config{Timeout: time.Minute, MaxResponse: 5000}).Do(t.Context(), Request{URL: mustParse(t, srv.URL)})
	if err != nil || !errors.Is(a.BodyErr, ErrTooLong) || len(a.Body) != 5000 {
		t.Fatalf("%v, %+v", err, a)
	}
	if n := written.Load(); n > most {
		t.Errorf("%d bytes of it were taken, want at most %d", n, most)
	}
	if n := allocated() - before; n > most {
		t.Errorf("%d bytes were allocated for it, want at most %d", n, most)
	}
}

// TestTrailerIsNotQuoted: the error of a trailer that cannot be parsed does not hold its text.
func TestTrailerIsNotQuoted(t *testing.T) {
	to := listen(t, func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nprivate text\r\n\r\n")
		}
	})
	a, err := New(Config{Timeout: time.Minute, MaxResponse: 5000}).Do(t.Context(), Request{URL: mustParse(t, to)})
	if err != nil || a.BodyErr == nil || strings.Contains(a.BodyErr.Error(), "private") {
		t.Errorf("%v, %+v", err, a)
	}
}

// TestSwitchingProtocols: a 101 is a response without a body. The client closes its connection, which stays open at the
// peer.
func TestSwitchingProtocols(t *testing.T) {
	closed := make(chan error, 1)
	to := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			closed <- err
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // only a client that reads on waits for it
		_, err := r.ReadByte()
		closed <- err
	})
	a, err := do(t, to, "")
	if err != nil || a.Status != http.StatusSwitchingProtocols || a.OK() {
		t.Errorf("%+v, %v, want a 101", a, err)
	}
	if err := <-closed; !errors.Is(err, io.EOF) {
		t.Errorf("the server's connection ends with %v, want EOF", err)
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
	if a, err := do(t, srv.URL, ""); err == nil {
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
			a, err := do(t, srv.URL, "")
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
	c := New(Config{Timeout: time.Minute, MaxResponse: 5 << 20,
		Redactor: secret.NewRedactor(secret.New("feather-and-tar"))})
	a, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL)})
	if err != nil || len(a.Body) != len(body) {
		t.Fatal(err)
	}
	text := string(a.Body)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, quoted := a.failure(failure.Rejected, Reply{Own: true, Text: text}, ""), a.Quote(text)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc // a pass over the response would need as much as the response
	if allocated > 1<<20 || len(f.Error()) > 4*failure.MaxQuote || len(quoted) > 4*failure.MaxQuote {
		t.Errorf("%d bytes allocated for %d and %d bytes", allocated, len(f.Error()), len(quoted))
	}
}

// TestBrokenAnswers: a response that ends early has an error.
func TestBrokenAnswers(t *testing.T) {
	srv := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	a, err := do(t, srv.URL, "")
	if err != nil || a.OK() || !errors.Is(a.BodyErr, io.ErrUnexpectedEOF) ||
		string(a.Body) != `{"text":"Success","code":0}` {
		t.Errorf("%v, %+v", err, a)
	}
}

// TestConcurrentRequests: each request has its own body and its own header, however many there are at once, and the
// invocations of one process keep their connections.
func TestConcurrentRequests(t *testing.T) {
	const invocations, requests = 16, 25
	var together atomic.Pointer[sync.WaitGroup] // all requests of a round are in progress at once
	srv, opened := countConnections(t, func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			body, err = io.ReadAll(z)
		}
		if err != nil {
			t.Error(err)
		}
		round := together.Load()
		round.Done()
		round.Wait()
		w.Write(body)
	})
	c := New(Config{Timeout: time.Minute, Gzip: true, MaxResponse: 1 << 20})
	header := http.Header{"Authorization": {"x"}}
	for i := range requests {
		var round, calls sync.WaitGroup
		round.Add(invocations)
		together.Store(&round)
		for j := range invocations {
			calls.Go(func() {
				body := bytes.Repeat(fmt.Appendf(nil, "request %d.%d ", i, j), 1000)
				a, err := c.Do(context.Background(), Request{URL: mustParse(t, srv.URL), Header: header, Body: body})
				if err != nil || !bytes.Equal(a.Body, body) {
					t.Errorf("request %d.%d did not arrive as it was sent: %v", i, j, err)
				}
			})
		}
		calls.Wait()
	}
	if n := opened.Load(); n > 2*invocations {
		t.Errorf("%d connections for %d requests of %d invocations", n, invocations*requests, invocations)
	}
}

// proxyFor makes the client's proxy from settings.
func proxySettings(url string) *settings.Settings {
	return settings.New(func(name string) string { return map[string]string{"HTTPS_PROXY": url}[name] }, nil)
}

func proxyFor(t *testing.T, url string) *settings.Proxy {
	t.Helper()
	s := proxySettings(url)
	p := s.Proxy()
	if err := s.Err(); err != nil || p == nil {
		t.Fatal(err)
	}
	return p
}

// tunnels is a proxy that connects every tunnel to one address, whatever the client asks for.
type tunnels struct {
	to string

	mu    sync.Mutex
	asked []string // target and credentials of each CONNECT
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	peer, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	c, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		peer.Close()
		return
	}
	go func() {
		defer peer.Close()
		io.Copy(peer, buf)
	}()
	defer c.Close()
	io.Copy(c, peer)
}

// TestProxy: requests to a SIEM go through the tunnel of an http or https proxy. Certificates of the SIEM and of the
// proxy are verified with their own CAs.
func TestProxy(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the SIEM received the proxy's password")
		}
		io.Copy(w, r.Body)
	}
	siem, siemPool := serveTLS(t, "siem.example", time.Now().Add(time.Hour), nil, echo)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("https %t", secure), func(t *testing.T) {
			p := &tunnels{to: siem.Listener.Addr().String()}
			srv := serve(t, secure, p.ServeHTTP)
			s := proxySettings(strings.Replace(srv.URL, "://", "://svc:p%40ss-word@", 1))
			cfg := Configure(s, "none", "THE_URL")
			cfg.CASetting = "THE_CA"
			cfg.RootCAs = siemPool
			request := Request{URL: mustParse(t, "https://siem.example:8088/x"), Body: []byte("events")}
			if secure { // neither the SIEM's CA bundle nor its TLS_VERIFY applies to the proxy
				for _, insecure := range []bool{false, true} {
					wrong := cfg
					wrong.Insecure = insecure
					wrong.RootCAs = cfg.RootCAs.Clone()
					wrong.RootCAs.AddCert(srv.Certificate())
					_, err := New(wrong).Do(t.Context(), request)
					f := failure.Of(err)
					if f == nil || f.Step != failure.TLS || f.Kind != failure.Misconfigured || !strings.Contains(f.Hint,
						"SIEM_PROXY_CA_BUNDLE") || !strings.Contains(f.Error(), "HTTPS_PROXY") {
						t.Errorf("insecure %t: %+v, want the proxy's certificate refused", insecure, f)
					}
				}
				cfg.Proxy.RootCAs = pool(srv)
			}
			a, err := New(cfg).Do(t.Context(), request)
			if err != nil || string(a.Body) != "events" {
				t.Fatalf("%+v, %v", a, err)
			}
			want := "CONNECT siem.example:8088 Basic " + base64.StdEncoding.EncodeToString([]byte("svc:p@ss-word"))
			if len(p.asked) != 1 || p.asked[0] != want {
				t.Errorf("the proxy was asked %q, want %q", p.asked, want)
			}
			if got := cfg.Redactor.Redact("sent "+want+" and p%40ss-word", 1000); strings.Contains(got, "ss-w") ||
				strings.Contains(got, want[30:]) {
				t.Errorf("the password remains in %q", got)
			}
			cfg.RootCAs = nil
			if _, err := New(cfg).Do(t.Context(), request); failure.Of(err).Step != failure.TLS ||
				!strings.Contains(failure.Of(err).Hint, "THE_CA") {
				t.Errorf("%v, want the SIEM's certificate refused", err)
			}
		})
	}
}

// TestProxyFails: what lies between the function and the proxy is blamed on HTTPS_PROXY. The response to CONNECT
// decides. No text quotes it, or contains the proxy's password.
func TestProxyFails(t *testing.T) {
	const password = "p4ss-w0rd-of-proxy"
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hold := make(chan struct{})
	silent := listen(t, func(net.Conn) { <-hold })
	t.Cleanup(func() { close(hold) })
	refuses := func(status string) string {
		return responds(t, "HTTP/1.1 "+status+"\r\nContent-Length: 18\r\n\r\n"+password)
	}
	for name, test := range map[string]struct {
		url  string
		step failure.Step
		kind failure.Kind
		wait time.Duration
		hint string
	}{
		"407": {refuses("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\""), failure.Connect,
			failure.Misconfigured, 0, "password"},
		"403": {refuses("403 Forbidden"), failure.Connect, failure.Misconfigured, 0, "does not allow"},
		"302": {refuses("302 Found\r\nLocation: http://login.example/" + password), failure.Connect, failure.Misconfigured,
			0, "redirects"},
		"429": {refuses("429 Too Many Requests\r\nRetry-After: 120"), failure.Connect, failure.Throttled,
			2 * time.Minute, "limits"},
		"502":             {refuses("502 Bad Gateway"), failure.Connect, failure.Transient, 0, "cannot reach"},
		"400":             {refuses("400 Bad Request"), failure.Connect, failure.Transient, 0, "cannot reach"},
		"closes":          {responds(t, ""), failure.Connect, failure.Transient, 0, "reach the proxy"},
		"nothing listens": {"http://" + closed.Addr().String(), failure.Connect, failure.Transient, 0, "reach the proxy"},
		"unknown name":    {"http://proxy.invalid:3128", failure.DNS, failure.Transient, 0, "host name"},
		"silent":          {silent, failure.Connect, failure.Transient, 0, "reach the proxy"},
		"not a proxy": {responds(t, "HTTP/1.1 200 OK\r\n\r\n220 "+password), failure.Connect, failure.Transient, 0,
			"reach the proxy"},
		"not HTTP": {responds(t, "220 "+password+"\r\n"), failure.Connect, failure.Transient, 0, "reach the proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := time.Minute
			if name == "silent" {
				t.Parallel()
				timeout = patience
			}
			var m telemetry.Meter
			client := New(Config{Timeout: timeout, URLSetting: "THE_URL",
				Redactor: secret.NewRedactor(secret.New(password)),
				Proxy:    proxyFor(t, strings.Replace(test.url, "://", "://svc:"+password+"@", 1))})
			_, err := client.Do(t.Context(), Request{URL: mustParse(t, "https://siem.example"), Body: []byte("x"), Meter: &m})
			f := failure.Of(err)
			if f == nil || f.Step != test.step || f.Kind != test.kind || f.RetryAfter != test.wait || f.Disconnected ||
				m.Requests != 1 {
				t.Fatalf("%+v, %d requests", f, m.Requests)
			}
			address := strings.TrimPrefix(test.url, "http://")
			if !strings.Contains(f.Hint, test.hint) || !strings.Contains(f.Hint, "HTTPS_PROXY") ||
				f.Step == failure.Connect && !strings.Contains(f.Hint, address) ||
				strings.Contains(f.Hint, "THE_URL") ||
				!strings.Contains(f.Error(), "proxy "+address+" (HTTPS_PROXY)") ||
				strings.Contains(f.Error()+f.Brief(), password) {
				t.Errorf("%v", f)
			}
			if name < "a" && !strings.Contains(f.Brief(), name) {
				t.Errorf("%q does not name the status", f.Brief())
			}
		})
	}
}
