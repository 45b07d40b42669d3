package settings

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/arbitex/siem-connectors/shared/secret"
)

// CABundle reads an optional bundle of CA certificates: a file's path, or the PEM text itself. It returns nil,
// meaning the system's certificates, if the variable is not set.
func (s *Settings) CABundle(name string) *x509.CertPool {
	const expected = "PEM certificates, or the path of a file of them"
	text := s.pem(Setting{Name: name}, expected)
	if text == "" {
		return nil
	}
	pool, err := ParseCABundle(text)
	if err != nil {
		s.Problem(name, s.raw(name), expected+" ("+err.Error()+")")
	}
	return pool
}

// ParseCABundle returns the certificates of a PEM text. It accepts the text as a whole or not at all: the error names
// the block that is not a certificate. Lines between blocks are comments.
func ParseCABundle(text string) (*x509.CertPool, error) {
	list, err := certificates(text, false)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range list {
		pool.AddCert(cert)
	}
	return pool, nil
}

// certificates returns those of a PEM text, at least one. A block of another type is an error unless mixed is true.
func certificates(text string, mixed bool) (list []*x509.Certificate, err error) {
	blocks, err := pemBlocks(text)
	if err != nil {
		return nil, err
	}
	for i, b := range blocks {
		if b.Type != "CERTIFICATE" {
			if mixed {
				continue
			}
			return nil, fmt.Errorf("block %d is a %s, not a certificate", i+1, b.Type)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d is not a valid certificate", i+1)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return list, nil
}

// ClientCertificate reads an optional client certificate and its key, each a path or PEM text. Both or none must be
// set. A file of the certificate may also hold the key, and the other way round.
func (s *Settings) ClientCertificate(certName, keyName string) *tls.Certificate {
	const expectedCert = "a PEM certificate, or the path of a file of it"
	certPEM := s.pem(Setting{Name: certName}, expectedCert)
	keyPEM := s.pem(Setting{Name: keyName, Secret: true}, "a PEM private key, or the path of a file of it")
	if s.Set(certName) && !s.Set(keyName) {
		s.Problem(keyName, "", "the key of "+certName+" (both or none)")
	}
	if s.Set(keyName) && !s.Set(certName) {
		s.Problem(certName, "", "the certificate of "+keyName+" (both or none)")
	}
	if certPEM == "" || keyPEM == "" {
		return nil
	}
	_, certErr := certificates(certPEM, true)
	if certErr != nil {
		s.Problem(certName, s.raw(certName), expectedCert+" ("+certErr.Error()+")")
	}
	keyErr := checkKey(keyPEM)
	if keyErr != nil {
		s.Problem(keyName, s.raw(keyName), "a PEM private key without a passphrase ("+keyErr.Error()+")")
	}
	if certErr != nil || keyErr != nil {
		return nil
	}
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil { // its text quotes neither of them
		s.Problem(certName, s.raw(certName), "a PEM certificate that fits the key "+keyName+" ("+err.Error()+")")
		return nil
	}
	return &pair
}

// checkKey returns what is wrong with a private key.
func checkKey(text string) error {
	blocks, err := pemBlocks(text)
	if err != nil {
		return err
	}
	for i, b := range blocks {
		switch {
		case !strings.HasSuffix(b.Type, "PRIVATE KEY"):
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return fmt.Errorf("block %d is encrypted with a passphrase: decrypt it, such as with openssl pkey", i+1)
		default:
			return nil
		}
	}
	return errors.New("there is no private key in it")
}

// pemBlocks returns all blocks of a PEM text. encoding/pem skips what it cannot read; here it is an error that names
// the block's number, from 1.
func pemBlocks(text string) (blocks []*pem.Block, err error) {
	var lines []string // of the block that has begun
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		begins := strings.HasPrefix(line, "-----BEGIN ")
		if len(lines) == 0 && !begins && !strings.Contains(line, "-----") {
			continue // a comment
		}
		marks := strings.Count(line, "-----")
		if begins == (len(lines) > 0) || marks != 0 && (marks != 2 || !strings.HasSuffix(line, "-----")) {
			return nil, fmt.Errorf("block %d does not begin and end with lines of their own", len(blocks)+1)
		}
		lines = append(lines, line)
		if !strings.HasPrefix(line, "-----END ") {
			continue
		}
		b, _ := pem.Decode([]byte(strings.Join(lines, "\n") + "\n"))
		if b == nil {
			return nil, fmt.Errorf("block %d cannot be read", len(blocks)+1)
		}
		blocks, lines = append(blocks, b), nil
	}
	switch {
	case len(lines) > 0:
		return nil, fmt.Errorf("block %d has no end", len(blocks)+1)
	case len(blocks) == 0:
		return nil, errors.New("there is no PEM block in it")
	}
	return blocks, nil
}

const pemMark = "-----BEGIN"

// pem reads a value that is PEM text or names a file of it. Environments that cannot hold line breaks hold "\n".
func (s *Settings) pem(a Setting, expected string) string {
	v := s.ask(a)
	switch {
	case v == "":
		return ""
	case strings.Contains(v, pemMark):
		return strings.ReplaceAll(v, `\n`, "\n")
	}
	file, err := os.ReadFile(v)
	text := strings.TrimPrefix(string(file), bom)
	switch {
	case err != nil:
		s.Problem(a.Name, v, expected+" (no such file can be read)")
	case text == "": // to a caller, no text means that the variable is not set
		s.Problem(a.Name, v, expected+" (the file is empty)")
	}
	return text
}

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
// domain or its address. A nil proxy is bypassed.
func (p *Proxy) Bypasses(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if p == nil || err != nil {
		return p == nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, _ := netip.ParseAddr(host) // a host name is not a valid address
	ip = ip.Unmap()
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
