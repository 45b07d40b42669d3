package connector

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

const apiKey = "k3y-of-the-tenant"

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{
		"XSIAM_URL": "https://api-tenant.xsiam.paloaltonetworks.com", "XSIAM_API_KEY": apiKey, "XSIAM_API_KEY_ID": "42",
	}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

// moment is the connector's clock in tests.
func moment() time.Time { return time.Date(2026, 3, 13, 0, 0, 0, 0, time.UTC) }

var accept = connectortest.Status(http.StatusAccepted, "")

// open opens a connector to the tenant at url, changed by pairs of name and value.
func open(t testing.TB, url string, pairs ...string) *connector {
	t.Helper()
	pairs = append([]string{"XSIAM_URL", url, "SIEM_ALLOW_HTTP", "true"}, pairs...)
	return connectortest.Read(t, env(pairs...), func(s *settings.Settings) *connector {
		s.Now = moment
		return Open(s).(*connector)
	})
}

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(t.Context(), connectortest.Batch(t, c, someEvent)))
}

// page is the event of the platform's page, and pageRecord its record there up to the event, which the page leaves out.
var page = strings.Replace(connectortest.FullEvent, "1741824000123", "1773360000123", 1)

const pageRecord = `{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform",` +
	`"_dataset":"arbitex_audit_raw","log_type":"arbitex_audit","event_id":"req_xyz","user_id":"user_abc",` +
	`"user_email":"alice@example.com","operation":"chat_completion","model_id":"gpt-4o","policy_action":"allow",` +
	`"dlp_labels":[],"tokens_input":512,"tokens_output":256,"severity":"informational","raw_ocsf":`

func TestPage(t *testing.T) {
	s := connectortest.Record(t, accept)
	c := open(t, s.URL)
	var m telemetry.Meter
	b := connectortest.Batch(t, c, page)
	b.Meter = &m
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := s.Requests()[0]
	event, _ := json.Marshal(page)
	if want := `{"events":[` + pageRecord + string(event) + `}]}`; r.Text != want {
		t.Errorf("body\n%s\nwant\n%s", r.Text, want)
	}
	if r.RequestURI != "/logs/v1/event" || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("Content-Encoding") != "" {
		t.Errorf("uri %s, header %v", r.RequestURI, r.Header)
	}
	if m.Requests != 1 || m.Bytes != int64(len(r.Text)) {
		t.Errorf("meter %+v", m)
	}
}

func TestAppendKeys(t *testing.T) {
	c := Open(connectortest.Settings(env("XSIAM_DATASET", `a"b`, "XSIAM_LOG_TYPE", "log")))
	for _, test := range []struct{ event, want string }{
		{
			`{"time":0}`,
			`{"_time":"1970-01-01T00:00:00.000Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b",` +
				`"log_type":"log","event_id":null,"user_id":null,"user_email":null,"operation":null,"model_id":null,` +
				`"policy_action":null,"dlp_labels":[],"tokens_input":null,"tokens_output":null,"severity":"unknown",` +
				`"raw_ocsf":"{\"time\":0}"}`,
		},
		{
			"{ \"time\": 1773360000123, " +
				"\"activity_name\":\"a\\\"b\",\"severity_id\":4,\n\"unmapped\":{\"dlp_labels\":[\"pii\", " +
				"\"x\\\\y\"],\"tokens_input\":0} }",
			`{"_time":"2026-03-13T00:00:00.123Z","_vendor":"Arbitex","_product":"ArbitexPlatform","_dataset":"a\"b",` +
				`"log_type":"log","event_id":null,"user_id":null,"user_email":null,"operation":"a\"b","model_id":null,` +
				`"policy_action":null,"dlp_labels":["pii","x\\y"],"tokens_input":0,"tokens_output":null,"severity":"high",` +
				`"raw_ocsf":"{\"time\":1773360000123,\"activity_name\":\"a\\\"b\",\"severity_id\":4,` +
				`\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0}}"}`,
		},
	} {
		record, truncated, err := c.Append([]byte("before"), connectortest.Parse(t, test.event))
		if got := string(record); got != "before"+test.want || truncated || err != nil {
			t.Errorf("\n%s\nwant\n%s (%v, %v)", got, test.want, truncated, err)
		}
	}
}

func TestSeverity(t *testing.T) {
	for id, want := range map[int64]string{
		0: "unknown", 1: "informational", 2: "low", 3: "medium", 4: "high", 5: "critical", 6: "fatal", 7: "other",
		99: "other", -1: "other",
		1 << 62: "other",
	} {
		if got := severity(id); got != want {
			t.Errorf("severity_id %d: %q, want %q", id, got, want)
		}
	}
}

