package siem_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
)

// echo is a simulator that takes every body as one event.
type echo struct{ *siem.Server }

func newEcho(t *testing.T, o siem.Options) *echo {
	t.Helper()
	e := &echo{}
	server, err := siem.Serve(o, siem.Config{MaxBody: 100, Handle: func(r *siem.Request) siem.Answer {
		switch {
		case errors.Is(r.Problem, siem.ErrTooLarge):
			return siem.Answer{Status: http.StatusRequestEntityTooLarge}
		case r.Problem != nil:
			return siem.Answer{Status: http.StatusBadRequest, Reason: "400 body", Detail: r.Problem.Error()}
		}
		e.Accept(siem.Accepted{Event: r.Body})
		return siem.Answer{Status: http.StatusOK, Header: map[string]string{"X-Seen": r.Encoding}, Body: "ok"}
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.Server = server
	t.Cleanup(func() { server.Close() })
	return e
}

func (e *echo) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.Options().Authority.Pool()},
		DisableKeepAlives: true}}
}

func (e *echo) post(t *testing.T, ctx context.Context, body string, encoding string) (*http.Response, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if encoding != "" {
		request.Header.Set("Content-Encoding", encoding)
	}
	response, err := e.client().Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response, string(text), err
}

func (e *echo) status(t *testing.T, body, encoding string) int {
	t.Helper()
	response, _, err := e.post(t, t.Context(), body, encoding)
	if err != nil {
		t.Fatalf("posting: %v", err)
	}
	return response.StatusCode
}

func TestServerReadsBodiesWithinBounds(t *testing.T) {
	e := newEcho(t, siem.Options{})
	for _, test := range []struct {
		name, body, encoding string
		want                 int
	}{
		{"plain", "hello", "", 200},
		{"gzip", siemtest.Gzip(t, "hello"), "gzip", 200},
		{"at the limit", strings.Repeat("x", 100), "", 200},
		{"over the limit", strings.Repeat("x", 101), "", 413},
		{"over the limit once decoded", siemtest.Gzip(t, strings.Repeat("x", 101)), "gzip", 413},
		{"a bomb", siemtest.Gzip(t, strings.Repeat("x", 5<<20)), "gzip", 413},
		{"larger than the wire limit", strings.Repeat("x", 2<<20), "", 413},
		{"not gzip", "hello", "gzip", 400},
		{"half of it", siemtest.Gzip(t, strings.Repeat("hello", 10))[:20], "gzip", 400},
		{"unknown encoding", "hello", "br", 400},
	} {
		if got := e.status(t, test.body, test.encoding); got != test.want {
			t.Errorf("%s: status %d, want %d", test.name, got, test.want)
		}
	}
	stats := e.Stats()
	if stats.Requests != 10 || stats.Accepted != 3 || stats.Refused["413"] != 4 || stats.Refused["400 body"] != 3 {
		t.Errorf("stats = %+v", stats)
	}
	if accepted := e.Accepted(); string(accepted[1].Event) != "hello" {
		t.Errorf("accepted %q, want the decoded body", accepted[1].Event)
	}
}

func TestFaultsComeInOrderAndEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	e := newEcho(t, siem.Options{Now: func() time.Time { return now }})
	e.Inject(siem.Fault{Kind: siem.Status, Status: 503, Times: 2, Body: "busy"})
	e.Inject(siem.RetryAfter(429, "7", 1))
	e.Inject(siem.Fault{Kind: siem.Status, Status: 500, For: time.Minute, Name: "outage"})
	for i, want := range []int{503, 503, 429, 500, 500} {
		response, text, err := e.post(t, t.Context(), "x", "")
		if err != nil || response.StatusCode != want {
			t.Fatalf("request %d: %v %v, want %d", i, response, err, want)
		}
		if want == 503 && text != "busy" || want == 429 && response.Header.Get("Retry-After") != "7" {
			t.Errorf("request %d: %q %v", i, text, response.Header)
		}
	}
	now = now.Add(time.Minute)
	if got := e.status(t, "x", ""); got != 200 {
		t.Errorf("after the outage's end: %d", got)
	}
	e.Inject(siem.Fault{Kind: siem.Status, Status: 500, Name: "one"})
	e.Inject(siem.Fault{Kind: siem.Status, Status: 401, Name: "other"})
	e.Inject(siem.Fault{Kind: siem.Heal, Name: "one"})
	if got := e.status(t, "x", ""); got != 401 {
		t.Errorf("one of two faults healed: %d, want the other's 401", got)
	}
	e.Inject(siem.Fault{})
	if got := e.status(t, "x", ""); got != 200 {
		t.Errorf("all healed: %d", got)
	}
	if s := e.Stats(); s.AuthFailures != 1 || s.Refused["503"] != 2 || s.Requests != 8 {
		t.Errorf("stats = %+v", s)
	}
}

