package connector

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// sendOne sends one event to a server that answers so.
func sendOne(t *testing.T, answer http.HandlerFunc) (warnings []string, err error) {
	t.Helper()
	s := newSource(t, answer)
	c := connect(t, s.URL, nil)
	e := connectortest.Parse(t, `{"time":1741824000123}`)
	b := deliver.NewBatch(c.Format(), [][]byte{e.Body}, []*event.Event{e})
	err = c.Send(t.Context(), b)
	return b.Warnings(), err
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   any // nil, or a failure.Kind
		code   string
		hint   string
		warn   string
	}{
		{name: "accepted", status: 200},
		{name: "no content", status: 204},
		{name: "accepted with white space", status: 200, body: "\n"},
		{name: "accepted with a code", status: 200, body: `{"id":"x","code":"header.invalid","message":"m","status":200}`, warn: "status 200 and code header.invalid"},
		{name: "accepted with a list", status: 200, body: `{"id":"x","errors":[{"code":"fields.dropped","message":"m"}]}`, warn: "code fields.dropped"},
		{name: "a code of words", status: 200, body: `{"code":"alice said \"hello\""}`, warn: "code unknown"},
		{name: "a code of another type", status: 200, body: `{"code":7,"errors":"none"}`, warn: "code unknown"},
		{name: "a code that is long", status: 200, body: `{"code":"` + strings.Repeat("x", 65) + `"}`, warn: "code unknown"},
		{name: "a page", status: 200, body: `<html>`, warn: "not in Sumo Logic's words"},
		{name: "half a body", status: 200, body: `{"code":"x`, warn: "not in Sumo Logic's words"},
		{name: "another success", status: 202, want: failure.Transient},
		{name: "refused", status: 400, body: `{"code":"parameter.invalid","errors":[]}`, want: failure.Rejected, code: "parameter.invalid"},
		{name: "refused without a word", status: 400, want: failure.Rejected},
		{name: "an old URL", status: 401, want: failure.Unauthorized, hint: "not valid any more"},
		{name: "forbidden", status: 403, want: failure.Unauthorized, hint: "SUMO_HTTP_SOURCE_URL"},
		{name: "nothing there", status: 404, want: failure.Misconfigured, hint: "no HTTP source"},
		{name: "no source", status: 405, want: failure.Misconfigured, hint: "no HTTP source"},
		{name: "moved", status: 302, header: map[string]string{"Location": "https://endpoint1.collection.eu.sumologic.com/receiver/v1/http/other"}, want: failure.Misconfigured, hint: `"endpoint1.collection.eu.sumologic.com"`},
		{name: "timed out", status: 408, want: failure.Transient, hint: "twice"},
		{name: "too large", status: 413, want: failure.TooLarge},
		{name: "throttled", status: 429, want: failure.Throttled},
		{name: "broken", status: 500, want: failure.Transient},
		{name: "unavailable", status: 503, want: failure.Transient},
		{name: "unheard of", status: 418, want: failure.Transient},
	} {
		t.Run(test.name, func(t *testing.T) {
			warnings, err := sendOne(t, answer(test.status, test.header, test.body))
			if warned := strings.Join(warnings, "; "); !strings.Contains(warned, test.warn) || (warned == "") != (test.warn == "") {
				t.Errorf("warned %q, want %q", warned, test.warn)
			}
			f := failure.Of(err)
			if test.want == nil {
				if f != nil {
					t.Errorf("%v, want delivered", f)
				}
				return
			}
			if f == nil || f.Kind != test.want || f.Status != test.status || f.Code != test.code || !strings.Contains(f.Hint, test.hint) {
				t.Errorf("%#v, want %v, code %q, with a hint of %q", f, test.want, test.code, test.hint)
			}
			if f != nil && strings.Contains(f.Error(), "/other") {
				t.Errorf("the redirect's path is told: %v", f)
			}
		})
	}
}

// shapes are the ways in which a server may say the URL it was asked at.
var shapes = []struct {
	name string
	say  func(r *http.Request) string
}{
	{"whole", func(r *http.Request) string { return "http://" + r.Host + r.RequestURI }},
	{"path", func(r *http.Request) string { return r.RequestURI }},
	{"path, decoded", func(r *http.Request) string { return r.URL.Path }},
	{"path without its slash", func(r *http.Request) string { return r.RequestURI[1:] }},
	{"code", func(r *http.Request) string { return r.RequestURI[len(sourcePath):] }},
	{"code, decoded", func(r *http.Request) string { return r.URL.Path[len(sourcePath):] }},
	{"code, in a query", func(r *http.Request) string { return "?code=" + url.QueryEscape(r.RequestURI[len(sourcePath):]) }},
	{"code, as Java's JSON", func(r *http.Request) string {
		return strings.ReplaceAll(r.RequestURI[len(sourcePath):], "=", `\u003d`)
	}},
	{"code, as HTML", func(r *http.Request) string { return strings.ReplaceAll(r.RequestURI[len(sourcePath):], "=", "&#61;") }},
}

