package httpsend

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func serve(t testing.TB, secure bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	start(t, srv, secure)
	return srv
}

func start(t testing.TB, srv *httptest.Server, secure bool) {
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
}

// countConnections serves, and counts the connections that clients open.
func countConnections(t *testing.T, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	srv, opened := httptest.NewUnstartedServer(h), new(atomic.Int64)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	start(t, srv, false)
	return srv, opened
}

// do makes a request with a client of its own.
func do(t *testing.T, to, body string) (*Response, error) {
	t.Helper()
	return New(Config{Timeout: time.Minute}).Do(t.Context(), Request{URL: mustParse(t, to), Body: []byte(body)})
}

func mustParse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func pool(srv *httptest.Server) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(srv.Certificate())
	return p
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "hello")
	})
	c := New(Config{Timeout: time.Minute, Gzip: true, RootCAs: pool(srv)})
	sent := strings.Repeat("some event ", 1000)
	header := http.Header{"Authorization": {"x"}}
	var m telemetry.Meter
	a, err := c.Do(context.Background(), Request{URL: mustParse(t, srv.URL+"/path"), Header: header, Body: []byte(sent),
		Meter: &m})
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != http.StatusTeapot || string(a.Body) != "hello" || a.BodyErr != nil || a.OK() {
		t.Errorf("answer: %d %q %v", a.Status, a.Body, a.BodyErr)
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(z); err != nil || string(plain) != sent {
		t.Errorf("the body arrived as %d bytes: %v", len(plain), err)
	}
	if got.Method != "POST" || got.URL.Path != "/path" || got.Header.Get("Content-Encoding") != "gzip" ||
		got.Header.Get("Authorization") != "x" ||
		got.Header.Get("User-Agent") != userAgent || len(got.Header["Idempotency-Key"]) != 0 ||
		got.ContentLength != int64(len(body)) {
		t.Errorf("request: %s %s %v", got.Method, got.URL.Path, got.Header)
	}
	if m.Requests != 1 || m.Bytes != int64(len(body)) || len(header) != 1 {
		t.Errorf("counted %+v for %d bytes, header now %v", m, len(body), header)
	}
	if f := a.failure(failure.Transient, Reply{Own: true, Code: "7", Text: "hello"}, ""); f.RetryAfter != 3*time.Second ||
		f.Error() != `status 418, code 7: "hello"` {
		t.Errorf("fault: %v %v", f, f.RetryAfter)
	}
	_, err = c.Do(t.Context(), Request{URL: mustParse(t, srv.URL), Body: []byte("grant"), Plain: true})
	if err != nil || got.Header.Get("Content-Encoding") != "" || string(body) != "grant" {
		t.Errorf("a request that wants no compression arrived as %q, %v: %v", body, got.Header, err)
	}
}

