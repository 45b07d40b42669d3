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
)

// dial opens a plain connection. The proxy is for https only.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := c.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: plain}, nil
}

// dialTLS opens a TLS connection, directly or through the proxy.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	reach := c.tunnel
	if c.cfg.Proxy.Bypasses(address) {
		reach = c.open
	}
	peer, err := reach(ctx, network, address)
	if err == nil {
		peer, err = c.secure(ctx, peer, address, c.tls)
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: peer}, nil
}

// step bounds a step of a connection by half the time, so that the error names the step that hangs.
func (c *Client) step(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.Timeout/2)
}

func (c *Client) open(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := c.step(ctx)
	defer cancel()
	return c.cfg.Dial(ctx, network, address)
}

// secure makes the TLS handshake with the peer at address. It closes plain if that fails.
func (c *Client) secure(ctx context.Context, plain net.Conn, address string, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := c.step(ctx)
	defer cancel()
	cfg = cfg.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(address) // dialled already, so it has this form
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
	x.reused = info.Reused
	info.Conn.(*conn).current.Store(x)
}

// ends reports whether p ends the request. It is called once for each part of it: the header, then the body.
func (x *exchange) ends(p []byte) bool {
	for ; x.header < len(headerEnd) && len(p) > 0; p = p[1:] {
		switch p[0] {
		case headerEnd[x.header]:
			x.header++
		case headerEnd[0]:
			x.header = 1
		default:
			x.header = 0
		}
	}
	x.remaining -= len(p)
	return x.header == len(headerEnd) && x.remaining <= 0
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
func (c *Client) tunnel(ctx context.Context, network, address string) (net.Conn, error) {
	proxy := c.cfg.Proxy.URL
	peer, err := c.open(ctx, network, proxy.Host)
	if err == nil && proxy.Scheme == "https" { // the SIEM's settings do not apply to the proxy
		cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.cfg.Proxy.RootCAs}
		peer, err = c.secure(ctx, peer, proxy.Host, cfg)
	}
	failed := &failure.ProxyError{Proxy: proxy.Host, Err: err}
	if err != nil {
		return nil, failed
	}
	refused, err := c.connect(ctx, peer, address, proxy.User) //nolint:bodyclose // its body is not read; peer is closed
	if err == nil && refused == nil {
		return peer, nil
	}
	_ = peer.Close() // what the proxy said is the error that matters
	if failed.Err = err; err == nil {
		failed.Status = refused.StatusCode
		failed.RetryAfter = RetryAfter(refused.Header.Get("Retry-After"), c.Now())
	}
	return nil, failed
}

// connect asks the proxy for a tunnel. It returns the response if the proxy refuses.
// https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
func (c *Client) connect(
	ctx context.Context, peer net.Conn, address string, user *url.Userinfo,
) (refused *http.Response, err error) {
	ctx, cancel := c.step(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = peer.Close() })
	defer stop()
	request := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\nUser-Agent: " + userAgent + "\r\n"
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	_, writeErr := io.WriteString(peer, request+"\r\n")
	r := bufio.NewReader(io.LimitReader(peer, maxHeaderBytes))
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
