package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strconv"
)

// HandshakeError marks the error of a failed TLS handshake as such, since a time-out or a reset does not tell by itself
// in which step it came.
type HandshakeError struct{ Err error }

// Error implements error.
func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Explain tells how far a connection came, what kind of failure its error is, and what an operator can do about it.
// address and ca name the settings for the peer's address and for a CA bundle ("" where there is none).
func Explain(err error, address, ca string) (Step, Kind, string) {
	var (
		dns    *net.DNSError
		op     *net.OpError
		record tls.RecordHeaderError
		shake  *HandshakeError
		verify *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &dns):
		return DNS, Transient, "check the host name in " + address
	case errors.As(err, &verify):
		return TLS, Misconfigured, certificateHint(verify, address, ca)
	case errors.As(err, &record):
		return TLS, Misconfigured, "what listens there does not speak TLS: check the scheme and the port in " + address
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // how crypto/tls marks an alert
		return TLS, Misconfigured, "the TLS connection was refused: check versions, and whether a client certificate is wanted"
	case errors.As(err, &shake):
		return TLS, Transient, "the TLS handshake did not come to its end"
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return Connect, Transient, "check HTTPS_PROXY and NO_PROXY"
	case errors.As(err, &op) && op.Op == "dial":
		return Connect, Transient, "check host and port in " + address + ", and that the network lets the function reach them"
	}
	return Request, Transient, ""
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
			return "the peer's certificate is not signed by a public CA but by " + signer + ": a proxy that opens TLS, or the wrong host in " + address
		}
		return "set " + ca + " to the CA that signed " + signer
	case errors.As(err, &name):
		return "the peer's certificate is for another name than the one in " + address
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the peer's certificate has expired, or is not valid yet"
	}
	return "the peer's certificate could not be verified"
}
