// Package httpsend makes the HTTP requests of all connectors: TLS 1.2 or later, CA bundles, a proxy, gzip,
// connections that are kept between invocations, a deadline for each request, responses read up to a bound, redirects
// never followed. It classifies network errors, and responses by a table of the connector (Codes). It removes secrets
// from every text.
package httpsend

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// Config configures a client.
type Config struct {
	Timeout     time.Duration    // of one request, from dialing to the end of the response
	Gzip        bool             // compress request bodies
	MaxResponse int              // maximum bytes that are read of a response; 0 means 64 KiB
	RootCAs     *x509.CertPool   // nil means the system's
	Insecure    bool             // do not verify the peer's certificate
	Redactor    *secret.Redactor // knows what must not appear in any error
	URLSetting  string           // the variable that holds the URL, for hints
	CASetting   string           // the variable for a CA bundle, for hints; "" if there is none
	Now         func() time.Time // nil means time.Now
	Dial        settings.Dial    // nil means the network
	Proxy       *settings.Proxy  // nil means none
	Jar         http.CookieJar   // keeps the cookies of the peer; nil keeps none
}

// Configure reads the settings common to all HTTP connectors. compression is the default: "gzip" or "none". urlSetting
// is the variable that holds the URL. The credentials must have been read before.
func Configure(s *settings.Settings, compression, urlSetting string) Config {
	other := map[string]string{"gzip": "none", "none": "gzip"}[compression]
	return Config{
		Timeout:    time.Duration(s.Int("SIEM_REQUEST_TIMEOUT_SECONDS", 10, 1, 300)) * time.Second,
		Gzip:       s.OneOf("SIEM_COMPRESSION", compression, other) == "gzip",
		Now:        s.Now,
		Dial:       s.Dial,
		Proxy:      s.Proxy(),
		Redactor:   s.Redactor(),
		URLSetting: urlSetting,
	}
}

// ReadTLS reads the settings <prefix>_TLS_VERIFY and <prefix>_TLS_CA_BUNDLE.
func (cfg *Config) ReadTLS(s *settings.Settings, prefix string) {
	cfg.Insecure = !s.TLSVerify(prefix + "_TLS_VERIFY")
	cfg.CASetting = prefix + "_TLS_CA_BUNDLE"
	cfg.RootCAs = s.CABundle(cfg.CASetting)
}

const (
	defaultMaxResponse = 64 << 10

	// idleTimeout is shorter than the idle timeouts of the load balancers in front of SIEMs (30 s at Sumo Logic, 60 s
	// of an AWS ALB), so that the peer has rarely closed a connection that is used again.
	idleTimeout = 25 * time.Second

	// maxHeaderBytes bounds the header of a response.
	maxHeaderBytes = 64 << 10

	// maxIdle bounds the idle connections: as many as one process has concurrent invocations, with a margin.
	maxIdle = 64

	// writeBuffer holds the header and the body of most requests, so that they go out in one write.
	writeBuffer = 16 << 10
)

// Client sends requests. It is safe for concurrent use.
type Client struct {
	cfg       Config
	tls       *tls.Config // for the SIEM
	transport *http.Transport
	used      atomic.Int64 // wall clock of the last request, Unix ms
}

// New makes a Client. It opens no connection.
func New(cfg Config) *Client {
	if cfg.MaxResponse == 0 {
		cfg.MaxResponse = defaultMaxResponse
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{cfg: cfg, tls: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            cfg.RootCAs,
		InsecureSkipVerify: cfg.Insecure, //nolint:gosec // the operator's setting; settings.TLSVerify warns about it
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}}
	c.transport = &http.Transport{
		DialContext:            c.dial, // no Proxy: dialTLS opens the tunnels
		DialTLSContext:         c.dialTLS,
		DisableCompression:     true, // read decodes a response, within the bound
		MaxIdleConnsPerHost:    maxIdle,
		WriteBufferSize:        writeBuffer,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	return c
}

// Request is one request to make.
type Request struct {
	Method string       // "" means POST
	URL    *url.URL     // read only
	Header http.Header  // read only: requests may share it
	Body   []byte       // uncompressed; Do does not keep it
	Plain  bool         // do not compress the body
	Secret secret.Value // a secret of this request alone: a token, a signature; the Redactor knows the others
	Meter  *telemetry.Meter
}

// Response is the response to a request.
type Response struct {
	Status  int
	Header  http.Header
	Body    []byte // at most MaxResponse bytes, decoded
	BodyErr error  // why the response cannot be relied on, nil when it can; see OK

	client   *Client
	secret   secret.Value     // of the request
	redactor *secret.Redactor // of the client, with that secret; nil until it is needed
}

// userAgent identifies the connectors to a SIEM's operators.
const userAgent = "ArbitexSIEM/1.0"

// Values of headers; read only, since all requests share them.
var (
	agentHeader    = [...]string{userAgent}
	gzipHeader     = [...]string{"gzip"}
	identityHeader = [...]string{"identity"}
)

// Do makes one request. It returns any response, whatever its status. The error is a *failure.Error: no response
// arrived. If a kept connection turns out to have been closed while it was idle, Do sends the request once more on a
// new one.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	c.dropStale()
	a, x, err := c.attempt(ctx, r)
	if err != nil && x.failedIdle() && ctx.Err() == nil {
		c.transport.CloseIdleConnections()
		a, _, err = c.attempt(ctx, r)
	}
	if err != nil {
		f := c.networkFailure(ctx, err, r)
		if f.Disconnected && r.Meter != nil { // one event may be the cause, and break a kept connection again
			r.Meter.Disconnected = true
			c.transport.CloseIdleConnections()
		}
		return nil, f
	}
	return a, nil
}

