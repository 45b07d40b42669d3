package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

func opened(t testing.TB, env map[string]string) *connector {
	t.Helper()
	if env["SPLUNK_HEC_URL"] == "" {
		env["SPLUNK_HEC_URL"] = "https://splunk.example:8088"
	}
	env["SPLUNK_HEC_TOKEN"] = testToken
	return connectortest.Read(t, env, Open).(*connector)
}

const testToken = "11111111-2222-3333-4444-secret-token"

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, ca string) map[string]string {
			return map[string]string{"SPLUNK_HEC_URL": url, "SPLUNK_HEC_TLS_CA_BUNDLE": ca,
				"SPLUNK_HEC_TOKEN": testToken}
		},
		Secrets:  []string{testToken},
		MaxBytes: 1_000_000,
		Wrong: map[string]string{
			"SPLUNK_HEC_URL": "splunk.example:8088", "SPLUNK_HEC_TOKEN": testToken + "\nb", "SPLUNK_HEC_INDEX": "a\nb",
			"SPLUNK_HEC_SOURCE": "a\rb", "SPLUNK_HEC_SOURCETYPE": "a\x00b", "SPLUNK_HEC_TLS_CA_BUNDLE": "/no/such/file",
			"SPLUNK_HEC_ACK": "maybe", "SPLUNK_HEC_ACK_TIMEOUT_SECONDS": "0", "SIEM_HOST": "a\nb",
			"SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
		},
		Accept: connectortest.Status(200, accepted),
		Refuse: func(w http.ResponseWriter, r *http.Request) {
			i := slices.IndexFunc(strings.Split(connectortest.Body(r), "\n"), func(line string) bool {
				return strings.Contains(line, connectortest.Bad)
			})
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"text":"Invalid data format","code":6,"invalid-event-number":%d}`, i)
		},
	}
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, suite())
	t.Run("without a number", func(t *testing.T) { // a HEC, or a proxy, that does not say which event it refuses
		s := suite()
		s.Refuse = connectortest.Status(400, `{"text":"Invalid data format","code":6}`)
		connectortest.Run(t, s)
	})
	t.Run("acknowledgement", func(t *testing.T) {
		var paused []time.Duration
		connectortest.Run(t, withAcks(&indexers{sticky: true}, &paused))
	})
}

// TestPage: the platform's page shows these bytes for its sample event.
func TestPage(t *testing.T) {
	const want = `{"time":1741824000.123,"host":"platform.arbitex.ai","source":"arbitex-platform",` +
		`"sourcetype":"arbitex:audit","index":"arbitex","event":` + connectortest.SampleEvent + "}"
	got, truncated, err := opened(t, map[string]string{}).Append(nil,
		connectortest.Parse(t, connectortest.SampleEvent))
	if err != nil || truncated || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEnvelope(t *testing.T) {
	c := opened(t, map[string]string{"SPLUNK_HEC_INDEX": `in"dex`, "SPLUNK_HEC_SOURCE": "söurce",
		"SPLUNK_HEC_SOURCETYPE": "st", "SIEM_HOST": "h"})
	for in, want := range map[string]string{
		`{"time":0}`: `{"time":0.000,"host":"h","source":"söurce","sourcetype":"st","index":"in\"dex",` +
			`"event":{"time":0}}`,
		`{"time":5}`:                        `{"time":0.005,`,
		`{"time":1099}`:                     `{"time":1.099,`,
		`{"time":253402300799999}`:          `{"time":253402300799.999,`,
		" { \"time\" : 1 ,\n\"a\":\" b \"}": `"event":{"time":1,"a":" b "}}`,
	} {
		got, _, err := c.Append(nil, connectortest.Parse(t, in))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestURL: a URL without a path gets that of the event endpoint. The other endpoints are its siblings.
func TestURL(t *testing.T) {
	for in, want := range map[string][2]string{
		"https://h:8088":               {"https://h:8088/services/collector/event", "https://h:8088/services/collector/ack"},
		"https://h/?x=1":               {"https://h/services/collector/event?x=1", "https://h/services/collector/ack?x=1"},
		"https://h/services/collector": {"https://h/services/collector", "https://h/services/collector/ack"},
		"https://h/p/services/collector/event?a=b&c=d": {"https://h/p/services/collector/event?a=b&c=d",
			"https://h/p/services/collector/ack?a=b&c=d"},
		"https://h/services/collector/event/1.0": {"https://h/services/collector/event/1.0",
			"https://h/services/collector/ack"},
		"https://h/hec/event": {"https://h/hec/event", "https://h/hec/ack"},
	} {
		c := opened(t, map[string]string{"SPLUNK_HEC_URL": in, "SPLUNK_HEC_ACK": "true"})
		health := strings.Replace(want[1], "/ack", "/health", 1)
		if c.url.String() != want[0] || c.ackURL.String() != want[1] || c.endpoint("health").String() != health {
			t.Errorf("%s: %s, %s and %s, want %q", in, c.url, c.ackURL, c.endpoint("health"), want)
		}
	}
	if u := opened(t, map[string]string{}).ackURL; u != nil {
		t.Errorf("without SPLUNK_HEC_ACK: %s", u)
	}
}

func TestBadURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h:8088/services/collector/raw":           "not the raw endpoint",
		"https://h:8088/services/collector/raw/1.0?a=b":   "not the raw endpoint",
		"https://h:8088/services/collector?token=0123456": "without a token",
		"https://h:8088/services/collector#x":             "no fragment",
	} {
		s := connectortest.Settings(map[string]string{"SPLUNK_HEC_URL": in, "SPLUNK_HEC_TOKEN": "t"})
		Open(s)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123456") {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// TestRequestOnTheWire: what a HEC sees of a request.
func TestRequestOnTheWire(t *testing.T) {
	srv, c := connectortest.Serve(t, suite())
	connectortest.Delivered(t, c, connectortest.Event(1, "a"), connectortest.Event(2, "b"))
	connectortest.Delivered(t, c, connectortest.Event(3, "c"))
	r := srv.Requests()
	if len(r) != 2 {
		t.Fatalf("%d requests, want 2", len(r))
	}
	h, channel := r[0].Header, r[0].Header.Get("X-Splunk-Request-Channel")
	if h.Get("Authorization") != "Splunk "+testToken || h.Get("Content-Type") != "application/json" ||
		h.Get("Content-Encoding") != "gzip" {
		t.Errorf("header %v", h)
	}
	if parts := strings.Split(channel, "-"); len(channel) != 36 || len(parts) != 5 ||
		r[1].Header.Get("X-Splunk-Request-Channel") != channel {
		t.Errorf("channel %q, then %q: want one GUID", channel, r[1].Header.Get("X-Splunk-Request-Channel"))
	}
	if body := r[0].Text; strings.Count(body, "\n") != 1 || strings.HasSuffix(body, "\n") {
		t.Errorf("body %q, want two objects with a line break between them", body)
	}
}

// TestLargeEventGoesAlone: an event that is larger than a request should be is sent by itself.
func TestLargeEventGoesAlone(t *testing.T) {
	srv, c := connectortest.Serve(t, suite())
	connectortest.Delivered(t, c, connectortest.Event(0, "a"),
		connectortest.Event(1, strings.Repeat("x", 1_040_000)), connectortest.Event(2, "b"))
	if n := len(srv.Requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"token is good":  {400, `{"text":"No data","code":5}`, ""},
		"unknown token":  {403, `{"text":"Invalid token","code":4}`, "does not know the token"},
		"disabled token": {403, `{"text":"Token disabled","code":1}`, "disabled"},
		"channel is lost": {400, `{"text":"Data channel is missing","code":10}`,
			"removes the X-Splunk-Request-Channel header"},
		"web port":         {404, `<html>`, "does not lead to a HEC"},
		"takes everything": {200, `{"text":"Success","code":0}`, "does not lead to a HEC event endpoint"},
		"health endpoint":  {200, `{"text":"HEC is healthy","code":17}`, "health endpoint"},
		"busy":             {503, `{"text":"Server is busy","code":9}`, "Server is busy"},
	} {
		s := suite()
		s.Accept = connectortest.Status(c.status, c.body)
		srv, connector := connectortest.Serve(t, s)
		err := connector.(deliver.Checker).Check(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if sent := srv.Bodies(); len(sent) != 1 || sent[0] != "" {
			t.Errorf("%s: sent %q", name, sent)
		}
	}
}

func FuzzAppend(f *testing.F) {
	c := opened(f, map[string]string{})
	connectortest.FuzzAppend(f, c, func(t *testing.T, record []byte, _ *event.Event) string {
		var envelope struct {
			Time  json.Number
			Event json.RawMessage
		}
		if err := json.Unmarshal(record, &envelope); err != nil {
			t.Fatalf("%q: %v", record, err)
		}
		return string(envelope.Event)
	})
}

func BenchmarkAppend(b *testing.B) { connectortest.BenchmarkAppend(b, opened(b, map[string]string{})) }

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
		for code := range strings.FieldsSeq(row.Code) {
			if n, err := strconv.Atoi(code); err == nil && n >= len(statuses) {
				t.Errorf("code %d has no row", n)
			}
		}
	}
}

