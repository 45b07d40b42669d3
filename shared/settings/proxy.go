package settings

import (
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// Proxy is an HTTP proxy that opens tunnels (CONNECT) to https addresses.
type Proxy struct {
	URL     *url.URL       // http or https, with a port; may hold a user and a password
	RootCAs *x509.CertPool // for an https proxy; nil means the system's

	direct []destination
}

// destination is one entry of NO_PROXY. An empty port is any port.
type destination struct {
	all    bool
	prefix netip.Prefix // of addresses, if valid
	host   string       // else a host name; with a leading dot, only names that end with it
	port   string
}

const expectedProxy = "http:// or https://, [user:password@]host[:port], " +
	"with special characters of user and password percent-encoded"

// Proxy reads HTTPS_PROXY, NO_PROXY and SIEM_PROXY_CA_BUNDLE. It returns nil if no proxy is set. A value that cannot be
// parsed is a problem like any other: it never means that no proxy is used.
func (s *Settings) Proxy() *Proxy {
	text := s.line(Setting{Name: "HTTPS_PROXY"})
	p := &Proxy{RootCAs: s.CABundle("SIEM_PROXY_CA_BUNDLE")}
	for entry := range strings.SplitSeq(s.line(Setting{Name: "NO_PROXY"}), ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		d, ok := parseDestination(strings.ToLower(entry))
		if !ok {
			s.Problem("NO_PROXY", entry,
				"host names, addresses or networks (10.0.0.0/8), separated by commas, each with an optional port")
		}
		p.direct = append(p.direct, d)
	}
	if text == "" {
		return nil
	}
	if p.URL = parseProxy(text); p.URL == nil {
		if strings.ContainsAny(text, "@") {
			text = "something else (hidden)"
		}
		s.Problem("HTTPS_PROXY", text, expectedProxy)
		return nil
	}
	if password, ok := p.URL.User.Password(); ok {
		s.secrets = append(s.secrets, secret.New(password))
	}
	return p
}

// parseProxy returns nil for a text that is not the address of a proxy. A text without a scheme is an http proxy.
func parseProxy(text string) *url.URL {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || strings.ContainsAny(text, "?#") || u.Hostname() == "" || strings.TrimRight(u.Path, "/") != "" {
		return nil
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil
	case port == "":
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	case !validPort(port):
		return nil
	}
	return &url.URL{Scheme: u.Scheme, User: u.User, Host: net.JoinHostPort(u.Hostname(), port)}
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func parseDestination(entry string) (d destination, ok bool) {
	if entry == "*" {
		return destination{all: true}, true
	}
	if prefix, err := netip.ParsePrefix(entry); err == nil {
		return destination{prefix: prefix.Masked()}, true
	}
	d.host = entry
	if host, port, err := net.SplitHostPort(entry); err == nil {
		d.host, d.port = host, port
		if !validPort(port) {
			return d, false
		}
	}
	if a, err := netip.ParseAddr(unbracketed(d.host)); err == nil {
		d.prefix = netip.PrefixFrom(a, a.BitLen())
		return d, true
	}
	d.host = strings.TrimPrefix(d.host, "*")
	return d, strings.Trim(d.host, ".") != "" && !strings.ContainsAny(d.host, "/:*@ \t[]?#")
}

// unbracketed returns the address in [address], and any other text as it is.
func unbracketed(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]")
	}
	return host
}

// Bypasses reports whether a connection to address (host:port) does not use the proxy: NO_PROXY names the host, its
// domain or its address, or it is a loopback address. A nil proxy is bypassed.
func (p *Proxy) Bypasses(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if p == nil || err != nil {
		return p == nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, _ := netip.ParseAddr(host) // a host name is not a valid address
	ip = ip.Unmap()
	if host == "localhost" || ip.IsLoopback() {
		return true
	}
	for _, d := range p.direct {
		if d.all || (d.port == "" || d.port == port) && d.names(host, ip) {
			return true
		}
	}
	return false
}

func (d destination) names(host string, ip netip.Addr) bool {
	switch {
	case d.prefix.IsValid():
		return d.prefix.Contains(ip)
	case ip.IsValid():
		return false
	case strings.HasPrefix(d.host, "."):
		return strings.HasSuffix(host, d.host)
	}
	return host == d.host || strings.HasSuffix(host, "."+d.host)
}
