package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/settings"
)

const testKey = "0123456789abcdef0123456789abcdef"

var accept = connectortest.Status(http.StatusAccepted, "{}")

// moment is the connector's clock in tests.
var moment = time.Date(2026, time.March, 13, 12, 0, 0, 0, time.UTC)

// open opens a connector to the intake at url, with more or other values.
func open(t testing.TB, url string, more map[string]string) *connector {
	t.Helper()
	values := map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_INTAKE_URL": url, "SIEM_ALLOW_HTTP": "true"}
	maps.Copy(values, more)
	return connectortest.Read(t, values, func(s *settings.Settings) *connector {
		s.Now = func() time.Time { return moment }
		return Open(s).(*connector)
	})
}

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return map[string]string{"DATADOG_INTAKE_URL": url, "DATADOG_API_KEY": testKey}
		},
		PlainHTTP: true,
		Secrets:   []string{testKey},
		MaxBytes:  5_000_000,
		Wrong: map[string]string{
			"DATADOG_SITE": "datadoghq.org", "DATADOG_SERVICE": "a,b", "DATADOG_EVENT_TIME": "maybe",
			"DATADOG_SOURCE": "a\nb", "DATADOG_TAGS": "a\tb", "SIEM_HOST": "a\x00b", "SIEM_COMPRESSION": "zip",
			"SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "si",
		},
		Accept: accept,
		Refuse: connectortest.Status(400, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid payload"}]}`),
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

// entry is a log entry as Datadog reads it.
type entry struct {
	Source    string `json:"ddsource"`
	Tags      string `json:"ddtags"`
	Host      string `json:"hostname"`
	Service   string `json:"service"`
	Message   string `json:"message"`
	Timestamp *int64 `json:"timestamp"`
}

// TestPage sends the sample event of the platform's page, with white space between its tokens.
func TestPage(t *testing.T) {
	var event bytes.Buffer
	if err := json.Indent(&event, []byte(connectortest.SampleEvent), "", "  "); err != nil {
		t.Fatal(err)
	}
	message, _ := json.Marshal(connectortest.SampleEvent)
	s := connectortest.Record(t, accept)
	for want, more := range map[string]map[string]string{
		`[{"ddsource":"arbitex-audit","ddtags":"env:production,service:arbitex",` +
			`"hostname":"platform.arbitex.ai","service":"arbitex","message":`: {"DATADOG_TAGS": "env:production"},
		`[{"ddsource":"src","ddtags":"service:s\"1","hostname":"h","service":"s\"1","message":`: {
			"SIEM_HOST": "h", "DATADOG_SERVICE": `s"1`, "DATADOG_SOURCE": "src"},
	} {
		s.Reset()
		connectortest.Delivered(t, open(t, s.URL, more), event.String())
		r := s.Requests()[0]
		if r.Text != want+string(message)+"}]" {
			t.Errorf("sent\n%s\nwant\n%s%s}]", r.Text, want, message)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/api/v2/logs" ||
			r.Header.Get("Content-Type") != "application/json" || r.Header.Get("DD-API-KEY") != testKey {
			t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
		}
	}
}

// TestEntryLimit: an entry has at most 1,000,000 bytes. An id can be so long that the truncated event does not fit.
func TestEntryLimit(t *testing.T) {
	s := connectortest.Record(t, accept)
	c := open(t, s.URL, map[string]string{"DATADOG_EVENT_TIME": "true"})
	with := func(pad int) string {
		return fmt.Sprintf(`{"time":%d,"class_uid":6003,"metadata":{"uid":"big"},"pad":%q}`, moment.UnixMilli(),
			strings.Repeat("x", pad))
	}
	record, _, _ := c.Append(nil, connectortest.Parse(t, with(0)))
	largest := maxEntryBytes - len(record)
	record, truncated, err := c.Append([]byte("before"), connectortest.Parse(t, with(largest)))
	if err != nil || truncated || len(record)-len("before") != maxEntryBytes {
		t.Errorf("at the limit: %d bytes, truncated %v, %v", len(record), truncated, err)
	}
	e := connectortest.Parse(t, with(largest+1))
	record, truncated, err = c.Append([]byte("before"), e)
	var got entry
	if err != nil || !truncated || !bytes.HasPrefix(record, []byte("before")) || json.Unmarshal(record[len("before"):],
		&got) != nil {
		t.Fatalf("over the limit: %.200s, truncated %v, %v", record, truncated, err)
	}
	if want := string(e.AppendTruncated(nil)); got.Message != want || got.Timestamp == nil || got.Service != "arbitex" {
		t.Errorf("over the limit: %+v, want the message %s", got, want)
	}
	outcomes := connectortest.Deliver(t, c, `{"time":1,"metadata":{"uid":"`+strings.Repeat("x", maxEntryBytes)+`"}}`,
		`{"time":1}`)
	connectortest.CheckOutcomes(t, "an id of 1 MB", outcomes, "rejected", "delivered")
	if !strings.Contains(outcomes[0].Fault.Error(), "at most 1000000") {
		t.Error(outcomes[0].Fault)
	}
}

func TestEventTime(t *testing.T) {
	for _, test := range []struct {
		setting string
		age     time.Duration
		told    bool
	}{
		{"", 0, false},
		{"false", 0, false},
		{"true", 0, true},
		{"true", -time.Minute, true},
		{"true", 17*time.Hour - time.Millisecond, true},
		{"true", 17 * time.Hour, false},
		{"true", 18 * time.Hour, false},
	} {
		c := open(t, "http://127.0.0.1:1", map[string]string{"DATADOG_EVENT_TIME": test.setting})
		at := moment.Add(-test.age).UnixMilli()
		record, _, err := c.Append(nil, connectortest.Parse(t, fmt.Sprintf(`{"time":%d}`, at)))
		want := fmt.Sprintf(`"message":"{\"time\":%d}"}`, at)
		if test.told {
			want = fmt.Sprintf(`"message":"{\"time\":%d}","timestamp":%[1]d}`, at)
		}
		if err != nil || !strings.HasSuffix(string(record), want) {
			t.Errorf("setting %q, age %v: %s, %v", test.setting, test.age, record, err)
		}
	}
}

// FuzzAppend: every event makes an entry whose message is the event, whatever the settings hold.
func FuzzAppend(f *testing.F) {
	for _, e := range connectortest.Generated(4, 20) {
		f.Add([]byte(e), "arbitex", "env:production")
	}
	f.Add([]byte("{ \"time\" : 1 ,\n\"a\":\"\\u2028\\ud83d\\ude00\\\"\\\\\" }"), "a\"b\\", ",a,,\u2028")
	f.Add([]byte(`{"time":0,"metadata":{"uid":"\u0000"},"n":1e400,"e":{},"l":[]}`), "", "")
	f.Fuzz(func(t *testing.T, body []byte, service, tags string) {
		e := new(event.Event)
		s := connectortest.Settings(map[string]string{"DATADOG_API_KEY": testKey, "DATADOG_SERVICE": service,
			"DATADOG_SOURCE": service, "SIEM_HOST": service, "DATADOG_TAGS": tags})
		c := Open(s)
		if new(event.Parser).Parse(body, e) != nil || s.Err() != nil || !utf8.ValidString(service) {
			return
		}
		record, truncated, err := c.Append(nil, e)
		var got entry
		if err != nil || json.Unmarshal(record, &got) != nil || len(record) > maxEntryBytes && !truncated {
			t.Fatalf("%d bytes, truncated %v, %v: %.500q", len(record), truncated, err, record)
		}
		if want := string(e.AppendCompact(nil)); got.Message != want && !truncated {
			t.Errorf("the message is %q, want %q", got.Message, want)
		}
		service = s.String("DATADOG_SERVICE", "arbitex")
		if got.Service != service || got.Source != s.String("DATADOG_SOURCE", "arbitex-audit") ||
			got.Host != s.String("SIEM_HOST", "platform.arbitex.ai") ||
			!strings.HasSuffix(got.Tags, "service:"+service) {
			t.Errorf("%+v with the service %q", got, service)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	connectortest.BenchmarkAppend(b, open(b, "https://intake.example.com", nil))
}

// TestAddresses: with DATADOG_INTAKE_URL, the site is not used.
func TestAddresses(t *testing.T) {
	for _, test := range []struct{ site, intakeURL, intake, validate string }{
		{"", "", "https://http-intake.logs.datadoghq.com/api/v2/logs", "https://api.datadoghq.com/api/v1/validate"},
		{"dd.example.com", "https://intake.example.com", "https://intake.example.com/api/v2/logs", ""},
		{"", "https://intake.example.com/", "https://intake.example.com/api/v2/logs", ""},
		{"", "https://proxy.example.com/datadog", "https://proxy.example.com/datadog/api/v2/logs", ""},
		{"", "https://intake.example.com/api/v2/logs", "https://intake.example.com/api/v2/logs", ""},
		{"", "https://proxy.example.com/x/api/v2/logs", "https://proxy.example.com/x/api/v2/logs", ""},
	} {
		c := open(t, test.intakeURL, map[string]string{"DATADOG_SITE": test.site})
		if validate := c.validate; c.intake.String() != test.intake || (validate == nil) != (test.validate == "") ||
			validate != nil && validate.String() != test.validate {
			t.Errorf("%+v: %v, validate %v", test, c.intake, c.validate)
		}
	}
	for _, site := range []string{
		"datadoghq.com", "us3.datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ap1.datadoghq.com",
		"ap2.datadoghq.com", "uk1.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com",
	} {
		c := open(t, "", map[string]string{"DATADOG_SITE": site})
		if c.intake.Host != "http-intake.logs."+site || c.validate.Host != "api."+site {
			t.Errorf("%s: %v and %v", site, c.intake, c.validate)
		}
	}
	s := connectortest.Settings(map[string]string{"DATADOG_API_KEY": testKey,
		"DATADOG_INTAKE_URL": "intake.example.com"})
	if Open(s); s.Err() == nil || !strings.Contains(s.Err().Error(), "DATADOG_INTAKE_URL: ") {
		t.Error(s.Err())
	}
}

func TestTags(t *testing.T) {
	for tags, want := range map[string]string{
		"":                                "service:arbitex",
		"env:production":                  "env:production,service:arbitex",
		"env:production,team:security":    "env:production,team:security,service:arbitex",
		" env:production , team:a b ,, ,": "env:production,team:a b,service:arbitex",
	} {
		if got := joinTags(tags, "arbitex"); got != want {
			t.Errorf("%q makes %q, want %q", tags, got, want)
		}
	}
}

// sendOne sends one event to a server with that response.
func sendOne(t *testing.T, respond http.HandlerFunc) error {
	t.Helper()
	c := open(t, connectortest.Record(t, respond).URL, nil)
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
			if (f == nil) != want ||
				f != nil && (f.Kind != failure.Transient || !strings.Contains(f.Hint, "DATADOG_SITE")) {
				t.Errorf("%d %.30q, DATADOG_INTAKE_URL set: %t: %v, want delivered: %t", test.status, test.body, i == 1,
					f, want)
			}
		}
	}
}

func TestReasons(t *testing.T) {
	const forbidden = `{"errors":[{"status":"403","title":"Forbidden","detail":"API key invalid"}]}`
	for _, test := range []struct {
		status             int
		body, detail, hint string
	}{
		{400, `{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid JSON"}]}`, `"Bad Request: Invalid JSON"`, ""},
		{400, `{"errors":["one","two"]}`, `"one; two"`, ""},
		{400, `<html>`, "not in the error format", "DATADOG_INTAKE_URL"},
		{401, forbidden, "API key invalid", "DATADOG_API_KEY"},
		{403, forbidden, "API key invalid", "DATADOG_SITE"},
		{404, ``, "", "DATADOG_INTAKE_URL"},
	} {
		f := failure.Of(sendOne(t, connectortest.Status(test.status, test.body)))
		if f == nil || !strings.Contains(f.Detail, test.detail) || !strings.Contains(f.Hint, test.hint) {
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
			c := open(t, s.URL, nil)
			api := connectortest.Record(t, test.validate)
			if test.validate != nil {
				u := *c.intake
				u.Host, u.Path = strings.TrimPrefix(api.URL, "http://"), validatePath
				c.validate = &u
			}
			err := c.Check(t.Context())
			if f := failure.Of(err); (f == nil) != (test.step == "") || f != nil && f.Step != test.step {
				t.Errorf("%v, want step %q", err, test.step)
			}
			for _, r := range s.Requests() {
				if r.Text != "[]" || r.URL.Path != intakePath {
					t.Errorf("wrote %q to %s", r.Text, r.URL)
				}
			}
			if test.validate == nil {
				return
			}
			if r := api.Requests()[0]; r.Method != http.MethodGet || r.URL.Path != validatePath || r.Text != "" ||
				r.Header.Get("DD-API-KEY") != testKey {
				t.Errorf("asked the API with %s %s", r.Method, r.URL)
			}
		})
	}
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	connectortest.ResponseTable(t, newCodes(false).Classify, []connectortest.Row{
		{Status: "202, 200", Code: "–", Is: 202}, {Status: "202, 200", Code: "–", Is: 200, Body: "{}"},
		{Status: "400, 422", Code: "any", Is: 422, Body: `{"errors":["x"]}`},
		{Status: "403", Code: "–", Is: 403}, {Status: "429", Code: "–", Is: 429},
	})
}

// FuzzClassify: only a response of Datadog's is a success, and the key never shows.
func FuzzClassify(f *testing.F) {
	for body, status := range map[string]int{
		`{}`: 202, ``: 202, `{"errors":[{"title":"x"}]}`: 202, `{"errors":["x"]}`: 400, testKey: 403, `[]`: 429,
		`{"errors":null}`: 202, ` `: 204, "\v{}": 202, "\xff\x00": 500, `{"errors":{}}`: 301,
	} {
		f.Add(status, []byte(body))
	}
	c := open(f, connectortest.Record(f, accept).URL, nil)
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.intake})
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
