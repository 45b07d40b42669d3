package siem_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
)

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
