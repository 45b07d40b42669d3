package connector

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
)

const (
	testCode = "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA/b+Kx=="
	testPath = sourcePath + "ZaVnC4dhaV0xvT3Zpb1JkZWZnaA%2Fb+Kx=="
)

func accept(http.ResponseWriter, *http.Request) {}

// connect opens a connector to the source at url, with more or other values.
func connect(tb testing.TB, url string, more map[string]string) *connector {
	tb.Helper()
	values := map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath, "SIEM_ALLOW_HTTP": "true"}
	maps.Copy(values, more)
	return connectortest.Read(tb, values, Open).(*connector)
}

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return map[string]string{"SUMO_HTTP_SOURCE_URL": url + testPath}
		},
		PlainHTTP: true,
		Secrets:   []string{testPath, testPath[len(sourcePath):]},
		MaxBytes:  1_000_000,
		Wrong: map[string]string{
			"SUMO_HTTP_SOURCE_URL": "ftp://collectors.sumologic.com" + testPath, "SUMO_CATEGORY": "a\nb",
			"SUMO_HOST": "a\rb", "SIEM_COMPRESSION": "zip", "SIEM_REQUEST_TIMEOUT_SECONDS": "0",
			"SIEM_ALLOW_HTTP": "si",
		},
		Accept: accept,
		Refuse: connectortest.Status(400,
			`{"id":"A1B2C-D3E4F","status":400,"code":"parameter.invalid","message":"no","errors":[]}`),
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestPage(t *testing.T) {
	const want = `{"class_uid":6003,"time":1741824000123,"actor":{"user":{"uid":"user_abc"}}}` + "\n" +
		`{"class_uid":6003,"time":1741824000456,"actor":{"user":{"uid":"user_def"}}}`
	s := connectortest.Record(t, accept)
	for category, more := range map[string]map[string]string{"arbitex/audit": nil, "a b": {"SUMO_CATEGORY": "a b",
		"SUMO_HOST": "h"}} {
		s.Reset()
		connectortest.Delivered(t, connect(t, s.URL, more),
			"{ \"class_uid\": 6003, \"time\": 1741824000123,\n\"actor\": { \"user\": { \"uid\": \"user_abc\" } } }\n",
			`{"class_uid":6003,"time":1741824000456,"actor":{"user":{"uid":"user_def"}}}`)
		r := s.Requests()[0]
		if r.Text != want || r.Method != http.MethodPost || r.RequestURI != testPath {
			t.Errorf("%s %s\n%s\nwant\n%s", r.Method, r.RequestURI, r.Text, want)
		}
		host := map[bool]string{true: "platform.arbitex.ai", false: "h"}[more == nil]
		if h := r.Header; h.Get("Content-Type") != "application/json" || h.Get("X-Sumo-Category") != category ||
			h.Get("X-Sumo-Host") != host {
			t.Errorf("headers %v", h)
		}
	}
}

// TestLargeEvents: the limit of a request is also that of an event. Sumo Logic slices lines over 64 KB.
func TestLargeEvents(t *testing.T) {
	sized := func(size int) string {
		const before, after = `{"time":1,"pad":"`, `"}`
		return before + strings.Repeat("x", size-len(before)-len(after)) + after
	}
	s := connectortest.Record(t, accept)
	outcomes := connectortest.Deliver(t, connect(t, s.URL, nil), sized(70_000), sized(1_000_001), sized(1_000_000))
	connectortest.CheckOutcomes(t, "three sizes", outcomes, "delivered", "rejected", "delivered")
	if !strings.Contains(outcomes[1].Fault.Error(), "at most 1000000") {
		t.Errorf("too large: %v", outcomes[1].Fault)
	}
	for _, r := range s.Requests() {
		if n := len(r.Text); n != 70_000 && n != 1_000_000 {
			t.Errorf("a request of %d bytes", n)
		}
	}
}

func FuzzAppend(f *testing.F) {
	connectortest.FuzzAppend(f, Open(connectortest.Settings(nil)),
		func(_ *testing.T, record []byte, _ *event.Event) string { return string(record) })
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, connect(b, "https://collectors.sumologic.com", nil))
}

