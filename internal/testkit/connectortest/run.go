package connectortest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Run("accepts", s.accepts)
	t.Run("bisects", s.bisects)
	t.Run("foreign", s.foreign)
	t.Run("leaks", s.leaks)
	t.Run("limits", s.limits)
	t.Run("compression", s.compression)
	t.Run("check", s.checkSteps)
	t.Run("allocations", func(t *testing.T) {
		_, c := Serve(t, s)
		CheckAllocations(t, c)
	})
	t.Run("settings", func(t *testing.T) { CheckSettings(t, s.Open, s.Wrong) })
}

func (s Suite) accepts(t *testing.T) {
	srv, c := Serve(t, s)
	Delivered(t, c, Events(100)...)
	if n := s.delivering(srv); n != 1 {
		t.Errorf("100 small events took %d requests, want 1", n)
	}
	Delivered(t, c, SampleEvent, FullEvent)
}

// delivering is the number of requests so far that carried events.
func (s Suite) delivering(srv *Recorder) (n int) {
	for _, r := range srv.Requests() {
		if s.Delivers == nil || s.Delivers(r.Request) {
			n++
		}
	}
	return n
}

// refuse refuses what contains Bad, and accepts the rest.
func (s Suite) refuse(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(Body(r), Bad) {
		s.Refuse(w, r)
	} else {
		s.Accept(w, r)
	}
}

// bisects: an event that the SIEM refuses is found among its neighbours, which are delivered. If all are refused alike,
// the setup is at fault.
func (s Suite) bisects(t *testing.T) {
	_, c := s.serve(t, s.refuse, nil)
	bad := []int{0, 7, 8, 63, 99}
	want := slices.Repeat([]string{"delivered"}, 100)
	for _, i := range bad {
		want[i] = "rejected"
	}
	CheckOutcomes(t, "five of a hundred", Deliver(t, c, Events(100, bad...)...), want...)
	CheckOutcomes(t, "all are refused", Deliver(t, c, Events(3, 0, 1, 2)...), "held")
	alone := Deliver(t, c, Events(1, 0)...)
	CheckOutcomes(t, "refused alone", alone, "rejected")
	if alone[0].Fault.Error() == "" {
		t.Error("refused alone: there is no reason")
	}
}

// foreign are responses that are not in the SIEM's own format. No 2xx of them is a success, and no refusal rejects an
// event, not even one that is alone.
func (s Suite) foreign(t *testing.T) {
	const page = "<html><head><title>Welcome</title></head><body>please sign in</body></html>"
	const kibana = `{"statusCode":400,"error":"Bad Request","message":"Request must contain a kbn-xsrf header."}`
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{200, page, "retry"}, {201, page, "retry"}, {202, page, "retry"}, {203, page, "retry"},
		{200, "thank you", "retry"}, {202, "null and void", "retry"},
		{400, "<html>400 No required SSL certificate was sent</html>", "held"}, {400, kibana, "held"},
		{400, "", "held"},
		{400, `{"message":"Bad Request"}`, "held"}, {403, page, "held"}, {406, page, "held"}, {418, "", "held"},
		{422, page, "held"},
	} {
		_, connector := s.serve(t, Status(c.status, c.body), nil)
		for _, n := range []int{1, 3} {
			outcomes := Deliver(t, connector, Events(n)...)
			CheckOutcomes(t, fmt.Sprintf("%d %.20q to %d events", c.status, c.body, n), outcomes, c.want)
			f := outcomes[0].Fault
			if refused := c.status/100 == 4; f != nil && (f.Foreign != refused ||
				c.body != "" && strings.Contains(f.Error(), c.body[:min(8, len(c.body))])) {
				t.Errorf("%d %.20q: foreign %t, quoted as %s", c.status, c.body, f.Foreign, f.Error())
			}
		}
	}
}

// head is the head of a request as the server saw it, to prove that a secret was sent at all.
func head(r *http.Request) string {
	text, _ := httputil.DumpRequest(r, false)
	return string(text)
}

// echo replaces each string in a decoded JSON text.
func echo(v any, text string) any {
	switch v := v.(type) {
	case string:
		return text
	case []any:
		for i, element := range v {
			v[i] = echo(element, text)
		}
	case map[string]any:
		for key, member := range v {
			v[key] = echo(member, text)
		}
	}
	return v
}