// TestURLIsNeverTold has a server say the URL in every status and shape, to a delivery and to a check.
func TestURLIsNeverTold(t *testing.T) {
	for _, status := range []int{200, 202, 302, 400, 401, 404, 429, 500} {
		for _, shape := range shapes {
			received := ""
			s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
				received = r.RequestURI
				w.Header().Set("Location", shape.say(r))
				w.WriteHeader(status)
				_ = json.NewEncoder(w).Encode(map[string]string{"code": shape.say(r), "message": "no " + shape.say(r) + " here"})
			})
			c := connect(t, s.URL, nil)
			e := connectortest.Parse(t, `{"time":1}`)
			b := deliver.NewBatch(c.Format(), [][]byte{e.Body}, []*event.Event{e})
			told := strings.Join(b.Warnings(), " ")
			for _, err := range []error{c.Send(t.Context(), b), c.Check(t.Context())} {
				if f := failure.Of(err); f != nil {
					told += f.Error() + f.Brief()
				}
			}
			told += strings.Join(b.Warnings(), " ")
			if received != testPath {
				t.Fatalf("the server was asked for %q, so that nothing is proven", received)
			}
			if told == "" {
				t.Errorf("%d: nothing was told at all", status)
			}
			if strings.Contains(told, testCode[:20]) || strings.Contains(told, testCode[20:30]) {
				t.Errorf("%d, %s: %s", status, shape.name, told)
			}
		}
	}
}

func TestURLIsNotToldByTheNetwork(t *testing.T) {
	s := newSource(t, accept)
	c := connect(t, s.URL, nil)
	s.Close()
	err := c.Check(t.Context())
	if f := failure.Of(err); f == nil || f.Step != failure.Connect || !strings.Contains(f.Hint, "SUMO_HTTP_SOURCE_URL") || strings.Contains(err.Error(), testCode[:20]) {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		step   failure.Step // "" when the check succeeds
	}{
		{"good", accept, ""},
		{"good, with words", answer(200, nil, "ok"), ""},
		{"an old URL", answer(401, nil, ""), failure.Auth},
		{"nothing there", answer(404, nil, ""), failure.Request},
		{"moved", answer(301, map[string]string{"Location": "https://service.sumologic.com/"}, ""), failure.Request},
		{"a page", answer(200, nil, "\n<!doctype html>"), failure.Request},
		{"an answer without an end", answer(200, nil, strings.Repeat("x", 70<<10)), failure.Request},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSource(t, test.answer)
			err := connect(t, s.URL, nil).Check(t.Context())
			if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
				t.Errorf("%v, want step %q", err, test.step)
			}
			if r := s.requests[0]; r.Method != http.MethodGet || r.RequestURI != testPath || len(s.bodies[0]) > 0 || len(s.requests) != 1 {
				t.Errorf("%d requests, the first %s %s", len(s.requests), r.Method, r.RequestURI)
			}
		})
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
		label, code string
		status      int
		body        string
	}{
		{"200, 204", "–", 200, ""}, {"200, 204", "any, in a body", 200, `{"code":"x"}`}, {"other 2xx", "–", 202, ""},
		{"3xx", "–", 302, ""}, {"400", "any", 400, ""}, {"401", "–", 401, ""}, {"403", "–", 403, ""}, {"404", "–", 404, ""},
		{"405", "–", 405, ""}, {"408", "–", 408, ""}, {"413", "–", 413, ""}, {"429", "–", 429, ""}, {"5xx", "–", 502, ""},
		{"any other", "–", 418, ""},
	} {
		word := "delivered"
		warnings, err := sendOne(t, answer(row.status, nil, row.body))
		if f := failure.Of(err); f != nil {
			word = words[f.Kind]
		} else if len(warnings) > 0 {
			word = "delivered, with a warning"
		}
		rows = append(rows, []string{row.label, row.code, word})
	}
	for _, m := range meanings {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == strconv.Itoa(m.status) }) {
			t.Errorf("%d has no row of its own", m.status)
		}
	}
	connectortest.AnswerTable(t, "../README.md", rows)
}

// FuzzAnswer: whatever is answered, there is a verdict, the URL is not told, and a warning is one short line.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{200, ``}, {200, `{"code":"a.b"}`}, {200, testPath}, {400, `{"errors":[{"code":"x"}]}`}, {401, `{"code":"` + testCode + `"}`},
		{200, `{"code":null,"errors":[null,{}]}`}, {204, "\xff"}, {429, `[]`}, {302, `{"errors":{}}`},
	} {
		f.Add(seed.status, []byte(seed.body))
	}
	s := newSource(f, accept)
	c := connect(f, s.URL, nil)
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.cfg.url})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := *template
		a.Status, a.Body = status, body
		warning, err := c.judge(&a)
		if (err == nil) != (status == 200 || status == 204) || warning != "" && err != nil {
			t.Errorf("status %d: %v, warning %q", status, err, warning)
		}
		told := warning
		for _, err := range []error{err, c.judgeCheck(&a)} {
			if err != nil {
				told += err.Error()
			}
		}
		if len(warning) > 150 || strings.ContainsAny(warning, "\r\n") || strings.Contains(told, strings.Trim(testCode, "=")) {
			t.Errorf("status %d with %q: warning %q, told %q", status, body, warning, told)
		}
	})
}

// TestPlainCodeIsNeverTold: a source's code that looks like an answer's code is cut out of it all the same.
func TestPlainCodeIsNeverTold(t *testing.T) {
	const code = "ZaVnC4dhaV"
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"code": path.Base(r.URL.Path)})
	})
	c := connect(t, s.URL, map[string]string{"SUMO_HTTP_SOURCE_URL": s.URL + sourcePath + code})
	e := connectortest.Parse(t, `{"time":1}`)
	b := deliver.NewBatch(c.Format(), [][]byte{e.Body}, []*event.Event{e})
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if told := strings.Join(b.Warnings(), " "); strings.Contains(told, code) || !strings.Contains(told, "code [redacted]") {
		t.Errorf("warnings: %s", told)
	}
}