// TestPartial: what HEC says it took is not sent again.
func TestPartial(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string // for each record, or for all: d delivered, x rejected, s sent again, r retry, h held
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
			got.WriteString(strings.NewReplacer("rejected", "x", "delivered", "d", "sent again", "s", "retry", "r",
				"held", "h").Replace(connectortest.Outcome(err)))
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
		s.Accept = connectortest.Status(200, body)
		_, c := connectortest.Serve(t, s)
		b := connectortest.Batch(t, c, connectortest.SampleEvent)
		b.Meter = new(telemetry.Meter)
		err := c.Send(t.Context(), b)
		if (b.Meter.Backpressure == 1) != (want != "") {
			t.Errorf("%s: %+v", body, b.Meter)
		}
		if got := strings.Join(b.Warnings(), " "); err != nil || (got == "") != (want == "") ||
			!strings.Contains(got, want) {
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
			s.Accept = connectortest.Status(200, body)
			srv, c := connectortest.Serve(t, s)
			note := c.(deliver.Noter).Note(t.Context())
			if r := srv.Requests()[0]; note.Backpressure != want || (note.Text != "") != want ||
				r.Method+" "+r.URL.Path != "GET /services/collector/health" {
				t.Errorf("%s: %+v after %s %s", body, note, r.Method, r.URL)
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
		if all := results(err); len(all) > 1 && len(all) != int(n) {
			t.Fatalf("%d verdicts for %d records", len(all), n)
		}
	})
}