// attempt sends the request on one connection. When it returns, net/http does not use r.Body any more.
func (c *Client) attempt(ctx context.Context, r Request) (*Response, *exchange, error) {
	zip := c.cfg.Gzip && !r.Plain && len(r.Body) > 0
	body := newBody(r.Body, zip)
	defer body.reclaim()
	x := body.x
	r.Meter.Add(len(body.bytes))
	resp, err := c.transport.RoundTrip(c.newRequest(httptrace.WithClientTrace(ctx, &body.trace), r, body, zip))
	if err != nil && x.answered.Load() {
		err = unquoted(err)
	}
	if err != nil {
		return nil, x, err
	}
	if c.cfg.Jar != nil {
		c.cfg.Jar.SetCookies(r.URL, resp.Cookies())
	}
	a := &Response{Status: resp.StatusCode, Header: resp.Header, client: c, secret: r.Secret}
	a.Body, a.BodyErr = c.read(resp)
	if _, quotes := errors.AsType[textproto.ProtocolError](a.BodyErr); quotes { // of a trailer
		a.BodyErr = errNotHTTP
	}
	if a.Status/100 == 2 && a.BodyErr == nil && (!x.followed.Load() || !x.waitWritten(ctx)) {
		a.BodyErr = errEarly
	}
	if !x.followed.Load() || !x.written.Load() {
		c.transport.CloseIdleConnections() // net/http keeps a connection whose writes have not failed
	}
	return a, x, nil
}

func (c *Client) newRequest(ctx context.Context, r Request, body *requestBody, zip bool) *http.Request {
	header := make(http.Header, len(r.Header)+3)
	maps.Copy(header, r.Header)
	if zip {
		header["Content-Encoding"] = gzipHeader[:]
	}
	header["User-Agent"] = agentHeader[:]
	header["Accept-Encoding"] = identityHeader[:]
	method := cmp.Or(r.Method, http.MethodPost)
	request := &http.Request{
		Method: method, URL: r.URL, Host: r.URL.Host, Header: header, Body: body.of(method),
		ContentLength: int64(len(body.bytes)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Close: r.Meter != nil && r.Meter.Disconnected,
	}
	if c.cfg.Jar != nil {
		for _, cookie := range c.cfg.Jar.Cookies(r.URL) {
			request.AddCookie(cookie)
		}
	}
	return request.WithContext(ctx)
}

// read reads a response's body up to the bound, and decodes it if it is gzip. Only a body read to its end leaves its
// connection to the next request. The body of a 101 is the connection itself, whose reads have no deadline.
func (c *Client) read(resp *http.Response) (body []byte, err error) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, nil
	}
	if n := resp.ContentLength; n > 0 && n <= int64(c.cfg.MaxResponse) {
		body = make([]byte, 0, n+bytes.MinRead)
	}
	body, err = c.readBounded(body, resp.Body)
	if len(body) == 0 || !isGzip(resp.Header.Get("Content-Encoding")) {
		return body, err
	}
	z, formatErr := gzip.NewReader(bytes.NewReader(body))
	if formatErr != nil {
		return body, cmp.Or(err, formatErr)
	}
	plain, decodeErr := c.readBounded(nil, z)
	return plain, cmp.Or(err, decodeErr)
}

