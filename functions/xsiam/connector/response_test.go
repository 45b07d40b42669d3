package connector

import (
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

// answers are the rows of the README's table, and answers that stand for each.
var answers = []struct {
	status  string
	of      []http.HandlerFunc
	outcome string
	hint    string
}{
	{"2xx", []http.HandlerFunc{connectortest.Status(200, `{"error":"false"}`), connectortest.Status(202, ""), connectortest.Status(201, "x"), connectortest.Status(204, ""), connectortest.Status(299, "")}, "delivered", ""},
	{"3xx", []http.HandlerFunc{connectortest.Status(302, "", "Location", "https://x.example.com"), connectortest.Status(307, ""), connectortest.Status(304, "")}, "held", "redirects are not followed"},
	{"400, 422", []http.HandlerFunc{connectortest.Status(400, `{"error":"no"}`), connectortest.Status(422, "")}, "halve, then reject", ""},
	{"401", []http.HandlerFunc{connectortest.Status(401, `{"error":"Failed to validate authentication detail"}`)}, "renew, then held", "XSIAM_API_KEY"},
	{"403", []http.HandlerFunc{connectortest.Status(403, "")}, "renew, then held", "XSIAM_API_KEY"},
	{"404", []http.HandlerFunc{connectortest.Status(404, "")}, "held", "XSIAM_URL"},
	{"405, 407, 410, 415", []http.HandlerFunc{connectortest.Status(405, ""), connectortest.Status(407, ""), connectortest.Status(410, ""), connectortest.Status(415, "")}, "held", ""},
	{"413", []http.HandlerFunc{connectortest.Status(413, "")}, "split", ""},
	{"429", []http.HandlerFunc{connectortest.Status(429, "")}, "retry", ""},
	{"500", []http.HandlerFunc{connectortest.Status(500, "failed to process the request")}, "retry", "format or the compression may not be the one the collector was made for"},
	{"other 5xx, 408, any other", []http.HandlerFunc{connectortest.Status(502, ""), connectortest.Status(503, ""), connectortest.Status(504, ""), connectortest.Status(408, ""), connectortest.Status(418, "")}, "retry", ""},
}

func TestAnswers(t *testing.T) {
	s := newTenant(t)
	c := s.open(t)
	for _, row := range answers {
		for i, answer := range row.of {
			s.answer = answer
			f := send(t, c)
			if got := outcome(f); got != row.outcome || f != nil && !strings.Contains(f.Hint, row.hint) {
				t.Errorf("%s, answer %d: %s (%v), want %s", row.status, i, got, f, row.outcome)
			}
		}
	}
}

func TestReadmeListsTheAnswers(t *testing.T) {
	rows := make([][]string, len(answers))
	for i, row := range answers {
		rows[i] = []string{row.status, "", row.outcome}
	}
	connectortest.AnswerTable(t, "../README.md", rows)
}

// TestKeyHint: the likeliest mistake is the wrong way to prove the key.
func TestKeyHint(t *testing.T) {
	for auth, hint := range map[string]string{
		"hmac": "wants XSIAM_AUTH=token", "token": "not an API key", "standard": "security level", "advanced": "security level",
	} {
		s := newTenant(t)
		s.answer = connectortest.Status(401, "")
		if f := send(t, s.open(t, "XSIAM_AUTH", auth)); !strings.Contains(f.Hint, hint) || f.Step != failure.Auth {
			t.Errorf("%s: step %s, hint %q", auth, f.Step, f.Hint)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	s := newTenant(t)
	s.answer = connectortest.Status(429, "", "Retry-After", moment().Add(90*time.Second).Format(http.TimeFormat))
	if f := send(t, s.open(t)); f.Kind != failure.Throttled || f.RetryAfter != 90*time.Second {
		t.Errorf("%+v", f)
	}
}

// TestCheckNamesTheStep fails each step in turn.
func TestCheckNamesTheStep(t *testing.T) {
	for _, test := range []struct {
		name     string
		url      string
		answer   http.HandlerFunc
		step     failure.Step
		requests int
	}{
		{"no such host", "https://nowhere.invalid", nil, failure.DNS, 0},
		{"nobody listens", "http://127.0.0.1:1", nil, failure.Connect, 0},
		{"no TLS", "https", nil, failure.TLS, 0},
		{"key", "", connectortest.Status(401, ""), failure.Auth, 1},
		{"403", "", connectortest.Status(403, ""), failure.Auth, 1},
		{"url", "", connectortest.Status(404, ""), failure.Request, 1},
		{"throttled", "", connectortest.Status(429, ""), failure.Request, 1},
		{"unavailable", "", connectortest.Status(503, ""), failure.Request, 1},
		{"format", "", connectortest.Status(500, ""), failure.Request, 2},
	} {
		s := newTenant(t)
		if test.answer != nil {
			s.answer = test.answer
		}
		url := s.URL
		switch test.url {
		case "":
		case "https":
			url = strings.Replace(s.URL, "http:", "https:", 1)
		default:
			url = test.url
		}
		f := failure.Of(s.open(t, "XSIAM_URL", url).Check(t.Context()))
		if f == nil || f.Step != test.step || len(s.requests()) > 2 {
			t.Errorf("%s: %v, want step %s", test.name, f, test.step)
		}
		if test.step == failure.Auth || test.step == failure.Request {
			if n := len(s.requests()); n != test.requests {
				t.Errorf("%s: %d requests, want %d", test.name, n, test.requests)
			}
		}
	}
}

// TestNoSecretShows has the server throw key and signature back in every place an answer has.
func TestNoSecretShows(t *testing.T) {
	secrets := func(r *http.Request) []string {
		var found []string
		for _, name := range []string{"Authorization", "X-Xdr-Hmac-Sha256"} {
			if v := r.Header.Get(name); v != "" {
				found = append(found, v)
			}
		}
		return found
	}
	for _, auth := range []string{"hmac", "token", "standard", "advanced"} {
		for _, code := range []int{302, 400, 401, 500, 0} {
			s := newTenant(t)
			var sent []string
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				sent = secrets(r)
				// The first stands where a quote of the answer ends, which would cut it in half.
				text := strings.Repeat("x", failure.MaxQuote-40) + strings.Join(append(sent, apiKey), " ")
				if code == 0 { // no HTTP
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", sent[0])
					conn.Close()
					return
				}
				w.Header().Set("Location", "https://"+sent[0]+"/"+sent[0])
				w.WriteHeader(code)
				fmt.Fprint(w, text)
			}
			c := s.open(t, "XSIAM_AUTH", auth)
			f := send(t, c)
			if f == nil || len(sent) == 0 {
				t.Errorf("%s %d: nothing is proven: %v", auth, code, f)
				continue
			}
			text := f.Error() + f.Brief() + fmt.Sprintf("%v %+v %#v %v %+v %#v", f, f, f, c, c, c)
			for _, v := range append(sent, apiKey) {
				if strings.Contains(text, v[:min(len(v), 16)]) {
					t.Errorf("%s %d: %q shows in %s", auth, code, v, text)
				}
			}
		}
	}
}

// FuzzAnswer: no answer but a 2xx delivers, and none shows the key.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", []byte(`{"error":"false"}`))
	f.Add(500, "7", []byte("failed to process the request "+apiKey))
	f.Add(401, "Wed, 21 Oct 2026 07:28:00 GMT", []byte(`{"error":"Failed to validate authentication detail"}`))
	s := newTenant(f)
	c := s.open(f)
	b := connectortest.Batch(f, c, someEvent)
	f.Fuzz(func(t *testing.T, code int, after string, body []byte) {
		if code < 200 || code > 599 || strings.ContainsFunc(after, unicode.IsControl) {
			return
		}
		s.answer = connectortest.Status(code, string(body), "Retry-After", after)
		s.mu.Lock()
		s.posted = nil
		s.mu.Unlock()
		err := c.Send(t.Context(), &deliver.Batch{Body: b.Body, Events: b.Events})
		if (err == nil) != (code/100 == 2) {
			t.Fatalf("%d %q: %v", code, body, err)
		}
		if fl := failure.Of(err); fl != nil && (fl.Status != code && fl.Status != 0 || strings.Contains(fl.Error(), apiKey)) {
			t.Fatalf("%d %q: %v", code, body, err)
		}
	})
}
