package connector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// sendOne sends one event to a server with that response.
func sendOne(t *testing.T, respond http.HandlerFunc) error {
	t.Helper()
	c := open(configure(t, connectortest.Record(t, respond).URL, nil))
	return c.Send(t.Context(), connectortest.Batch(t, c, `{"time":1741824000123}`))
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
		respond http.HandlerFunc
		detail  string
		hint    string
	}{
		{connectortest.Status(400, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid JSON"}]}`),
			`"Bad Request: Invalid JSON"`, ""},
		{connectortest.Status(400, `{"errors":["one","two"]}`), `"one; two"`, ""},
		{connectortest.Status(400, `<html>`), "not in the error format", "DATADOG_INTAKE_URL"},
		{connectortest.Status(401, forbidden), "API key invalid", "DATADOG_API_KEY"},
		{connectortest.Status(403, forbidden), "API key invalid", "DATADOG_SITE"},
		{connectortest.Status(404, ``), "", "DATADOG_INTAKE_URL"},
		{connectortest.Status(301, ``, "Location", "https://other.example.com/secret"), "", `"other.example.com"`},
	} {
		f := failure.Of(sendOne(t, test.respond))
		if f == nil || !strings.Contains(f.Detail, test.detail) || !strings.Contains(f.Hint, test.hint) ||
			strings.Contains(f.Error(), "/secret") {
			t.Errorf("%#v, want %q with a hint of %q", f, test.detail, test.hint)
		}
	}
}

func TestRetryAfterHeaders(t *testing.T) {
	const reset, period = "X-RateLimit-Reset", "X-RateLimit-Period"
	for _, test := range []struct {
		status int
		header []string
		want   time.Duration
	}{
		{429, []string{"Retry-After", "7", reset, "30"}, 7 * time.Second},
		{429, []string{reset, "30", period, "60"}, 30 * time.Second},
		{429, []string{period, "60"}, 60 * time.Second},
		{429, []string{reset, "soon", period, "60"}, 60 * time.Second},
		{429, []string{reset, "-1"}, 0},
		{429, nil, 0},
		{503, []string{"Retry-After", "7"}, 7 * time.Second},
		{503, []string{reset, "30"}, 0},
	} {
		f := failure.Of(sendOne(t, connectortest.Status(test.status, "", test.header...)))
		if f == nil || f.RetryAfter != test.want {
			t.Errorf("%d %v: %v, want to wait %v", test.status, test.header, f, test.want)
		}
	}
}

// TestKeyIsRedacted: a response that echoes the key does not put it into a dead letter.
func TestKeyIsRedacted(t *testing.T) {
	err := sendOne(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"errors":["key %s is unknown"]}`, r.Header.Get("DD-API-KEY"))
	})
	if text := fmt.Sprint(err); strings.Contains(text, testKey) || !strings.Contains(text, "key [redacted] is unknown") {
		t.Error(text)
	}
}

func TestCheck(t *testing.T) {
	valid, refused := connectortest.Status(200, `{"valid":true}`), connectortest.Status(403, `{"errors":["Forbidden"]}`)
	for _, test := range []struct {
		name             string
		validate, intake http.HandlerFunc
		step             failure.Step // "" when the check succeeds
	}{
		{"good", valid, accept, ""},
		{"the array is refused as a payload", nil,
			connectortest.Status(400, `{"errors":[{"status":"400","title":"Bad Request"}]}`), ""},
		{"a bad key", refused, accept, failure.Auth},
		{"a key the intake refuses", valid, refused, failure.Auth},
		{"no API", connectortest.Status(404, ""), accept, failure.Request},
		{"another one's refusal", nil, connectortest.Status(400, "<html>bad request</html>"), failure.Request},
		{"another one's success", nil, connectortest.Status(200, "<html>welcome</html>"), failure.Request},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := connectortest.Record(t, test.intake)
			cfg := configure(t, s.URL, nil)
			if test.validate != nil {
				api := connectortest.Record(t, test.validate)
				u := *cfg.intake
				u.Host, u.Path = strings.TrimPrefix(api.URL, "http://"), validatePath
				cfg.validate = &u
				defer func() {
					r := api.Requests()[0]
					if r.Method != http.MethodGet || r.URL.Path != validatePath || r.Header.Get("DD-API-KEY") != testKey ||
						r.Text != "" {
						t.Errorf("asked the API with %s %s", r.Method, r.URL)
					}
				}()
			}
			err := open(cfg).Check(t.Context())
			if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
				t.Errorf("%v, want step %q", err, test.step)
			}
			for _, r := range s.Requests() {
				if r.Text != "[]" || r.URL.Path != intakePath {
					t.Errorf("wrote %q to %s", r.Text, r.URL)
				}
			}
		})
	}
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	c := &connector{codes: newCodes(false)}
	connectortest.ResponseTable(t, c.codes.Classify, []connectortest.Row{
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
	c := open(configure(f, connectortest.Record(f, accept).URL, nil))
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
