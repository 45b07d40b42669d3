package connector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// refusal is an error of the ingestion API.
func refusal(code string) string {
	return `{"error":{"code":"` + code + `","message":"words of Azure"}}`
}

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	connectortest.ResponseTable(t, "../README.md", classify, []connectortest.Row{
		{Status: "2xx", Code: "–", Is: 204},
		{Status: "400, 422", Code: "any other", Is: 400, Body: refusal("InvalidPayload")},
		{Status: "400", Code: "InvalidStream", Is: 400, Body: refusal("InvalidStream")},
		{Status: "401", Code: "–", Is: 401}, {Status: "403", Code: "–", Is: 403}, {Status: "501", Code: "–", Is: 501},
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
		if err := classify(connectortest.Response(t, test.status, nil, test.body)); (err == nil) != test.want || err != nil &&
			failure.Of(err).Kind != failure.Transient {
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
			"on the data collection rule (DCR), not on the data collection endpoint (DCE); a new assignment takes up to 30 " +
				"minutes"},
		{connectortest.Status(404, refusal("NotFound")), failure.Request, "NotFound", "SENTINEL_DCR_RULE_ID"},
		{connectortest.Status(400, refusal("InvalidStream")), failure.Request, "InvalidStream", "SENTINEL_DCR_STREAM_NAME"},
		{connectortest.Status(302, "", "Location", "https://elsewhere.example.com/path"), failure.Request, "",
			`"elsewhere.example.com"`},
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

func TestRetryAfter(t *testing.T) {
	a := newAzure(t)
	a.ingest = connectortest.Status(429, "", "Retry-After", a.now().Add(90*time.Second).UTC().Format(http.TimeFormat))
	if f := send(t.Context(), t, a.open(t)); f.Kind != failure.Throttled || f.RetryAfter != 90*time.Second {
		t.Errorf("%+v", f)
	}
}

// TestCheckNamesTheStep fails each step in turn.
func TestCheckNamesTheStep(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(a *azure) []string
		step failure.Step
	}{
		{"no such host", func(*azure) []string { return []string{"SENTINEL_AUTHORITY_HOST", "https://nowhere.invalid"} },
			failure.DNS},
		{"no such host for events", func(*azure) []string {
			return []string{"SENTINEL_DCR_ENDPOINT", "https://nowhere.invalid"}
		}, failure.DNS},
		{"no server", func(*azure) []string { return []string{"SENTINEL_DCR_ENDPOINT", "http://127.0.0.1:1"} },
			failure.Connect},
		{"no TLS", func(a *azure) []string {
			return []string{"SENTINEL_DCR_ENDPOINT", strings.Replace(a.URL, "http:", "https:", 1)}
		}, failure.TLS},
		{"secret", func(a *azure) []string { a.grant = connectortest.Status(401, `{"error":"invalid_client"}`); return nil },
			failure.Auth},
		{"token", func(a *azure) []string { a.ingest = connectortest.Status(401, ""); return nil }, failure.Auth},
		{"role", func(a *azure) []string { a.ingest = connectortest.Status(403, ""); return nil }, failure.Auth},
		{"rule", func(a *azure) []string { a.ingest = connectortest.Status(404, ""); return nil }, failure.Request},
	} {
		a := newAzure(t)
		pairs := test.edit(a)
		if f := failure.Of(a.open(t, pairs...).Check(t.Context())); f == nil || f.Step != test.step {
			t.Errorf("%s: %v, want step %s", test.name, f, test.step)
		}
	}
}

// TestNoSecretAppears has the servers echo the secrets in every part of a response.
func TestNoSecretAppears(t *testing.T) {
	echo := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			w.Header().Set("Location", "https://"+token+".example.com/"+token)
			w.Header().Set("X-Ms-Error-Code", token)
			w.WriteHeader(code)
			fmt.Fprintf(w, "%s %s %s", token, token, clientSecret)
		}
	}
	raw := func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s %s\r\n\r\n", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
			clientSecret)
		conn.Close()
	}
	for name, ingest := range map[string]http.HandlerFunc{"302": echo(302), "400": echo(400), "401": echo(401),
		"500": echo(500), "no HTTP": raw} {
		a := newAzure(t)
		a.ingest = ingest
		c := a.open(t)
		f := send(t.Context(), t, c)
		if f == nil || a.requests()[0].header.Get("Authorization") != "Bearer "+accessToken(1) {
			t.Errorf("%s: nothing is proven: %v", name, f)
			continue
		}
		text := f.Error() + f.Brief() + fmt.Sprintf("%v %+v %#v %v", f, f, f, c) + fmt.Sprintf("%+v %#v", c, c)
		if strings.Contains(text, "aB3-_aB3-_") || strings.Contains(text, clientSecret) {
			t.Errorf("%s: a secret shows in %s", name, text)
		}
	}
	for name, grant := range map[string]http.HandlerFunc{
		"200": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "<%s>", accessToken(1)) },
		"401": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": clientSecret, "error_description": clientSecret})
		},
	} {
		a := newAzure(t)
		a.grant = grant
		f := send(t.Context(), t, a.open(t))
		if form := strings.Join(a.forms, ""); !strings.Contains(form, "s3cret~with%2Fodd%2Bchars") {
			t.Errorf("token %s: nothing is proven: %s", name, form)
		}
		if text := f.Error() + f.Brief(); strings.Contains(text, "aB3-_aB3-_") || strings.Contains(text, "s3cret") {
			t.Errorf("token %s: a secret shows in %s", name, text)
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
		fl := failure.Of(classify(&a))
		if fl == nil && (status/100 != 2 || len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body)) {
			t.Fatalf("%d %q is a success", status, body)
		}
		if fl != nil && fl.Status != status {
			t.Fatalf("status %d of %d", fl.Status, status)
		}
	})
}
