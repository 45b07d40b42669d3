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

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
)

// TestResponseTable compares the page's table with what the code does.
func TestResponseTable(t *testing.T) {
	c := &connector{codes: newCodes(authHMAC)}
	connectortest.ResponseTable(t, c.codes.Classify, []connectortest.Row{
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

func TestReasons(t *testing.T) {
	for status, hint := range map[int]string{302: "redirects are not followed", 401: "XSIAM_API_KEY", 403: "XSIAM_API_KEY",
		404: "XSIAM_URL", 400: "XSIAM_URL", 500: "XSIAM_BODY and SIEM_COMPRESSION"} {
		f := failure.Of(newCodes(authHMAC).Classify(connectortest.Response(t, status, nil, "")))
		if !strings.Contains(f.Hint, hint) {
			t.Errorf("%d: hint %q, want %q", status, f.Hint, hint)
		}
	}
}

// TestKeyHint: the likeliest mistake is the wrong authentication method.
func TestKeyHint(t *testing.T) {
	for auth, hint := range map[string]string{
		"hmac": "needs XSIAM_AUTH=token", "token": "not an API key", "standard": "security level",
		"advanced": "security level",
	} {
		s := newTenant(t)
		s.Respond(connectortest.Status(401, ""))
		if f := send(t, s.open(t, "XSIAM_AUTH", auth)); !strings.Contains(f.Hint, hint) || f.Step != failure.Auth {
			t.Errorf("%s: step %s, hint %q", auth, f.Step, f.Hint)
		}
	}
}

// TestFormat: a 500 to an empty request is followed by one record, and names the format.
func TestFormat(t *testing.T) {
	s := newTenant(t)
	s.Respond(connectortest.Status(500, ""))
	if f := failure.Of(s.open(t).Check(t.Context())); f == nil || f.Step != failure.Request || len(s.Requests()) != 2 {
		t.Errorf("%v after %d requests", f, len(s.Requests()))
	}
}

// FuzzClassify: only a response of XSIAM's is a success, and the key never shows.
func FuzzClassify(f *testing.F) {
	f.Add(200, []byte(`{"error":"false"}`))
	f.Add(500, []byte("failed to process the request "+apiKey))
	f.Add(401, []byte(`{"error":"Failed to validate authentication detail"}`))
	f.Add(400, []byte(`{"error":"`+apiKey+`"}`))
	c := newTenant(f).open(f)
	template, err := c.client.Do(f.Context(), httpsend.Request{URL: c.cfg.url})
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
	cfg := config{key: secret.New(apiKey), keyID: "42"}
	n := strings.Repeat("N", 64)
	const want = "523adbad8d8312bc0ac45dea015d914ee12b98b542b4c2c4ba075200b61a8141"
	h, _ := cfg.sign(n, moment())
	if got := h.Get("X-Xdr-Hmac-Sha256"); got != want {
		t.Errorf("hmac %s", got)
	}
	cfg.auth = authAdvanced
	h, _ = cfg.sign(n, moment())
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
		s := newTenant(t)
		c := s.open(t, "XSIAM_AUTH", auth)
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
	cfg := config{auth: auth, key: secret.New(apiKey), keyID: "42"}
	signed, _ := cfg.sign(h.Get("X-Xdr-Nonce"), moment())
	for _, name := range []string{"X-Xdr-Hmac-Sha256", "Authorization"} {
		if h.Get(name) != signed.Get(name) {
			t.Errorf("%s %s, want %s", name, h.Get(name), signed.Get(name))
		}
	}
}

// unsentKey is a key that is never sent: with these authentication methods, the server receives only signatures.
const unsentKey = "unsent-key-of-the-tenant"

func suite(auth, key string) connectortest.Suite {
	accept := func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusAccepted) }
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
		Accept:       accept,
		EmptyAccepts: true,
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"malformed event"}`)
				return
			}
			accept(w, r, body)
		},
	}
}

func TestConformance(t *testing.T) {
	for auth, key := range map[string]string{"hmac": unsentKey, "token": apiKey, "standard": apiKey,
		"advanced": unsentKey} {
		t.Run(auth, func(t *testing.T) { connectortest.Run(t, suite(auth, key)) })
	}
}