// indexers is a HEC with acknowledgement.
type indexers struct {
	after    int    // polls after which an id is acknowledged
	poll     string // what a poll gets instead, with a status of 400; "" is the acknowledgements
	sticky   bool   // ids are known only to requests with the cookie of the first response
	same     bool   // all requests get the id 0
	received []string
	channels map[string]bool
	polled   []string
	asked    map[string]int
}

func (x *indexers) accept(w http.ResponseWriter, r *http.Request) {
	body := connectortest.Body(r)
	x.channels[r.Header.Get("X-Splunk-Request-Channel")] = true
	if strings.HasSuffix(r.URL.Path, "/services/collector/ack") {
		x.acknowledge(w, r, body)
		return
	}
	if body == "" {
		connectortest.Status(400, `{"text":"No data","code":5}`)(w, r)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "channel_cookie", Value: "node-1", Path: "/"})
	id := len(x.received)
	if x.same {
		id = 0
	}
	fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, id)
	x.received = append(x.received, body)
}

func (x *indexers) acknowledge(w http.ResponseWriter, r *http.Request, body string) {
	x.polled = append(x.polled, body)
	if x.poll != "" {
		connectortest.Status(400, x.poll)(w, r)
		return
	}
	var question struct{ Acks []int64 }
	_ = json.Unmarshal([]byte(body), &question)
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
		c.pause = func(_ context.Context, d time.Duration) { *paused = append(*paused, d) }
		return c
	}
	s.Delivers = func(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, "/services/collector/ack") }
	s.Accept = x.accept
	return s
}

