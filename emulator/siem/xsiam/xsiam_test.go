package xsiam_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/xsiam"
	xsiam "github.com/arbitex/siem-connectors/functions/xsiam/connector"
	"github.com/arbitex/siem-connectors/internal/ocsfgen"
	"github.com/arbitex/siem-connectors/shared/deliver"
)

type tenant struct {
	*simulator.Simulator
	t       *testing.T
	client  *http.Client
	method  string
	path    string
	headers map[string]string // over those that prove the key
	auth    string
}

// newTenant returns a simulator and a client whose requests are valid unless a test changes them.
func newTenant(t *testing.T, m simulator.Mode, o siem.Options) *tenant {
	t.Helper()
	s := start(t, m, o)
	return &tenant{
		Simulator: s, t: t, auth: m.Auth, method: http.MethodPost, path: "/logs/v1/event",
		client:  siemtest.Client(s),
		headers: map[string]string{"Content-Type": "application/json"},
	}
}

func start(t *testing.T, m simulator.Mode, o siem.Options) *simulator.Simulator {
	t.Helper()
	return siemtest.Start(t, func(o siem.Options) (*simulator.Simulator, error) { return simulator.NewMode(o, m) }, o)
}

// sign makes the headers that prove the key.
func (s *tenant) sign() map[string]string {
	key, id := s.Secret()["XSIAM_API_KEY"], s.Secret()["XSIAM_API_KEY_ID"]
	nonce := strings.Repeat(rand.Text(), 3)[:64]
	switch s.auth {
	case "token":
		return map[string]string{"Authorization": key}
	case "standard":
		return map[string]string{"Authorization": key, "x-xdr-auth-id": id}
	case "advanced":
		at := strconv.FormatInt(s.Options().Now().UnixMilli(), 10)
		sum := sha256.Sum256([]byte(key + nonce + at))
		return map[string]string{"Authorization": hex.EncodeToString(sum[:]), "x-xdr-auth-id": id, "x-xdr-nonce": nonce,
			"x-xdr-timestamp": at}
	}
	return hmacHeaders(key, id, nonce)
}

func hmacHeaders(key, id, nonce string) map[string]string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(mac, id+nonce+key)
	return map[string]string{"x-xdr-auth-id": id, "x-xdr-nonce": nonce,
		"x-xdr-hmac-sha256": hex.EncodeToString(mac.Sum(nil))}
}

func (s *tenant) post(body string) int {
	s.t.Helper()
	headers := s.sign()
	maps.Copy(headers, s.headers)
	status, _ := siemtest.Do(s.t, s.client, s.method, s.URL()+s.path, body, headers)
	return status
}

// record is a record of an event of that id.
func record(id string) string {
	return `{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"arbitex_audit_raw","log_type":"arbitex_audit",` +
		`"event_id":"r","user_id":null,"user_email":null,"operation":null,"model_id":null,"policy_action":null,"dlp_labels":["pii"],` +
		`"tokens_input":7,"tokens_output":null,"severity":"informational",` +
		`"raw_ocsf":"{\"time\":1773360000123,\"severity_id\":1,\"api\":{\"request\":{\"uid\":\"r\"}},\"unmapped\":{\"tokens_input\":7,\"dlp_labels\":[\"pii\"]},\"metadata\":{\"uid\":\"` + id + `\"}}"}`
}

func envelope(records ...string) string { return `{"events":[` + strings.Join(records, ",") + `]}` }

func TestTakesTheWireFormat(t *testing.T) {
	for _, m := range []simulator.Mode{simulator.Page(), simulator.Collector(), {Auth: "standard", Body: "envelope"},
		{Auth: "advanced", Body: "envelope"}} {
		s := newTenant(t, m, siem.Options{})
		body, want := envelope(record("a"), record("b")), 202
		if m.Body == "ndjson" {
			body, want = record("a")+"\n"+record("b"), 200
		}
		if got := s.post(body); got != want {
			t.Errorf("%+v: %d, want %d; %s", m, got, want, s.Stats().LastProblem)
			continue
		}
		got := s.Accepted()
		if len(got) != 2 || got[1].ID != "b" || got[1].Fields["event_id"] != "r" || !strings.HasPrefix(string(got[1].Event),
			`{"time":1773360000123,`) {
			t.Errorf("%+v: accepted %+v", m, got)
		}
		if st := s.Stats(); len(st.Violations) > 0 {
			t.Errorf("%+v: violations %q", m, st.Violations)
		}
	}
	s := newTenant(t, simulator.Page(), siem.Options{})
	if got := s.post(envelope()); got != 202 || len(s.Accepted()) != 0 || len(s.Stats().Violations) > 0 {
		t.Errorf("no event: %d", got)
	}
}

