package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	statuses := [...]int{200, 403, 401, 401, 403, 400, 400, 400, 500, 503, 400, 400, 400, 400, 400, 400, 400, 200, 503,
		503, 503, 400, 400, 503, 200, 200, 429, 429}
	var rows []connectortest.Row
	seen := map[int]bool{}
	for _, r := range [...]connectortest.Row{
		{Status: "200", Code: "0, 24, 25"}, {Status: "400, 401, 403", Code: "1, 2, 3, 4, 21, 22"},
		{Status: "400", Code: "5"}, {Status: "400", Code: "6, 12, 13, 15"}, {Status: "400", Code: "7"},
		{Status: "500, 503", Code: "8, 9, 18, 19, 20, 23"}, {Status: "400", Code: "10, 11, 14, 16"},
		{Status: "200", Code: "17"}, {Status: "429", Code: "26, 27"},
	} {
		for name := range strings.SplitSeq(r.Code, ", ") {
			code, err := strconv.Atoi(name)
			if err != nil || !strings.Contains(r.Status, strconv.Itoa(statuses[code])) {
				t.Fatalf("row %+v: code %s", r, name)
			}
			r.Is, r.Body = statuses[code], fmt.Sprintf(`{"text":"x","code":%d}`, code)
			rows, seen[code] = append(rows, r), true
		}
	}
	connectortest.ResponseTable(t, func(a *httpsend.Response) error { return classify(a, 1, false) }, rows)
	for code := range statuses {
		if !seen[code] {
			t.Errorf("code %d has no row", code)
		}
	}
	for _, row := range codes.Rows {
		if n, err := strconv.Atoi(row.Code); err == nil && n >= len(statuses) {
			t.Errorf("code %d has no row", n)
		}
	}
}

// TestPartial: what HEC says it took is not sent again.
func TestPartial(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string // a letter for each record: d delivered, x rejected, s sent again, r retry, h held; one letter: for all
	}{
		"second of four":          {400, `{"code":6,"invalid-event-number":1}`, "dxss"},
		"first of four":           {400, `{"code":12,"invalid-event-number":0}`, "xsss"},
		"last of four":            {400, `{"code":13,"invalid-event-number":3}`, "dddx"},
		"fields":                  {400, `{"code":15,"invalid-event-number":2}`, "ddxs"},
		"busy after two":          {503, `{"code":9,"invalid-event-number":2}`, "ddrr"},
		"busy":                    {503, `{"code":9}`, "r"},
		"number out of range":     {400, `{"code":6,"invalid-event-number":4}`, "x"},
		"negative number":         {400, `{"code":6,"invalid-event-number":-1}`, "x"},
		"number without a right":  {403, `{"code":4,"invalid-event-number":2}`, "h"},
		"code 0 with status 500":  {500, `{"code":0}`, "r"},
		"refusal on a 200":        {200, `{"code":6,"invalid-event-number":1}`, "r"},
		"unknown code on a 400":   {400, `{"code":99}`, "r"},
		"unknown code on a 401":   {401, `{"code":99}`, "h"},
		"unknown code on a 200":   {200, `{"code":99}`, "r"},
		"no code":                 {200, `{"text":"Success"}`, "r"},
		"code of another type":    {200, `{"text":"Success","code":"0"}`, "r"},
		"code 6 on a 415":         {415, `{"code":6}`, "h"},
		"capacity on a 201":       {201, `{"code":24}`, "r"},
		"capacity":                {200, `{"text":"Queue at capacity","code":24}`, "d"},
		"with an acknowledgement": {200, `{"text":"Success","code":0,"ackId":7}`, "d"},
	} {
		var got strings.Builder
		for _, err := range results(classify(connectortest.Response(t, c.status, nil, c.body), 4, false)) {
			got.WriteString(strings.NewReplacer("rejected", "x", "delivered", "d", "sent again", "s", "retry", "r", "held",
				"h").Replace(connectortest.Outcome(err)))
		}
		if got.String() != c.want {
			t.Errorf("%s: %s, want %s", name, got.String(), c.want)
		}
	}
}

