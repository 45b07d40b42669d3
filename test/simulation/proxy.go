package simulation

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/pki"
)

// proxyAddress is the address of the plan's proxy.
const proxyAddress = "proxy.sim:3128"

// proxyRefusals are the responses to CONNECT of the kind proxyRefuses.
var proxyRefusals = [...]struct {
	status, retryAfter int
	class              class
}{
	{407, 0, longest}, {403, 0, longest}, {302, 0, longest}, {429, 20, growing}, {429, 400, growing}, {502, 0, growing},
	{503, 0, growing},
}

// proxied reports whether the plan has a proxy between the connector and its SIEM: those connectors that have a setting
// for the SIEM's own CA, because a proxy is only used for https.
func (l *pipeline) proxied() bool {
	return l.plan.Proxy != "" && slices.Contains([]string{"splunk", "elastic"}, l.name)
}

// proxySetting returns the variables of the proxy.
func (p *process) proxySetting(name string) string {
	switch {
	case !p.pipeline.proxied():
	case name == "HTTPS_PROXY" && p.badProxy:
		return "http://svc:50%off@" + proxyAddress
	case name == "HTTPS_PROXY":
		return p.plan.Proxy + "://svc:p%40ss@" + proxyAddress + "\n"
	case name == "SIEM_PROXY_CA_BUNDLE" && p.plan.Proxy == "https":
		return proxyAuthority().PEM()
	}
	return ""
}

// tunnel is a connection to the proxy.
type tunnel struct {
	*process
	conn *conn
}

// connect passes the server's end of a new connection to the proxy or to the SIEM.
func (p *process) connect(ctx context.Context, to string, c *conn) error {
	switch {
	case !p.pipeline.proxied():
		return p.pipeline.siem.connected(ctx, c)
	case to != proxyAddress:
		p.broken("a proxy is used if it is set", "%s connects to %s", p.name, to)
	}
	t := tunnel{p, c}
	p.spawn(func() { //nolint:contextcheck // the proxy does not know the client's context
		if !t.serve() {
			_ = c.Close()
		}
	})
	return nil
}

// serve responds to CONNECT, and reports whether the connection was passed to the SIEM.
func (t tunnel) serve() bool {
	var c net.Conn = t.conn
	if t.plan.Proxy == "https" {
		c = tls.Server(t.conn, serverTLS(proxyAuthority(), "proxy.sim"))
	}
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return false
	}
	inv, n := t.next("connect")
	time.Sleep(t.rng.between(time.Millisecond, 20*time.Millisecond, "proxy", t.name, inv.number, n))
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("svc:p@ss"))
	if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want ||
		r.Header.Get("Authorization") != "" {
		t.broken("a proxy gets its own credential", "%s sends %s %v", inv, r.Method, r.Header)
	}
	if f, ok := t.fault(proxyRefuses, t.lane, t.name, inv.number, n); ok {
		p := proxyRefusals[f.N]
		t.tell("%s: the proxy responds %d", inv, p.status)
		inv.answer(nil, answer{status: p.status, class: p.class, retry: p.retryAfter, proxy: true})
		header := ""
		if p.retryAfter > 0 {
			header = fmt.Sprintf("Retry-After: %d\r\n", p.retryAfter)
		}
		_, _ = io.WriteString(c, raw(p.status, header, "<html>proxy</html>"))
		return false
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return false
	}
	return t.pipeline.siem.(*web).listener.hand(context.Background(), c) == nil
}

// checkProxy checks the end of an invocation whose proxy setting cannot be parsed.
func (p *process) checkProxy(inv *invocation, r result) {
	if p.badProxy && !r.died && (r.err == nil || !strings.Contains(r.err.Error(), "HTTPS_PROXY")) {
		p.broken("a proxy is used if it is set", "%s has a proxy setting that cannot be parsed, and ends with %v", inv, r.err)
	}
}

// serverTLS returns the TLS configuration of a server with that name.
func serverTLS(a *pki.Authority, name string) *tls.Config {
	certificate := a.Server(name)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate.TLS}}
}

// rawConn returns the connection under TLS.
func rawConn(c net.Conn) *conn {
	for {
		secure, ok := c.(*tls.Conn)
		if !ok {
			return c.(*conn) //nolint:forcetypeassert // the only kind
		}
		c = secure.NetConn()
	}
}
