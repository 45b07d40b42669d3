package e2e

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

// The canaries are secrets with characters that are escaped in URLs, JSON or Go, so that no escaped form equals the
// plain one.
const (
	canaryToken = `canary "7f\3/+ %41=&<>' ` + canaryCore + `~` // for a header or a form
	canaryCore  = "feather9041"
	canaryKey   = "canary/id+of=key:canary/key+of=id"
	canaryCode  = "canary-7f3+code==" // the end of a URL
	canaryGiven = "canary.access.token-9~d/+=="
)

// TestCanary causes every failure, with SIEMs that echo the requests, and then searches for the secrets in everything
// that the functions produced: logs, metrics, invocation responses, and dead letters on the queue and in S3.
func TestCanary(t *testing.T) {
	w.emptyBucket(t)
	w.vault.add("canary: a token", canaryToken)
	w.vault.add("canary: a pair", canaryKey)
	w.vault.add("canary: the key of a pair", strings.SplitN(canaryKey, ":", 2)[1])
	w.vault.add("canary: a URL's end", canaryCode)
	w.vault.add("canary: an access token", canaryGiven)
	w.vault.add("canary: the plain part of a token", canaryCore) // however often the rest of it was escaped
	for _, a := range w.order {
		t.Run(a.Name, func(t *testing.T) {
			if a.own == "" {
				syslogCanary(t, a)
				return
			}
			s := newEcho(t)
			env, secret := canaryEnv(a, s.URL)
			env["SIEM_SECRET_ID"] = w.secret(t, secret)
			f := w.function(t, a, env)
			for _, shape := range []string{"fields", "nested", "oauth", "plain"} {
				for _, status := range []int{200, 302, 400, 401, 403, 404, 413, 429, 500, 503} {
					echoed(t, a, s, f, status, shape)
				}
			}
			if sent := s.sent(); !strings.Contains(sent, a.traits().sent) {
				t.Fatalf("the SIEM has not received the secret, so the test proves nothing: %.500q", sent)
			}
			brokenConnections(t, a)
			misconfigured(t, a, env, s.URL)
		})
	}
	w.settle(t)
	letters := w.pending(t)
	if len(letters) < len(w.order) {
		t.Errorf("only %d dead letters were made", len(letters))
	}
	if !slices.ContainsFunc(letters, func(l letter) bool { return strings.Contains(l.Error, "echo of") }) {
		t.Error("no dead letter quotes what the SIEM has answered, so the test proves nothing")
	}
	w.replay(t, `{"limit":20}`)
	for _, a := range w.order {
		w.receive(t, w.cloud.Queue(a.Queue()))
	}
	said := fmt.Sprint(w.said())
	for _, want := range []string{`"Namespace":"ArbitexSIEM"`, `"level":"ERROR"`, "SendMessageBatch of sumo",
		"PutObject pending of deadletter", "response of qradar", "response of replay"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in what is searched, so the test proves nothing", want)
		}
	}
	if found := w.leaks(); len(found) > 0 {
		t.Errorf("%d leaks, of which these\n%.6000s", len(found), strings.Join(found, "\n"))
	}
	w.emptyBucket(t)
}

// TestLeaksAreFound checks that the search finds each form of a secret.
func TestLeaksAreFound(t *testing.T) {
	for _, text := range []string{
		"plain: " + canaryToken, encode("in JSON: " + canaryToken), fmt.Sprintf("in Go: %q", canaryToken),
		encode(fmt.Sprintf("in a log line that quotes: %q", canaryToken)), "in a form: a=" + url.QueryEscape(canaryToken),
		"in a path: /" + url.PathEscape(canaryToken), "in hex: " + hex.EncodeToString([]byte(canaryToken)),
		base64.StdEncoding.EncodeToString([]byte(canaryToken)), base64.URLEncoding.EncodeToString([]byte(canaryToken)),
		base64.StdEncoding.EncodeToString([]byte("u:" + canaryToken + "…")),
		base64.RawURLEncoding.EncodeToString([]byte("u" + canaryToken)),
	} {
		if !slices.ContainsFunc(forms(canaryToken), func(form string) bool { return strings.Contains(text, form) }) {
			t.Errorf("%q would not be found", text)
		}
	}
}

// canaryEnv returns an environment for a SIEM at the URL, and a secret with canaries as credentials.
func canaryEnv(a *actor, at string) (env map[string]string, secret string) {
	env = w.variables(a)
	maps.Copy(env, a.at(at, env))
	values := a.traits().canary
	if values == nil { // the URL is the credential
		values = map[string]string{a.traits().address: at + "/receiver/v1/http/" + canaryCode}
	}
	env["SIEM_REQUEST_TIMEOUT_SECONDS"] = "2"
	return env, encode(values)
}

