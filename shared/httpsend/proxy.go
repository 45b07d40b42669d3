package httpsend

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/arbitex/siem-connectors/shared/failure"
)

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
		return nil, errors.Join(writeErr, err)
	case resp.StatusCode/100 != 2:
		return resp, nil
	case !stop():
		return nil, ctx.Err()
	case r.Buffered() > 0:
		return nil, errProxySpoke
	}
	return nil, nil
}
