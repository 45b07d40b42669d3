package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

// HandshakeError marks the error of a failed TLS handshake: a timeout or a reset does not show the step in which it
// occurred.
type HandshakeError struct{ Err error }

// Error implements error.
func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// ProxyError is a failure to open a tunnel through the proxy that HTTPS_PROXY names.
type ProxyError struct {
	Proxy      string        // host:port
	Status     int           // of the proxy's refusal, 0 if there was no response
	RetryAfter time.Duration // that the proxy asked for
	Err        error         // nil if the proxy refused
}

// Error implements error.
func (e *ProxyError) Error() string {
	text := "proxy " + e.Proxy + " (HTTPS_PROXY): "
	if e.Err != nil {
		return text + e.Err.Error()
	}
	return text + "refused the tunnel with status " + strconv.Itoa(e.Status)
}

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }

// Code returns the refusal as a word for logs, "" if the proxy did not respond.
func (e *ProxyError) Code() string {
	if e.Status == 0 {
		return ""
	}
	return "proxy_" + strconv.Itoa(e.Status)
}

// explain is Explain for what lies between the function and the proxy.
func (e *ProxyError) explain() (Step, Kind, string) {
	switch at := "the proxy " + e.Proxy; {
	case e.Err != nil:
		step, kind, hint := Explain(e.Err, "HTTPS_PROXY", "SIEM_PROXY_CA_BUNDLE")
		if step == Request || step == Connect {
			step, hint = Connect, "check HTTPS_PROXY and NO_PROXY, and that the network lets the function reach "+at
		}
		return step, kind, hint
	case e.Status == http.StatusProxyAuthRequired:
		return Connect, Misconfigured, at + " requires another user or password: check HTTPS_PROXY"
	case e.Status == http.StatusForbidden:
		return Connect, Misconfigured, at + " does not allow the connection: allow the SIEM's host there, " +
			"or check HTTPS_PROXY and NO_PROXY"
	case e.Status/100 == 3:
		return Connect, Misconfigured, at + " redirects: check that HTTPS_PROXY is a proxy without a login page"
	case e.Status == http.StatusTooManyRequests:
		return Connect, Throttled, at + " limits the requests: check HTTPS_PROXY"
	default:
		return Connect, Transient, at + " cannot reach the SIEM: check HTTPS_PROXY and NO_PROXY"
	}
}

// Explain returns the step in which a connection failed, the kind of the failure, and what an operator can do about it.
// address and ca name the settings for the peer's address and for a CA bundle ("" if there is none).
func Explain(err error, address, ca string) (Step, Kind, string) {
	var (
		dns    *net.DNSError
		op     *net.OpError
		record tls.RecordHeaderError
		shake  *HandshakeError
		verify *tls.CertificateVerificationError
		proxy  *ProxyError
	)
	switch {
	case errors.As(err, &proxy):
		return proxy.explain()
	case errors.As(err, &dns):
		return DNS, Transient, "check the host name in " + address
	case errors.As(err, &verify):
		return TLS, Misconfigured, certificateHint(verify, address, ca)
	case errors.As(err, &record):
		return TLS, Misconfigured, "the peer does not use TLS: check the scheme and the port in " + address
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // how crypto/tls marks an alert
		return TLS, Misconfigured, alertHint(op.Err)
	case errors.As(err, &shake):
		return TLS, Transient, "the TLS handshake did not complete"
	case errors.As(err, &op) && op.Op == "dial":
		return Connect, Transient, "check host and port in " + address + ", and that the network lets the function reach them"
	}
	return Request, Transient, ""
}

// alertHint explains the alert that ended a handshake. crypto/tls has no exported type for an alert that came over TCP;
// its text is that of the exported one.
func alertHint(alert error) string {
	const (
		suites = "one of the cipher suites with ECDHE (not RSA key exchange)"
		client = "the peer may require a client certificate"
	)
	switch alert.Error() {
	case tls.AlertError(40).Error(): // handshake_failure
		return "the peer refused the TLS connection: it must support one of the versions from TLS 1.2 on and " +
			suites + "; else " + client
	case tls.AlertError(70).Error(): // protocol_version
		return "the peer refused the TLS connection: it must support one of the versions from TLS 1.2 on"
	case tls.AlertError(71).Error(): // insufficient_security
		return "the peer refused the TLS connection: it must support " + suites
	}
	return "the TLS connection was refused: check the versions and cipher suites of the peer; " + client
}

func certificateHint(err error, address, ca string) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		signer := "the peer's certificate"
		if unknown.Cert != nil {
			signer = strconv.Quote(unknown.Cert.Issuer.String())
		}
		if ca == "" {
			return "the peer's certificate is not signed by a public CA but by " + signer +
				": a proxy decrypts TLS, or the host in " + address + " is wrong"
		}
		return "set " + ca + " to the CA that signed " + signer
	case errors.As(err, &name) && name.Certificate != nil && !hasNames(name.Certificate):
		return "the peer's certificate has no subject alternative names (SANs): " +
			"it must be issued again with the host in " + address + " as a SAN"
	case errors.As(err, &name):
		return "the peer's certificate is for another name than the one in " + address
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the peer's certificate has expired, or is not valid yet"
	}
	return "the peer's certificate could not be verified"
}

func hasNames(c *x509.Certificate) bool { return len(c.DNSNames) > 0 || len(c.IPAddresses) > 0 }