// echoOwn refuses a request in the SIEM's own format, and quotes the request in each text of the refusal.
func (s Suite) echoOwn(w http.ResponseWriter, r *http.Request) {
	text := head(r)
	rec := httptest.NewRecorder()
	s.Refuse(rec, r)
	var refusal any
	_ = json.Unmarshal(rec.Body.Bytes(), &refusal)
	w.WriteHeader(rec.Code)
	_ = json.NewEncoder(w).Encode(echo(refusal, text))
}

// leaks has the server echo the request: as a response, in the SIEM's own refusal (status 1), and as something that is
// not HTTP (status 0). It looks for secrets in the outcomes: those of the suite, and the headers that may prove a
// credential. It also checks that the server received the secrets at all.
func (s Suite) leaks(t *testing.T) {
	if len(s.Secrets) == 0 {
		t.Fatal("Suite.Secrets is empty: the test would prove nothing")
	}
	for _, status := range []int{0, 1, 200, 302, 400, 401, 404, 413, 429, 500} {
		srv, c := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch status {
			case 0:
				hangUp(w, "HTTP/1.1 "+strings.ReplaceAll(head(r), "\r\n", " ")+"\r\n\r\n")
			case 1:
				s.echoOwn(w, r)
			default:
				Status(status, head(r)+Body(r), "Location", "http://"+r.Host+r.URL.Path)(w, r)
			}
		}, nil)
		var told strings.Builder
		for _, o := range Deliver(t, c, Events(1, 0)...) {
			if o.Fault != nil {
				fmt.Fprintf(&told, "%s %s %v %+v", o.Fault.Error(), o.Fault.Brief(), o.Fault, *o.Fault)
			}
		}
		if f := failure.Of(c.(deliver.Checker).Check(t.Context())); f != nil {
			told.WriteString(f.Error())
		}
		received, secrets := s.received(srv)
		for _, secret := range secrets {
			if strings.Contains(told.String(), secret) {
				t.Errorf("status %d: a secret appears in %q", status, &told)
			}
			if !strings.HasPrefix(secret, "unsent-") && !strings.Contains(received, secret) {
				t.Errorf("status %d: the server did not receive the secret %.4s…: the test proves nothing", status, secret)
			}
		}
	}
}

// received returns the text of all requests, and the secrets: those of the suite, and long values of headers.
func (s Suite) received(srv *Recorder) (text string, secrets []string) {
	secrets = slices.Clone(s.Secrets)
	for _, r := range srv.Requests() {
		text += head(r.Request) + r.Text
		for name, values := range r.Header {
			proof := strings.TrimPrefix(values[0], "Bearer ")
			if !slices.Contains(harmless, name) && len(proof) >= 16 {
				secrets = append(secrets, proof)
			}
		}
	}
	return text, secrets
}

// harmless are the headers of a request that prove nothing.
var harmless = []string{"Accept", "Accept-Encoding", "Content-Encoding", "Content-Length", "Content-Type", "User-Agent",
	"X-Splunk-Request-Channel", "X-Sumo-Category", "X-Sumo-Host", "X-Xdr-Nonce"}

// hangUp closes a connection after a last text.
func hangUp(w http.ResponseWriter, last string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = buf.WriteString(last)
	_ = buf.Flush()
	_ = conn.Close()
}

// limits fills a request to the byte and one byte more, and to the number of events and one more.
func (s Suite) limits(t *testing.T) {
	srv, c := Serve(t, s)
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
		before := s.delivering(srv)
		Delivered(t, c, events...)
		if n := s.delivering(srv) - before; n != requests {
			t.Errorf("%d bytes more than fit: %d requests, want %d", more, n, requests)
		}
		largest := 0
		for _, body := range srv.Bodies() {
			largest = max(largest, len(body))
		}
		if largest != s.MaxBytes {
			t.Errorf("%d bytes more than fit: the largest request has %d bytes, want %d", more, largest, s.MaxBytes)
		}
	}
	before := s.delivering(srv)
	Delivered(t, c, Events(101)...)
	if n := s.delivering(srv) - before; n != 2 {
		t.Errorf("101 events took %d requests, want 2", n)
	}
}