func TestFaultsOfConnections(t *testing.T) {
	for _, test := range []struct {
		kind     siem.Kind
		accepted int
	}{
		{siem.CloseBefore, 0}, {siem.CloseDuring, 0}, {siem.CloseAfter, 0}, {siem.AcceptClose, 1},
	} {
		e := newEcho(t, siem.Options{})
		e.Inject(siem.Fault{Kind: test.kind, Times: 1})
		if test.kind == siem.AcceptClose && e.status(t, "x", "gzip") != 400 {
			t.Error("a request that is refused was not answered")
		}
		if _, _, err := e.post(t, t.Context(), "x", ""); err == nil {
			t.Errorf("%s: the request was answered", test.kind)
		}
		if got := e.status(t, "y", ""); got != 200 {
			t.Errorf("%s: the next request got %d", test.kind, got)
		}
		if got := e.Stats().Accepted; got != test.accepted+1 {
			t.Errorf("%s: accepted %d, want %d", test.kind, got, test.accepted+1)
		}
	}
}

func TestAcceptHangLastsUntilTheClientLeaves(t *testing.T) {
	e := newEcho(t, siem.Options{})
	e.Inject(siem.Fault{Kind: siem.AcceptHang, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := e.post(t, ctx, "x", "")
		done <- err
	}()
	for e.Stats().Accepted == 0 {
		select {
		case err := <-done:
			t.Fatalf("answered: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestEndlessAnswerAndSlow(t *testing.T) {
	e := newEcho(t, siem.Options{})
	e.Inject(siem.Fault{Kind: siem.Endless, Times: 1})
	response, text, err := e.post(t, t.Context(), "x", "")
	if err != nil || response.StatusCode != 200 || len(text) != 1<<20 {
		t.Errorf("endless: %v, %d bytes, %v", response, len(text), err)
	}
	e.Inject(siem.Fault{Kind: siem.Slow, Delay: time.Millisecond, Times: 1})
	if got := e.status(t, "x", ""); got != 200 || e.Stats().Accepted != 1 {
		t.Errorf("slow: %d, accepted %d", got, e.Stats().Accepted)
	}
}

func TestPoisonAndProductStandBesideTheOthers(t *testing.T) {
	var f siem.Faults
	f.Inject(siem.PoisonEvent("bad"))
	f.Inject(siem.Fault{Kind: siem.Product, Code: "24", Times: 1})
	if _, ok := f.Next(nil); ok {
		t.Error("a poison or product fault met a request")
	}
	if !f.Poisoned("bad") || f.Poisoned("good") {
		t.Error("poison does not match by id")
	}
	if f.Product("25") {
		t.Error("product fault of another code")
	}
	first, second := f.Product("24"), f.Product("24")
	if !first || second {
		t.Errorf("product fault once: %v, then %v", first, second)
	}
}

func TestPlainServer(t *testing.T) {
	e := newEcho(t, siem.Options{Plain: true})
	settings := e.Trust(map[string]string{}, "")
	if !strings.HasPrefix(e.URL(), "http://") || settings["SIEM_ALLOW_HTTP"] != "true" || e.status(t, "x", "") != 200 {
		t.Errorf("%s %v", e.URL(), settings)
	}
}

func TestTrustNamesTheCAFile(t *testing.T) {
	e := newEcho(t, siem.Options{CAFile: "/ca.pem"})
	if settings := e.Trust(map[string]string{}, ""); settings["SSL_CERT_FILE"] != "/ca.pem" {
		t.Errorf("settings = %v", settings)
	}
}

func TestEventID(t *testing.T) {
	if got := siem.EventID([]byte(`{"metadata":{"uid":"u-1"}}`)); got != "u-1" {
		t.Errorf("with metadata.uid: %q", got)
	}
	if got := siem.EventID([]byte(`{}`)); got != "44136fa355b3678a1146ad16f7e8649e" { // sha256sum of {}
		t.Errorf("without: %q", got)
	}
	for _, event := range []string{`{"metadata":{"uid":7}}`, `{"metadata":{"uid":""}}`, `{"metadata":null}`, `[]`,
		`no json`} {
		if got := siem.EventID([]byte(event)); len(got) != 32 {
			t.Errorf("EventID(%s) = %q, want a hash", event, got)
		}
	}
}

func TestStandin(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	id, ok := siem.Standin([]byte(`{"truncated":true,"bytes":70000,"sha256":"` + sum +
		`","class_uid":6003,"time":1,"metadata":{"uid":"u"}}`))
	if !ok || id != "u" {
		t.Errorf("%q %v", id, ok)
	}
	if _, ok := siem.Standin([]byte(`{"truncated":true}`)); ok {
		t.Error("an event that merely has the field truncated was read as a truncated event")
	}
}

func TestViolationsAreBounded(t *testing.T) {
	var j siem.Journal
	for i := range 300 {
		j.Violate("case %d", i)
		j.Violate("the same")
	}
	if s := j.Stats(); len(s.Violations) != 100 || s.LastProblem != "violation: the same" {
		t.Errorf("%d violations, last %q", len(s.Violations), s.LastProblem)
	}
}

// TestEarlyResponseArrivesBeforeTheBodyIsRead: the response arrives although the client has not sent the body.
func TestEarlyResponseArrivesBeforeTheBodyIsRead(t *testing.T) {
	for _, stay := range []bool{false, true} {
		e := newEcho(t, siem.Options{})
		e.Inject(siem.Fault{Kind: siem.Early, Status: 413, Read: 3, Stay: stay, Header: map[string]string{"X-A": "b"},
			Body: "too large"})
		conn, err := tls.Dial("tcp", strings.TrimPrefix(e.URL(), "https://"),
			&tls.Config{RootCAs: e.Options().Authority.Pool(), MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != 413 || string(body) != "too large" || r.Header.Get("X-A") != "b" || r.Close == stay {
			t.Errorf("stay %t: %d %q, close %t", stay, r.StatusCode, body, r.Close)
		}
		if s := e.Stats(); s.Accepted != 0 || s.Refused["413"] != 1 || s.Bytes != 3 {
			t.Errorf("stats %+v", s)
		}
	}
}

func TestCutResponse(t *testing.T) {
	e := newEcho(t, siem.Options{})
	e.Inject(siem.Fault{Kind: siem.AcceptCut, Times: 1})
	_, text, err := e.post(t, t.Context(), "x", "")
	if err == nil || text != "o" || e.Stats().Accepted != 1 {
		t.Errorf("%q, %v, accepted %d; want half of the response and an error", text, err, e.Stats().Accepted)
	}
}

func TestCompressedResponse(t *testing.T) {
	e := newEcho(t, siem.Options{})
	e.Inject(siem.Fault{Kind: siem.Compressed, Times: 1})
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL(), strings.NewReader("x"))
	request.Header.Set("Accept-Encoding", "identity")
	response, err := e.client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	packed, _ := io.ReadAll(response.Body)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil || response.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("not gzip: %q, %v", packed, err)
	}
	if text, _ := io.ReadAll(z); string(text) != "ok" {
		t.Errorf("unpacked %q", text)
	}
}

// TestFirewallRefusesOneEvent: a fault with Holds applies only to requests with such a body.
func TestFirewallRefusesOneEvent(t *testing.T) {
	e := newEcho(t, siem.Options{})
	f := siem.ForeignRefusals()[1].Fault()
	f.Holds = func(body []byte) bool { return bytes.Contains(body, []byte("poison")) }
	e.Inject(f)
	good, bad := e.status(t, "good", ""), e.status(t, siemtest.Gzip(t, "a poison"), "gzip")
	if good != 200 || bad != 403 {
		t.Errorf("statuses %d and %d, want 200 and 403", good, bad)
	}
}

// TestSucceeds: the table of the wire format, and that a foreign success succeeds only where the wire format cannot
// distinguish it.
func TestSucceeds(t *testing.T) {
	for _, c := range []struct {
		connector string
		status    int
		body      string
		want      bool
	}{
		{"splunk", 200, `{"text":"Success","code":0}`, true}, {"splunk", 200, `{"code":24}`, true},
		{"splunk", 201, `{"code":25}`, false},
		{"splunk", 200, ``, false}, {"splunk", 200, `{"code":17}`, false}, {"splunk", 400, `{"code":0}`, false},
		{"sentinel", 204, ``, true}, {"sentinel", 200, `{"a":1}`, true}, {"sentinel", 200, `{"error":{}}`, false},
		{"sentinel", 200, `<html>`, false},
		{"elastic", 200, `{"items":[{},{}]}`, true}, {"elastic", 200, `{"items":[{}]}`, false}, {"elastic", 200, `{}`, false},
		{"datadog", 202, `{}`, true}, {"datadog", 200, ``, true}, {"datadog", 204, ``, true},
		{"datadog", 202, `{"errors":["x"]}`, false}, {"datadog", 202, `[]`, false},
		{"sumo", 200, ``, true}, {"sumo", 200, `{"code":"header.invalid"}`, true}, {"sumo", 202, ``, false},
		{"sumo", 200, `OK`, false},
		{"xsiam", 202, ``, true}, {"xsiam", 200, `{"error":"false"}`, true}, {"xsiam", 200, `{"error":""}`, true},
		{"xsiam", 200, `{"error":"license"}`, false},
		{"xsiam", 500, ``, false}, {"nothing", 200, ``, false},
	} {
		if got := siem.Succeeds(c.connector, c.status, []byte(c.body), 2); got != c.want {
			t.Errorf("%s, %d %s: %t", c.connector, c.status, c.body, got)
		}
	}
	allowed := map[string]string{"sentinel": "JSON array", "sumo": "JSON array errors of another product",
		"xsiam": "JSON array"}
	for _, f := range siem.ForeignSuccesses() {
		for _, name := range []string{"splunk", "sentinel", "elastic", "datadog", "sumo", "xsiam"} {
			if siem.Succeeds(name, f.Status, []byte(f.Body), 2) && !strings.Contains(allowed[name], f.Name) {
				t.Errorf("%s: the foreign success %q is a success", name, f.Name)
			}
		}
	}
}

func TestReadEvent(t *testing.T) {
	for _, test := range []struct{ event, want string }{
		{
			`{"time":1773360000123,"class_uid":6003,"severity_id":2,"actor":{"user":{"uid":"u","email_addr":"e","groups":[{"uid":"g","name":"n"},{"name":"m"},{},7]}},` +
				`"api":{"operation":"o","request":{"uid":"r"}},"unmapped":{"model_id":"m","policy_action":"p","dlp_labels":["a",1,"b"],"tokens_input":1,"tokens_output":0},"src_endpoint":{"ip":"192.0.2.7"}}`,
			`{"Time":1773360000123,"Class":6003,"Severity":2,"UserID":"u","UserEmail":"e","RequestID":"r","Operation":"o","ModelID":"m","PolicyAction":"p","SourceAddress":"192.0.2.7",` +
				`"Groups":["g","m"],"DLPLabels":["a","b"],"TokensInput":1,"TokensOutput":0}`,
		},
		{
			`{"time":0,"class_uid":"6003","actor":{"user":7},"activity_name":"x","unmapped":{"group_ids":["h"],"tokens_input":1.5,"dlp_labels":"no"}}`,
			`{"Time":0,"Class":0,"Severity":0,"UserID":null,"UserEmail":null,"RequestID":null,"Operation":"x","ModelID":null,"PolicyAction":null,"SourceAddress":null,` +
				`"Groups":["h"],"DLPLabels":[],"TokensInput":null,"TokensOutput":null}`,
		},
	} {
		e, err := siem.ReadEvent([]byte(test.event))
		got, _ := json.Marshal(e)
		if err != nil || string(got) != test.want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, test.want)
		}
	}
	e, _ := siem.ReadEvent([]byte(`{"time":1773360000123}`))
	if e.ISO() != "2026-03-13T00:00:00.123Z" {
		t.Errorf("ISO %s", e.ISO())
	}
	for text, want := range map[string]int64{
		"1773360000123456": 1773360000123, "1773360000123456789": 1773360000123, "1773360000": 1773360000000,
		"1773360000123.0": 1773360000123,
		"0":               0, "631151999": 631151999,
		"4102444800": 4102444800, // before 1990 and after 2100 in seconds: milliseconds
	} {
		if e, err := siem.ReadEvent([]byte(`{"time":` + text + `}`)); err != nil || e.Time != want {
			t.Errorf("time %s is read as %d, %v; want %d", text, e.Time, err, want)
		}
	}
	e, _ = siem.ReadEvent([]byte(`{"time":1,"ai_model":{"name":"m"},"message_context":{"prompt_tokens":3,"completion_tokens":4}}`))
	if e.ModelID == nil || *e.ModelID != "m" || *e.TokensInput != 3 || *e.TokensOutput != 4 {
		t.Errorf("fields of OCSF 1.8: %+v", e)
	}
	for _, bad := range []string{`{}`, `{"time":"x"}`, `{"time":1.5}`, `[]`, `{`} {
		if _, err := siem.ReadEvent([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
