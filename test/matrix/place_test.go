package matrix

import (
	"crypto/tls"
	"net"
	"testing"
)

// place is the SIEM of one attempt.
type place struct {
	url  string
	env  map[string]string
	http *siem
	peer *peer // where there is no HTTP
}

// open makes the SIEM, or what stands in its place.
func (w *world) open(t *testing.T, c *target, a attempt) *place {
	t.Helper()
	p := &place{env: map[string]string{}}
	switch a.way {
	case noName:
		p.at(c, "no-such-host.invalid", "443")
		return p
	case refused:
		p.address(t, c, w.closed)
		return p
	case noConnect:
		p.address(t, c, w.full)
		return p
	case stands, expired, wrongName, unknownCA, oldTLS, noTLS, clientCertificate, clientCertificate12, silentHandshake, closedHandshake:
	}
	l := listen(t)
	p.address(t, c, l.Addr().String())
	secure := w.certs[a.way]
	if c.name == "qradar" && a.way != stands {
		p.env["QRADAR_SYSLOG_PROTOCOL"] = "tls"
	}
	switch {
	case a.way == silentHandshake:
		p.peer = serveEach(l, func(net.Conn) {})
	case a.way == closedHandshake:
		p.peer = serveEach(l, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		})
	case c.name == "qradar":
		p.openSyslog(l, secure, a)
	default:
		p.http = newSIEM(l, secure, c, a)
	}
	return p
}

func (p *place) address(t *testing.T, c *target, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p.at(c, host, port)
}

// at tells the function where to go.
func (p *place) at(c *target, host, port string) {
	if c.name == "qradar" {
		p.url = host
		p.env["QRADAR_SYSLOG_PORT"] = port
		return
	}
	p.url = "https://" + net.JoinHostPort(host, port)
	if c.name == "sentinel" {
		p.env["SENTINEL_AUTHORITY_HOST"] = p.url
	}
}

func (p *place) openSyslog(l net.Listener, secure *tls.Config, a attempt) {
	if a.way != stands && secure != nil {
		l = tls.NewListener(l, secure)
	}
	if a.syslog == nil {
		a.syslog = takeAll
	}
	p.peer = serveEach(l, a.syslog)
}

// settle holds what the function says was delivered against what the SIEM has, and adds what that has seen.
func (p *place) settle(t *testing.T, s *seen) {
	t.Helper()
	if p.http == nil {
		return
	}
	p.http.mu.Lock()
	defer p.http.mu.Unlock()
	for i, f := range s.fates {
		if f.state == "delivered" && p.http.accepted[eventID(i)] == 0 {
			t.Errorf("event %d counts as delivered, and the SIEM did not take it", i)
		}
	}
	if p.http.elsewhere > 0 {
		t.Error("a redirect was followed")
	}
	s.requests, s.bodies, s.headers = p.http.requests, p.http.bodies, p.http.headers
}

func (p *place) close() {
	if p.http != nil {
		p.http.close()
	}
	if p.peer != nil {
		_ = p.peer.Close()
	}
}
