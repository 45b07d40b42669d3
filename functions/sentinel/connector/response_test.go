package connector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
)

// outcome is what the README calls a verdict.
func outcome(f *failure.Error) string {
	if f == nil {
		return "delivered"
	}
	return map[failure.Kind]string{
		failure.Transient: "retry", failure.Throttled: "retry", failure.Unauthorized: "renew, then held", failure.Misconfigured: "held",
		failure.TooLarge: "split", failure.Rejected: "halve, then reject",
	}[f.Kind]
}

// refusal is an error of the ingestion API.
func refusal(code string) string {
	return `{"error":{"code":"` + code + `","message":"words of Azure"}}`
}

// answers are the rows of the README's table, and answers that stand for each.
var answers = []struct {
	status, code string
	of           []http.HandlerFunc
	outcome      string
}{
	{"2xx", "", []http.HandlerFunc{connectortest.Status(204, ""), connectortest.Status(200, ""), connectortest.Status(202, ""), connectortest.Status(200, `{"ok":true}`)}, "delivered"},
	{"3xx", "", []http.HandlerFunc{connectortest.Status(301, "", "Location", "https://x.example.com"), connectortest.Status(307, ""), connectortest.Status(304, "")}, "held"},
	{"400, 422", "any other", []http.HandlerFunc{connectortest.Status(400, refusal("InvalidPayload")), connectortest.Status(400, ""), connectortest.Status(422, "")}, "halve, then reject"},
	{"400", "InvalidStream", []http.HandlerFunc{connectortest.Status(400, refusal("InvalidStream")), connectortest.Status(400, "", "x-ms-error-code", "InvalidStream")}, "held"},
	{"401", "", []http.HandlerFunc{connectortest.Status(401, refusal("InvalidToken")), connectortest.Status(401, "")}, "renew, then held"},
	{"403", "OperationFailed", []http.HandlerFunc{connectortest.Status(403, refusal("OperationFailed")), connectortest.Status(403, "")}, "renew, then held"},
	{"404", "NotFound", []http.HandlerFunc{connectortest.Status(404, refusal("NotFound")), connectortest.Status(404, "")}, "held"},
	{"405, 407, 410, 415", "", []http.HandlerFunc{connectortest.Status(405, ""), connectortest.Status(407, ""), connectortest.Status(410, ""), connectortest.Status(415, "")}, "held"},
	{"413", "ContentLengthLimitExceeded", []http.HandlerFunc{connectortest.Status(413, refusal("ContentLengthLimitExceeded")), connectortest.Status(413, "")}, "split"},
	{"429", "", []http.HandlerFunc{connectortest.Status(429, "", "Retry-After", "17")}, "retry"},
	{"5xx, 408, any other", "", []http.HandlerFunc{connectortest.Status(500, refusal("InternalError")), connectortest.Status(502, ""), connectortest.Status(503, ""), connectortest.Status(599, ""), connectortest.Status(408, ""), connectortest.Status(418, "")}, "retry"},
}

func TestAnswers(t *testing.T) {
	a := newAzure(t)
	c := a.open(t)
	for _, row := range answers {
		for i, answer := range row.of {
			a.ingest = answer
			f := send(t.Context(), t, c)
			if got := outcome(f); got != row.outcome {
				t.Errorf("%s, answer %d: %s (%v), want %s", row.status, i, got, f, row.outcome)
			}
		}
	}
}

func TestReadmeListsTheAnswers(t *testing.T) {
	rows := make([][]string, len(answers))
	for i, row := range answers {
		rows[i] = []string{row.status, row.code, row.outcome}
	}
	connectortest.AnswerTable(t, "../README.md", rows)
}

