// Package search asks the SIEMs' own search APIs which events they hold, with credentials of the operator. It only
// reads.
//
// Every search streams: it holds one event at a time, and pages are bounded. A response that is not complete (a shard
// that failed, a search that was cancelled, a stream that ended early) is an error, never a smaller result.
package search

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/cmd/siemctl/internal/receipts"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Query selects events.
type Query struct {
	// From and To bound the arrival in the SIEM. They are wider than the window of the receipts.
	From, To time.Time
	// MaxAge is how old an event may be on its arrival. It widens the search in SIEMs that can only search by an event's
	// own time.
	MaxAge time.Duration
	// ID selects one event by its id; "" selects all events of the window.
	ID string
	// Each iterates over the delivered events, for a SIEM that is asked for ids instead of a window. Nil with ID.
	Each func(yield func(id string, hash uint64) bool)
}

// Searcher searches one SIEM.
type Searcher interface {
	// Describe returns the query as it is sent, for the evidence.
	Describe(q Query) string
	// Search calls take for every event that the query selects, in no order. It may also return events that are not
	// selected.
	Search(ctx context.Context, q Query, take func(receipts.Found)) error
}

// Options are what all searchers need.
type Options struct {
	// Function returns a setting of the connector's function, such as its index.
	Function settings.Lookup
	// Wait waits before a request is repeated.
	Wait func(context.Context, time.Duration) error
	// Note tells the operator about a wait. It may be nil.
	Note func(text string)
}

// opener makes a searcher from the operator's settings. It adds problems to s.
type opener func(s *settings.Settings, o Options) Searcher

func openers() map[string]opener {
	return map[string]opener{
		"splunk": openSplunk, "sentinel": openSentinel, "elastic": openElastic, "datadog": openDatadog, "sumo": openSumo,
		"qradar": openQRadar, "xsiam": openXSIAM,
	}
}

// Open makes the searcher of a connector. The error is a *settings.Error that names every missing or wrong setting.
func Open(connector string, s *settings.Settings, o Options) (Searcher, error) {
	open, ok := openers()[connector]
	if !ok {
		return nil, fmt.Errorf("there is no search for the connector %q", connector)
	}
	searcher := open(s, o)
	return searcher, s.Err()
}

// Configured reports whether any search setting of a connector is set.
func Configured(connector string, env settings.Lookup) bool {
	return slices.ContainsFunc(Variables(connector), func(v settings.Setting) bool { return env(v.Name) != "" })
}

// Variables lists the search settings of a connector.
func Variables(connector string) []settings.Setting {
	s := settings.New(func(string) string { return "" }, nil)
	if open, ok := openers()[connector]; ok {
		open(s, Options{Function: func(string) string { return "" }})
	}
	return slices.DeleteFunc(s.Declared(), func(v settings.Setting) bool { return !strings.Contains(v.Name, "_SEARCH_") })
}

// credential reads a credential that must be set.
func credential(s *settings.Settings, name, expected string) string {
	value := s.Secret(name, false, expected)
	if value.Empty() {
		s.Problem(name, "", expected)
	}
	return value.Reveal()
}

// function returns a setting of the function, or its default.
func (o Options) function(name, def string) string {
	if value := strings.TrimSpace(o.Function(name)); value != "" {
		return value
	}
	return def
}

// quote writes text as a double-quoted string of SPL, KQL, XQL and of the query languages of Datadog and Sumo Logic.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

const (
	maxTries  = 10
	firstWait = time.Second
	maxWait   = 15 * time.Minute // also of a Retry-After; Datadog's limits apply to an hour

	// headerTimeout bounds the wait for a response. A search may scan for minutes before its first result.
	headerTimeout = 10 * time.Minute

	// maxError is how much of an error response is shown.
	maxError = 300
)

// client sends requests to one SIEM.
type client struct {
	base     *url.URL
	prefix   string // of the settings' names
	header   http.Header
	http     *http.Client
	redactor *secret.Redactor
	options  Options
}

// newClient makes a client. <prefix>_CA_BUNDLE may name a CA.
func newClient(s *settings.Settings, o Options, prefix string, base *url.URL, header http.Header) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = headerTimeout
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.CABundle(prefix + "_CA_BUNDLE")}
	c := &client{base: base, prefix: prefix, header: header, redactor: s.Redactor(), options: o, http: &http.Client{
		Transport: transport,
		// A credential goes only to the configured host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if _, encoded, ok := strings.Cut(header.Get("Authorization"), " "); ok { // an id and a key in base64
		c.redactor = c.redactor.With(secret.New(encoded))
	}
	return c
}