func TestBodies(t *testing.T) {
	s := connectortest.Record(t, accept)
	for _, test := range []struct {
		settings []string
		envelope bool
	}{
		{nil, true},
		{[]string{"XSIAM_AUTH", "token"}, false},
		{[]string{"XSIAM_AUTH", "standard"}, true},
		{[]string{"XSIAM_AUTH", "advanced"}, true},
		{[]string{"XSIAM_AUTH", "token", "XSIAM_BODY", "envelope"}, true},
		{[]string{"XSIAM_BODY", "ndjson"}, false},
	} {
		c := open(t, s.URL, test.settings...)
		b := connectortest.Batch(t, c, someEvent, someEvent)
		record := string(b.Record(0))
		want := record + "\n" + record
		if test.envelope {
			want = `{"events":[` + record + "," + record + "]}"
		}
		if string(b.Body) != want {
			t.Errorf("%v: %s", test.settings, b.Body)
		}
	}
}

// TestLargeEventGoesAlone: the largest event there can be takes more than a request should have, and less than a record
// may.
func TestLargeEventGoesAlone(t *testing.T) {
	s := connectortest.Record(t, accept)
	quotes := `{"time":1,"x":"` + strings.Repeat(`\"`, (event.MaxBytes-17)/2) + `"}`
	connectortest.Delivered(t, open(t, s.URL), someEvent, quotes, someEvent)
	if r := s.Requests(); len(r) != 3 || len(r[1].Text) < 2*maxRequestBytes || len(r[1].Text) > maxRecordBytes {
		t.Errorf("%d requests, the second of %d bytes", len(r), len(r[1].Text))
	}
}

func FuzzAppend(f *testing.F) {
	c := Open(connectortest.Settings(env()))
	connectortest.FuzzAppend(f, c, func(t *testing.T, record []byte, e *event.Event) string {
		var object map[string]any
		if err := json.Unmarshal(record, &object); err != nil || len(object) != 16 {
			t.Fatalf("%v: %s", err, record)
		}
		if labels, _ := object["dlp_labels"].([]any); len(labels) != len(e.DLPLabels) {
			t.Fatalf("dlp_labels %v", object["dlp_labels"])
		}
		return object["raw_ocsf"].(string)
	})
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, Open(connectortest.Settings(env())))
}

func TestCheckWritesNothingIfPossible(t *testing.T) {
	for _, test := range []struct {
		auth, body string
	}{{"hmac", `{"events":[]}`}, {"token", ""}} {
		s := connectortest.Record(t, accept)
		if err := open(t, s.URL, "XSIAM_AUTH", test.auth).Check(t.Context()); err != nil {
			t.Error(err)
		}
		if r := s.Requests(); len(r) != 1 || r[0].Text != test.body {
			t.Errorf("%s: %d requests, the first with body %q, want %q", test.auth, len(r), r[0].Text, test.body)
		}
	}
}

// TestCheckWritesOneRecordIfNeeded: an endpoint that takes no empty request.
func TestCheckWritesOneRecordIfNeeded(t *testing.T) {
	for _, refusal := range []int{400, 411, 422, 500} {
		s := connectortest.Record(t, accept)
		c := open(t, s.URL, "XSIAM_AUTH", "token")
		s.Respond(connectortest.Status(refusal, ""))
		if f := failure.Of(c.Check(t.Context())); f == nil || f.Status != refusal {
			t.Errorf("%d to everything: %v", refusal, f)
		}
		r := s.Requests()
		if len(r) != 2 || strings.Count(r[1].Text, "raw_ocsf") != 1 || strings.Contains(r[1].Text, "\n") {
			t.Errorf("%d: %d requests", refusal, len(r))
			continue
		}
		var record map[string]any
		if err := json.Unmarshal([]byte(r[1].Text), &record); err != nil || record["operation"] != "connection_check" ||
			record["severity"] != "informational" || record["_time"] != "2026-03-13T00:00:00.000Z" {
			t.Errorf("%d: the record is %s", refusal, r[1].Text)
		}
	}
}

func TestTokenNeedsNoKeyID(t *testing.T) {
	s := connectortest.Settings(map[string]string{"XSIAM_AUTH": "token"})
	Open(s)
	if err := s.Err(); err == nil || strings.Contains(err.Error(), "XSIAM_API_KEY_ID") {
		t.Errorf("%v", err)
	}
}

func TestConfigURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://api-x.xdr.au.paloaltonetworks.com":               "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/":              "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event": "https://api-x.xdr.au.paloaltonetworks.com/logs/v1/event",
		"https://proxy.example.com/cortex":                        "https://proxy.example.com/cortex",
	} {
		u := open(t, given).url
		if u.String() != want || u.RequestURI() != strings.TrimPrefix(want, "https://"+u.Host) {
			t.Errorf("%s: %v, want %s", given, u, want)
		}
	}
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	connectortest.ResponseTable(t, newCodes(authHMAC).Classify, []connectortest.Row{
		{Status: "2xx", Code: "–", Is: 202}, {Status: "2xx", Code: "`{\"error\":\"false\"}`", Is: 200,
			Body: `{"error":"false"}`},
		{Status: "400, 422", Code: "any", Is: 400, Body: `{"error":"no"}`},
		{Status: "401", Code: "–", Is: 401}, {Status: "500", Code: "–", Is: 500},
	})
}

func TestSuccess(t *testing.T) {
	for body, want := range map[string]bool{
		``: true, "\n": true, `{}`: true, `{"error":false}`: true, `{"error":"false"}`: true, `{"error":""}`: true,
		`{"error":null}`: true, `[]`: true,
		`{"error":"license expired"}`: false, `{"error":true}`: false, `{"error":{"type":"x"}}`: false,
		`<html>please sign in</html>`:              false,
		`{"reply":{"err_code":500,"err_msg":"m"}}`: true, `{"err`: false,
	} {
		for _, status := range []int{200, 202, 299} {
			f := failure.Of(newCodes(authHMAC).Classify(connectortest.Response(t, status, nil, body)))
			if (f == nil) != want || f != nil && f.Kind != failure.Transient {
				t.Errorf("%d %q: %v, want delivered: %t", status, body, f, want)
			}
		}
	}
}

// TestOwnFormat tells XSIAM's refusals from those of other products.
func TestOwnFormat(t *testing.T) {
	for body, want := range map[string]failure.Kind{
		`{"error":"malformed event"}`:                          failure.Rejected,
		`{"reply":{"err_code":500,"err_msg":"no"}}`:            failure.Rejected,
		`{"error":"Bad Request","statusCode":400}`:             failure.Misconfigured,
		`{"error":{"type":"x","reason":"y"}}`:                  failure.Misconfigured,
		`{"message":"no"}`:                                     failure.Misconfigured,
		`{"timestamp":1,"status":400,"error":"no","path":"/"}`: failure.Misconfigured,
	} {
		if f := failure.Of(newCodes(authHMAC).Classify(connectortest.Response(t, 400, nil, body))); f.Kind != want ||
			f.Foreign != (want == failure.Misconfigured) {
			t.Errorf("%s: %+v, want %v", body, f, want)
		}
	}
}

// TestHints: the likeliest mistake is the wrong authentication method.
func TestHints(t *testing.T) {
	for _, test := range []struct {
		auth   string
		status int
		hint   string
	}{
		{"hmac", 401, "needs XSIAM_AUTH=token"}, {"hmac", 403, "XSIAM_API_KEY"}, {"token", 401, "not an API key"},
		{"standard", 401, "security level"}, {"advanced", 401, "security level"}, {"hmac", 404, "XSIAM_URL"},
		{"hmac", 400, "XSIAM_URL"}, {"hmac", 500, "XSIAM_BODY and SIEM_COMPRESSION"},
	} {
		f := failure.Of(newCodes(test.auth).Classify(connectortest.Response(t, test.status, nil, "")))
		if !strings.Contains(f.Hint, test.hint) {
			t.Errorf("%s, %d: hint %q, want %q", test.auth, test.status, f.Hint, test.hint)
		}
	}
}

// FuzzClassify: only a response of XSIAM's is a success, and the key never shows.
func FuzzClassify(f *testing.F) {
	f.Add(200, []byte(`{"error":"false"}`))
	f.Add(500, []byte("failed to process the request "+apiKey))
	f.Add(401, []byte(`{"error":"Failed to validate authentication detail"}`))
	f.Add(400, []byte(`{"error":"`+apiKey+`"}`))
	c := open(f, connectortest.Record(f, accept).URL)
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.url})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := *template
		a.Status, a.Body = status, body
		fl := failure.Of(c.codes.Classify(&a))
		if fl == nil && (status/100 != 2 || len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body)) {
			t.Fatalf("%d %q is a success", status, body)
		}
		if fl != nil && (fl.Status != status || strings.Contains(fl.Error(), apiKey)) {
			t.Fatalf("%d %q: %v", status, body, fl)
		}
	})
}

