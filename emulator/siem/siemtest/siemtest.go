// Package siemtest tests the simulated SIEMs: it makes requests to them.
package siemtest

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// Start starts a simulator for the duration of a test.
func Start[S siem.Simulator](t *testing.T, open func(siem.Options) (S, error), o siem.Options) S {
	t.Helper()
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Server is a simulator with a [siem.Server].
type Server interface {
	siem.Simulator
	URL() string
	Options() siem.Options
}

// Client makes the requests of one test to a simulator. They are valid unless the test changes the fields.
type Client struct {
	Server
	Method, Path, Query string
	Headers             map[string]string
	// Sign returns the headers that prove the credential; Headers take precedence. nil: none.
	Sign func() map[string]string

	t    *testing.T
	http *http.Client
}

// NewClient returns a client whose requests are posted to a path with these headers.
func NewClient(t *testing.T, s Server, path string, headers map[string]string) *Client {
	return &Client{Server: s, Method: http.MethodPost, Path: path, Headers: headers, t: t, http: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: s.Options().Authority.Pool(), MinVersion: tls.VersionTLS12}}}}
}

// Post makes the client's request, and returns the status and the body of the response.
func (c *Client) Post(body string) (int, string) {
	c.t.Helper()
	return c.Do(c.Method, c.Path+c.Query, body)
}

// Do makes a request with the client's headers.
func (c *Client) Do(method, path, body string) (int, string) {
	c.t.Helper()
	headers := map[string]string{}
	if c.Sign != nil {
		headers = c.Sign()
	}
	maps.Copy(headers, c.Headers)
	return c.Send(method, path, body, headers)
}

// Send makes a request with only these headers.
func (c *Client) Send(method, path, body string, headers map[string]string) (int, string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Change changes a client before its request.
type Change func(*Client)

// Header sets a header; "" omits it.
func Header(name, value string) Change {
	return func(c *Client) {
		if c.Headers[name] = value; value == "" && c.Sign == nil {
			delete(c.Headers, name)
		}
	}
}

// Query sets the query of the URL.
func Query(text string) Change { return func(c *Client) { c.Query = text } }

// Path sets the path of the URL.
func Path(text string) Change { return func(c *Client) { c.Path = text } }

// Method sets the method.
func Method(name string) Change { return func(c *Client) { c.Method = name } }

// Product injects a product fault for all requests.
func Product(code string) Change {
	return func(c *Client) { c.Inject(siem.Fault{Kind: siem.Product, Code: code}) }
}

// Rotate revokes the client's credential.
func Rotate(c *Client) {
	if c.Sign != nil {
		maps.Copy(c.Headers, c.Sign())
	}
	c.Rotate()
}

// Refuses returns a function that makes a request to a new simulator, which must refuse it with a status and a text in
// the response, and accept nothing. The event "poison" is poisoned. change may be nil.
func Refuses(t *testing.T, open func(*testing.T) *Client) func(name string, change Change, body string, status int,
	text string) {
	return func(name string, change Change, body string, status int, text string) {
		t.Helper()
		c := open(t)
		c.Inject(siem.PoisonEvent("poison"))
		if change != nil {
			change(c)
		}
		got, response := c.Post(body)
		if got != status || !strings.Contains(response, text) {
			t.Errorf("%s: %d %.300s, want %d %s", name, got, response, status, text)
		}
		stats, denied := c.Stats(), status == http.StatusUnauthorized || status == http.StatusForbidden
		if stats.Accepted != 0 || len(stats.Refused) != 1 || (stats.AuthFailures == 1) != denied {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}

// Violates requires that a new simulator accepts a valid body without a violation. It must accept the other bodies, and
// the valid body after each change, with the same status, and record a violation.
func Violates(t *testing.T, open func(*testing.T) *Client, valid string, bodies map[string]string,
	changes map[string]Change) {
	t.Helper()
	c := open(t)
	want, text := c.Post(valid)
	if stats := c.Stats(); want/100 != 2 || stats.Accepted != 1 || len(stats.Violations) > 0 {
		t.Errorf("the valid request: %d %s, %+v", want, text, stats)
	}
	try := func(name, body string, change Change) {
		c := open(t)
		change(c)
		status, text := c.Post(body)
		if stats := c.Stats(); status != want || stats.Accepted == 0 || len(stats.Violations) == 0 {
			t.Errorf("%s: %d %.300s, accepted %d, violations %q, want one", name, status, text, stats.Accepted,
				stats.Violations)
		}
	}
	for name, body := range bodies {
		try(name, body, func(*Client) {})
	}
	for name, change := range changes {
		try(name, valid, change)
	}
}

// Gzip compresses a text.
func Gzip(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
