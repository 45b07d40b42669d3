package connector

import (
	"encoding/json"
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
)

// sendOne sends one event to a server that answers so.
func sendOne(t *testing.T, status int, header map[string]string, body string) error {
	t.Helper()
	s := newIntake(t, answer(status, header, body))
	c := open(configure(t, s.URL, nil))
	e := parse(t, []byte(`{"time":1741824000123}`))
	record, _, _ := c.Append(nil, e)
	return c.Send(t.Context(), deliver.NewBatch(c.Format(), [][]byte{record}, []*event.Event{e}))
}

func TestAnswers(t *testing.T) {
	const forbidden = `{"errors":[{"status":"403","title":"Forbidden","detail":"API key invalid"}]}`
	for _, test := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   any // nil, or a failure.Kind
		hint   string
	}{
		{name: "accepted", status: 202, body: `{}`},
		{name: "accepted with a line break", status: 202, body: "{}\n"},
		{name: "accepted without a word", status: 202},
		{name: "accepted by a proxy", status: 200, body: `{"status":"ok"}`},
		{name: "accepted by something newer", status: 202, body: `{"errors":[],"id":"x"}`},
		{name: "a success of nobody's", status: 200, want: failure.Transient, hint: "not one of Datadog's"},
		{name: "no content", status: 204, want: failure.Transient},
		{name: "a page", status: 200, body: `<html>log in</html>`, want: failure.Transient, hint: "not one of Datadog's"},
		{name: "a list", status: 202, body: `[]`, want: failure.Transient},
		{name: "half an answer", status: 202, body: `{"err`, want: failure.Transient},
		{name: "a success with errors", status: 202, body: `{"errors":[{"title":"Bad"}]}`, want: failure.Transient},
		{name: "an endless success", status: 202, body: strings.Repeat(" ", 70<<10), want: failure.Transient},
		{name: "a bad payload", status: 400, body: `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid JSON"}]}`, want: failure.Rejected},
		{name: "no key", status: 401, body: forbidden, want: failure.Unauthorized, hint: "DATADOG_API_KEY"},
		{name: "a wrong key", status: 403, body: forbidden, want: failure.Unauthorized, hint: "DATADOG_SITE"},
		{name: "a wrong address", status: 404, want: failure.Misconfigured, hint: "DATADOG_INTAKE_URL"},
		{name: "a wrong method", status: 405, want: failure.Misconfigured, hint: "DATADOG_INTAKE_URL"},
		{name: "a redirect", status: 301, header: map[string]string{"Location": "https://other.example.com/secret"}, want: failure.Misconfigured, hint: `"other.example.com"`},
		{name: "a time-out", status: 408, want: failure.Transient},
		{name: "too large", status: 413, want: failure.TooLarge},
		{name: "too much", status: 429, want: failure.Throttled},
		{name: "broken", status: 500, want: failure.Transient},
		{name: "unavailable", status: 503, want: failure.Transient},
		{name: "unheard of", status: 418, want: failure.Transient},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := sendOne(t, test.status, test.header, test.body)
			if test.want == nil {
				if err != nil {
					t.Errorf("%v, want delivered", err)
				}
				return
			}
			f := failure.Of(err)
			if f == nil || f.Kind != test.want || f.Status != test.status || !strings.Contains(f.Hint, test.hint) {
				t.Errorf("%#v, want %v with a hint of %q", f, test.want, test.hint)
			}
			if f != nil && strings.Contains(f.Error(), "/secret") {
				t.Errorf("the redirect's path is told: %v", f)
			}
		})
	}
}

func TestWaitsAsLongAsDatadogAsks(t *testing.T) {
	for _, test := range []struct {
		status int
		header map[string]string
		want   time.Duration
	}{
		{429, map[string]string{"Retry-After": "7", "X-RateLimit-Reset": "30"}, 7 * time.Second},
		{429, map[string]string{"X-RateLimit-Reset": "30", "X-RateLimit-Period": "60"}, 30 * time.Second},
		{429, map[string]string{"X-RateLimit-Period": "60"}, 60 * time.Second},
		{429, map[string]string{"X-RateLimit-Reset": "soon", "X-RateLimit-Period": "60"}, 60 * time.Second},
		{429, map[string]string{"X-RateLimit-Reset": "-1"}, 0},
		{429, nil, 0},
		{503, map[string]string{"Retry-After": "7"}, 7 * time.Second},
		{503, map[string]string{"X-RateLimit-Reset": "30"}, 0},
	} {
		f := failure.Of(sendOne(t, test.status, test.header, ""))
		if f == nil || f.RetryAfter != test.want {
			t.Errorf("%d %v: %v, want to wait %v", test.status, test.header, f, test.want)
		}
	}
}