// echo is a SIEM that responds with everything that was in the request.
type echo struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	shape  string
	grant  bool // whether the token endpoint gives a token, or echoes too
	all    strings.Builder
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	s := &echo{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	certificate := w.ca.Server("127.0.0.1")
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate.TLS}}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// sent returns everything that the SIEM has received.
func (s *echo) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *echo) play(status int, shape string, grant bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.shape, s.grant = status, shape, grant
}

func (s *echo) answer(rw http.ResponseWriter, r *http.Request) {
	head, _ := httputil.DumpRequest(r, false)
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(r.Body); err == nil {
			body = z
		}
	}
	content, _ := io.ReadAll(io.LimitReader(body, 300))
	what := "echo of " + r.Header.Get("Authorization") + r.Header.Get("DD-API-KEY") + " " + r.URL.Path + " " +
		string(content) + string(head)
	s.mu.Lock()
	s.all.WriteString(what)
	status, shape, grant := s.status, s.shape, s.grant
	s.mu.Unlock()
	if grant && strings.HasSuffix(r.URL.Path, "/token") {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"token_type":"Bearer","expires_in":3599,"access_token":%s}`, encode(canaryGiven))
		return
	}
	rw.Header().Set("Location", s.URL+"/elsewhere?"+strings.TrimPrefix(r.URL.Path, "/")+"&"+r.Header.Get("Authorization"))
	rw.Header().Set("X-Echo", r.Header.Get("Authorization"))
	if shape != "plain" {
		rw.Header().Set("Content-Type", "application/json")
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, shaped(shape, what, status))
}

// shaped puts an echo into the fields of the SIEMs' error formats.
func shaped(shape, what string, status int) string {
	text := encode(what)
	switch shape {
	case "fields":
		return fmt.Sprintf(`{"text":%[1]s,"code":6,"invalid-event-number":0,"message":%[1]s,"id":%[1]s,`+
			`"errors":[{"status":"%[2]d","title":%[1]s,"detail":%[1]s}],"reply":{"err_code":%[2]d,"err_msg":%[1]s}}`, text,
			status)
	case "nested":
		return fmt.Sprintf(`{"error":{"code":%[1]s,"type":%[1]s,"reason":%[1]s,"message":%[1]s},"status":%[2]d,`+
			`"code":%[1]s,"errors":true,"items":[{"index":{"status":400,"error":{"type":%[1]s,"reason":%[1]s}}}]}`, text, status)
	case "oauth":
		return fmt.Sprintf(`{"error":%[1]s,"error_description":%[1]s,"error_codes":[7000222],"correlation_id":%[1]s,`+
			`"title":%[1]s}`, text)
	}
	return what
}

// echoed sends an event on its first attempt, one on its last, and a check; for Sentinel also with an echo instead of a
// token.
func echoed(t *testing.T, a *actor, s *echo, f *runtimeapi.Function, status int, shape string) {
	t.Helper()
	grants := []bool{true}
	if a.Name == "sentinel" {
		grants = []bool{false, true}
	}
	for _, grant := range grants {
		s.play(status, shape, grant)
		sent := events(1)
		must(f.Invoke(t.Context(), payload(a, message{body: sent[0]})))(t)
		must(f.Invoke(t.Context(), payload(a, message{body: sent[0], receives: maxAttempts})))(t)
		check(t, beside(t, f))
	}
}

// brokenConnections breaks TLS, name resolution, and the connection at several points.
func brokenConnections(t *testing.T, a *actor) {
	t.Helper()
	noTLS := listen(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	hangsUp := listen(t, func(net.Conn) {})
	certificate := w.ca.Server("127.0.0.1")
	halfAnswer := listen(t, func(c net.Conn) {
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate.TLS}})
		b := make([]byte, 4096)
		n, _ := secure.Read(b)
		_, _ = fmt.Fprintf(secure, "HTTP/1.1 %s\r\nX: %s\r\nContent-Length: 900\r\n\r\n%s", b[:n], b[:n], b[:n])
	})
	wrongName := httptest.NewUnstartedServer(http.NotFoundHandler())
	other := w.ca.Server("somewhere.else")
	wrongName.TLS, wrongName.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{other.TLS}}, quiet
	wrongName.StartTLS()
	t.Cleanup(wrongName.Close)
	for _, at := range []string{"https://" + noTLS, "https://" + hangsUp, "https://" + halfAnswer, wrongName.URL,
		"https://nobody.invalid:8088", "https://127.0.0.1:1"} {
		env, secret := canaryEnv(a, at)
		if got := withSecret(t, a, env, secret); got.OK {
			t.Errorf("the check of %s succeeded", at)
		}
	}
}

// listen serves each connection with do, and then closes it.
func listen(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				do(c)
			}()
		}
	}()
	return listener.Addr().String()
}

// misconfigured uses invalid settings whose values contain secrets.
func misconfigured(t *testing.T, a *actor, env map[string]string, at string) {
	t.Helper()
	variable, credential := a.traits().address, a.traits().credential
	withPassword := strings.Replace(at, "https://", "https://user:canary-pass-7f3@", 1)
	w.vault.add("canary: a password", "canary-pass-7f3")
	for _, secret := range []string{
		// not the form it must have
		canaryToken, encode(canaryToken), "[" + encode(canaryToken) + "]", `{"` + credential + `":` + encode(canaryToken),
		encode(map[string]any{credential: map[string]string{"value": canaryToken}}),
		encode(map[string]string{credential: canaryToken + "\nX-Injected: 1"}),
		encode(map[string]string{credential: canaryToken + "\x00é"}),
		encode(map[string]string{variable: withPassword, credential: canaryToken}),
		encode(map[string]string{variable: strings.Replace(withPassword, "https", "http", 1) + "/" + canaryCode,
			credential: canaryToken}),
		encode(map[string]string{variable: "https://127.0.0.1:" + canaryCode + "/%zz" + canaryToken,
			credential: canaryToken}),
		encode(map[string]string{variable: withPassword + "?token=" + canaryCode}),
	} {
		withSecret(t, a, env, secret, variable)
	}
}

// withSecret invokes and checks a function with another secret, and without some variables. It returns the check.
func withSecret(t *testing.T, a *actor, env map[string]string, secret string, without ...string) checked {
	t.Helper()
	env = maps.Clone(env)
	for _, name := range without {
		delete(env, name)
	}
	env["SIEM_SECRET_ID"] = w.secret(t, secret)
	f := w.function(t, a, env)
	must(f.Invoke(t.Context(), payload(a, message{body: events(1)[0], receives: maxAttempts})))(t)
	return check(t, beside(t, f))
}

// syslogCanary does the same for a private key. It is never sent; a successful handshake proves that it was used.
func syslogCanary(t *testing.T, a *actor) {
	env := w.full(t, a)
	sent := events(1)
	if left := failures(t, beside(t, w.function(t, a, env)), payloadOf(a, sent...)); len(left) > 0 {
		t.Fatal("the client certificate was not taken, so the test proves nothing")
	}
	arrived(t, a, sent)
	secret := a.Secret()
	key := secret["QRADAR_TLS_CLIENT_KEY"]
	other := w.ca.Client("somebody else")
	stranger := map[string]string{"QRADAR_TLS_CLIENT_CERT": other.CertPEM, "QRADAR_TLS_CLIENT_KEY": other.KeyPEM}
	for _, values := range []map[string]string{
		stranger,
		{"QRADAR_TLS_CLIENT_CERT": secret["QRADAR_TLS_CLIENT_CERT"],
			"QRADAR_TLS_CLIENT_KEY": stranger["QRADAR_TLS_CLIENT_KEY"]},
		{"QRADAR_TLS_CLIENT_CERT": key, "QRADAR_TLS_CLIENT_KEY": key},
		{"QRADAR_TLS_CLIENT_CERT": key, "QRADAR_TLS_CLIENT_KEY": secret["QRADAR_TLS_CLIENT_CERT"]},
		{"QRADAR_TLS_CLIENT_KEY": key},
		{"QRADAR_TLS_CLIENT_CERT": secret["QRADAR_TLS_CLIENT_CERT"],
			"QRADAR_TLS_CLIENT_KEY": strings.Replace(key, "MI", "XX", 1)},
		{"QRADAR_TLS_CLIENT_CERT": secret["QRADAR_TLS_CLIENT_CERT"],
			"QRADAR_TLS_CLIENT_KEY": strings.ReplaceAll(key, "\n", " ")},
		{"QRADAR_TLS_CA_BUNDLE": key},
	} {
		withSecret(t, a, env, encode(values), slices.Collect(maps.Keys(values))...)
	}
}