// TestURLs: the path must have a code at its end. Problems do not quote a URL, because it may be a credential.
func TestURLs(t *testing.T) {
	const host = "https://collectors.sumologic.com"
	for to, good := range map[string]bool{
		host + "/receiver/v1/http/code": true, host + "/receiver/v1/http/code/": true, host + "/somewhere/else": true,
		host: false, host + "/": false, host + "/receiver": false, host + "/receiver/v1/": false,
		host + "/receiver/v1/http": false, host + "/receiver/v1/http/": false,
		"http://collectors.sumologic.com" + testPath: false, "collectors.sumologic.com" + testPath: false,
		"https://u:p@collectors.sumologic.com" + testPath: false, host + testPath + "?a=b": false,
		host + ":x" + testPath: false, "https://" + testCode + "\x7f": false,
	} {
		s := connectortest.Settings(map[string]string{"SUMO_HTTP_SOURCE_URL": to})
		Open(s)
		if err := s.Err(); (err == nil) != good || err != nil && (strings.Contains(err.Error(), testCode[:10]) ||
			!strings.Contains(err.Error(), "SUMO_HTTP_SOURCE_URL: ")) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// TestCredentials: the code is a secret as written and decoded, as is any other long part of the path.
func TestCredentials(t *testing.T) {
	for path, want := range map[string][]string{
		testPath:                           {"ZaVnC4dhaV0xvT3Zpb1JkZWZnaA%2Fb+Kx==", testCode},
		"/receiver/v1/http/short":          {"short", "short"},
		"/receiver/0123456789abcdef/http/": {"0123456789abcdef", "0123456789abcdef", "http", "http"},
	} {
		u, err := url.Parse("https://collectors.sumologic.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range credentials(u) {
			got = append(got, v.Reveal())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// sendOne sends one event to a server that responds like this.
func sendOne(t *testing.T, respond http.HandlerFunc, more map[string]string) (warnings []string, err error) {
	t.Helper()
	s := connectortest.Record(t, respond)
	if path, ok := more["SUMO_HTTP_SOURCE_URL"]; ok {
		more = map[string]string{"SUMO_HTTP_SOURCE_URL": s.URL + path}
	}
	c := connect(t, s.URL, more)
	b := connectortest.Batch(t, c, `{"time":1741824000123}`)
	err = c.Send(t.Context(), b)
	return b.Warnings(), err
}

// TestWarnings: a code that is the secret code of the source is not shown, even if it looks like a response code.
func TestWarnings(t *testing.T) {
	const code = "ZaVnC4dhaV"
	for body, warn := range map[string]string{
		``:   "",
		"\n": "",
		`{"id":"x","code":"header.invalid","message":"m","status":200}`: "status 200 and code header.invalid",
		`{"id":"x","errors":[{"code":"fields.dropped","message":"m"}]}`: "code fields.dropped",
		`{"code":"alice said \"hello\""}`:                               "code unknown",
		`{"code":7,"errors":"none"}`:                                    "code unknown",
		`{"code":"` + strings.Repeat("x", 65) + `"}`:                    "code unknown",
		`{"code":"` + code + `"}`:                                       "code unknown",
		`[]`:                                                            "code unknown",
	} {
		warnings, err := sendOne(t, connectortest.Status(200, body),
			map[string]string{"SUMO_HTTP_SOURCE_URL": sourcePath + code})
		if warned := strings.Join(warnings, "; "); err != nil || !strings.Contains(warned, warn) ||
			(warned == "") != (warn == "") {
			t.Errorf("%s: warned %q, want %q; %v", body, warned, warn, err)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		status           int
		body, code, hint string
	}{
		{400, `{"id":"x","code":"parameter.invalid","message":"m"}`, "parameter.invalid", ""},
		{400, `{"code":"parameter.invalid","id":"x","errors":[{"code":"y"}]}`, "parameter.invalid", ""},
		{400, `<html>`, "", "no HTTP source"},
		{401, ``, "", "not valid any more"},
		{403, ``, "", "SUMO_HTTP_SOURCE_URL"},
		{404, ``, "", "no HTTP source"},
		{408, ``, "", "twice"},
	} {
		_, err := sendOne(t, connectortest.Status(test.status, test.body), nil)
		if f := failure.Of(err); f == nil || f.Code != test.code || !strings.Contains(f.Hint, test.hint) {
			t.Errorf("%#v, want code %q, with a hint of %q", f, test.code, test.hint)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		step   failure.Step // "" when the check succeeds
	}{
		"good":                     {accept, ""},
		"good, with words":         {connectortest.Status(200, "ok"), ""},
		"moved":                    {connectortest.Status(301, "", "Location", "https://service.sumologic.com/"), failure.Request},
		"a page":                   {connectortest.Status(200, "\n<!doctype html>"), failure.Request},
		"an answer without an end": {connectortest.Status(200, strings.Repeat("x", 70<<10)), failure.Request},
	} {
		s := connectortest.Record(t, test.answer)
		err := connect(t, s.URL, nil).Check(t.Context())
		if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
			t.Errorf("%s: %v, want step %q", name, err, test.step)
		}
		if all := s.Requests(); len(all) != 1 || all[0].Method != http.MethodGet || all[0].RequestURI != testPath ||
			all[0].Text != "" {
			t.Errorf("%s: %d requests, the first %s %s", name, len(all), all[0].Method, all[0].RequestURI)
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
	for body, status := range map[string]int{
		``: 200, `{"code":"a.b"}`: 200, testPath: 200, `{"errors":[{"code":"x"}]}`: 400, `{"code":"` + testCode + `"}`: 401,
		`{"code":null,"errors":[null,{}]}`: 200, "\xff": 204, `[]`: 429, `{"errors":{}}`: 302,
	} {
		f.Add(status, []byte(body))
	}
	s := connectortest.Record(f, accept)
	c := connect(f, s.URL, nil)
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.url})
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
		if len(warning) > 150 || strings.ContainsAny(warning, "\r\n") ||
			strings.Contains(told, strings.Trim(testCode, "=")) {
			t.Errorf("status %d with %q: warning %q, told %q", status, body, warning, told)
		}
	})
}