// serveTLS serves with a certificate for a name that expires at end; for "", with one that has only a common name. It
// returns the pool of the certificate's CA.
func serveTLS(t *testing.T, name string, end time.Time, change func(*tls.Config),
	h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	ca := pki.New("test CA")
	cert := ca.Nameless("127.0.0.1")
	if name != "" {
		cert = ca.ServerUntil(end, name)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	if change != nil {
		change(srv.TLS)
	}
	start(t, srv, true)
	return srv, ca.Pool()
}

// patience is the time-out of a request that fails by it. Connecting and the TLS handshake have half of it each.
const patience = 4 * time.Second

func TestNetworkFaults(t *testing.T) {
	withCert := func(name string, end time.Time, change func(*tls.Config)) (*httptest.Server, *x509.CertPool) {
		return serveTLS(t, name, end, change, http.NotFound)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	good, goodPool := withCert("127.0.0.1", tomorrow, nil)
	other, otherPool := withCert("other.example", tomorrow, nil)
	old, oldPool := withCert("127.0.0.1", time.Now().Add(-time.Hour), nil)
	mutual, mutualPool := withCert("127.0.0.1", tomorrow, func(c *tls.Config) {
		c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	})
	tls11, tls11Pool := withCert("127.0.0.1", tomorrow, func(c *tls.Config) {
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	})
	rsaOnly, rsaOnlyPool := withCert("127.0.0.1", tomorrow, func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	})
	nameless, namelessPool := withCert("", tomorrow, nil)
	plain := serve(t, false, func(http.ResponseWriter, *http.Request) {})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never says a word
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, c := range map[string]struct {
		url  string
		cas  *x509.CertPool
		step failure.Step
		kind failure.Kind
		hint string
	}{
		"no such host": {"https://no-such-host.invalid/", nil, failure.DNS, failure.Transient, "host name in THE_URL"},
		"refused": {"https://" + closed.Addr().String(), nil, failure.Connect, failure.Transient,
			"host and port in THE_URL"},
		"unknown CA": {good.URL, otherPool, failure.TLS, failure.Misconfigured,
			`set THE_CA to the CA that signed "CN=test CA"`},
		"wrong name":   {other.URL, otherPool, failure.TLS, failure.Misconfigured, "another name"},
		"expired":      {old.URL, oldPool, failure.TLS, failure.Misconfigured, "expired"},
		"wants client": {mutual.URL, mutualPool, failure.TLS, failure.Misconfigured, "client certificate"},
		"no SANs":      {nameless.URL, namelessPool, failure.TLS, failure.Misconfigured, "no subject alternative names"},
		"RSA only":     {rsaOnly.URL, rsaOnlyPool, failure.TLS, failure.Misconfigured, "cipher suites"},
		"old TLS":      {tls11.URL, tls11Pool, failure.TLS, failure.Misconfigured, "versions"},
		"no TLS there": {strings.Replace(plain.URL, "http:", "https:", 1), goodPool, failure.TLS, failure.Misconfigured,
			"does not use TLS"},
		"silent":         {"https://" + silent.Addr().String(), nil, failure.TLS, failure.Transient, "handshake"},
		"silent, no TLS": {"http://" + silent.Addr().String(), nil, failure.Request, failure.Transient, ""},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := time.Minute
			if strings.HasPrefix(name, "silent") {
				t.Parallel()
				timeout = patience
			}
			client := New(Config{Timeout: timeout, RootCAs: c.cas, URLSetting: "THE_URL", CASetting: "THE_CA"})
			_, err := client.Do(context.Background(), Request{URL: mustParse(t, c.url), Body: []byte("x")})
			f := failure.Of(err)
			if f == nil || f.Step != c.step || f.Kind != c.kind || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("%+v\nwant step %s, kind %s, hint with %q", f, c.step, c.kind, c.hint)
			}
		})
	}
	if _, err := New(Config{Timeout: time.Minute, Insecure: true}).Do(context.Background(),
		Request{URL: mustParse(t, other.URL)}); err != nil {
		t.Errorf("not verifying: %v", err)
	}
}

// TestStaleConnections: after a pause by the wall clock, kept connections are not trusted any more.
func TestStaleConnections(t *testing.T) {
	srv, opened := countConnections(t, func(http.ResponseWriter, *http.Request) {})
	now := time.Now()
	c := New(Config{Timeout: time.Minute, Now: func() time.Time { return now }})
	for _, step := range []struct {
		pause time.Duration
		want  int64
	}{{0, 1}, {0, 1}, {idleTimeout + time.Second, 2}, {-time.Hour, 3}} { // at last, the clock was set
		now = now.Add(step.pause)
		if _, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL), Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if n := opened.Load(); n != step.want {
			t.Errorf("%s after the last request: %d connections, want %d", step.pause, n, step.want)
		}
	}
}