// request is one request. It may be sent several times.
type request struct {
	method, path string // without a method: POST with a body, GET without
	query        url.Values
	body         any // a form if it is a url.Values, else a value to send as JSON
	header       http.Header
	accept       []int // statuses that are a success besides 200
}

// call sends a request and reads the JSON of the response.
func (c *client) call(ctx context.Context, r request, visit visitor) error {
	response, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return walk(response.Body, visit)
}

// remove deletes what a search has created. The SIEM does so itself when nobody asks for it.
func (c *client) remove(ctx context.Context, path string, body any) {
	if response, err := c.once(ctx, request{method: http.MethodDelete, path: path, body: body}); err == nil {
		response.Body.Close()
	}
}

// do sends a request until the response is a success, and returns it. The caller closes its body. It waits and repeats
// the request after an error of the network, a 429 and a 5xx that may pass.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	wait := firstWait
	for try := 1; ; try++ {
		response, err := c.once(ctx, r)
		if err == nil && (response.StatusCode == http.StatusOK || slices.Contains(r.accept, response.StatusCode)) {
			return response, nil
		}
		if err == nil {
			err = c.refusal(response)
		}
		var refused *statusError
		var setup *setupError
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.As(err, &refused) && !refused.passes() || errors.As(err, &setup) || try == maxTries {
			return nil, err
		}
		pause := wait
		if refused != nil && refused.after > 0 {
			pause = refused.after
		}
		pause = min(pause, maxWait)
		if c.options.Note != nil && pause >= 5*time.Second {
			c.options.Note(fmt.Sprintf("%v; asking again in %v", err, pause))
		}
		if err := c.options.Wait(ctx, pause); err != nil {
			return nil, err
		}
		wait = min(2*wait, time.Minute)
	}
}

func (c *client) once(ctx context.Context, r request) (*http.Response, error) {
	var body []byte
	var err error
	kind, method := "", http.MethodPost
	switch v := r.body.(type) {
	case nil:
		method = http.MethodGet
	case url.Values:
		kind, body = "application/x-www-form-urlencoded", []byte(v.Encode())
	default:
		kind = "application/json"
		body, err = json.Marshal(v)
	}
	if err != nil {
		return nil, fmt.Errorf("making the query: %w", err)
	}
	target := c.base.JoinPath(r.path)
	target.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, method), target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	for _, h := range []http.Header{c.header, r.header} {
		maps.Copy(req.Header, h)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(req)
	if err != nil {
		if cause, ok := errors.AsType[*url.Error](err); ok { // its text has the URL
			err = cause.Err
		}
		return nil, fmt.Errorf("searching at %s: %w", c.base.Host, c.explained(err))
	}
	return response, nil
}

// setupError is an error of the network that does not pass.
type setupError struct {
	err  error
	hint string
}

// Error implements error.
func (e *setupError) Error() string { return e.err.Error() + "; " + e.hint }

// explained makes a setupError of an error that is one.
func (c *client) explained(err error) error {
	_, kind, hint := failure.Explain(err, c.prefix+"_URL", c.prefix+"_CA_BUNDLE")
	if errors.Is(err, http.ErrSchemeMismatch) {
		return &setupError{err, "check the scheme and the port in " + c.prefix + "_URL"}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); kind == failure.Misconfigured || ok && dns.IsNotFound {
		return &setupError{err, hint}
	}
	return err
}

// statusError is a response that is not a success.
type statusError struct {
	host   string
	status int
	text   string
	after  time.Duration // that the SIEM asks to wait; 0 if it does not
}

// Error implements error.
func (e *statusError) Error() string {
	text := fmt.Sprintf("searching at %s: status %d", e.host, e.status)
	if e.text != "" {
		text += fmt.Sprintf(": %q", e.text)
	}
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; check the search credential and its permissions (docs/audit.md)"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		text += "; set the search URL to the address of your deployment"
	}
	return text
}

// passes reports whether the request may succeed later.
func (e *statusError) passes() bool {
	switch e.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (c *client) refusal(r *http.Response) error {
	defer r.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(r.Body, 4*maxError)) // a broken body is a short one
	e := &statusError{host: c.base.Host, status: r.StatusCode, text: c.redactor.Redact(strings.TrimSpace(string(body)),
		maxError)}
	for _, name := range []string{"Retry-After", "X-RateLimit-Reset"} {
		if seconds, err := strconv.ParseFloat(r.Header.Get(name), 64); err == nil && seconds > 0 {
			e.after = time.Duration(min(seconds, maxWait.Seconds()) * float64(time.Second))
			break
		}
	}
	return e
}
