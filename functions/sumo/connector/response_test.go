package connector

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

// sendOne sends one event to a server that responds like this.
func sendOne(t *testing.T, respond http.HandlerFunc) (warnings []string, err error) {
	t.Helper()
	s := newSource(t, respond)
	b := connectortest.Batch(t, connect(t, s.URL, nil), `{"time":1741824000123}`)
	err = connect(t, s.URL, nil).Send(t.Context(), b)
	return b.Warnings(), err
}

func TestWarnings(t *testing.T) {
	for body, warn := range map[string]string{
		``:   "",
		"\n": "",
		`{"id":"x","code":"header.invalid","message":"m","status":200}`: "status 200 and code header.invalid",
		`{"id":"x","errors":[{"code":"fields.dropped","message":"m"}]}`: "code fields.dropped",
		`{"code":"alice said \"hello\""}`:                               "code unknown",
		`{"code":7,"errors":"none"}`:                                    "code unknown",
		`{"code":"` + strings.Repeat("x", 65) + `"}`:                    "code unknown",
		`[]`: "code unknown",
	} {
		warnings, err := sendOne(t, answer(200, nil, body))
		if warned := strings.Join(warnings, "; "); err != nil || !strings.Contains(warned, warn) ||
			(warned == "") != (warn == "") {
			t.Errorf("%s: warned %q, want %q; %v", body, warned, warn, err)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		status           int
		header           map[string]string
		body, code, hint string
	}{
		{400, nil, `{"id":"x","code":"parameter.invalid","message":"m"}`, "parameter.invalid", ""},
		{400, nil, `{"code":"parameter.invalid","id":"x","errors":[{"code":"y"}]}`, "parameter.invalid", ""},
		{400, nil, `<html>`, "", "no HTTP source"},
		{401, nil, ``, "", "not valid any more"},
		{403, nil, ``, "", "SUMO_HTTP_SOURCE_URL"},
		{404, nil, ``, "", "no HTTP source"},
		{302, map[string]string{"Location": "https://endpoint1.collection.eu.sumologic.com/receiver/v1/http/other"}, ``, "",
			`"endpoint1.collection.eu.sumologic.com"`},
		{408, nil, ``, "", "twice"},
	} {
		_, err := sendOne(t, answer(test.status, test.header, test.body))
		f := failure.Of(err)
		if f == nil || f.Status != test.status || f.Code != test.code || !strings.Contains(f.Hint, test.hint) ||
			strings.Contains(f.Error(), "/other") {
			t.Errorf("%d %s: %#v, want code %q, with a hint of %q", test.status, test.body, f, test.code, test.hint)
		}
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
	{"code, in a query", func(r *http.Request) string {
		return "?code=" + url.QueryEscape(r.RequestURI[len(sourcePath):])
	}},
	{"code, as Java's JSON", func(r *http.Request) string {
		return strings.ReplaceAll(r.RequestURI[len(sourcePath):], "=", `\u003d`)
	}},
	{"code, as HTML", func(r *http.Request) string {
		return strings.ReplaceAll(r.RequestURI[len(sourcePath):], "=", "&#61;")
	}},
}

// TestURLNeverAppears has a server say the URL in every status and shape, to a delivery and to a check.
func TestURLNeverAppears(t *testing.T) {
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

func TestURLNotInNetworkErrors(t *testing.T) {
	s := newSource(t, accept)
	c := connect(t, s.URL, nil)
	s.Close()
	err := c.Check(t.Context())
	if f := failure.Of(err); f == nil || f.Step != failure.Connect || !strings.Contains(f.Hint, "SUMO_HTTP_SOURCE_URL") ||
		strings.Contains(err.Error(), testCode[:20]) {
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
			if r := s.requests[0]; r.Method != http.MethodGet || r.RequestURI != testPath || len(s.bodies[0]) > 0 ||
				len(s.requests) != 1 {
				t.Errorf("%d requests, the first %s %s", len(s.requests), r.Method, r.RequestURI)
			}
		})
	}
}

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	const refusal = `{"id":"A1B2C-D3E4F","code":"parameter.invalid","message":"no"}`
	connectortest.ResponseTable(t, "../README.md", codes.Classify, []connectortest.Row{
		{Status: "200", Code: "–", Is: 200}, {Status: "200", Code: "any", Is: 200, Body: `{"code":"x"}`},
		{Status: "other 2xx", Code: "–", Is: 204}, {Status: "400, 422", Code: "any", Is: 400, Body: refusal},
		{Status: "408", Code: "–", Is: 408}, {Status: "429", Code: "–", Is: 429},
	})
}

// FuzzClassify: whatever the response, there is a result, the URL does not show, and a warning is one short line.
func FuzzClassify(f *testing.F) {
	for _, seed := range []struct {
		status int
		body   string
	}{
		{200, ``}, {200, `{"code":"a.b"}`}, {200, testPath}, {400, `{"errors":[{"code":"x"}]}`},
		{401, `{"code":"` + testCode + `"}`},
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
		warning, err := warning(&a), codes.Classify(&a)
		empty := strings.TrimSpace(string(body)) == ""
		if (err == nil) != (status == 200 && (empty || json.Valid(body))) {
			t.Errorf("status %d: %v", status, err)
		}
		told := warning
		if err != nil {
			told += err.Error()
		}
		if len(warning) > 150 || strings.ContainsAny(warning, "\r\n") || strings.Contains(told, strings.Trim(testCode, "=")) {
			t.Errorf("status %d with %q: warning %q, told %q", status, body, warning, told)
		}
	})
}

// TestPlainCodeNeverAppears: the secret code of the source is redacted even if it looks like a response code.
func TestPlainCodeNeverAppears(t *testing.T) {
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
	if told := strings.Join(b.Warnings(), " "); strings.Contains(told, code) || !strings.Contains(told, "code unknown") {
		t.Errorf("warnings: %s", told)
	}
}