// TestSecretsAreCut: a secret of the settings or of a single request, such as a signature, is redacted wherever it may
// appear in a failure.
func TestSecretsAreCut(t *testing.T) {
	const path, once = "s3cr3t-path-token", "only-once"
	srv := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example"+r.URL.Path)
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "moved: "+r.URL.Path+" "+r.Header.Get("Authorization"))
	})
	c := New(Config{Timeout: time.Minute, Redactor: secret.NewRedactor(secret.New(path)), URLSetting: "THE_URL"})
	a, err := c.Do(t.Context(), Request{URL: mustParse(t, srv.URL+"/"+path), Body: []byte("x"),
		Header: http.Header{"Authorization": {"Bearer " + once}}, Secret: secret.New(once)})
	if err != nil {
		t.Fatal(err)
	}
	f := a.failure(KindOf(a.Status), Reply{Own: true, Code: once, Text: string(a.Body)}, "")
	if !strings.Contains(f.Error(), "moved: /[redacted] Bearer [redacted]") || f.Kind != failure.Misconfigured ||
		!strings.Contains(f.Hint, `"elsewhere.example"`) {
		t.Errorf("fault: %v", f)
	}
	unknown := mustParse(t, "http://"+path+"."+once+".invalid/")
	_, broken := c.Do(t.Context(), Request{URL: unknown, Secret: secret.New(once)})
	for _, err := range []error{f, broken, a.failure(failure.Rejected, Reply{}, "ask for "+once+" and "+path)} {
		f := failure.Of(err)
		text := f.Error() + f.Brief()
		if f.Error() == "" || strings.Contains(text, path) || strings.Contains(text, once) {
			t.Errorf("a failure holds a secret: %s", text)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, " 17 ": 17 * time.Second, "1.5": 2 * time.Second, "299.997": 300 * time.Second, "0.001": time.Second,
		"900": 900 * time.Second,
		"-5":  0, "+5": 0, "soon": 0, "1e3": 0, "1.5.1": 0, "inf": 0, ".": 0, "5s": 0, "901": 900 * time.Second,
		"9999999999": 900 * time.Second, "99999999999999999999": 900 * time.Second,
		strings.Repeat("9", 400):        900 * time.Second,
		"Sun, 01 Mar 2026 12:01:40 GMT": 100 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Sunday, 01-Mar-26 12:00:05 GMT": 5 * time.Second,
		"Sun, 01 Mar 2099 11:00:00 GMT":  900 * time.Second,
		"Thu, 01 May 7000 00:00:00 GMT":  900 * time.Second,
	} {
		if got := RetryAfter(in, now); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("17")
	f.Add("Sun, 01 Mar 2026 12:01:40 GMT")
	f.Fuzz(func(t *testing.T, in string) {
		if d := RetryAfter(in, time.Unix(0, 0)); d < 0 {
			t.Errorf("%q: %v", in, d)
		}
	})
}

// respond makes a response of a SIEM whose own format is {"code":"…","text":"…"}, and {} for a success.
func respond(status int, body string) *Response {
	c := New(Config{Redactor: secret.NewRedactor(secret.New("hec-token-0123456789"))})
	return &Response{Status: status, Body: []byte(body), Header: map[string][]string{}, client: c}
}

func readTest(a *Response) Reply {
	members := a.Object()
	code, own := Text(members["code"])
	text, _ := Text(members["text"])
	return Reply{Success: members != nil && !own, Own: own, Code: code, Text: text}
}

var testCodes = &Codes{SIEM: "Test", Read: readTest, Hint: "wrong address", Rows: []Code{
	{Status: 400, Code: "template index", Kind: failure.Misconfigured, Hint: "index"},
	{Words: "disk is full", Kind: failure.Throttled, Hint: "disk"},
	{Status: 403, Kind: failure.Unauthorized, Hint: "key"},
	{Status: 409, Code: Any, Kind: failure.Transient, Hint: "busy"},
}}

func TestClassify(t *testing.T) {
	const hint = "wrong address"
	for _, c := range []struct {
		status     int
		body       string
		kind       failure.Kind
		hint, code string
		foreign    bool
	}{
		{200, `<html>`, failure.Transient, hint, "", false},
		{200, `{"code":"index","text":"no"}`, failure.Transient, hint, "index", false},
		{400, `{"code":"syntax","text":"no"}`, failure.Rejected, "", "syntax", false},
		{400, `{"code":"index","text":"no"}`, failure.Misconfigured, "index", "index", false},
		{400, `{"code":"template"}`, failure.Misconfigured, "index", "template", false},
		{400, `{"code":"template index"}`, failure.Rejected, "", "", false},
		{400, `{"code":"syntax","text":"the Disk is full"}`, failure.Throttled, "disk", "syntax", false},
		{422, `{"code":"syntax"}`, failure.Rejected, "", "syntax", false},
		{409, `{"code":"x"}`, failure.Transient, "busy", "x", false},
		{400, `<html>`, failure.Misconfigured, hint, "", true},
		{400, ``, failure.Misconfigured, hint, "", true},
		{400, `{"text":"the disk is full"}`, failure.Misconfigured, hint, "", true},
		{409, `{"text":"x"}`, failure.Misconfigured, hint, "", true},
		{418, ``, failure.Misconfigured, hint, "", true},
		{422, `<html>`, failure.Misconfigured, hint, "", true},
		{403, `<html>`, failure.Unauthorized, "key", "", true},
		{403, `{"code":"x"}`, failure.Unauthorized, "key", "x", false},
		{401, ``, failure.Unauthorized, "", "", false},
		{404, ``, failure.Misconfigured, hint, "", false},
		{405, `{"code":"x"}`, failure.Misconfigured, hint, "x", false},
		{410, ``, failure.Misconfigured, "", "", false},
		{408, ``, failure.Transient, "", "", false},
		{413, ``, failure.TooLarge, "", "", false},
		{429, ``, failure.Throttled, "", "", false},
		{500, `{}`, failure.Transient, "", "", false},
		{503, `<html>`, failure.Transient, "", "", false},
		{400, `{"code":"hec-token-0123456789"}`, failure.Rejected, "", "", false},
		{400, `{"code":"two words"}`, failure.Rejected, "", "", false},
		{400, `{"code":"` + strings.Repeat("x", 65) + `"}`, failure.Rejected, "", "", false},
	} {
		f := failure.Of(testCodes.Classify(respond(c.status, c.body)))
		if f == nil || f.Kind != c.kind || f.Hint != c.hint || f.Code != c.code || f.Foreign != c.foreign ||
			f.Status != c.status {
			t.Errorf("%d %s: %+v, want %v, hint %q, code %q, foreign %t", c.status, c.body, f, c.kind, c.hint, c.code, c.foreign)
		}
	}
	if f := failure.Of(testCodes.Classify(respond(299, `{}`))); f != nil {
		t.Errorf("a success: %v", f)
	}
	short := respond(200, `{}`)
	short.BodyErr = ErrTooLong
	if f := failure.Of(testCodes.Classify(short)); f == nil || f.Kind != failure.Transient {
		t.Errorf("a success that is not complete: %+v", f)
	}
}

// TestClassifyQuotes: a reason quotes the SIEM's own message, bounded and without secrets. It does not quote a response
// in another format.
func TestClassifyQuotes(t *testing.T) {
	f := failure.Of(testCodes.Classify(respond(400, `{"code":"x","text":"token hec-token-0123456789 `+
		strings.Repeat("y", 4096)+`"}`)))
	if !strings.Contains(f.Detail, "token [redacted]") || len(f.Detail) > 2*failure.MaxQuote {
		t.Errorf("own: %s", f.Detail)
	}
	for _, status := range []int{200, 400, 401, 403, 404, 429, 500} {
		for _, body := range []string{"you sent: alice's event", `{"text":"you sent: alice's event"}`} {
			if f := failure.Of(testCodes.Classify(respond(status, body))); f != nil && strings.Contains(f.Error(), "alice") {
				t.Errorf("%d: %v", status, f)
			}
		}
	}
}

// BenchmarkDo measures one request over a kept connection: the sizes of one event and of a batch, compressed and not.
func BenchmarkDo(b *testing.B) {
	for _, secure := range []bool{false, true} {
		for _, test := range []struct {
			name string
			gzip bool
			size int
		}{{"2KB", false, 2 << 10}, {"100KB", false, 100 << 10}, {"1MB", false, 1 << 20}, {"100KB-gzip", true, 100 << 10}} {
			b.Run(fmt.Sprintf("tls=%t/%s", secure, test.name), func(b *testing.B) {
				srv := serve(b, secure, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					io.WriteString(w, `{"text":"Success","code":0}`)
				})
				c := New(Config{Timeout: time.Minute, Gzip: test.gzip, Insecure: secure})
				r := Request{URL: mustParse(b, srv.URL), Header: http.Header{"Authorization": {"Splunk x"}}, Body: noise(test.size)}
				b.ReportAllocs()
				for b.Loop() {
					if a, err := c.Do(b.Context(), r); err != nil || a.Status != http.StatusOK {
						b.Fatal(a, err)
					}
				}
			})
		}
	}
}