// TestNearlyFull: events that HEC accepts with a warning are delivered, and the log gets the warning.
func TestNearlyFull(t *testing.T) {
	for body, want := range map[string]string{accepted: "", `{"code":0}`: "", `{"code":24}`: "code 24",
		`{"code":25}`: "code 25"} {
		s := suite()
		s.Accept = func(w http.ResponseWriter, _ *http.Request, _ []byte) { fmt.Fprint(w, body) }
		c := connectortest.Serve(t, s).Open(t)
		b := connectortest.Batch(t, c, connectortest.SampleEvent)
		b.Meter = new(telemetry.Meter)
		err := c.Send(t.Context(), b)
		if (b.Meter.Backpressure == 1) != (want != "") {
			t.Errorf("%s: %+v", body, b.Meter)
		}
		if got := strings.Join(b.Warnings(), " "); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v, warnings %q, want %q", body, err, got, want)
		}
	}
}

// TestNote: the health endpoint says whether the queues are full. Any other response says nothing.
func TestNote(t *testing.T) {
	for body, want := range map[string]bool{
		`{"text":"HEC is healthy","code":17}`: false, `{"text":"HEC is unhealthy, queues are full","code":18}`: true,
		`{"text":"HEC is unhealthy, ack service unavailable","code":19}`: false, `{"code":20}`: true, `{"code":24}`: true,
		`{"code":25}`: true, `{"text":"Invalid token","code":21}`: false, `<html>`: false,
	} {
		for _, s := range []connectortest.Suite{suite(), withAcks(&indexers{}, new([]time.Duration))} {
			var request string
			s.Delivers = nil
			s.Accept = func(w http.ResponseWriter, r *http.Request, _ []byte) {
				request = r.Method + " " + r.URL.Path
				fmt.Fprint(w, body)
			}
			note := connectortest.Serve(t, s).Open(t).(deliver.Noter).Note(t.Context())
			if note.Backpressure != want || (note.Text != "") != want || request != "GET /services/collector/health" {
				t.Errorf("%s: %+v after %s", body, note, request)
			}
		}
	}
}

func results(err error) []error {
	if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // as the engine does
		return p.Results
	}
	return []error{err}
}

// FuzzClassify: every response yields a result for each record, and a success only where HEC confirms it.
func FuzzClassify(f *testing.F) {
	for _, body := range []string{`{"text":"Success","code":0}`, `{"code":6,"invalid-event-number":1}`,
		`{"code":9,"invalid-event-number":9}`, `<html>`, ``, `{"code":1e9}`, `{"code":24}`} {
		f.Add(200, []byte(body), uint8(3))
		f.Add(400, []byte(body), uint8(0))
	}
	template := connectortest.Response(f, http.StatusOK, nil, "")
	f.Fuzz(func(t *testing.T, status int, body []byte, n uint8) {
		a := *template
		a.Status, a.Body = status, body
		err := classify(&a, int(n), false)
		if err == nil && (status/100 != 2 || !strings.Contains(strings.ToLower(string(body)), `code`)) {
			t.Fatalf("%d %q is taken for a success", status, body)
		}
		if p, ok := err.(*deliver.PartialError); ok && len(p.Results) != int(n) { //nolint:errorlint // as the engine does
			t.Fatalf("%d verdicts for %d records", len(p.Results), n)
		}
	})
}

// indexers is a HEC with acknowledgement.
type indexers struct {
	after    int    // polls after which an id is acknowledged
	poll     string // what a poll gets instead, with a status of 400; "" is the acknowledgements
	sticky   bool   // ids are known only to requests with the cookie of the first response
	received []string
	channels map[string]bool
	polled   []string
	asked    map[string]int
}