func TestRefusesTheCredential(t *testing.T) {
	advanced, standard := simulator.Mode{Auth: "advanced", Body: "envelope"}, simulator.Mode{Auth: "standard",
		Body: "envelope"}
	set := func(name, value string) func(*tenant) { return func(s *tenant) { s.headers[name] = value } }
	sameNonce := func(s *tenant) {
		s.headers["x-xdr-nonce"] = strings.Repeat("n", 64)
		maps.Copy(s.headers, hmacHeaders(s.Secret()["XSIAM_API_KEY"], s.Secret()["XSIAM_API_KEY_ID"],
			s.headers["x-xdr-nonce"]))
		if got := s.post(envelope()); got != 202 {
			s.t.Errorf("first use of a nonce: %d", got)
		}
	}
	shortNonce := func(s *tenant) {
		maps.Copy(s.headers, hmacHeaders(s.Secret()["XSIAM_API_KEY"], s.Secret()["XSIAM_API_KEY_ID"], "short"))
	}
	rotated := func(s *tenant) {
		maps.Copy(s.headers, s.sign())
		s.Rotate()
	}
	for _, test := range []struct {
		name  string
		mode  simulator.Mode
		spoil func(*tenant)
	}{
		{"no signature", simulator.Page(), set("x-xdr-hmac-sha256", "")},
		{"another signature", simulator.Page(), set("x-xdr-hmac-sha256", strings.Repeat("0", 64))},
		{"another nonce", simulator.Page(), set("x-xdr-nonce", strings.Repeat("0", 64))},
		{"another id", simulator.Page(), set("x-xdr-auth-id", "1")},
		{"a nonce used before", simulator.Page(), sameNonce},
		{"a short nonce", simulator.Page(), shortNonce},
		{"a rotated key", simulator.Page(), rotated},
		{"another token", simulator.Collector(), set("Authorization", "x")},
		{"a token with a scheme", simulator.Collector(), func(s *tenant) {
			s.headers["Authorization"] = "Bearer " + s.Secret()["XSIAM_API_KEY"]
		}},
		{"a rotated token", simulator.Collector(), rotated},
		{"a standard key without its id", standard, set("x-xdr-auth-id", "")},
		{"another standard key", standard, set("Authorization", "x")},
		{"an advanced key as it is", advanced, func(s *tenant) { s.headers["Authorization"] = s.Secret()["XSIAM_API_KEY"] }},
		{"an old time", advanced, set("x-xdr-timestamp", "1500000000000")},
		{"no time", advanced, set("x-xdr-timestamp", "")},
		{"another advanced nonce", advanced, set("x-xdr-nonce", strings.Repeat("0", 64))},
	} {
		s := newTenant(t, test.mode, siem.Options{Now: func() time.Time { return time.Unix(1_773_360_000, 0) }})
		test.spoil(s)
		body := envelope(record("a"))
		if test.mode.Body == "ndjson" {
			body = record("a")
		}
		if got := s.post(body); got != 401 || len(s.Accepted()) != 0 || s.Stats().AuthFailures != 1 {
			t.Errorf("%s: %d, %+v", test.name, got, s.Stats())
		}
	}
}