// compression: a request is compressed if the setting says so, and its header says so, too.
func (s Suite) compression(t *testing.T) {
	for setting, want := range map[string]string{"gzip": "gzip", "none": ""} {
		got := "nothing"
		_, c := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get("Content-Encoding")
			s.Accept(w, r)
		}, map[string]string{"SIEM_COMPRESSION": setting})
		Delivered(t, c, Events(3)...)
		if got != want {
			t.Errorf("SIEM_COMPRESSION=%s: Content-Encoding is %q, want %q", setting, got, want)
		}
	}
}

// checkSteps: the check names the step that fails.
func (s Suite) checkSteps(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for url, step := range map[string]failure.Step{
		"https://nowhere.invalid": failure.DNS, "https://127.0.0.1:1": failure.Connect,
		strings.Replace(plain.URL, "http:", "https:", 1): failure.TLS,
	} {
		env := s.Settings(url, "")
		f := checkFails(t, Read(t, env, s.Open), url, step)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(env)), func(name string) bool {
			return strings.Contains(f.Hint, name)
		}) {
			t.Errorf("%s: the hint %q names no setting", url, f.Hint)
		}
	}
	for status, step := range map[int]failure.Step{401: failure.Auth, 403: failure.Auth, 404: failure.Request,
		429: failure.Request, 503: failure.Request} {
		_, c := s.serve(t, Status(status, ""), nil)
		_ = checkFails(t, c, strconv.Itoa(status), step)
	}
}

func checkFails(t *testing.T, c deliver.Connector, what string, step failure.Step) *failure.Error {
	t.Helper()
	f := failure.Of(c.(deliver.Checker).Check(t.Context()))
	if f == nil || f.Step != step {
		t.Fatalf("%s: %v, want step %s", what, f, step)
	}
	return f
}

// CheckSettings compares the settings with the table of the page, and opens a connector without settings and with
// wrong ones. One error names every required one, and each wrong one once, without the value of a secret.
func CheckSettings(t *testing.T, open func(*settings.Settings) deliver.Connector, wrong map[string]string) {
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

// CheckAllocations verifies that encoding an event allocates nothing.
func CheckAllocations(t *testing.T, c deliver.Connector) {
	t.Helper()
	for _, body := range []string{SampleEvent, FullEvent} {
		e := Parse(t, body)
		dst, _, _ := c.Append(nil, e)
		if n := testing.AllocsPerRun(100, func() { dst, _, _ = c.Append(dst[:0], e) }); n > 0 {
			t.Errorf("%v allocations for %s", n, body)
		}
	}
}

// longEvent is the size from which a SIEM's limit of a field may leave no room for an event, in bytes.
const longEvent = 64_000

// FuzzAppend encodes events of a fuzzer. A record has one line. It holds the event's own bytes, which own returns,
// unless it is truncated. A shorter event than longEvent can always be encoded.
func FuzzAppend(f *testing.F, c deliver.Connector, own func(t *testing.T, record []byte, e *event.Event) string) {
	f.Helper()
	for _, e := range append(Generated(4, 20), SampleEvent, FullEvent,
		"{ \"time\" : 1 ,\r\n\"a\":\"\\n\\u2028 é\U0001F600|=\" , \"l\":[ 1, {} ] }\n",
		`{"time":0,"metadata":{"uid":"\u0000"},"n":1.00e400}`,
		`{"time":1,"unmapped":{"dlp_labels":["\"","\\","\u0041"]},"api":{"request":{"uid":"\ud800"}}}`) {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := new(event.Event)
		if new(event.Parser).Parse(body, e) != nil {
			return
		}
		record, truncated, err := c.Append([]byte("before"), e)
		if err != nil {
			if len(body) < longEvent {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		record, ok := bytes.CutPrefix(record, []byte("before"))
		if !ok || bytes.ContainsAny(record, "\r\n") {
			t.Fatalf("%q makes %q", body, record)
		}
		var want bytes.Buffer
		if got := own(t, record, e); json.Compact(&want, e.Body) != nil || !truncated && got != want.String() {
			t.Fatalf("%q makes %q, which holds %q", body, record, got)
		}
	})
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
