package httpsend

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
)

var errTooLong = errors.New("the response is longer than what is read of one")

// errEarly marks a success that cannot be one: the peer sent it without having the whole request.
var errEarly = errors.New("the response arrived before the request had been written")

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
	return a.client.redactorFor(a.secret).Redact(text, maxText)
}

// redirectHint names only the host of a redirect: the path may be a credential.
func (c *Client) redirectHint(location string) string {
	hint := "redirects are not followed: " + c.cfg.URLSetting + " must name the final address"
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		hint += ", which is at " + strconv.Quote(u.Host)
	}
	return hint
}

// maxRetryAfter is the longest wait that we grant a SIEM.
const maxRetryAfter = 900 * time.Second

// RetryAfter reads a Retry-After header: seconds, rounded up, or an HTTP date (RFC 9110, section 10.2.3). It is at
// most 15 minutes, and 0 for any other value and for a date in the past.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if digits := strings.Replace(value, ".", "", 1); digits != "" && strings.Trim(digits, "0123456789") == "" {
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || seconds > maxRetryAfter.Seconds() {
			return maxRetryAfter
		}
		return time.Duration(math.Ceil(seconds)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0
	}
	wait := min(at.Sub(now), maxRetryAfter).Round(time.Millisecond)
	return (wait + time.Second - 1).Truncate(time.Second)
}

// maxText bounds a text of a failure: an error, a hint.
const maxText = 1024

// redactorFor returns a redactor that also removes the secret of one request. Successive requests usually have the same
// secret.
func (c *Client) redactorFor(own secret.Value) *secret.Redactor {
	if own.Empty() {
		return c.redactor
	}
	if known := c.known.Load(); known != nil && known.own == own {
		return known.redactor
	}
	made := &ownRedactor{own, c.redactor.With(own)}
	c.known.Store(made)
	return made.redactor
}

type ownRedactor struct {
	own      secret.Value
	redactor *secret.Redactor
}

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
	redactor := c.redactorFor(r.Secret)
	return f.Redact(func(text string) string { return redactor.Redact(text, maxText) })
}
