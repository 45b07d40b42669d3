package connectortest

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// brokenResponses look like a response of the SIEM. None of them confirms or rejects an event.
func (s Suite) brokenResponses(t *testing.T) {
	empty := WantRetry
	if s.EmptyAccepts {
		empty = WantDelivered
	}
	for name, c := range map[string]struct {
		respond func(w http.ResponseWriter)
		want    Want
	}{
		"closed before the response": {func(w http.ResponseWriter) { hangUp(w, "") }, WantRetry},
		"closed in the header":       {func(w http.ResponseWriter) { hangUp(w, "HTTP/1.1 200 O") }, WantRetry},
		"not HTTP":                   {func(w http.ResponseWriter) { hangUp(w, "SSH-2.0-OpenSSH_9.2\r\n") }, WantRetry},
		"empty 200":                  {func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, empty},
		"200 cut off": {func(w http.ResponseWriter) {
			hangUp(w, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"te")
		}, WantRetry},
		"500 cut off": {func(w http.ResponseWriter) {
			hangUp(w, "HTTP/1.1 500 No\r\nContent-Length: 500\r\n\r\n{\"te")
		}, WantRetry},
		"endless 503": {func(w http.ResponseWriter) { endless(w, http.StatusServiceUnavailable) }, WantRetry},
		"huge header": {func(w http.ResponseWriter) { w.Header().Set("X-Huge", strings.Repeat("h", 1<<20)) }, WantRetry},
	} {
		t.Run(name, func(t *testing.T) {
			srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) { c.respond(w) })
			all(t, c.want, name, Deliver(t, s.open(t, s.env(srv)), Events(3)...))
		})
	}
}

// page is the response of a proxy, a sign-in page or a wrong host.
const page = "<html><head><title>Welcome</title></head><body>please sign in</body></html>"

// foreign are responses that are not in the SIEM's own format. No 2xx of them is a success, and no refusal rejects an
// event, not even one that is alone.
func (s Suite) foreign(t *testing.T) {
	const kibana = `{"statusCode":400,"error":"Bad Request","message":"Request must contain a kbn-xsrf header."}`
	for _, c := range []struct {
		status int
		body   string
		want   Want
	}{
		{200, page, WantRetry}, {201, page, WantRetry}, {202, page, WantRetry}, {203, page, WantRetry},
		{200, "thank you", WantRetry}, {202, "null and void", WantRetry},
		{400, "<html>400 No required SSL certificate was sent</html>", WantHeld}, {400, kibana, WantHeld},
		{400, "", WantHeld},
		{400, `{"message":"Bad Request"}`, WantHeld}, {403, page, WantHeld}, {406, page, WantHeld}, {418, "", WantHeld},
		{422, page, WantHeld},
	} {
		srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		for _, n := range []int{1, 3} {
			outcomes := Deliver(t, s.open(t, s.env(srv)), Events(n)...)
			all(t, c.want, fmt.Sprintf("%d %.20q to %d events", c.status, c.body, n), outcomes)
			f := outcomes[0].Fault
			if refused := c.status/100 == 4; f != nil && (f.Foreign != refused || c.body != "" && strings.Contains(f.Error(),
				c.body[:min(8, len(c.body))])) {
				t.Errorf("%d %.20q: foreign %t, quoted as %s", c.status, c.body, f.Foreign, f.Error())
			}
		}
	}
}

// short cuts the SIEM's own success: the response ends before its Content-Length.
func (s Suite) short(t *testing.T) {
	srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
		rec := httptest.NewRecorder()
		s.Accept(rec, r, body)
		status := rec.Code
		if status == http.StatusNoContent { // which has no body to cut
			status = http.StatusOK
		}
		text := rec.Body.String()
		hangUp(w, fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s", status, len(text)+1, text))
	})
	all(t, WantRetry, "a success that ends early", Deliver(t, s.open(t, s.env(srv)), Events(3)...))
}

// gzip compresses the SIEM's own responses, although the connector asks for uncompressed ones. They mean the same.
func (s Suite) gzip(t *testing.T) {
	compressed := func(respond func(http.ResponseWriter, *http.Request, []byte)) func(http.ResponseWriter, *http.Request,
		[]byte) {
		return func(w http.ResponseWriter, r *http.Request, body []byte) {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("Accept-Encoding %q, want identity", got)
			}
			rec := httptest.NewRecorder()
			respond(rec, r, body)
			maps.Copy(w.Header(), rec.Header())
			if rec.Body.Len() == 0 {
				w.WriteHeader(rec.Code)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(rec.Code)
			z := gzip.NewWriter(w)
			_, _ = z.Write(rec.Body.Bytes())
			_ = z.Close()
		}
	}
	srv := s.serve(t, compressed(s.Accept))
	all(t, WantDelivered, "a compressed success", Deliver(t, s.open(t, s.env(srv)), Events(3)...))
	srv = s.serve(t, compressed(func(w http.ResponseWriter, r *http.Request, body []byte) {
		s.Refuse(w, r, body, badMark)
	}))
	for i, o := range Deliver(t, s.open(t, s.env(srv)), Events(2, 1)...) {
		if want := [...]deliver.State{deliver.Delivered, deliver.Rejected}[i]; o.State != want ||
			strings.Contains(fmt.Sprint(o.Fault), "\x1f") {
			t.Errorf("event %d after a compressed refusal: %s", i, describe(o))
		}
	}
}

// checkSteps: the check names the step that fails.
func (s Suite) checkSteps(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, c := range []struct {
		url  string
		step failure.Step
	}{
		{"https://nowhere.invalid", failure.DNS}, {"https://127.0.0.1:1", failure.Connect},
		{strings.Replace(plain.URL, "http:", "https:", 1), failure.TLS},
	} {
		env := s.Settings(c.url, "")
		f := s.checkFails(t, s.open(t, env), c.url, c.step)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(env)), func(name string) bool {
			return strings.Contains(f.Hint, name)
		}) {
			t.Errorf("%s: the hint %q names no setting", c.url, f.Hint)
		}
	}
	for status, step := range map[int]failure.Step{401: failure.Auth, 403: failure.Auth, 404: failure.Request,
		429: failure.Request, 503: failure.Request} {
		srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(status) })
		_ = s.checkFails(t, s.open(t, s.env(srv)), strconv.Itoa(status), step)
	}
}

func (s Suite) checkFails(t *testing.T, c deliver.Connector, what string, step failure.Step) *failure.Error {
	t.Helper()
	checker, ok := c.(deliver.Checker)
	if !ok {
		t.Fatal("the connector has no check")
	}
	f := failure.Of(checker.Check(t.Context()))
	if f == nil || f.Step != step {
		t.Fatalf("%s: %v, want step %s", what, f, step)
	}
	return f
}

func hangUp(w http.ResponseWriter, last string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = buf.WriteString(last)
	_ = buf.Flush()
	_ = conn.Close()
}

// endless sends a response without an end, until the client closes the connection.
func endless(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	filler := []byte(strings.Repeat("blah ", 1000))
	for range 100_000 {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
}
