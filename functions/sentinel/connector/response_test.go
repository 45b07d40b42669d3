package connector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/settings"
)

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

// TestCheckNamesTheStep: the check needs a token, and then tries the endpoint.
func TestCheckNamesTheStep(t *testing.T) {
	a := newAzure(t)
	f := failure.Of(a.open(t, "SENTINEL_DCR_ENDPOINT", "https://nowhere.invalid").Check(t.Context()))
	if f == nil || f.Step != failure.DNS {
		t.Errorf("no such host for events: %v", f)
	}
	a.grant = connectortest.Status(401, `{"error":"invalid_client"}`)
	if f := failure.Of(a.open(t).Check(t.Context())); f == nil || f.Step != failure.Auth {
		t.Errorf("refused secret: %v", f)
	}
}

// TestNoSecretAppears has the servers echo the secrets where a response is quoted.
func TestNoSecretAppears(t *testing.T) {
	a := newAzure(t)
	a.ingest = func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("X-Ms-Error-Code", token)
		w.WriteHeader(400)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": token,
			"message": token + " " + clientSecret}})
	}
	c := a.open(t)
	f := send(t.Context(), t, c)
	text := f.Error() + f.Brief() + fmt.Sprintf("%v %+v %#v %v %+v %#v", f, f, f, c, c, c)
	if strings.Contains(text, "aB3-_aB3-_") || strings.Contains(text, clientSecret) {
		t.Errorf("a secret shows in %s", text)
	}
	for status, grant := range map[int]http.HandlerFunc{
		200: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "<%s>", accessToken(1)) },
		401: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": clientSecret, "error_description": clientSecret})
		},
	} {
		a := newAzure(t)
		a.grant = grant
		f := send(t.Context(), t, a.open(t))
		if form := strings.Join(a.forms, ""); !strings.Contains(form, "s3cret~with%2Fodd%2Bchars") {
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

func TestConfig(t *testing.T) {
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
		cfg := connectortest.Read(t, test.env, readConfig)
		if got := cfg.url.String(); got != test.url {
			t.Errorf("url %s, want %s", got, test.url)
		}
		if got := cfg.authority.String(); got != test.authority {
			t.Errorf("authority %s, want %s", got, test.authority)
		}
		if !strings.HasPrefix(cfg.url.Path, "/") || !strings.HasPrefix(cfg.authority.Path, "/") {
			t.Error("a path does not begin with a slash")
		}
	}
}

func TestConfigScopeAndCompression(t *testing.T) {
	cfg := connectortest.Read(t, env(), readConfig)
	if cfg.scope != "https://monitor.azure.com/.default" || !cfg.http.Gzip {
		t.Errorf("defaults: scope %q, gzip %v", cfg.scope, cfg.http.Gzip)
	}
	cfg = connectortest.Read(t, env("SENTINEL_SCOPE", "https://monitor.azure.us/.default", "SIEM_COMPRESSION",
		"none"), readConfig)
	if cfg.scope != "https://monitor.azure.us/.default" || cfg.http.Gzip {
		t.Errorf("scope %q, gzip %v", cfg.scope, cfg.http.Gzip)
	}
}

func TestSecretComesFromTheSecret(t *testing.T) {
	e := env()
	delete(e, "SENTINEL_CLIENT_SECRET")
	s := settings.New(func(name string) string { return e[name] },
		map[string]string{"SENTINEL_CLIENT_SECRET": clientSecret})
	if cfg := readConfig(s); s.Err() != nil || cfg.secret.Reveal() != clientSecret {
		t.Errorf("secret not taken: %v", s.Err())
	}
}

func suite() connectortest.Suite {
	isToken := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") }
	accept := func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if isToken(r) {
			fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, accessToken(1))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	return connectortest.Suite{
		Open: Open,
		Settings: func(url, _ string) map[string]string {
			return env("SENTINEL_DCR_ENDPOINT", url, "SENTINEL_AUTHORITY_HOST", url, "SENTINEL_CLIENT_SECRET",
				"a-secret-of-the-client")
		},
		PlainHTTP: true,
		Secrets:   []string{"a-secret-of-the-client", accessToken(1)},
		Accept:    accept,
		Refuse: func(w http.ResponseWriter, r *http.Request, body []byte, bad string) {
			if strings.Contains(string(body), bad) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, refusal("InvalidPayload"))
				return
			}
			accept(w, r, body)
		},
		MaxBytes: 1_000_000,
		Wrong: map[string]string{
			"SENTINEL_DCR_ENDPOINT": "http://dce.example.com", "SENTINEL_AUTHORITY_HOST": "login.microsoftonline.com",
			"SENTINEL_DCR_RULE_ID": "/subscriptions/1/resourceGroups/2/providers/Microsoft.Insights/dataCollectionRules/3",
			"SENTINEL_SCOPE":       "a\nb", "SENTINEL_TENANT_ID": "a\rb", "SENTINEL_CLIENT_ID": "a\x00b",
			"SENTINEL_CLIENT_SECRET": clientSecret + "\nb", "SENTINEL_DCR_STREAM_NAME": "a\nb", "SIEM_COMPRESSION": "zstd",
			"SIEM_REQUEST_TIMEOUT_SECONDS": "0", "SIEM_ALLOW_HTTP": "perhaps",
		},
		EmptyAccepts: true,
		Delivers:     func(r *http.Request) bool { return !isToken(r) },
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }
