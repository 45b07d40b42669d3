package matrix

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// endpoint is the SIEM of one attempt.
type endpoint struct {
	url          string
	env          map[string]string
	http         *siem
	peer         *peer // instead of http, if there is no HTTP
	proxy        *peer
	proxySetting string
}

// open starts the SIEM, or what is at its address instead.
func (f *fixture) open(t *testing.T, c *target, a attempt) *endpoint {
	t.Helper()
	p := &endpoint{env: map[string]string{}}
	switch a.fault {
	case noName:
		p.at(c, "no-such-host.invalid", "443")
		return p
	case refused:
		p.address(t, c, f.closed)
		return p
	case noConnect:
		p.address(t, c, f.full)
		return p
	case intact, expired, wrongName, unknownCA, oldTLS, noTLS, clientCertificate, clientCertificate12, silentHandshake,
		closedHandshake:
	}
	l := listen(t)
	p.address(t, c, l.Addr().String())
	if a.proxy != nil {
		_, port, _ := net.SplitHostPort(l.Addr().String()) // the address of a listener has a port
		p.at(c, proxiedHost, port)
		p.proxySetting = f.openProxy(t, p, a.proxy, l.Addr().String())
	}
	secure := f.certs[a.fault]
	if c.syslog && a.fault != intact {
		p.env["QRADAR_SYSLOG_PROTOCOL"] = "tls"
	}
	switch {
	case a.fault == silentHandshake:
		p.peer = serveEach(l, func(net.Conn) {})
	case a.fault == closedHandshake:
		p.peer = serveEach(l, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		})
	case c.syslog:
		p.openSyslog(l, secure, a)
	default:
		p.http = newSIEM(l, secure, c, a)
	}
	return p
}

func (p *endpoint) address(t *testing.T, c *target, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p.at(c, host, port)
}

// at sets the address of the SIEM.
func (p *endpoint) at(c *target, host, port string) {
	if c.syslog {
		p.url = host
		p.env["QRADAR_SYSLOG_PORT"] = port
		return
	}
	p.url = "https://" + net.JoinHostPort(host, port)
	if c.name == "sentinel" {
		p.env["SENTINEL_AUTHORITY_HOST"] = p.url
	}
}

func (p *endpoint) openSyslog(l net.Listener, secure *tls.Config, a attempt) {
	if a.fault != intact && secure != nil {
		l = tls.NewListener(l, secure)
	}
	if a.stream == nil {
		a.stream = takeAll
	}
	p.peer = serveEach(l, a.stream)
}

// check compares the delivered events with those that the SIEM accepted, and adds what the SIEM received.
func (p *endpoint) check(t *testing.T, s *result) {
	t.Helper()
	if p.http == nil {
		return
	}
	p.http.mu.Lock()
	defer p.http.mu.Unlock()
	for i, o := range s.outcomes {
		if o.state == "delivered" && p.http.accepted[eventID(i)] == 0 {
			t.Errorf("event %d counts as delivered, but the SIEM did not accept it", i)
			break
		}
	}
	if p.http.elsewhere > 0 {
		t.Error("a redirect was followed")
	}
	s.requests, s.bodies, s.headers = p.http.requests, p.http.bodies, p.http.headers
}

func (p *endpoint) close() {
	if p.http != nil {
		p.http.close()
	}
	for _, other := range [...]*peer{p.peer, p.proxy} {
		if other != nil {
			_ = other.Close()
		}
	}
}

// proxiedHost is the SIEM's name behind the proxy. The proxy connects to the SIEM's address whatever the name. Without
// a name, the connector would connect directly, because loopback addresses bypass the proxy.
const proxiedHost = "siem.matrix.invalid"

// proxyCase is an HTTP proxy between the connector and the SIEM.
type proxyCase struct {
	status   int // of the refusal; 0 opens the tunnel
	header   string
	broken   func(net.Conn) // in place of a response
	refused  bool           // nothing listens
	password string         // of the setting, if wrong
	secure   bool           // an https proxy, whose certificate another CA signed
	bundle   bool           // SIEM_PROXY_CA_BUNDLE is set
	setting  string         // literally
}

// proxyRows refuse or break the tunnel through a proxy.
func proxyRows() []row {
	const user = "http://svc:"
	rows := []row{
		{name: "tunnel with user and password", proxy: &proxyCase{}, want: "delivered"},
		{name: "407: wrong password", proxy: &proxyCase{password: "wrong"}, want: held,
			reason: "another user or password: check HTTPS_PROXY"},
		{name: "403", proxy: &proxyCase{status: 403}, want: held, reason: "does not allow the connection"},
		{name: "302", proxy: &proxyCase{status: 302, header: "Location: http://login.invalid/\r\n"}, want: held,
			reason: "HTTPS_PROXY"},
		{name: "429, `Retry-After: 60`", proxy: &proxyCase{status: 429, header: "Retry-After: 60\r\n"}, want: "60 s",
			reason: "proxy_429"},
		{name: "502", proxy: &proxyCase{status: 502}, want: again, reason: "proxy_502"},
		{name: "503", proxy: &proxyCase{status: 503}, want: again, reason: "proxy_503"},
		{name: "connection refused", proxy: &proxyCase{refused: true}, want: again, reason: "HTTPS_PROXY"},
		{name: "closed without a response", proxy: &proxyCase{broken: func(c net.Conn) { _ = c.Close() }}, want: again,
			reason: "HTTPS_PROXY"},
		{name: "no response", proxy: &proxyCase{broken: func(net.Conn) {}}, slow: true, want: again, reason: "HTTPS_PROXY"},
		{name: "https proxy with its own CA", proxy: &proxyCase{secure: true, bundle: true}, want: "delivered"},
		{name: "https proxy of an unknown CA", proxy: &proxyCase{secure: true}, want: held, reason: "SIEM_PROXY_CA_BUNDLE"},
		{name: "setting: invalid escape", proxy: &proxyCase{setting: user + proxyCanary + "50%off@host:3128"}, want: failed,
			reason: "HTTPS_PROXY"},
		{name: "setting: number sign in the password", proxy: &proxyCase{setting: user + proxyCanary + "#b@host"},
			want: failed, reason: "HTTPS_PROXY"},
		{name: "setting: another scheme", proxy: &proxyCase{setting: "socks5://host:1080"}, want: failed,
			reason: "HTTPS_PROXY"},
	}
	for i := range rows {
		rows[i].respond = (*request).accept
	}
	return rows
}

// openProxy starts the proxy of a cell, and returns the value of HTTPS_PROXY.
func (f *fixture) openProxy(t *testing.T, p *endpoint, c *proxyCase, siem string) (setting string) {
	t.Helper()
	address := f.closed
	if !c.refused && c.setting == "" {
		l := listen(t)
		address = l.Addr().String()
		if c.secure {
			l = tls.NewListener(l, f.certs[unknownCA])
		}
		p.proxy = serveEach(l, func(client net.Conn) { c.serve(client, siem) })
	}
	if c.bundle {
		p.env["SIEM_PROXY_CA_BUNDLE"] = f.otherFile
	}
	scheme, password := "http", proxyCanary
	if c.secure {
		scheme = "https"
	}
	if c.password != "" {
		password = c.password
	}
	if c.setting != "" {
		return c.setting
	}
	return scheme + "://svc:" + password + "@" + address
}

// serve handles one connection to the proxy.
func (c *proxyCase) serve(client net.Conn, siem string) {
	r := bufio.NewReader(client)
	req, err := http.ReadRequest(r)
	if err != nil {
		_ = client.Close()
		return
	}
	if c.broken != nil {
		c.broken(client)
		return
	}
	status := c.status
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("svc:"+proxyCanary))
	if req.Header.Get("Proxy-Authorization") != want {
		status = http.StatusProxyAuthRequired
	} else if req.Method != http.MethodConnect || !strings.HasPrefix(req.Host, proxiedHost+":") {
		status = http.StatusBadRequest
	}
	if status != 0 {
		_, _ = io.WriteString(client, "HTTP/1.1 "+strconv.Itoa(status)+" Refused\r\n"+c.header+"Content-Length: 0\r\n\r\n")
		_ = client.Close()
		return
	}
	upstream, err := net.Dial("tcp", siem)
	if err != nil {
		_ = client.Close()
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(upstream, r)
		_ = upstream.Close()
	}()
	_, _ = io.Copy(client, upstream)
	_ = client.Close()
}
