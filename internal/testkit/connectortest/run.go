package connectortest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Run("accepts", s.accepts)
	t.Run("keeps connections", s.keepsConnections)
	t.Run("status", s.statuses)
	t.Run("retry-after", s.retryAfter)
	t.Run("isolates", s.isolates)
	t.Run("too large", s.tooLarge)
	t.Run("renews", s.renews)
	t.Run("broken responses", s.brokenResponses)
	t.Run("foreign", s.foreign)
	t.Run("short success", s.short)
	t.Run("dead connection", s.deadConnection)
	t.Run("slow", s.slow)
	t.Run("redirect", s.redirect)
	t.Run("leaks", s.leaks)
	t.Run("settings", func(t *testing.T) { badSettings(t, s.Open) })
}

func (s Suite) accepts(t *testing.T) {
	srv := s.serve(t, s.Accept)
	c := s.open(t, s.env(srv))
	for i, o := range Deliver(t, c, Events(100)...) {
		if o.State != deliver.Delivered {
			t.Fatalf("event %d: %s, want delivered", i, describe(o))
		}
	}
	if n := srv.Requests(); n != 1 {
		t.Errorf("100 small events took %d requests, want 1", n)
	}
	for i, o := range Deliver(t, c, SampleEvent, FullEvent) {
		if o.State != deliver.Delivered {
			t.Errorf("sample event %d: %s, want delivered", i, describe(o))
		}
	}
}

func (s Suite) keepsConnections(t *testing.T) {
	var opened sync.Map
	srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
		opened.Store(r.RemoteAddr, true)
		s.Accept(w, r, body)
	})
	c := s.open(t, s.env(srv))
	for range 5 {
		Deliver(t, c, Events(3)...)
	}
	n := 0
	opened.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("5 batches took %d connections, want 1", n)
	}
}

func (s Suite) statuses(t *testing.T) {
	for status, want := range Defaults {
		if w, ok := s.Outcomes[status]; ok {
			want = w
		}
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(status) })
			c := s.open(t, s.env(srv))
			for i, o := range Deliver(t, c, Events(4)...) {
				if !want.is(o) {
					t.Errorf("event %d: %s, want %s", i, describe(o), want)
				}
			}
		})
	}
}

func (s Suite) retryAfter(t *testing.T) {
	for _, status := range []int{429, 503} {
		srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(status)
		})
		c := s.open(t, s.env(srv))
		o := Deliver(t, c, Events(2)...)[1]
		if o.Fault == nil || o.Fault.RetryAfter != 17*time.Second {
			t.Errorf("status %d with Retry-After 17: %s, want to be asked for 17 s", status, describe(o))
		}
		if n := srv.Requests(); n != 1 {
			t.Errorf("status %d: %d requests, want 1: who asks for less must not get more", status, n)
		}
	}
}

func (s Suite) isolates(t *testing.T) {
	if s.Refuse == nil {
		t.Skip("this SIEM refuses no event for its content")
	}
	for name, bad := range map[string][]int{"first": {0}, "last": {99}, "middle": {41}, "three": {7, 8, 63}} {
		t.Run(name, func(t *testing.T) {
			srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) { s.Refuse(w, r, body, badMark) })
			c := s.open(t, s.env(srv))
			failing := map[int]bool{}
			for _, i := range bad {
				failing[i] = true
			}
			for i, o := range Deliver(t, c, Events(100, bad...)...) {
				if want := failing[i]; (o.State == deliver.Rejected) != want || !want && o.State != deliver.Delivered {
					t.Errorf("event %d (bad: %v): %s", i, want, describe(o))
				}
			}
			if extra := srv.Requests() - 1; len(bad) == 1 && extra > 15 {
				t.Errorf("one refused event cost %d extra requests, want at most 15", extra)
			}
		})
	}
	t.Run("all alike", func(t *testing.T) {
		srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) { s.Refuse(w, r, body, badMark) })
		c := s.open(t, s.env(srv))
		for i, o := range Deliver(t, c, Events(3, 0, 1, 2)...) {
			if !WantHeld.is(o) {
				t.Errorf("event %d of a batch refused one and all: %s, want held", i, describe(o))
			}
		}
	})
	t.Run("alone", func(t *testing.T) {
		srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) { s.Refuse(w, r, body, badMark) })
		c := s.open(t, s.env(srv))
		if o := Deliver(t, c, Events(1, 0)...)[0]; o.State != deliver.Rejected || o.Fault.Error() == "" {
			t.Errorf("an event refused alone: %s, want rejected with a reason", describe(o))
		}
	})
}

func (s Suite) tooLarge(t *testing.T) {
	const most = 6000
	srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
		if len(body) > most {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		s.Accept(w, r, body)
	})
	c := s.open(t, s.env(srv))
	events := Events(40)
	events[3] = Event(3, strings.Repeat("x", 2*most))
	for i, o := range Deliver(t, c, events...) {
		if want := i == 3; (o.State == deliver.Rejected) != want || !want && o.State != deliver.Delivered {
			t.Errorf("event %d (too large alone: %v): %s", i, want, describe(o))
		}
	}
}

// rotating is a Source that opens a connector with another credential when asked to renew.
type rotating struct {
	current, next deliver.Connector
	renewals      atomic.Int32
}

func (r *rotating) Current() deliver.Connector { return r.current }

func (r *rotating) Renew(context.Context) deliver.Connector {
	r.renewals.Add(1)
	r.current = r.next
	return r.current
}

