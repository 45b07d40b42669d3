package connector

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// sendOne sends one event to a server with that response.
func sendOne(t *testing.T, status int, header map[string]string, body string) error {
	t.Helper()
	s := newIntake(t, answer(status, header, body))
	c := open(configure(t, s.URL, nil))
	e := parse(t, []byte(`{"time":1741824000123}`))
	record, _, _ := c.Append(nil, e)
	return c.Send(t.Context(), deliver.NewBatch(c.Format(), [][]byte{record}, []*event.Event{e}))
}

// TestSuccess lists what confirms acceptance, at Datadog's own intake and at that of DATADOG_INTAKE_URL.
func TestSuccess(t *testing.T) {
	for _, test := range []struct {
		status           int
		body             string
		datadog, another bool
	}{
		{202, `{}`, true, true},
		{202, "{}\n", true, true},
		{202, ``, true, true},
		{202, `{"errors":[],"id":"x"}`, false, false},
		{202, `{"errors":null}`, false, false},
		{200, `{}`, true, true},
		{200, ``, false, true},
		{200, `{"status":"ok"}`, false, true},
		{204, ``, false, true},
		{201, `{}`, false, true},
		{200, `<html>log in</html>`, false, false},
		{202, `[]`, false, false},
		{202, `{"err`, false, false},
		{202, `{"errors":[{"title":"Bad"}]}`, false, false},
		{202, `{"errors":"Bad"}`, false, false},
		{202, strings.Repeat(" ", 70<<10), false, false},
	} {
		a := connectortest.Response(t, test.status, nil, test.body)
		for i, want := range []bool{test.datadog, test.another} {
			f := failure.Of(newCodes(i == 1).Classify(a))
			if (f == nil) != want || f != nil && (f.Kind != failure.Transient || !strings.Contains(f.Hint, "DATADOG_SITE")) {
				t.Errorf("%d %.30q, DATADOG_INTAKE_URL set: %t: %v, want delivered: %t", test.status, test.body, i == 1, f, want)
			}
		}
	}
}

func TestReasons(t *testing.T) {
	const forbidden = `{"errors":[{"status":"403","title":"Forbidden","detail":"API key invalid"}]}`
	for _, test := range []struct {
		status       int
		header       map[string]string
		body         string
		detail, hint string
	}{
		{400, nil, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid JSON"}]}`,
			`"Bad Request: Invalid JSON"`, ""},
		{400, nil, `{"errors":["one","two"]}`, `"one; two"`, ""},
		{400, nil, `<html>`, "not in the error format", "DATADOG_INTAKE_URL"},
		{401, nil, forbidden, "API key invalid", "DATADOG_API_KEY"},
		{403, nil, forbidden, "API key invalid", "DATADOG_SITE"},
		{404, nil, ``, "", "DATADOG_INTAKE_URL"},
		{301, map[string]string{"Location": "https://other.example.com/secret"}, ``, "", `"other.example.com"`},
	} {
		f := failure.Of(sendOne(t, test.status, test.header, test.body))
		if f == nil || f.Status != test.status || !strings.Contains(f.Detail, test.detail) || !strings.Contains(f.Hint,
			test.hint) || strings.Contains(f.Error(), "/secret") {
			t.Errorf("%d %s: %#v, want %q with a hint of %q", test.status, test.body, f, test.detail, test.hint)
		}
	}
}

func TestRetryAfterHeaders(t *testing.T) {
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

// TestKeyNeverAppears: a response that echoes the key does not put it into a dead letter.
func TestKeyNeverAppears(t *testing.T) {
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
		{"the array is refused as a payload", nil, answer(400, nil, `{"errors":[{"status":"400","title":"Bad Request"}]}`),
			""},
		{"a bad key", answer(403, nil, `{"errors":["Forbidden"]}`), accept, failure.Auth},
		{"a key the intake refuses", answer(200, nil, `{"valid":true}`), answer(403, nil, `{"errors":["Forbidden"]}`),
			failure.Auth},
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
					if r.Method != http.MethodGet || r.URL.Path != validatePath || r.Header.Get("DD-API-KEY") != testKey ||
						len(api.bodies[0]) != 0 {
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

func TestCheckUnreachable(t *testing.T) {
	s := newIntake(t, accept)
	cfg := configure(t, s.URL, nil)
	s.Close()
	f := failure.Of(open(cfg).Check(t.Context()))
	if f == nil || f.Step != failure.Connect || !strings.Contains(f.Hint, "DATADOG_INTAKE_URL") {
		t.Errorf("%#v", f)
	}
}

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	c := &connector{codes: newCodes(false)}
	connectortest.ResponseTable(t, "../README.md", c.codes.Classify, []connectortest.Row{
		{Status: "202, 200", Code: "–", Is: 202}, {Status: "202, 200", Code: "–", Is: 200, Body: "{}"},
		{Status: "400, 422", Code: "any", Is: 422, Body: `{"errors":["x"]}`},
		{Status: "403", Code: "–", Is: 403}, {Status: "429", Code: "–", Is: 429},
	})
}

// FuzzClassify: only a response of Datadog's is a success, and the key never shows.
func FuzzClassify(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{202, `{}`}, {202, ``}, {200, ``}, {202, `{"errors":[{"title":"x"}]}`}, {400, `{"errors":["x"]}`}, {403, testKey},
		{429, `[]`},
		{202, `{"errors":null}`}, {204, ` `}, {500, "\xff\x00"}, {301, `{"errors":{}}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	c := open(configure(f, newIntake(f, accept).URL, nil))
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.cfg.intake})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := *template
		a.Status, a.Body = status, body
		err := c.codes.Classify(&a)
		var object map[string]json.RawMessage
		plain := strings.TrimSpace(string(body)) == "" || json.Unmarshal(body, &object) == nil && object != nil
		if err == nil && (status/100 != 2 || !plain) {
			t.Errorf("status %d with %q is a success", status, body)
		}
		if err != nil && strings.Contains(err.Error(), testKey) {
			t.Errorf("the key shows: %v", err)
		}
	})
}