func (x *indexers) accept(w http.ResponseWriter, r *http.Request, body []byte) {
	x.channels[r.Header.Get("X-Splunk-Request-Channel")] = true
	if strings.HasSuffix(r.URL.Path, "/services/collector/ack") {
		x.acknowledge(w, r, body)
		return
	}
	if len(body) == 0 {
		w.WriteHeader(400)
		fmt.Fprint(w, `{"text":"No data","code":5}`)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "channel_cookie", Value: "node-1", Path: "/"})
	fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, len(x.received))
	x.received = append(x.received, string(body))
}

func (x *indexers) acknowledge(w http.ResponseWriter, r *http.Request, body []byte) {
	x.polled = append(x.polled, string(body))
	if x.poll != "" {
		w.WriteHeader(400)
		fmt.Fprint(w, x.poll)
		return
	}
	var question struct{ Acks []int64 }
	_ = json.Unmarshal(body, &question)
	answer := map[string]bool{}
	for _, id := range question.Acks {
		key := fmt.Sprint(id)
		x.asked[key]++
		cookie, err := r.Cookie("channel_cookie")
		answer[key] = x.asked[key] > x.after && (!x.sticky || err == nil && cookie.Value == "node-1")
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"acks": answer})
}

// withAcks is the suite with acknowledgement. Pauses are recorded in paused instead of waited for.
func withAcks(x *indexers, paused *[]time.Duration) connectortest.Suite {
	x.channels, x.asked = map[string]bool{}, map[string]int{}
	s := suite().With("SPLUNK_HEC_ACK", "true")
	s.Open = func(set *settings.Settings) deliver.Connector {
		c := Open(set).(*connector)
		if c.cfg.ackURL != nil {
			c.pause = func(_ context.Context, d time.Duration) { *paused = append(*paused, d) }
		}
		return c
	}
	s.Delivers = func(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, "/services/collector/ack") }
	s.Accept = x.accept
	refuse := s.Refuse
	s.Refuse = func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
		if strings.Contains(string(body), bad) {
			refuse(w, r, body, bad)
			return
		}
		x.accept(w, r, body)
	}
	return s
}

func TestConformanceAck(t *testing.T) {
	var paused []time.Duration
	connectortest.Run(t, withAcks(&indexers{sticky: true}, &paused))
}

// TestAck: a batch of several requests is confirmed by common polls, over the channel and cookie of the requests.
func TestAck(t *testing.T) {
	x, paused := &indexers{after: 4, sticky: true}, []time.Duration{}
	c := connectortest.Serve(t, withAcks(x, &paused)).Open(t)
	big := connectortest.Event(1, strings.Repeat("x", 600_000))
	connectortest.Delivered(t, c, big, big, connectortest.Event(2, "a"))
	if len(x.received) != 2 || len(x.polled) != 5 || x.polled[0] != `{"acks":[0,1]}` || len(x.channels) != 1 {
		t.Errorf("%d requests, polls %q, %d channels", len(x.received), x.polled, len(x.channels))
	}
	if want := "[500ms 1s 2s 4s 5s]"; fmt.Sprint(paused) != want {
		t.Errorf("pauses %v, want %s", paused, want)
	}
}

// TestAckOfARefusal: HEC indexes the events before the one that it refuses, but a refusal has no ackId. They are
// delivered only by a request that is acknowledged.
func TestAckOfARefusal(t *testing.T) {
	x, paused := &indexers{}, []time.Duration{}
	s := withAcks(x, &paused)
	refuse := s.Refuse
	s.Accept = func(w http.ResponseWriter, r *http.Request, body []byte) { refuse(w, r, body, "poison") }
	c := connectortest.Serve(t, s).Open(t)
	got := connectortest.Deliver(t, c, connectortest.Event(1, "first"), connectortest.Event(2, "poison"),
		connectortest.Event(3, "last"))
	if got[0].State != deliver.Delivered || got[1].State != deliver.Rejected || got[2].State != deliver.Delivered {
		t.Errorf("outcomes %+v", got)
	}
	if all := strings.Join(x.received, ""); !strings.Contains(all, "first") || !strings.Contains(all, "last") {
		t.Errorf("acknowledged requests: %q", x.received)
	}
}