// renews tries a credential that is refused until it has been renewed: delivery goes on within the attempt.
func (s Suite) renews(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			source := &rotating{}
			srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
				if source.renewals.Load() == 0 {
					w.WriteHeader(status)
					return
				}
				s.Accept(w, r, body)
			})
			source.current, source.next = s.open(t, s.env(srv)), s.open(t, s.env(srv))
			for i, o := range deliverThrough(t, source, Events(5)...) {
				if o.State != deliver.Delivered {
					t.Errorf("event %d after a renewed credential: %s, want delivered", i, describe(o))
				}
			}
			if n := source.renewals.Load(); n != 1 {
				t.Errorf("renewed %d times, want 1", n)
			}
		})
	}
}

// brokenResponses are not what they seem. None of them confirms or rejects an event.
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

// page is what a proxy, a sign-in page or a wrong host responds with.
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
		{200, "OK", WantRetry}, {202, "null and void", WantRetry},
		{400, "<html>400 No required SSL certificate was sent</html>", WantHeld}, {400, kibana, WantHeld}, {400, "", WantHeld},
		{400, `{"message":"Bad Request"}`, WantHeld}, {403, page, WantHeld}, {406, page, WantHeld}, {418, "", WantHeld}, {422, page, WantHeld},
	} {
		srv := s.serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		for _, n := range []int{1, 3} {
			outcomes := Deliver(t, s.open(t, s.env(srv)), Events(n)...)
			all(t, c.want, fmt.Sprintf("%d %.20q to %d events", c.status, c.body, n), outcomes)
			f := outcomes[0].Fault
			if refused := c.status/100 == 4; f != nil && (f.Foreign != refused || c.body != "" && strings.Contains(f.Error(), c.body[:min(8, len(c.body))])) {
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

func hangUp(w http.ResponseWriter, last string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = buf.WriteString(last)
	_ = buf.Flush()
	_ = conn.Close()
}

// endless answers without an end; it stops when the client has heard enough.
func endless(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	filler := []byte(strings.Repeat("blah ", 1000))
	for range 100_000 {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
}

// deadConnection kills the kept connection between two batches, as a load balancer does while a function sleeps. The
// second batch is delivered all the same.
func (s Suite) deadConnection(t *testing.T) {
	srv := s.serve(t, s.Accept)
	c := s.open(t, s.env(srv))
	Deliver(t, c, Events(2)...)
	srv.CloseClientConnections()
	for i, o := range Deliver(t, c, Events(2)...) {
		if o.State != deliver.Delivered {
			t.Errorf("event %d over a connection that had died: %s, want delivered", i, describe(o))
		}
	}
}

func (s Suite) slow(t *testing.T) {
	release := make(chan struct{})
	srv := s.serve(t, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	env := s.env(srv)
	env["SIEM_REQUEST_TIMEOUT_SECONDS"] = "1"
	for i, o := range Deliver(t, s.open(t, env), Events(2)...) {
		if !WantRetry.is(o) {
			t.Errorf("event %d to a SIEM that does not answer: %s, want retry", i, describe(o))
		}
	}
	if n := srv.Requests(); n != 1 {
		t.Errorf("a SIEM that does not answer was asked %d times, want 1", n)
	}
}

// redirect follows nothing: neither events nor credentials may go to another host.
func (s Suite) redirect(t *testing.T) {
	other := s.serve(t, s.Accept)
	srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	for i, o := range Deliver(t, s.open(t, s.env(srv)), Events(2)...) {
		if !WantHeld.is(o) {
			t.Errorf("event %d redirected: %s, want held", i, describe(o))
		}
	}
	if n := other.Requests(); n != 0 {
		t.Errorf("the other host was asked %d times, want never", n)
	}
}

// leaks has the server throw everything it was sent back at the connector, and looks for secrets in what becomes of it.
// It first makes sure that the server has received them at all.
func (s Suite) leaks(t *testing.T) {
	if len(s.Secrets) == 0 {
		t.Fatal("Suite.Secrets: a connector without a secret has nothing to prove here")
	}
	for _, status := range []int{200, 302, 400, 401, 404, 413, 429, 500} {
		var srv *Server
		srv = s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
			w.Header().Set("Location", srv.URL+r.URL.Path)
			w.WriteHeader(status)
			fmt.Fprint(w, dump(r, body))
		})
		c := s.open(t, s.env(srv))
		var text strings.Builder
		for _, o := range Deliver(t, c, Events(1)...) {
			if o.Fault != nil {
				fmt.Fprintf(&text, "%s %s %v %+v", o.Fault.Error(), o.Fault.Brief(), o.Fault, *o.Fault)
			}
		}
		if checker, ok := c.(deliver.Checker); ok {
			if f := failure.Of(checker.Check(context.Background())); f != nil {
				text.WriteString(f.Error())
			}
		}
		for _, secret := range s.Secrets {
			if strings.Contains(text.String(), secret) {
				t.Errorf("status %d: a secret shows in %q", status, text.String())
			}
			if srv.mu.Lock(); s.sent(secret) && !strings.Contains(srv.dumped.String(), secret) {
				t.Errorf("status %d: the server never received the secret %.4s…, so that nothing is proven", status, secret)
			}
			srv.mu.Unlock()
		}
	}
}

// sent tells whether a secret goes over the wire as it is.
func (s Suite) sent(secret string) bool { return !strings.HasPrefix(secret, "unsent-") }

// badSettings opens a connector without any setting: every required one is named, in one error.
func badSettings(t *testing.T, open func(*settings.Settings) deliver.Connector) {
	t.Helper()
	set := settings.New(func(string) string { return "" }, nil)
	open(set)
	err := set.Err()
	for _, a := range set.Declared() {
		if a.Required && (err == nil || !strings.Contains(err.Error(), a.Name)) {
			t.Errorf("without any setting: %v, want %s named", err, a.Name)
		}
	}
}
