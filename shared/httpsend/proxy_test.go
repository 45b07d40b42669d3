package httpsend

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// proxyFor makes the client's proxy from settings.
func proxyFor(t *testing.T, url string) *settings.Proxy {
	t.Helper()
	s := settings.New(func(name string) string { return map[string]string{"HTTPS_PROXY": url}[name] }, nil)
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
	siem := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the SIEM received the proxy's password")
		}
		io.Copy(w, r.Body)
	}))
	siem.Config.ErrorLog = log.New(io.Discard, "", 0)
	siemCert := certificate(t, "siem.example", time.Now().Add(time.Hour))
	siem.TLS = &tls.Config{Certificates: []tls.Certificate{siemCert}}
	siem.StartTLS()
	t.Cleanup(siem.Close)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("https %t", secure), func(t *testing.T) {
			p := &tunnels{to: siem.Listener.Addr().String()}
			srv := serve(t, secure, p.ServeHTTP)
			cfg := Config{Timeout: 5 * time.Second, Proxy: proxyFor(t, strings.Replace(srv.URL, "://", "://svc:p%40ss-word@",
				1)), URLSetting: "THE_URL", CASetting: "THE_CA"}
			cfg.RootCAs = x509.NewCertPool()
			cfg.RootCAs.AddCert(siemCert.Leaf)
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
			if got := New(cfg).redactor.Redact("sent "+want+" and p%40ss-word", 1000); strings.Contains(got, "ss-w") ||
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

// TestRefusedTunnel: the response to CONNECT decides, and no text contains the proxy's password.
func TestRefusedTunnel(t *testing.T) {
	const password = "p4ss-w0rd-of-proxy"
	for _, test := range []struct {
		response string
		kind     failure.Kind
		wait     time.Duration
		hint     string
	}{
		{"407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"", failure.Misconfigured, 0, "password"},
		{"403 Forbidden", failure.Misconfigured, 0, "does not allow"},
		{"302 Found\r\nLocation: http://login.example/" + password, failure.Misconfigured, 0, "redirects"},
		{"429 Too Many Requests\r\nRetry-After: 120", failure.Throttled, 2 * time.Minute, "limits"},
		{"502 Bad Gateway", failure.Transient, 0, "cannot reach"},
		{"400 Bad Request", failure.Transient, 0, "cannot reach"},
		{"", failure.Transient, 0, "reach the proxy"},
	} {
		t.Run(test.response[:min(3, len(test.response))], func(t *testing.T) {
			to := listen(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && test.response != "" {
					io.WriteString(c, "HTTP/1.1 "+test.response+"\r\nContent-Length: 18\r\n\r\n"+password)
				}
			})
			var m telemetry.Meter
			client := New(Config{Timeout: 5 * time.Second, URLSetting: "THE_URL",
				Proxy: proxyFor(t, strings.Replace(to, "://", "://svc:"+password+"@", 1))})
			_, err := client.Do(t.Context(), Request{URL: mustParse(t, "https://siem.example"), Body: []byte("x"), Meter: &m})
			f := failure.Of(err)
			address := strings.TrimPrefix(to, "http://")
			if f == nil || f.Step != failure.Connect || f.Kind != test.kind || f.RetryAfter != test.wait || f.Disconnected ||
				m.Requests != 1 {
				t.Fatalf("%+v, %d requests", f, m.Requests)
			}
			if !strings.Contains(f.Hint, test.hint) || !strings.Contains(f.Hint, "HTTPS_PROXY") || !strings.Contains(f.Hint,
				address) ||
				!strings.Contains(f.Error(), "HTTPS_PROXY") || !strings.Contains(f.Error(), address) ||
				strings.Contains(f.Error()+f.Brief(), password) {
				t.Errorf("%v", f)
			}
			if test.response != "" && !strings.Contains(f.Brief(), test.response[:3]) {
				t.Errorf("%q does not name the status", f.Brief())
			}
		})
	}
}

// TestProxyThatDoesNotWork: what lies between the function and the proxy is blamed on HTTPS_PROXY.
func TestProxyThatDoesNotWork(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hold := make(chan struct{})
	silent := listen(t, func(net.Conn) { <-hold })
	t.Cleanup(func() { close(hold) })
	talks := listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n220 mail.example ESMTP")
		}
	})
	for name, test := range map[string]struct {
		url  string
		step failure.Step
	}{
		"nothing listens": {"http://" + closed.Addr().String(), failure.Connect},
		"unknown name":    {"http://proxy.invalid:3128", failure.DNS},
		"silent":          {silent, failure.Connect},
		"not a proxy":     {talks, failure.Connect},
	} {
		t.Run(name, func(t *testing.T) {
			client := New(Config{Timeout: 500 * time.Millisecond, URLSetting: "THE_URL", Proxy: proxyFor(t, test.url)})
			_, err := client.Do(t.Context(), Request{URL: mustParse(t, "https://siem.example"), Body: []byte("x")})
			f := failure.Of(err)
			if f == nil || f.Step != test.step || f.Kind != failure.Transient || !strings.Contains(f.Hint, "HTTPS_PROXY") ||
				strings.Contains(f.Hint, "THE_URL") {
				t.Errorf("%+v", f)
			}
		})
	}
}
