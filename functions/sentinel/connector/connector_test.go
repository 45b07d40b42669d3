package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

const clientSecret = "s3cret~with/odd+chars"

// env returns a complete configuration, changed by pairs of name and value.
func env(pairs ...string) map[string]string {
	e := map[string]string{
		"SENTINEL_TENANT_ID":       "11111111-2222-3333-4444-555555555555",
		"SENTINEL_CLIENT_ID":       "client-1",
		"SENTINEL_CLIENT_SECRET":   clientSecret,
		"SENTINEL_DCR_ENDPOINT":    "https://dce.example.com",
		"SENTINEL_DCR_RULE_ID":     "dcr-0123456789abcdef",
		"SENTINEL_DCR_STREAM_NAME": "Custom-ArbitexAudit_CL",
	}
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

// azure is both servers of the connector: the token endpoint and the ingestion endpoint.
type azure struct {
	*connectortest.Recorder
	grant  http.HandlerFunc // of the token endpoint
	ingest http.HandlerFunc

	clock   atomic.Int64 // Unix ms
	expires int          // seconds
}

func isToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }

func newAzure(t testing.TB) *azure {
	a := &azure{expires: 3599}
	a.pass(time.UnixMilli(1773360000000).Sub(time.UnixMilli(0)))
	a.grant = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%[1]d,"access_token":%q}`, a.expires,
			accessToken(len(a.forms())))
	}
	a.ingest = connectortest.Status(http.StatusNoContent, "")
	a.Recorder = connectortest.Record(t, func(w http.ResponseWriter, r *http.Request) {
		if isToken(r) {
			a.grant(w, r)
		} else {
			a.ingest(w, r)
		}
	})
	return a
}

// accessToken is the nth token: as long as a real one.
func accessToken(n int) string { return fmt.Sprintf("eyJ0.%d.%s", n, strings.Repeat("aB3-_", 300)) }

// forms returns the token requests so far, and posted the ingestion requests.
func (a *azure) forms() []*connectortest.Request {
	return slices.DeleteFunc(a.Requests(), func(r *connectortest.Request) bool { return !isToken(r.Request) })
}

func (a *azure) posted() []*connectortest.Request {
	return slices.DeleteFunc(a.Requests(), func(r *connectortest.Request) bool { return isToken(r.Request) })
}

func (a *azure) now() time.Time { return time.UnixMilli(a.clock.Load()) }

func (a *azure) pass(d time.Duration) { a.clock.Add(d.Milliseconds()) }

// open makes a connector that talks to a, by a's clock.
func (a *azure) open(t testing.TB, pairs ...string) *connector {
	t.Helper()
	pairs = append([]string{"SENTINEL_DCR_ENDPOINT", a.URL, "SENTINEL_AUTHORITY_HOST", a.URL,
		"SIEM_ALLOW_HTTP", "true"}, pairs...)
	return connectortest.Read(t, env(pairs...), func(s *settings.Settings) *connector {
		s.Now, s.Identity = a.now, roleIdentity
		return Open(s).(*connector)
	})
}

func suite() connectortest.Suite {
	return connectortest.Suite{
		Open: func(s *settings.Settings) deliver.Connector {
			s.Identity = roleIdentity
			return Open(s)
		},
		Settings: func(url, _ string) map[string]string {
			return env("SENTINEL_DCR_ENDPOINT", url, "SENTINEL_AUTHORITY_HOST", url, "SENTINEL_CLIENT_SECRET",
				"a-secret-of-the-client")
		},
		PlainHTTP: true,
		Secrets:   []string{"a-secret-of-the-client", accessToken(1)},
		Accept: func(w http.ResponseWriter, r *http.Request) {
			if isToken(r) {
				fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, accessToken(1))
				return
			}
			w.WriteHeader(http.StatusNoContent)
		},
		Refuse:   connectortest.Status(400, refusal("InvalidPayload")),
		MaxBytes: 1_000_000,
		Wrong: map[string]string{
			"SENTINEL_DCR_ENDPOINT": "http://dce.example.com", "SENTINEL_AUTHORITY_HOST": "login.microsoftonline.com",
			"SENTINEL_DCR_RULE_ID": "/subscriptions/1/resourceGroups/2/providers/Microsoft.Insights/" +
				"dataCollectionRules/3",
			"SENTINEL_SCOPE": "a\nb", "SENTINEL_TENANT_ID": "a\rb", "SENTINEL_CLIENT_ID": "a\x00b",
			"SENTINEL_CLIENT_SECRET": clientSecret + "\nb", "SENTINEL_DCR_STREAM_NAME": "a\nb",
			"SIEM_COMPRESSION":             "zstd",
			"SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "perhaps",
		},
		Delivers: func(r *http.Request) bool { return !isToken(r) },
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

const someEvent = `{"time":1773360000123,"metadata":{"uid":"e-1"}}`

func send(ctx context.Context, t testing.TB, c *connector) *failure.Error {
	t.Helper()
	return failure.Of(c.Send(ctx, connectortest.Batch(t, c, someEvent)))
}

// page is the event of the platform's page, and pageRow its row there, up to the event, which the page leaves out.
var page = strings.Replace(connectortest.FullEvent, "1741824000123", "1773360000123", 1)

const pageRow = `{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":"req_xyz","UserId":"user_abc",` +
	`"UserEmail":"alice@example.com","Operation":"chat_completion","ModelId":"gpt-4o","PolicyAction":"allow",` +
	`"DlpLabels":"[]","TokensInput":512,"TokensOutput":256,"SeverityId":1,"RawOCSF":`

func TestPage(t *testing.T) {
	a := newAzure(t)
	c := a.open(t, "SIEM_COMPRESSION", "none")
	var m telemetry.Meter
	b := connectortest.Batch(t, c, page)
	b.Meter = &m
	if err := c.Send(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r := a.posted()[0]
	event, _ := json.Marshal(page)
	if want := "[" + pageRow + string(event) + "}]"; r.Text != want {
		t.Errorf("body\n%s\nwant\n%s", r.Text, want)
	}
	const want = "/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01"
	if r.RequestURI != want {
		t.Errorf("uri %s, want %s", r.RequestURI, want)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer "+accessToken(1) {
		t.Errorf("header %v", r.Header)
	}
	if m.Requests != 2 || m.Bytes != int64(len(r.Text)+len(a.forms()[0].Text)) {
		t.Errorf("meter %+v", m)
	}
}

func TestAppendColumns(t *testing.T) {
	for _, test := range []struct{ name, event, want string }{
		{
			"nothing but a time", `{"time":0}`,
			`{"TimeGenerated":"1970-01-01T00:00:00.000Z","EventId":null,"UserId":null,"UserEmail":null,"Operation":null,"ModelId":null,` +
				`"PolicyAction":null,"DlpLabels":"[]","TokensInput":null,"TokensOutput":null,"SeverityId":0,"RawOCSF":"{\"time\":0}"}`,
		},
		{
			"labels, escapes and white space",
			"{ \"time\": 1773360000123, " +
				"\"activity_name\":\"a\\\"b\",\"severity_id\":99,\n" +
				"\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0} }",
			`{"TimeGenerated":"2026-03-13T00:00:00.123Z","EventId":null,"UserId":null,"UserEmail":null,"Operation":"a\"b","ModelId":null,` +
				`"PolicyAction":null,"DlpLabels":"[\"pii\",\"x\\\\y\"]","TokensInput":0,"TokensOutput":null,"SeverityId":99,` +
				`"RawOCSF":"{\"time\":1773360000123,\"activity_name\":\"a\\\"b\",\"severity_id\":99,\"unmapped\":{\"dlp_labels\":[\"pii\",\"x\\\\y\"],\"tokens_input\":0}}"}`,
		},
	} {
		record, truncated, err := (&connector{}).Append([]byte("before"), connectortest.Parse(t, test.event))
		if got := string(record); got != "before"+test.want || truncated || err != nil {
			t.Errorf("%s:\n%s\nwant\n%s (%v, %v)", test.name, got, test.want, truncated, err)
		}
	}
}

// sized makes an event of n compact bytes, with white space of w bytes more.
func sized(n, w int) string {
	const head, tail = `{"time":1773360000123,"class_uid":6003,"metadata":{"uid":"big"},"x":"`, `"}`
	return head + strings.Repeat("x", n-len(head)-len(tail)) + tail[:1] + strings.Repeat(" ", w) + tail[1:]
}

func TestRawIsTruncated(t *testing.T) {
	for _, test := range []struct {
		name      string
		event     string
		truncated bool
	}{
		{"at the limit", sized(64_000, 0), false},
		{"one over", sized(64_001, 0), true},
		{"at the limit without its white space", sized(64_000, 10), false},
		{"one over without its white space", sized(64_001, 10), true},
	} {
		record, truncated, err := (&connector{}).Append(nil, connectortest.Parse(t, test.event))
		var row struct{ RawOCSF, TimeGenerated string }
		if uerr := json.Unmarshal(record, &row); uerr != nil || err != nil || truncated != test.truncated {
			t.Errorf("%s: truncated %v, %v, %v", test.name, truncated, err, uerr)
			continue
		}
		if !test.truncated {
			var compact bytes.Buffer
			_ = json.Compact(&compact, []byte(test.event))
			if row.RawOCSF != compact.String() {
				t.Errorf("%s: RawOCSF is not the event", test.name)
			}
			continue
		}
		want := fmt.Sprintf(`{"truncated":true,"bytes":%d,"sha256":"`, len(test.event))
		if !strings.HasPrefix(row.RawOCSF, want) || !strings.HasSuffix(row.RawOCSF,
			`","class_uid":6003,"time":1773360000123,"metadata":{"uid":"big"}}`) {
			t.Errorf("%s: RawOCSF %s", test.name, row.RawOCSF)
		}
	}
}

func TestAppendRejectsALongID(t *testing.T) {
	_, _, err := (&connector{}).Append(nil, connectortest.Parse(t, `{"time":1,"metadata":{"uid":"`+strings.Repeat("u",
		maxRawBytes)+`"}}`))
	if err == nil || !strings.Contains(err.Error(), "metadata.uid") {
		t.Errorf("err = %v", err)
	}
}

func FuzzAppend(f *testing.F) {
	connectortest.FuzzAppend(f, &connector{}, func(t *testing.T, record []byte, e *event.Event) string {
		var row map[string]any
		if err := json.Unmarshal(record, &row); err != nil || len(row) != 12 {
			t.Fatalf("%v: %s", err, record)
		}
		var labels []string
		if text, _ := row["DlpLabels"].(string); json.Unmarshal([]byte(text), &labels) != nil ||
			len(labels) != len(e.DLPLabels) {
			t.Fatalf("DlpLabels %v", row["DlpLabels"])
		}
		return row["RawOCSF"].(string)
	})
}

func BenchmarkAppend(b *testing.B) { connectortest.BenchmarkAppend(b, &connector{}) }

// TestCheck: an empty array, and a token of its own. It names the step that fails.
func TestCheck(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	for range 2 {
		if err := c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.posted(); len(r) != 2 || r[1].Text != "[]" || len(a.forms()) != 2 ||
		r[1].Header.Get("Authorization") != "Bearer "+accessToken(2) {
		t.Errorf("%d requests, body %q, %d tokens", len(r), r[1].Text, len(a.forms()))
	}
	for setting, step := range map[string]failure.Step{"SENTINEL_DCR_ENDPOINT": failure.Connect,
		"SENTINEL_AUTHORITY_HOST": failure.Connect} {
		f := failure.Of(a.open(t, setting, "http://127.0.0.1:1").Check(t.Context()))
		if f == nil || f.Step != step || !strings.Contains(f.Hint, setting) {
			t.Errorf("%s: %+v", setting, f)
		}
	}
	a.grant = connectortest.Status(401, `{"error":"invalid_client"}`)
	if f := failure.Of(c.Check(t.Context())); f == nil || f.Step != failure.Auth {
		t.Errorf("refused secret: %v", f)
	}
}

// refusal is an error of the ingestion API.
func refusal(code string) string {
	return `{"error":{"code":"` + code + `","message":"words of Azure"}}`
}

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	connectortest.ResponseTable(t, codes.Classify, []connectortest.Row{
		{Status: "2xx", Code: "–", Is: 204},
		{Status: "400, 422", Code: "any other", Is: 400, Body: refusal("InvalidPayload")},
		{Status: "400", Code: "InvalidStream", Is: 400, Body: refusal("InvalidStream")},
		{Status: "401", Code: "–", Is: 401}, {Status: "403", Code: "–", Is: 403},
		{Status: "501", Code: "–", Is: 501},
	})
}

func TestSuccess(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   bool
	}{
		{204, "", true}, {200, "", true}, {202, " \n", true}, {200, `{"ok":true}`, true}, {200, `[]`, true},
		{200, `{"error":null}`, true},
		{200, "<html>please sign in</html>", false}, {200, `{"error":"license expired"}`, false},
		{200, refusal("InvalidPayload"), false}, {200, `{"ok":`, false},
	} {
		err := codes.Classify(connectortest.Response(t, test.status, nil, test.body))
		if (err == nil) != test.want || err != nil && failure.Of(err).Kind != failure.Transient {
			t.Errorf("%d %q: %v, want delivered: %t", test.status, test.body, err, test.want)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		answer     http.HandlerFunc
		step       failure.Step
		code, hint string
	}{
		{connectortest.Status(401, ""), failure.Auth, "", "SENTINEL_SCOPE"},
		{connectortest.Status(403, refusal("OperationFailed")), failure.Auth, "OperationFailed",
			"on the data collection rule (DCR), not on the data collection endpoint (DCE); a new assignment takes up " +
				"to 30 minutes"},
		{connectortest.Status(404, refusal("NotFound")), failure.Request, "NotFound", "SENTINEL_DCR_RULE_ID"},
		{connectortest.Status(400, refusal("InvalidStream")), failure.Request, "InvalidStream",
			"SENTINEL_DCR_STREAM_NAME"},
		{connectortest.Status(413, "", "x-ms-error-code", "ContentLengthLimitExceeded"), failure.Request,
			"ContentLengthLimitExceeded", ""},
		{connectortest.Status(501, ""), failure.Request, "", "SIEM_COMPRESSION"},
		{connectortest.Status(400, "<html>"), failure.Request, "", "SENTINEL_DCR_ENDPOINT"},
		{connectortest.Status(400, refusal("no code but words")), failure.Request, "", ""},
		{connectortest.Status(400, refusal(strings.Repeat("x", 65))), failure.Request, "", ""},
	} {
		a := newAzure(t)
		a.ingest = test.answer
		f := send(t.Context(), t, a.open(t))
		if f.Step != test.step || f.Code != test.code || !strings.Contains(f.Hint, test.hint) {
			t.Errorf("%+v, want step %s, code %q, a hint with %q", f, test.step, test.code, test.hint)
		}
	}
}

// TestNoSecretAppears has the token endpoint echo the secrets where a response is quoted, and prints the connector.
func TestNoSecretAppears(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	mustSend(t, c)
	if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, "aB3-_aB3-_") || strings.Contains(text,
		clientSecret) {
		t.Errorf("a secret shows in %s", text)
	}
	echo, _ := json.Marshal(map[string]string{"error": clientSecret, "error_description": clientSecret})
	for status, body := range map[int]string{200: "<" + accessToken(1) + ">", 401: string(echo)} {
		a.grant = connectortest.Status(status, body)
		f := send(t.Context(), t, a.open(t))
		if form := a.forms()[0].Text; !strings.Contains(form, "s3cret~with%2Fodd%2Bchars") {
			t.Errorf("token %d: nothing is proven: %s", status, form)
		}
		if text := f.Error() + f.Brief(); strings.Contains(text, "aB3-_aB3-_") || strings.Contains(text, "s3cret") {
			t.Errorf("token %d: a secret shows in %s", status, text)
		}
	}
}

// FuzzClassify: only a response of Azure's is a success.
func FuzzClassify(f *testing.F) {
	f.Add(204, "", []byte{})
	f.Add(200, "", []byte(`{}`))
	f.Add(400, "", []byte(`{"error":{"code":"InvalidStream"}}`))
	f.Add(403, "OperationFailed", []byte(`{"error":"text"}`))
	f.Add(413, "ContentLengthLimitExceeded", []byte(`[`))
	template := connectortest.Response(f, 200, nil, "")
	f.Fuzz(func(t *testing.T, status int, code string, body []byte) {
		a := *template
		a.Status, a.Body, a.Header = status, body, http.Header{"X-Ms-Error-Code": {code}}
		fl := failure.Of(codes.Classify(&a))
		if fl == nil && (status/100 != 2 || len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body)) {
			t.Fatalf("%d %q is a success", status, body)
		}
		if fl != nil && fl.Status != status {
			t.Fatalf("status %d of %d", fl.Status, status)
		}
	})
}

