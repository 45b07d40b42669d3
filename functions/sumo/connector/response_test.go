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
	c := connect(t, connectortest.Record(t, respond).URL, nil)
	b := connectortest.Batch(t, c, `{"time":1741824000123}`)
	err = c.Send(t.Context(), b)
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
		warnings, err := sendOne(t, connectortest.Status(200, body))
		if warned := strings.Join(warnings, "; "); err != nil || !strings.Contains(warned, warn) ||
			(warned == "") != (warn == "") {
			t.Errorf("%s: warned %q, want %q; %v", body, warned, warn, err)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		respond    http.HandlerFunc
		code, hint string
	}{
		{connectortest.Status(400, `{"id":"x","code":"parameter.invalid","message":"m"}`), "parameter.invalid", ""},
		{connectortest.Status(400, `{"code":"parameter.invalid","id":"x","errors":[{"code":"y"}]}`), "parameter.invalid", ""},
		{connectortest.Status(400, `<html>`), "", "no HTTP source"},
		{connectortest.Status(401, ``), "", "not valid any more"},
		{connectortest.Status(403, ``), "", "SUMO_HTTP_SOURCE_URL"},
		{connectortest.Status(404, ``), "", "no HTTP source"},
		{connectortest.Status(302, ``, "Location",
			"https://endpoint1.collection.eu.sumologic.com/receiver/v1/http/other"), "",
			`"endpoint1.collection.eu.sumologic.com"`},
		{connectortest.Status(408, ``), "", "twice"},
	} {
		_, err := sendOne(t, test.respond)
		f := failure.Of(err)
		if f == nil || f.Code != test.code || !strings.Contains(f.Hint, test.hint) || strings.Contains(f.Error(), "/other") {
			t.Errorf("%#v, want code %q, with a hint of %q", f, test.code, test.hint)
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
			s := connectortest.Record(t, func(w http.ResponseWriter, r *http.Request) {
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
	s := connectortest.Record(t, accept)
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
		{"good, with words", connectortest.Status(200, "ok"), ""},
		{"moved", connectortest.Status(301, "", "Location", "https://service.sumologic.com/"), failure.Request},
		{"a page", connectortest.Status(200, "\n<!doctype html>"), failure.Request},
		{"an answer without an end", connectortest.Status(200, strings.Repeat("x", 70<<10)), failure.Request},
	} {
		s := connectortest.Record(t, test.answer)
		err := connect(t, s.URL, nil).Check(t.Context())
		if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
			t.Errorf("%s: %v, want step %q", test.name, err, test.step)
		}
		if all := s.Requests(); len(all) != 1 || all[0].Method != http.MethodGet || all[0].RequestURI != testPath ||
			all[0].Text != "" {
			t.Errorf("%s: %d requests, the first %s %s", test.name, len(all), all[0].Method, all[0].RequestURI)
		}
	}
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	const refusal = `{"id":"A1B2C-D3E4F","code":"parameter.invalid","message":"no"}`
	connectortest.ResponseTable(t, codes.Classify, []connectortest.Row{
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
	s := connectortest.Record(f, accept)
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
	s := connectortest.Record(t, func(w http.ResponseWriter, r *http.Request) {
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
