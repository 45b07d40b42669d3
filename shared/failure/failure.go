// Package failure defines what a failure means for the events it is about. Each failure is classified once, by type,
// next to the response or the network error that shows it. No other code looks at an error's text.
//
// An error without an Error in its chain is Transient. Unknown failures are therefore retried, and a refused credential
// never rejects an event.
package failure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind determines what is done with the events that the failure is about.
type Kind uint8

// The kinds of failure.
const (
	// Transient: the SIEM or the network path to it failed and may recover. The events are retried.
	Transient Kind = iota
	// Throttled: the SIEM asks for fewer requests. As Transient, and nothing more is sent in this batch.
	Throttled
	// Unauthorized: the credential was refused. The secret is read again and the request is sent once more. If it is
	// refused again, the failure is treated like Misconfigured.
	Unauthorized
	// Misconfigured: the setup is at fault, not an event (TLS, a redirect, 404, an unknown index). The events are retried
	// with the longest back-off.
	Misconfigured
	// TooLarge: the request was too large. It is bisected; an event alone is rejected.
	TooLarge
	// Rejected: the SIEM refused the content. The request is bisected until the failing event is alone; this event is
	// rejected.
	Rejected
	// Unprocessed: the SIEM did not process this event, or needs it in another form. It is sent again in this invocation.
	// Only for results of a deliver.PartialError.
	Unprocessed
)

var kinds = [...]string{"transient", "throttled", "denied", "held", "too large", "rejected", "unjudged"}

// String returns the name of the kind in logs.
func (k Kind) String() string { return kinds[k] }

// Step is the step of a request at which it failed, as in the connection check.
type Step string

// The steps of a connection check, in order.
const (
	Config  Step = "config"
	Secret  Step = "secret"
	DNS     Step = "dns"
	Connect Step = "connect"
	TLS     Step = "tls"
	Auth    Step = "auth"
	Request Step = "request"
)

// Error is a classified failure. Its texts hold no secret, and no event content except what the SIEM quotes, bounded.
type Error struct {
	Kind       Kind
	Step       Step          // where it failed; empty means Request
	Status     int           // HTTP status, 0 if there is none
	Code       string        // the SIEM's code or error type, "" if there is none
	Detail     string        // what happened, one line, bounded
	Hint       string        // what an operator can do about it, "" if unknown
	RetryAfter time.Duration // the delay that the SIEM asked for, 0 if it did not
	Err        error         // the cause, nil if the response is the cause

	// Foreign reports whether a response came that is not in the SIEM's own format, such as a page of a proxy or a web
	// application firewall. A foreign refusal never rejects an event: the engine treats Rejected as Misconfigured. On an
	// event's last attempt, a foreign 4xx response is bisected, because one event may have caused it.
	Foreign bool

	// Disconnected reports whether the connection broke after the request began, before a response came. It is false
	// for a timeout, and for a failed DNS lookup, connection or TLS handshake. On an event's last attempt, such a
	// failure is bisected, because one event may have caused it.
	Disconnected bool
}

// Error returns the text that a dead letter contains as its reason.
func (f *Error) Error() string {
	var b strings.Builder
	if f.Status != 0 {
		b.WriteString("status " + strconv.Itoa(f.Status))
	}
	if f.Code != "" {
		sep(&b, ", ")
		b.WriteString("code " + f.Code)
	}
	if f.Detail != "" {
		sep(&b, ": ")
		b.WriteString(f.Detail)
	}
	if f.Err != nil {
		sep(&b, ": ")
		b.WriteString(f.Err.Error())
	}
	if f.Hint != "" {
		sep(&b, "; ")
		b.WriteString(f.Hint)
	}
	if b.Len() == 0 {
		return f.Kind.String()
	}
	return b.String()
}

func sep(b *strings.Builder, s string) {
	if b.Len() > 0 {
		b.WriteString(s)
	}
}

func (f *Error) Unwrap() error { return f.Err }

// Redact returns a copy of the failure and applies redact to all of its texts, to remove secrets. The cause keeps its
// type if redact changes nothing.
func (f *Error) Redact(redact func(string) string) *Error {
	r := *f
	r.Code, r.Detail, r.Hint = redact(f.Code), redact(f.Detail), redact(f.Hint)
	if f.Err != nil {
		if text := f.Err.Error(); redact(text) != text {
			r.Err = errors.New(redact(text))
		}
	}
	return &r
}

// Held returns a copy of the failure that says that the setup is at fault, not the events.
func (f *Error) Held() *Error {
	held := *f
	held.Kind = Misconfigured
	return &held
}

// Brief returns the text for logs: kind, step, status and code, without any text of the SIEM.
func (f *Error) Brief() string {
	s := f.Kind.String()
	if f.Step != "" && f.Step != Request {
		s += " at " + string(f.Step)
	}
	if f.Status != 0 {
		s += " status=" + strconv.Itoa(f.Status)
	}
	if f.Code != "" {
		s += " code=" + f.Code
	}
	return s
}

// Alike reports whether two failures have the same kind, status and code.
func (f *Error) Alike(g *Error) bool {
	return f.Kind == g.Kind && f.Status == g.Status && f.Code == g.Code
}

// Of returns the Error in err's chain. An error without one is Transient. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return &Error{Kind: Transient, Err: err}
}

// MaxQuote is the maximum number of bytes of foreign text that an Error quotes.
const MaxQuote = 512

// Quote returns foreign text as one quoted, printable and bounded line.
func Quote(text string) string {
	cut := len(text) > MaxQuote
	if cut {
		text = text[:MaxQuote]
	}
	q := strconv.Quote(strings.ToValidUTF8(text, "�"))
	if cut {
		q += "…"
	}
	return q
}

// HandshakeError marks the error of a failed TLS handshake: a timeout or a reset does not show the step in which it
// occurred.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }

func (e *HandshakeError) Unwrap() error { return e.Err }

// ProxyError is a failure to open a tunnel through the proxy that HTTPS_PROXY names.
type ProxyError struct {
	Proxy      string        // host:port
	Status     int           // of the proxy's refusal, 0 if there was no response
	RetryAfter time.Duration // that the proxy asked for
	Err        error         // nil if the proxy refused
}

func (e *ProxyError) Error() string {
	text := "proxy " + e.Proxy + " (HTTPS_PROXY): "
	if e.Err != nil {
		return text + e.Err.Error()
	}
	return text + "refused the tunnel with status " + strconv.Itoa(e.Status)
}

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