// TestAckThatDoesNotCome: the events are to be retried, with the reason that fits.
func TestAckThatDoesNotCome(t *testing.T) {
	for name, test := range map[string]struct {
		x    *indexers
		kind failure.Kind
		hint string
	}{
		"too late":     {&indexers{after: 1 << 30}, failure.Transient, "SPLUNK_HEC_ACK_TIMEOUT_SECONDS"},
		"another node": {&indexers{after: 1 << 30, sticky: true}, failure.Transient, "keeps sessions"},
		"disabled": {&indexers{poll: `{"text":"ACK is disabled","code":14}`}, failure.Misconfigured,
			"SPLUNK_HEC_ACK=false"},
		"busy": {&indexers{poll: `{"text":"x","code":8}`}, failure.Transient, "SPLUNK_HEC_ACK_TIMEOUT_SECONDS"},
	} {
		var paused []time.Duration
		s := withAcks(test.x, &paused).With("SPLUNK_HEC_ACK_TIMEOUT_SECONDS", "1")
		opened := s.Open
		s.Open = func(set *settings.Settings) deliver.Connector {
			c := opened(set).(*connector)
			c.pause = func(ctx context.Context, d time.Duration) {
				if paused = append(paused, d); len(paused) > 3 {
					<-ctx.Done()
				}
			}
			return c
		}
		for _, o := range connectortest.Deliver(t, connectortest.Serve(t, s).Open(t), connectortest.Events(2)...) {
			if o.State != deliver.Retry || o.Fault.Kind != test.kind || !strings.Contains(o.Fault.Hint, test.hint) {
				t.Errorf("%s: %v %+v", name, o.State, o.Fault)
			}
		}
	}
}

// TestNoAckID: a token without acknowledgement accepts events, and never confirms them.
func TestNoAckID(t *testing.T) {
	var paused []time.Duration
	s := withAcks(&indexers{}, &paused)
	s.Accept = suite().Accept
	f := connectortest.Deliver(t, connectortest.Serve(t, s).Open(t), connectortest.Events(1)...)[0].Fault
	if f == nil || f.Kind != failure.Misconfigured || !strings.Contains(f.Hint, "SPLUNK_HEC_ACK=false") {
		t.Errorf("%+v", f)
	}
}

func TestCheckAck(t *testing.T) {
	for poll, want := range map[string]string{"": "", `{"text":"ACK is disabled","code":14}`: "SPLUNK_HEC_ACK=false",
		`<html>`: "does not lead to a HEC"} {
		var paused []time.Duration
		x := &indexers{poll: poll}
		err := connectortest.Serve(t, withAcks(x, &paused)).Open(t).(deliver.Checker).Check(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", poll, err, want)
		}
		if len(x.received) > 0 {
			t.Errorf("%s: an event was written", poll)
		}
	}
}

// TestEndpoints: the other endpoints are siblings of the event endpoint.
func TestEndpoints(t *testing.T) {
	for in, want := range map[string]string{
		"https://h:8088":                           "https://h:8088/services/collector/ack",
		"https://h:8088/?x=1":                      "https://h:8088/services/collector/ack?x=1",
		"https://h/p/services/collector/event/1.0": "https://h/p/services/collector/ack",
		"https://h/services/collector":             "https://h/services/collector/ack",
		"https://h/hec/event":                      "https://h/hec/ack",
	} {
		cfg := opened(t, map[string]string{"SPLUNK_HEC_URL": in, "SPLUNK_HEC_ACK": "true"}).cfg
		health := strings.Replace(want, "/ack", "/health", 1)
		if cfg.ackURL.String() != want || cfg.healthURL.String() != health {
			t.Errorf("%s: %s and %s, want %s and %s", in, cfg.ackURL, cfg.healthURL, want, health)
		}
	}
	if u := opened(t, map[string]string{}).cfg.ackURL; u != nil {
		t.Errorf("without SPLUNK_HEC_ACK: %s", u)
	}
}