func TestURLs(t *testing.T) {
	for _, test := range []struct {
		env            map[string]string
		url, authority string
	}{
		{
			env(), "https://dce.example.com/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01",
			"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token",
		},
		{
			env("SENTINEL_DCR_ENDPOINT", " https://dce.example.us/ ", "SENTINEL_AUTHORITY_HOST",
				"https://login.microsoftonline.us/",
				"SENTINEL_TENANT_ID", "corp.example.us", "SENTINEL_DCR_STREAM_NAME", "Custom-a b?c/%41"),
			"https://dce.example.us/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-a%20b%3Fc%2F%2541?api-version=2023-01-01",
			"https://login.microsoftonline.us/corp.example.us/oauth2/v2.0/token",
		},
		{
			env("SENTINEL_DCR_ENDPOINT", "https://proxy.example.com/azure", "SENTINEL_TENANT_ID", "a/../b"),
			"https://proxy.example.com/azure/dataCollectionRules/dcr-0123456789abcdef/streams/Custom-ArbitexAudit_CL?api-version=2023-01-01",
			"https://login.microsoftonline.com/a%2F..%2Fb/oauth2/v2.0/token",
		},
	} {
		c := connectortest.Read(t, test.env, Open).(*connector)
		if c.url.String() != test.url || c.authority.String() != test.authority {
			t.Errorf("url %s, authority %s, want %s and %s", c.url, c.authority, test.url, test.authority)
		}
		if !strings.HasPrefix(c.url.Path, "/") || !strings.HasPrefix(c.authority.Path, "/") {
			t.Error("a path does not begin with a slash")
		}
	}
}
