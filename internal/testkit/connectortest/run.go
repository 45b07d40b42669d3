package connectortest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Run("accepts", s.accepts)
	t.Run("keeps connections", s.keepsConnections)
	t.Run("status", s.statuses)
	t.Run("retry-after", s.retryAfter)
	t.Run("bisects", s.bisects)
	t.Run("too large", s.tooLarge)
	t.Run("renews", s.renews)
	t.Run("broken responses", s.brokenResponses)
	t.Run("foreign", s.foreign)
	t.Run("short success", s.short)
	t.Run("gzip", s.gzip)
	t.Run("dead connection", s.deadConnection)
	t.Run("slow", s.slow)
	t.Run("redirect", s.redirect)
	t.Run("leaks", s.leaks)
	t.Run("limits", s.limits)
	t.Run("compression", s.compression)
	t.Run("allocations", func(t *testing.T) { allocations(t, s.open(t, s.env(s.serve(t, s.Accept)))) })
	t.Run("check", s.checkSteps)
	t.Run("settings", func(t *testing.T) { checkSettings(t, s.Open, s.Wrong) })
}

func (s Suite) accepts(t *testing.T) {
	srv := s.serve(t, s.Accept)
	c := s.open(t, s.env(srv))
	all(t, WantDelivered, "a hundred", Deliver(t, c, Events(100)...))
	if n := srv.Requests(); n != 1 {
		t.Errorf("100 small events took %d requests, want 1", n)
	}
	all(t, WantDelivered, "samples", Deliver(t, c, SampleEvent, FullEvent))
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
			all(t, want, "a status without a body", Deliver(t, c, Events(4)...))
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
			t.Errorf("status %d with Retry-After 17: %s, want RetryAfter 17 s", status, describe(o))
		}
		if n := srv.Requests(); n != 1 {
			t.Errorf("status %d: %d requests, want 1", status, n)
		}
	}
}

func (s Suite) bisects(t *testing.T) {
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
				t.Errorf("one refused event took %d more requests, want at most 15", extra)
			}
		})
	}
	t.Run("all alike", func(t *testing.T) {
		srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) { s.Refuse(w, r, body, badMark) })
		c := s.open(t, s.env(srv))
		all(t, WantHeld, "every event is refused", Deliver(t, c, Events(3, 0, 1, 2)...))
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

// rotating is a Source whose Renew returns another connector.
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

// renews: a refused credential is renewed, and the same attempt delivers.
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
			all(t, WantDelivered, "after a renewed credential", deliverThrough(t, source, Events(5)...))
			if n := source.renewals.Load(); n != 1 {
				t.Errorf("renewed %d times, want 1", n)
			}
		})
	}
}

// deadConnection closes the idle connection between two batches, as a load balancer does. The second batch is
// delivered.
func (s Suite) deadConnection(t *testing.T) {
	srv := s.serve(t, s.Accept)
	c := s.open(t, s.env(srv))
	Deliver(t, c, Events(2)...)
	srv.CloseClientConnections()
	all(t, WantDelivered, "after the idle connection was closed", Deliver(t, c, Events(2)...))
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
	all(t, WantRetry, "the SIEM does not respond", Deliver(t, s.open(t, env), Events(2)...))
	if n := srv.Requests(); n != 1 {
		t.Errorf("a SIEM that does not respond got %d requests, want 1", n)
	}
}

// redirect: no redirect is followed, because neither events nor credentials may go to another host.
func (s Suite) redirect(t *testing.T) {
	other := s.serve(t, s.Accept)
	srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	all(t, WantHeld, "redirected", Deliver(t, s.open(t, s.env(srv)), Events(2)...))
	if n := other.Requests(); n != 0 {
		t.Errorf("the other host got %d requests, want none", n)
	}
}

// leaks has the server echo the request, as a response and as something that is not HTTP, and looks for secrets in the
// outcomes. Secrets are those of the suite, and the headers that may prove a credential. It also checks that the server
// received the secrets at all.
func (s Suite) leaks(t *testing.T) {
	if len(s.Secrets) == 0 {
		t.Fatal("Suite.Secrets is empty: the test would prove nothing")
	}
	for _, status := range []int{0, 200, 302, 400, 401, 404, 413, 429, 500} {
		secrets := slices.Clone(s.Secrets)
		var srv *Server
		srv = s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
			for name, values := range r.Header {
				if proof := strings.TrimPrefix(values[0], "Bearer "); !slices.Contains(harmless, name) && len(proof) >= 16 {
					secrets = append(secrets, proof)
				}
			}
			if status == 0 {
				hangUp(w, "HTTP/1.1 "+strings.ReplaceAll(dump(r, body), "\r\n", " ")+"\r\n\r\n")
				return
			}
			w.Header().Set("Location", srv.URL+r.URL.Path)
			w.WriteHeader(status)
			fmt.Fprint(w, dump(r, body))
		})
		c := s.open(t, s.env(srv))
		var told strings.Builder
		for _, o := range Deliver(t, c, Events(1)...) {
			if o.Fault != nil {
				fmt.Fprintf(&told, "%s %s %v %+v", o.Fault.Error(), o.Fault.Brief(), o.Fault, *o.Fault)
			}
		}
		if checker, ok := c.(deliver.Checker); ok {
			if f := failure.Of(checker.Check(context.Background())); f != nil {
				told.WriteString(f.Error())
			}
		}
		for _, secret := range secrets {
			if strings.Contains(told.String(), secret) {
				t.Errorf("status %d: a secret appears in %q", status, &told)
			}
			if srv.mu.Lock(); s.sent(secret) && !strings.Contains(srv.dumped.String(), secret) {
				t.Errorf("status %d: the server did not receive the secret %.4s…: the test proves nothing", status, secret)
			}
			srv.mu.Unlock()
		}
	}
}