func TestRefusesTheRequest(t *testing.T) {
	large := `{"x":"` + strings.Repeat("x", 5_000_000) + `"}`
	poison := func(s *tenant) {
		s.Inject(siem.PoisonEvent("bad"))
	}
	for _, test := range []struct {
		name  string
		mode  simulator.Mode
		spoil func(*tenant)
		body  string
		want  int
	}{
		{"another path", simulator.Page(), func(s *tenant) { s.path = "/" }, envelope(), 404},
		{"GET", simulator.Page(), func(s *tenant) { s.method = http.MethodGet }, "", 405},
		{"too large", simulator.Page(), nil, envelope(large, large), 413},
		{"a record too large", simulator.Page(), nil, envelope(large), 400},
		{"gzip", simulator.Page(), func(s *tenant) { s.headers["Content-Encoding"] = "gzip" },
			siemtest.Gzip(t, envelope(record("a"))), 400},
		{"invalid JSON", simulator.Page(), nil, "x", 400},
		{"no envelope", simulator.Page(), nil, record("a"), 400},
		{"lines", simulator.Page(), nil, record("a") + "\n" + record("b"), 400},
		{"a record that is not an object", simulator.Page(), nil, envelope(record("a"), "7"), 400},
		{"null", simulator.Page(), nil, envelope("null"), 400},
		{"poison", simulator.Page(), poison, envelope(record("a"), record("bad")), 400},
		{"collector: nothing", simulator.Collector(), nil, "", 500},
		{"collector: gzip", simulator.Collector(), func(s *tenant) { s.headers["Content-Encoding"] = "gzip" },
			siemtest.Gzip(t, record("a")), 500},
		{"collector: no gzip", simulator.Mode{Auth: "token", Body: "ndjson", Gzip: true}, nil, record("a"), 500},
		{"collector: not gzip", simulator.Mode{Auth: "token", Body: "ndjson", Gzip: true},
			func(s *tenant) { s.headers["Content-Encoding"] = "gzip" }, record("a"), 500},
		{"collector: invalid JSON", simulator.Collector(), nil, record("a") + "\nx", 500},
		{"collector: poison", simulator.Collector(), poison, record("a") + "\n" + record("bad"), 500},
	} {
		s := newTenant(t, test.mode, siem.Options{})
		if test.spoil != nil {
			test.spoil(s)
		}
		if got := s.post(test.body); got != test.want || len(s.Accepted()) != 0 {
			t.Errorf("%s: %d, accepted %d, want %d", test.name, got, len(s.Accepted()), test.want)
		}
	}
}

// TestViolations sends what the endpoint takes and the wire format forbids.
func TestViolations(t *testing.T) {
	good := record("a")
	for name, body := range map[string]string{
		"white space":      `{"events":[` + good + ", " + record("b") + `]}`,
		"more than events": `{"events":[` + good + `],"x":1}`,
		"a field too many": envelope(strings.Replace(good, `"severity"`, `"extra":1,"severity"`, 1)),
		"a field missing":  envelope(strings.Replace(good, `"model_id":null,`, ``, 1)),
		"another order": envelope(strings.Replace(good, `"user_id":null,"user_email":null`,
			`"user_email":null,"user_id":null`, 1)),
		"a field twice":        envelope(strings.Replace(good, `"user_id":null`, `"user_id":null,"user_id":null`, 1)),
		"another time":         envelope(strings.Replace(good, `00.123Z`, `00.124Z`, 1)),
		"labels as a text":     envelope(strings.Replace(good, `["pii"]`, `"[]"`, 1)),
		"a number as a string": envelope(strings.Replace(good, `"tokens_input":7`, `"tokens_input":"7"`, 1)),
		"empty for absent":     envelope(strings.Replace(good, `"user_id":null`, `"user_id":""`, 1)),
		"another severity":     envelope(strings.Replace(good, `informational`, `Informational`, 1)),
		"another vendor":       envelope(strings.Replace(good, `"Arbitex"`, `"arbitex"`, 1)),
		"no dataset":           envelope(strings.Replace(good, `arbitex_audit_raw`, ``, 1)),
		"no event":             envelope(strings.Replace(good, `"raw_ocsf":"{`, `"raw_ocsf":"`, 1)),
		"an event of lines":    envelope(strings.Replace(good, `"raw_ocsf":"{`, `"raw_ocsf":"{\n`, 1)),
		"no utf-8":             envelope(strings.Replace(good, `\"uid\":\"a\"`, "\\\"uid\\\":\\\"\xff\\\"", 1)),
		"too many events":      envelope(strings.Split(strings.Repeat(good+"\x00", 101), "\x00")[:101]...),
		"over what is advised": envelope(good, strings.Replace(good, `"raw_ocsf":"{`, `"raw_ocsf":"{\"x\":\"`+
			strings.Repeat("x", 1<<20)+`\",`, 1)),
	} {
		s := newTenant(t, simulator.Page(), siem.Options{})
		if got := s.post(body); got != 202 || len(s.Stats().Violations) == 0 {
			t.Errorf("%s: %d, violations %q", name, got, s.Stats().Violations)
		}
	}
	for name, spoil := range map[string]func(*tenant){
		"content type": func(s *tenant) { s.headers["Content-Type"] = "text/plain" },
		"a query":      func(s *tenant) { s.path += "?x=1" },
		"the key":      func(s *tenant) { s.headers["Authorization"] = s.Secret()["XSIAM_API_KEY"] },
	} {
		s := newTenant(t, simulator.Page(), siem.Options{})
		spoil(s)
		if got := s.post(envelope(good)); got != 202 || len(s.Stats().Violations) != 1 {
			t.Errorf("%s: %d, violations %q", name, got, s.Stats().Violations)
		}
	}
	s := newTenant(t, simulator.Collector(), siem.Options{})
	if got := s.post(good + "\n"); got != 200 || len(s.Stats().Violations) != 1 {
		t.Errorf("a line break at the end: %d, violations %q", got, s.Stats().Violations)
	}
}

