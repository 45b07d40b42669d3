package httpsend

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// dialer opens connections, directly or through the proxy. It marks errors with the step in which they occurred.
type dialer struct {
	timeout  time.Duration // of each step
	dialer   settings.Dial // net.Dialer's, except in tests
	tls      *tls.Config   // for the SIEM
	proxy    *settings.Proxy
	proxyTLS *tls.Config // for an https proxy
	now      func() time.Time
}

func newDialer(cfg Config) *dialer {
	d := &dialer{
		timeout: cfg.Timeout / 2, // half the time for each step, so that the error names the step that hangs
		dialer:  cfg.Dial,
		proxy:   cfg.Proxy,
		now:     cfg.Now,
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            cfg.RootCAs,
			InsecureSkipVerify: cfg.Insecure, //nolint:gosec // the operator's setting; settings.TLSVerify warns about it
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		},
	}
	if d.dialer == nil {
		d.dialer = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	if d.proxy != nil { // the SIEM's settings do not apply to the proxy
		d.proxyTLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.proxy.RootCAs}
	}
	return d
}

// dial opens a plain connection. The proxy is for https only.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: plain}, nil
}

// dialTLS opens a TLS connection.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := d.reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secure, err := d.secure(ctx, plain, address, d.tls)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: secure}, nil
}

func (d *dialer) reach(ctx context.Context, network, address string) (net.Conn, error) {
	if d.proxy.Bypasses(address) {
		return d.open(ctx, network, address)
	}
	return d.tunnel(ctx, network, address)
}

func (d *dialer) open(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.dialer(ctx, network, address)
}

// secure makes the TLS handshake with the peer at address. It closes plain if that fails.
func (d *dialer) secure(ctx context.Context, plain net.Conn, address string, cfg *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	cfg = cfg.Clone()
	cfg.ServerName = host
	secure := tls.Client(plain, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = plain.Close() // the handshake's error is the one that matters
		return nil, &failure.HandshakeError{Err: err}
	}
	return secure, nil
}

// conn is a connection to the peer. A write that fails does not fail the request: the peer may have sent its response
// before it closed the connection. net/http prefers the write error to the response, so Write reports success, and the
// read decides.
type conn struct {
	net.Conn
	current atomic.Pointer[exchange]
	broken  atomic.Bool // a write has failed
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if x := c.current.Load(); x != nil && n > 0 {
		x.answered.Store(true)
		if x.ending.Load() {
			x.followed.Store(true)
		}
	}
	return n, err
}

// Write implements io.Writer. It writes the end of a long request by itself: a response that comes before that is an
// early one.
func (c *conn) Write(p []byte) (int, error) {
	x, end := c.current.Load(), len(p)
	last := x != nil && x.ends(p)
	if last {
		end = max(0, len(p)-writeBuffer)
	}
	c.write(p[:end])
	if last {
		x.ending.Store(true)
		x.written.Store(c.write(p[end:]))
	}
	return len(p), nil
}

// write reports whether the connection accepted p, and everything before it.
func (c *conn) write(p []byte) bool {
	if len(p) > 0 && !c.broken.Load() {
		_, err := c.Conn.Write(p)
		c.broken.Store(err != nil)
	}
	return !c.broken.Load()
}

// ReadFrom implements io.ReaderFrom. net/http calls it with the part of a body that is larger than its buffer,
// bounded by the body's length. io.Copy would allocate a buffer of 32 KB and fill it again and again.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if body, ok := l.R.(io.WriterTo); ok {
			n, err := body.WriteTo(c)
			l.N -= n
			return n, err
		}
	}
	return io.Copy(struct{ io.Writer }{c}, r)
}

// exchange is one request and its response on one connection.
type exchange struct {
	conn     *conn
	reused   bool        // the connection has served a request before
	answered atomic.Bool // a byte has been read since the request began
	ending   atomic.Bool // the write of the last bytes of the request has begun
	followed atomic.Bool // a byte has been read since then
	written  atomic.Bool // the connection has accepted the last byte of the request

	// Of the goroutine that writes.
	header    int // bytes of headerEnd matched so far
	remaining int // bytes of the body that are left to write
}

// writeGrace is much longer than a goroutine waits for its turn on a fraction of a CPU.
const writeGrace = time.Second

const headerEnd = "\r\n\r\n"

// begin is an httptrace hook: net/http has chosen a connection for the request.
func (x *exchange) begin(info httptrace.GotConnInfo) {
	x.conn, x.reused = info.Conn.(*conn), info.Reused
	x.conn.current.Store(x)
}

// ends reports whether p ends the request. It is called once for each part of it: the header, then the body.
func (x *exchange) ends(p []byte) bool {
	for i := 0; x.header < len(headerEnd); i++ {
		switch {
		case i == len(p):
			return false
		case p[i] == headerEnd[x.header]:
			x.header++
		case p[i] == headerEnd[0]:
			x.header = 1
		default:
			x.header = 0
		}
		if x.header == len(headerEnd) {
			p = p[i+1:]
		}
	}
	x.remaining -= len(p)
	return x.remaining <= 0
}

// waitWritten reports whether the whole request was written before its success arrived. A server sends a success after
// it has read the request, but the goroutine that wrote the last bytes may still have to run.
func (x *exchange) waitWritten(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, writeGrace)
	defer cancel()
	for !x.written.Load() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return x.written.Load()
		}
	}
	return true
}

// failedIdle reports whether the request failed because its connection had been closed while it was idle: the
// connection had served a request before, and ended without a byte of a response.
func (x *exchange) failedIdle() bool { return x.reused && !x.answered.Load() }

var errProxySpoke = errors.New("the proxy sent data through the tunnel before the TLS handshake")

// tunnel opens a connection to address through the proxy. Its errors are *failure.ProxyError.
func (d *dialer) tunnel(ctx context.Context, network, address string) (net.Conn, error) {
	proxy := d.proxy.URL
	c, err := d.open(ctx, network, proxy.Host)
	if err == nil && proxy.Scheme == "https" {
		c, err = d.secure(ctx, c, proxy.Host, d.proxyTLS)
	}
	if err != nil {
		return nil, &failure.ProxyError{Proxy: proxy.Host, Err: err}
	}
	refused, err := d.connect(ctx, c, address, proxy.User) //nolint:bodyclose // its body is not read; c is closed
	if err == nil && refused == nil {
		return c, nil
	}
	_ = c.Close() // what the proxy said is the error that matters
	if err != nil {
		return nil, &failure.ProxyError{Proxy: proxy.Host, Err: err}
	}
	return nil, &failure.ProxyError{
		Proxy: proxy.Host, Status: refused.StatusCode, RetryAfter: RetryAfter(refused.Header.Get("Retry-After"), d.now()),
	}
}

// connect asks the proxy for a tunnel. It returns the response if the proxy refuses.
// https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
func (d *dialer) connect(
	ctx context.Context, c net.Conn, address string, user *url.Userinfo,
) (refused *http.Response, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: " + userAgent + "\r\n"
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	_, writeErr := io.WriteString(c, request+"\r\n")
	r := bufio.NewReader(io.LimitReader(c, maxHeaderBytes))
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, errors.Join(writeErr, unquoted(err))
	case resp.StatusCode/100 != 2:
		return resp, nil
	case !stop():
		return nil, ctx.Err()
	case r.Buffered() > 0:
		return nil, errProxySpoke
	}
	return nil, nil
}