// TestAck: a batch of several requests is confirmed by common polls, over the channel and cookie of the requests.
func TestAck(t *testing.T) {
	x, paused := &indexers{after: 4, sticky: true}, []time.Duration{}
	_, c := connectortest.Serve(t, withAcks(x, &paused))
	big := connectortest.Event(1, strings.Repeat("x", 600_000))
	connectortest.Delivered(t, c, big, big, connectortest.Event(2, "a"))
	if len(x.received) != 2 || len(x.polled) != 5 || x.polled[0] != `{"acks":[0,1]}` || len(x.channels) != 1 {
		t.Errorf("%d requests, polls %q, %d channels", len(x.received), x.polled, len(x.channels))
	}
	if want := "[500ms 1s 2s 4s 5s]"; fmt.Sprint(paused) != want {
		t.Errorf("pauses %v, want %s", paused, want)
	}
}

// TestAckOfAnotherIndexer: two indexers give the same id to two requests, and the acknowledgement of one is no proof.
func TestAckOfAnotherIndexer(t *testing.T) {
	x, paused := &indexers{same: true}, []time.Duration{}
	_, c := connectortest.Serve(t, withAcks(x, &paused))
	big := connectortest.Event(1, strings.Repeat("x", 600_000))
	got := connectortest.Deliver(t, c, big, big)
	connectortest.CheckOutcomes(t, "two requests with one id", got, "retry", "retry")
	if hint := got[0].Fault.Hint; !strings.Contains(hint, "keep sessions") || strings.Contains(hint, "TIMEOUT") {
		t.Errorf("hint %q", hint)
	}
	if len(x.received) != 2 || len(x.polled) != 0 {
		t.Errorf("%d requests, polls %q", len(x.received), x.polled)
	}
}

// TestAckOfARefusal: HEC indexes the events before the one that it refuses, but a refusal has no ackId. They are
// delivered only by a request that is acknowledged.
func TestAckOfARefusal(t *testing.T) {
	x, paused := &indexers{}, []time.Duration{}
	s := withAcks(x, &paused)
	s.Accept = func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(connectortest.Body(r), connectortest.Bad) {
			s.Refuse(w, r)
			return
		}
		x.accept(w, r)
	}
	_, c := connectortest.Serve(t, s)
	got := connectortest.Deliver(t, c, connectortest.Event(1, "first"), connectortest.Event(2, connectortest.Bad),
		connectortest.Event(3, "last"))
	connectortest.CheckOutcomes(t, "one of three is refused", got, "delivered", "rejected", "delivered")
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
		_, c := connectortest.Serve(t, s)
		for _, o := range connectortest.Deliver(t, c, connectortest.Events(2)...) {
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
	_, c := connectortest.Serve(t, s)
	f := connectortest.Deliver(t, c, connectortest.Events(1)...)[0].Fault
	if f == nil || f.Kind != failure.Misconfigured || !strings.Contains(f.Hint, "SPLUNK_HEC_ACK=false") {
		t.Errorf("%+v", f)
	}
}

func TestCheckAck(t *testing.T) {
	for poll, want := range map[string]string{"": "", `{"text":"ACK is disabled","code":14}`: "SPLUNK_HEC_ACK=false",
		`<html>`: "does not lead to a HEC"} {
		var paused []time.Duration
		x := &indexers{poll: poll}
		_, c := connectortest.Serve(t, withAcks(x, &paused))
		err := c.(deliver.Checker).Check(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", poll, err, want)
		}
		if len(x.received) > 0 {
			t.Errorf("%s: an event was written", poll)
		}
	}
}
