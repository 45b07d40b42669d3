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
	"github.com/arbitex/siem-connectors/shared/settings"
)

// refusal is an error of the ingestion API.
func refusal(code string) string {
	return `{"error":{"code":"` + code + `","message":"words of Azure"}}`
}

// TestResponseTable compares the README's table with what the code does.
func TestResponseTable(t *testing.T) {
	connectortest.ResponseTable(t, "../README.md", codes.Classify, []connectortest.Row{
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
		fl := failure.Of(codes.Classify(&a))
		if fl == nil && (status/100 != 2 || len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body)) {
			t.Fatalf("%d %q is a success", status, body)
		}
		if fl != nil && fl.Status != status {
			t.Fatalf("status %d of %d", fl.Status, status)
		}
	})
}

func TestConfigNamesEverythingMissing(t *testing.T) {
	s := newSettings(nil)
	Open(s) // survives it
	err := s.Err()
	if err == nil {
		t.Fatal("no settings, no error")
	}
	for _, name := range []string{
		"SENTINEL_TENANT_ID", "SENTINEL_CLIENT_ID", "SENTINEL_CLIENT_SECRET", "SENTINEL_DCR_ENDPOINT", "SENTINEL_DCR_RULE_ID",
		"SENTINEL_DCR_STREAM_NAME",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is missing, and not named in %v", name, err)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for name, wrong := range map[string]string{
		"SENTINEL_DCR_ENDPOINT":   "http://dce.example.com",
		"SENTINEL_AUTHORITY_HOST": "login.microsoftonline.com",
		"SENTINEL_DCR_RULE_ID": "/subscriptions/1/resourceGroups/2/providers/Microsoft.Insights/" +
			"dataCollectionRules/3",
		"SENTINEL_SCOPE":               "a\nb",
		"SENTINEL_TENANT_ID":           "a\rb",
		"SENTINEL_CLIENT_ID":           "a\x00b",
		"SENTINEL_CLIENT_SECRET":       clientSecret + "\nb",
		"SENTINEL_DCR_STREAM_NAME":     "a\nb",
		"SIEM_COMPRESSION":             "zstd",
		"SIEM_REQUEST_TIMEOUT_SECONDS": "0",
		"SIEM_ALLOW_HTTP":              "perhaps",
	} {
		s := newSettings(env(name, wrong))
		Open(s)
		err := s.Err()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Count(err.Error(), "expected") != 1 {
			t.Errorf("%s=%q: %v", name, wrong, err)
		}
		if err != nil && strings.Contains(err.Error(), clientSecret) {
			t.Errorf("the secret shows in %v", err)
		}
	}
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
		s := newSettings(test.env)
		cfg := readConfig(s)
		if err := s.Err(); err != nil {
			t.Error(err)
			continue
		}
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
	cfg := readConfig(newSettings(env()))
	if cfg.scope != "https://monitor.azure.com/.default" || !cfg.http.Gzip {
		t.Errorf("defaults: scope %q, gzip %v", cfg.scope, cfg.http.Gzip)
	}
	cfg = readConfig(newSettings(env("SENTINEL_SCOPE", "https://monitor.azure.us/.default", "SIEM_COMPRESSION", "none")))
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
		EmptyAccepts: true,
		Delivers:     func(r *http.Request) bool { return !isToken(r) },
	}
}

func TestConformance(t *testing.T) { connectortest.Run(t, suite()) }

func TestSettingsTable(t *testing.T) { connectortest.SettingsTable(t, Open, "../README.md") }