// TestConnector delivers events with the connector to the simulator, in every mode.
func TestConnector(t *testing.T) {
	g := ocsfgen.New(7)
	bodies := make([][]byte, 100)
	for i := range bodies {
		bodies[i] = bytes.Clone(g.Next())
	}
	for _, m := range []simulator.Mode{
		simulator.Page(), simulator.Collector(), {Auth: "standard", Body: "envelope"}, {Auth: "advanced", Body: "ndjson"},
		{Auth: "token", Body: "ndjson", Gzip: true},
	} {
		t.Run(fmt.Sprintf("%s %s", m.Auth, m.Body), func(t *testing.T) {
			s := start(t, m, siem.Options{Plain: true})
			from := siemtest.NewSource(t, s, xsiam.Open)
			if n, _ := siemtest.Deliver(t, from, bodies, false); n != 100 {
				t.Errorf("delivered %d of 100: %s", n, s.Stats().LastProblem)
			}
			for i, a := range s.Accepted() {
				if !bytes.Equal(a.Event, bodies[i]) {
					t.Errorf("event %d arrived as %s", i, a.Event)
				}
			}
			s.Rotate()
			if n, _ := siemtest.Deliver(t, from, bodies[:5], false); n != 5 || from.Renewed != 1 {
				t.Errorf("after a rotation: delivered %d of 5, renewed %d times", n, from.Renewed)
			}
			bad := siem.EventID(bodies[41])
			s.Inject(siem.PoisonEvent(bad))
			before := s.Stats().Requests
			n, _ := siemtest.Deliver(t, from, bodies, true)
			if extra := s.Stats().Requests - before - 1; n != 99 || extra > 15 {
				t.Errorf("one poisonous event: delivered %d of 99, %d extra requests", n, extra)
			}
			if err := from.Current().(deliver.Checker).Check(t.Context()); err != nil {
				t.Errorf("check: %v", err)
			}
			if v := s.Stats().Violations; len(v) > 0 {
				t.Errorf("violations %q", v)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	s := newTenant(t, simulator.Mode{Auth: "token", Body: "ndjson", Gzip: true}, siem.Options{CAFile: "/ca.pem"})
	got := s.Settings()
	if got["SSL_CERT_FILE"] != "/ca.pem" || got["XSIAM_AUTH"] != "token" || got["SIEM_COMPRESSION"] != "gzip" ||
		s.Secret()["XSIAM_API_KEY_ID"] != "" {
		t.Errorf("%v", got)
	}
}