func (c *Client) readBounded(dst []byte, r io.Reader) ([]byte, error) {
	most := c.cfg.MaxResponse
	for {
		dst = slices.Grow(dst, bytes.MinRead)
		n, err := r.Read(dst[len(dst):min(cap(dst), most+1)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > most:
			return dst[:most], ErrTooLong
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		}
	}
}

func isGzip(encoding string) bool {
	encoding = strings.TrimSpace(encoding)
	return strings.EqualFold(encoding, "gzip") || strings.EqualFold(encoding, "x-gzip")
}

// dropStale closes kept connections after a pause in which Lambda may have frozen the process. Go's idle timer uses the
// monotonic clock, which stops meanwhile, so the wall clock decides.
func (c *Client) dropStale() {
	now := c.cfg.Now().UnixMilli()
	before := c.used.Swap(now)
	if gap := now - before; before != 0 && (gap > idleTimeout.Milliseconds() || gap < 0) {
		c.transport.CloseIdleConnections()
	}
}

// Now is the client's clock.
func (c *Client) Now() time.Time { return c.cfg.Now() }

// ErrTooLong is the BodyErr of a response that is longer than Config.MaxResponse.
var ErrTooLong = errors.New("the response is longer than what is read of one")

// errEarly marks a success that cannot be one: the peer sent it without having the whole request.
var errEarly = errors.New("the response arrived before the request had been written")

// errNotHTTP replaces the errors by which net/http quotes a response that it cannot parse.
var errNotHTTP = errors.New("the response is not valid HTTP")

// unquoted returns the error of reading a response, or errNotHTTP if it may quote the response.
func unquoted(err error) error {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errNotHTTP
}

// OK reports whether the response is a success (2xx) that arrived complete, after the whole request had been written.
// The connector decides whether it confirms acceptance.
func (a *Response) OK() bool { return a.Status/100 == 2 && a.BodyErr == nil }

// KindOf returns what a status means if the SIEM's documentation does not say otherwise. An unknown status is retried.
func KindOf(status int) failure.Kind {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return failure.Rejected
	case http.StatusUnauthorized, http.StatusForbidden:
		return failure.Unauthorized
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone,
		http.StatusUnsupportedMediaType:
		return failure.Misconfigured
	case http.StatusRequestEntityTooLarge:
		return failure.TooLarge
	case http.StatusTooManyRequests:
		return failure.Throttled
	}
	if status/100 == 3 {
		return failure.Misconfigured
	}
	return failure.Transient
}

// failure makes the failure that a reply means: its status, code and the time it asks to wait. It quotes only the
// SIEM's own message. The hint of a redirect names the host it leads to.
func (a *Response) failure(kind failure.Kind, r Reply, hint string) *failure.Error {
	f := &failure.Error{
		Kind: kind, Step: failure.Request, Status: a.Status, Code: a.Word(r.Code), Hint: hint, Err: a.BodyErr,
		RetryAfter: RetryAfter(a.Header.Get("Retry-After"), a.client.Now()),
	}
	if kind == failure.Unauthorized {
		f.Step = failure.Auth
	}
	if r.Own && r.Text != "" {
		f.Detail = a.Quote(r.Text)
	}
	if hint == "" && a.Status/100 == 3 {
		f.Hint = a.client.redirectHint(a.Header.Get("Location"))
	}
	return f.Redact(a.redact)
}

// redact removes secrets from a text, and bounds it.
func (a *Response) redact(text string) string {
	if a.redactor == nil {
		a.redactor = a.client.cfg.Redactor.With(a.secret)
	}
	return a.redactor.Redact(text, maxText)
}

// redirectHint names only the host of a redirect: the path may be a credential.
func (c *Client) redirectHint(location string) string {
	hint := "redirects are not followed: " + c.cfg.URLSetting + " must name the final address"
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		hint += ", which is at " + strconv.Quote(u.Host)
	}
	return hint
}

// maxText bounds a text of a failure: an error, a hint.
const maxText = 1024

// networkFailure classifies the error of a request that got no response.
func (c *Client) networkFailure(ctx context.Context, err error, r Request) *failure.Error {
	f := &failure.Error{Err: err}
	if proxy, ok := errors.AsType[*failure.ProxyError](err); ok {
		f.Code, f.RetryAfter = proxy.Code(), proxy.RetryAfter
	}
	if f.Step, f.Kind, f.Hint = failure.Explain(err, c.cfg.URLSetting, c.cfg.CASetting); f.Step == failure.Request {
		var network net.Error
		timeout := errors.As(err, &network) && network.Timeout()
		f.Disconnected = !timeout && ctx.Err() == nil
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			f.Detail = "no response from " + r.URL.Host + " in time"
		}
	}
	redactor := c.cfg.Redactor.With(r.Secret)
	return f.Redact(func(text string) string { return redactor.Redact(text, maxText) })
}
