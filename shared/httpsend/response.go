package httpsend

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
)

var errTooLong = errors.New("the answer goes on beyond what is read of one")

// errEarly marks a success that cannot be one: the peer sent it without having the whole request.
var errEarly = errors.New("the response arrived before the request had been written")

// OK reports whether the response is a success (2xx) that arrived complete, after the whole request had been written. The
// connector decides whether it confirms acceptance.
func (a *Response) OK() bool { return a.Status/100 == 2 && a.BodyErr == nil }

// KindOf is what a status means where a SIEM's documents say nothing else. Unknown means try again.
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

// maxSearched is how much of an answer is searched for secrets, many times what is quoted of it: an answer may be as long as
// memory allows, and to undo its escapes takes several times as much.
const maxSearched = 32 << 10

// Fault makes the answer a failure: its status, code and the time it asks to wait, and its body quoted (bounded, secrets
// cut out). A redirect names the host it leads to, in the hint.
func (a *Response) Fault(kind failure.Kind, code, hint string) *failure.Error {
	f := &failure.Error{
		Kind: kind, Step: failure.Request, Status: a.Status, Code: code, Hint: hint,
		RetryAfter: RetryAfter(a.Header.Get("Retry-After"), a.client.Now()),
	}
	if kind == failure.Unauthorized {
		f.Step = failure.Auth
	}
	if body := strings.TrimSpace(string(a.Body[:min(len(a.Body), maxSearched)])); body != "" {
		f.Detail = failure.Quote(a.client.cut(body, a.secret))
	}
	if a.BodyErr != nil {
		f.Err = a.client.clean(a.BodyErr, a.secret)
	}
	if hint == "" && a.Status/100 == 3 {
		f.Hint = a.client.redirectHint(a.Header.Get("Location"), a.secret)
	}
	return f
}

// redirectHint names the host of a redirect and nothing else of it: the path may be a credential.
func (c *Client) redirectHint(location string, own secret.Value) string {
	hint := "redirects are not followed: " + c.cfg.URLSetting + " must name the final address"
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		hint += ", which is at " + strconv.Quote(c.cut(u.Host, own))
	}
	return hint
}

// RetryAfter reads a Retry-After header: seconds or an HTTP date (RFC 9110, section 10.2.3). It is 0 when there is none,
// when it cannot be read, and when the date has passed.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	const most = 1 << 31 // seconds; a longer wait is not a wait
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(n, most)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0
	}
	return min(at.Sub(now).Round(time.Second), most*time.Second)
}

// cut cuts secrets out of a text: those the client knows, and one of a request's own.
func (c *Client) cut(text string, own secret.Value) string {
	text = c.cfg.Redactor.Cut(text)
	if own.Empty() {
		return text
	}
	return secret.NewRedactor(own).Cut(text)
}

// clean cuts secrets out of an error's text. The chain is kept where there was nothing to cut.
func (c *Client) clean(err error, own secret.Value) error {
	text := err.Error()
	if cut := c.cut(text, own); cut != text {
		return errors.New(cut)
	}
	return err
}

// networkFault tells what it means that no answer came.
func (c *Client) networkFault(ctx context.Context, err error, r Request) *failure.Error {
	f := &failure.Error{Step: failure.Request, Err: c.clean(err, r.Secret)}
	if f.Step, f.Kind, f.Hint = failure.Explain(err, c.cfg.URLSetting, c.cfg.CASetting); f.Step == failure.Request {
		var network net.Error
		timeout := errors.As(err, &network) && network.Timeout()
		f.Disconnected = !timeout && ctx.Err() == nil
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			f.Detail = "no answer from " + c.cut(r.URL.Host, r.Secret) + " in time"
		}
	}
	return f
}
