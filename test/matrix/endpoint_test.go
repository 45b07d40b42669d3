package matrix

import (
	"crypto/tls"
	"net"
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