// TestSignatures compares with values computed by another implementation (Python's hmac and hashlib).
func TestSignatures(t *testing.T) {
	c := connector{key: secret.New(apiKey), keyID: "42"}
	n := strings.Repeat("N", 64)
	const want = "523adbad8d8312bc0ac45dea015d914ee12b98b542b4c2c4ba075200b61a8141"
	h, _ := c.sign(n, moment())
	if got := h.Get("X-Xdr-Hmac-Sha256"); got != want {
		t.Errorf("hmac %s", got)
	}
	c.auth = authAdvanced
	h, _ = c.sign(n, moment())
	if got := h.Get("Authorization"); got != "2eb1ed0775d47f77b569d0c528f702f1ad7842b142075dd54166424c51317e06" {
		t.Errorf("advanced %s", got)
	}
	if h.Get("X-Xdr-Timestamp") != "1773360000000" || h.Get("X-Xdr-Nonce") != n || h.Get("X-Xdr-Auth-Id") != "42" {
		t.Errorf("%v", h)
	}
}

func TestHeaders(t *testing.T) {
	for auth, want := range map[string][]string{
		"hmac":     {"Content-Type", "X-Xdr-Auth-Id", "X-Xdr-Hmac-Sha256", "X-Xdr-Nonce"},
		"token":    {"Authorization", "Content-Type"},
		"standard": {"Authorization", "Content-Type", "X-Xdr-Auth-Id"},
		"advanced": {"Authorization", "Content-Type", "X-Xdr-Auth-Id", "X-Xdr-Nonce", "X-Xdr-Timestamp"},
	} {
		s := connectortest.Record(t, accept)
		c := open(t, s.URL, "XSIAM_AUTH", auth)
		for range 2 {
			if f := send(t, c); f != nil {
				t.Fatal(f)
			}
		}
		r := s.Requests()
		got := maps.Clone(r[0].Header)
		for _, common := range []string{"User-Agent", "Content-Length", "Accept-Encoding"} {
			delete(got, common)
		}
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
			t.Errorf("%s: headers %v, want %v", auth, keys, want)
		}
		sendsKey := got.Get("Authorization") == apiKey
		if want := auth == "token" || auth == "standard"; sendsKey != want {
			t.Errorf("%s: Authorization %q", auth, got.Get("Authorization"))
		}
		first, second := r[0].Header.Get("X-Xdr-Nonce"), r[1].Header.Get("X-Xdr-Nonce")
		if slices.Contains(want, "X-Xdr-Nonce") &&
			(first == second || !regexp.MustCompile(`^[A-Za-z0-9]{64}$`).MatchString(first)) {
			t.Errorf("%s: nonces %q and %q", auth, first, second)
		}
		checkSignature(t, auth, r[1].Header)
		if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, apiKey) {
			t.Errorf("%s: the key is in the printed connector: %s", auth, text)
		}
	}
}

// checkSignature signs again what the header says was signed.
func checkSignature(t *testing.T, auth string, h http.Header) {
	t.Helper()
	c := connector{auth: auth, key: secret.New(apiKey), keyID: "42"}
	signed, _ := c.sign(h.Get("X-Xdr-Nonce"), moment())
	for _, name := range []string{"X-Xdr-Hmac-Sha256", "Authorization"} {
		if h.Get(name) != signed.Get(name) {
			t.Errorf("%s %s, want %s", name, h.Get(name), signed.Get(name))
		}
	}
}

// unsentKey is a key that is never sent: with these authentication methods, the server receives only signatures.
const unsentKey = "unsent-key-of-the-tenant"

func suite(auth, key string) connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return env("XSIAM_URL", url, "XSIAM_AUTH", auth, "XSIAM_API_KEY", key)
		},
		PlainHTTP: true,
		Secrets:   []string{key},
		MaxBytes:  1_048_576,
		Wrong: map[string]string{
			"XSIAM_URL": "http://api.example.com", "XSIAM_API_KEY": apiKey + "\nb", "XSIAM_API_KEY_ID": "abc",
			"XSIAM_AUTH": "basic", "XSIAM_BODY": "array", "XSIAM_LOG_TYPE": "a\nb", "XSIAM_DATASET": "a\nb",
			"SIEM_COMPRESSION": "zstd", "SIEM_REQUEST_TIMEOUT_SECONDS": "-1", "SIEM_ALLOW_HTTP": "perhaps",
		},
		Accept: accept,
		Refuse: connectortest.Status(400, `{"error":"malformed event"}`),
	}
}

func TestConformance(t *testing.T) {
	for auth, key := range map[string]string{"hmac": unsentKey, "token": apiKey, "standard": apiKey,
		"advanced": unsentKey} {
		t.Run(auth, func(t *testing.T) { connectortest.Run(t, suite(auth, key)) })
	}
}