// Whoever echoes the key to us does not get it into a dead letter.
func TestKeyIsNeverTold(t *testing.T) {
	var received string
	s := newIntake(t, nil)
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		received = r.Header.Get("DD-API-KEY")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":["key ` + received + ` is unknown"]}`))
	}
	c := open(configure(t, s.URL, nil))
	for name, try := range map[string]func() error{
		"send":  func() error { return send(t, c, parse(t, []byte(`{"time":1}`)))[0].Fault },
		"check": func() error { return c.Check(t.Context()) },
	} {
		received = ""
		err := try()
		if received != testKey || err == nil {
			t.Fatalf("%s: the server received the key %q, the error is %v", name, received, err)
		}
		if strings.Contains(err.Error(), testKey) || !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name             string
		validate, intake http.HandlerFunc
		step             failure.Step // "" when the check succeeds
	}{
		{"good", answer(200, nil, `{"valid":true}`), accept, ""},
		{"the array is refused as a payload", nil, answer(400, nil, `{"errors":[{"status":"400","title":"Bad Request"}]}`), ""},
		{"a bad key", answer(403, nil, `{"errors":["Forbidden"]}`), accept, failure.Auth},
		{"a key the intake refuses", answer(200, nil, `{"valid":true}`), answer(403, nil, `{"errors":["Forbidden"]}`), failure.Auth},
		{"a key the only host refuses", nil, answer(401, nil, `{"errors":["Unauthorized"]}`), failure.Auth},
		{"no API", answer(404, nil, ""), accept, failure.Request},
		{"no intake", nil, answer(404, nil, ""), failure.Request},
		{"another one's refusal", nil, answer(400, nil, "<html>bad request</html>"), failure.Request},
		{"another one's success", nil, answer(200, nil, "<html>welcome</html>"), failure.Request},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newIntake(t, test.intake)
			cfg := configure(t, s.URL, nil)
			if test.validate != nil {
				api := newIntake(t, test.validate)
				u := *cfg.intake
				u.Host, u.Path = strings.TrimPrefix(api.URL, "http://"), validatePath
				cfg.validate = &u
				defer func() {
					r := api.requests[0]
					if r.Method != http.MethodGet || r.URL.Path != validatePath || r.Header.Get("DD-API-KEY") != testKey || len(api.bodies[0]) != 0 {
						t.Errorf("asked the API with %s %s", r.Method, r.URL)
					}
				}()
			}
			err := open(cfg).Check(t.Context())
			if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
				t.Errorf("%v, want step %q", err, test.step)
			}
			for i, body := range s.bodies {
				if string(body) != "[]" || s.requests[i].URL.Path != intakePath {
					t.Errorf("wrote %q to %s", body, s.requests[i].URL)
				}
			}
		})
	}
}

func TestCheckOfAHostThatIsAway(t *testing.T) {
	s := newIntake(t, accept)
	cfg := configure(t, s.URL, nil)
	s.Close()
	f := failure.Of(open(cfg).Check(t.Context()))
	if f == nil || f.Step != failure.Connect || !strings.Contains(f.Hint, "DATADOG_INTAKE_URL") {
		t.Errorf("%#v", f)
	}
}

// TestAnswerTable compares the README's table with what the code does.
func TestAnswerTable(t *testing.T) {
	words := map[failure.Kind]string{
		failure.Transient: "retry", failure.Throttled: "retry", failure.Unauthorized: "held", failure.Misconfigured: "held",
		failure.TooLarge: "split", failure.Rejected: "rejected",
	}
	var rows [][]string
	for _, row := range []struct {
		label  string
		status int
		body   string
	}{
		{"202", 202, "{}"}, {"other 2xx, a JSON object", 200, "{}"}, {"other 2xx", 200, ""}, {"3xx", 302, ""}, {"400", 400, ""},
		{"401", 401, ""}, {"403", 403, ""}, {"404", 404, ""}, {"405", 405, ""}, {"408", 408, ""}, {"413", 413, ""},
		{"429", 429, ""}, {"5xx", 502, ""}, {"any other", 418, ""},
	} {
		word := "delivered"
		if f := failure.Of(sendOne(t, row.status, nil, row.body)); f != nil {
			word = words[f.Kind]
		}
		rows = append(rows, []string{row.label, "–", word})
	}
	for _, m := range meanings {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == strconv.Itoa(m.status) }) {
			t.Errorf("%d has no row of its own", m.status)
		}
	}
	connectortest.AnswerTable(t, "../README.md", rows)
}

// FuzzAnswer: whatever is answered, there is a verdict, and only what Datadog may have meant as one is a success.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{202, `{}`}, {202, ``}, {200, ``}, {202, `{"errors":[{"title":"x"}]}`}, {400, `{"errors":["x"]}`}, {403, testKey}, {429, `[]`},
		{202, `{"errors":null}`}, {204, ` `}, {500, "\xff\x00"}, {301, `{"errors":{}}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	template := anAnswer(f)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := template
		a.Status, a.Body = status, body
		err := judge(&a)
		var object map[string]json.RawMessage
		plain := status == 202 && strings.TrimSpace(string(body)) == "" || json.Unmarshal(body, &object) == nil && object != nil
		if err == nil && (status/100 != 2 || !plain) {
			t.Errorf("status %d with %q is a success", status, body)
		}
		if err != nil && strings.Contains(err.Error(), testKey) {
			t.Errorf("the key is told: %v", err)
		}
		_ = judgeProbe(&a)
	})
}

// anAnswer is an answer from a server, to be changed: only the client makes them.
func anAnswer(tb testing.TB) httpsend.Response {
	tb.Helper()
	s := newIntake(tb, accept)
	c := open(configure(tb, s.URL, nil))
	a, err := c.client.Do(tb.Context(), httpsend.Request{URL: c.cfg.intake})
	if err != nil {
		tb.Fatal(err)
	}
	return *a
}