// harmless are the headers of a request that prove nothing.
var harmless = []string{"Accept-Encoding", "Content-Encoding", "Content-Length", "Content-Type", "User-Agent",
	"X-Splunk-Request-Channel", "X-Sumo-Category", "X-Sumo-Host"}

// sent reports whether a secret is sent as it is.
func (s Suite) sent(secret string) bool { return !strings.HasPrefix(secret, "unsent-") }

// checkSettings compares the settings with the table of the page, and opens a connector without settings and with
// wrong ones. One error names every required one, and each wrong one once, without the value of a secret.
func checkSettings(t *testing.T, open func(*settings.Settings) deliver.Connector, wrong map[string]string) {
	t.Helper()
	settingsTable(t, open)
	set := Settings(nil)
	open(set)
	err := set.Err()
	for _, a := range set.Declared() {
		if a.Required && (err == nil || !strings.Contains(err.Error(), a.Name)) {
			t.Errorf("without any setting: %v, want %s named", err, a.Name)
		}
	}
	set = Settings(wrong)
	open(set)
	err = set.Err()
	for name := range wrong {
		if err == nil || strings.Count(err.Error(), name+": ") != 1 {
			t.Errorf("%s=%q is not named once in %v", name, wrong[name], err)
		}
	}
	for _, a := range set.Declared() {
		value := wrong[a.Name]
		if half := value[:len(value)/2]; a.Secret && half != "" && strings.Contains(err.Error(), half) {
			t.Errorf("the secret %s shows in %v", a.Name, err)
		}
	}
}

// limits fills a request to the byte and one byte more, and to the number of events and one more.
func (s Suite) limits(t *testing.T) {
	srv := s.serve(t, s.Accept)
	c := s.open(t, s.env(srv))
	sized := func(i, size int) string { // an event whose record has that size
		record, _, _ := c.Append(nil, Parse(t, Event(i, "")))
		return Event(i, strings.Repeat("x", size-len(record)))
	}
	const room = 55_000 // of a record: less than the limit of any field
	events := make([]string, s.MaxBytes/room+1)
	f := c.Format()
	free := s.MaxBytes - len(f.Open) - len(f.Close) - len(f.Separator)*(len(events)-1)
	for i := range events {
		events[i] = sized(i, free/len(events))
	}
	last := len(events) - 1
	for more, requests := range []int{1, 2} {
		events[last] = sized(last, free/len(events)+free%len(events)+more)
		before := srv.Requests()
		all(t, WantDelivered, "a full request", Deliver(t, c, events...))
		if n := srv.Requests() - before; n != requests {
			t.Errorf("%d bytes more than fit: %d requests, want %d", more, n, requests)
		}
		if body := srv.Bodies()[before]; more == 0 && len(body) != s.MaxBytes {
			t.Errorf("the full request has %d bytes, want %d", len(body), s.MaxBytes)
		}
	}
	before := srv.Requests()
	all(t, WantDelivered, "101 events", Deliver(t, c, Events(101)...))
	if n := srv.Requests() - before; n != 2 {
		t.Errorf("101 events took %d requests, want 2", n)
	}
}

// compression: a request is compressed if the setting says so, and its header says so, too.
func (s Suite) compression(t *testing.T) {
	for setting, want := range map[string]string{"gzip": "gzip", "none": ""} {
		got := "nothing"
		srv := s.serve(t, func(w http.ResponseWriter, r *http.Request, body []byte) {
			got = r.Header.Get("Content-Encoding")
			s.Accept(w, r, body)
		})
		env := s.env(srv)
		env["SIEM_COMPRESSION"] = setting
		all(t, WantDelivered, setting, Deliver(t, s.open(t, env), Events(3)...))
		if got != want {
			t.Errorf("SIEM_COMPRESSION=%s: Content-Encoding is %q, want %q", setting, got, want)
		}
	}
}

// allocations: encoding an event allocates nothing.
func allocations(t *testing.T, c deliver.Connector) {
	for _, body := range []string{SampleEvent, FullEvent} {
		e := Parse(t, body)
		dst, _, _ := c.Append(nil, e)
		if n := testing.AllocsPerRun(100, func() { dst, _, _ = c.Append(dst[:0], e) }); n > 0 {
			t.Errorf("%v allocations for %s", n, body)
		}
	}
}

// BenchmarkAppend encodes generated events.
func BenchmarkAppend(b *testing.B, c deliver.Connector) {
	g := ocsfgen.New(1)
	events := make([]*event.Event, 100)
	for i := range events {
		events[i] = Parse(b, string(g.Next()))
	}
	var dst []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		dst, _, _ = c.Append(dst[:0], events[i%len(events)])
	}
}