func TestAnswerSaysWhatToMend(t *testing.T) {
	for _, test := range []struct {
		answer     http.HandlerFunc
		step       failure.Step
		code, hint string
	}{
		{connectortest.Status(401, ""), failure.Auth, "", "SENTINEL_SCOPE"},
		{connectortest.Status(403, refusal("OperationFailed")), failure.Auth, "OperationFailed", "on the data collection rule (DCR), not on the data collection endpoint (DCE); a new assignment takes up to 30 minutes"},
		{connectortest.Status(404, refusal("NotFound")), failure.Request, "NotFound", "SENTINEL_DCR_RULE_ID"},
		{connectortest.Status(400, refusal("InvalidStream")), failure.Request, "InvalidStream", "SENTINEL_DCR_STREAM_NAME"},
		{connectortest.Status(302, "", "Location", "https://elsewhere.example.com/path"), failure.Request, "", `"elsewhere.example.com"`},
		{connectortest.Status(413, "", "x-ms-error-code", "ContentLengthLimitExceeded"), failure.Request, "ContentLengthLimitExceeded", ""},
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
		name  string
		spoil func(a *azure) []string
		step  failure.Step
	}{
		{"no such host", func(*azure) []string { return []string{"SENTINEL_AUTHORITY_HOST", "https://nowhere.invalid"} }, failure.DNS},
		{"no such host for events", func(*azure) []string { return []string{"SENTINEL_DCR_ENDPOINT", "https://nowhere.invalid"} }, failure.DNS},
		{"nobody listens", func(*azure) []string { return []string{"SENTINEL_DCR_ENDPOINT", "http://127.0.0.1:1"} }, failure.Connect},
		{"no TLS", func(a *azure) []string {
			return []string{"SENTINEL_DCR_ENDPOINT", strings.Replace(a.URL, "http:", "https:", 1)}
		}, failure.TLS},
		{"secret", func(a *azure) []string { a.grant = connectortest.Status(401, `{"error":"invalid_client"}`); return nil }, failure.Auth},
		{"token", func(a *azure) []string { a.ingest = connectortest.Status(401, ""); return nil }, failure.Auth},
		{"role", func(a *azure) []string { a.ingest = connectortest.Status(403, ""); return nil }, failure.Auth},
		{"rule", func(a *azure) []string { a.ingest = connectortest.Status(404, ""); return nil }, failure.Request},
	} {
		a := newAzure(t)
		pairs := test.spoil(a)
		if f := failure.Of(a.open(t, pairs...).Check(t.Context())); f == nil || f.Step != test.step {
			t.Errorf("%s: %v, want step %s", test.name, f, test.step)
		}
	}
}

// TestNoSecretShows has the servers throw the secrets back in every place an answer has.
func TestNoSecretShows(t *testing.T) {
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
		fmt.Fprintf(conn, "HTTP/1.1 %s %s\r\n\r\n", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), clientSecret)
		conn.Close()
	}
	for name, ingest := range map[string]http.HandlerFunc{"302": echo(302), "400": echo(400), "401": echo(401), "500": echo(500), "no HTTP": raw} {
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

// FuzzAnswer: no answer but a success delivers, and whatever it says, the verdict is a fault with the answer's status.
func FuzzAnswer(f *testing.F) {
	f.Add(204, "", []byte{})
	f.Add(200, "", []byte(`{}`))
	f.Add(400, "", []byte(`{"error":{"code":"InvalidStream"}}`))
	f.Add(403, "OperationFailed", []byte(`{"error":"text"}`))
	f.Add(413, "ContentLengthLimitExceeded", []byte(`[`))
	a := newAzure(f)
	c := a.open(f)
	b := connectortest.Batch(f, c, someEvent)
	f.Fuzz(func(t *testing.T, code int, header string, body []byte) {
		if code < 200 || code > 599 || strings.ContainsFunc(header, unicode.IsControl) {
			return
		}
		a.ingest = connectortest.Status(code, string(body), "X-Ms-Error-Code", header)
		a.mu.Lock()
		a.posted = nil
		a.mu.Unlock()
		err := c.Send(t.Context(), &deliver.Batch{Body: b.Body, Events: b.Events})
		if delivered := err == nil; delivered != (code/100 == 2) {
			t.Fatalf("%d %q: %v", code, body, err)
		}
		if fl := failure.Of(err); fl != nil && fl.Status != code && fl.Status != 0 {
			t.Fatalf("status %d of %d", fl.Status, code)
		}
	})
}
