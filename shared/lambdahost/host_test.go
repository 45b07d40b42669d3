package lambdahost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/arbitex/siem-connectors/internal/testkit/fakeaws"
	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/event"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/httpsend"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/version"
)

// world is a function's surroundings in a test.
type world struct {
	mu     sync.Mutex
	binary bool // the secret is stored as bytes
	env    map[string]string
	secret string
	err    error
	reads  int
	now    time.Time
	out    bytes.Buffer
	valid  string // the token the SIEM takes
	opens  int
	note   deliver.Note
	before func() // called once, when the SIEM receives a request

	deadline time.Time // of the last check
}

func (w *world) GetSecretValue(_ context.Context, _ *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	w.reads++
	if w.err != nil {
		return nil, w.err
	}
	text := w.secret
	if w.binary {
		return &secretsmanager.GetSecretValueOutput{SecretBinary: []byte(text)}, nil
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: &text}, nil
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// open opens a connector whose SIEM takes one token.
func (w *world) open(s *settings.Settings) deliver.Connector {
	w.opens++
	s.TLSVerify("TEST_TLS_VERIFY")
	s.URL("TEST_URL", "", "an endpoint")
	return &tokenConnector{w: w, token: s.Secret("TEST_TOKEN", true, "a token")}
}

// encoder encodes events as they are.
type encoder struct{}

func (encoder) Format() deliver.Format { return deliver.Format{} }
func (encoder) Append(dst []byte, e *event.Event) ([]byte, bool, error) {
	return e.AppendCompact(dst), false, nil
}

type tokenConnector struct {
	encoder
	w     *world
	token secret.Value
}

func (c *tokenConnector) Send(ctx context.Context, b *deliver.Batch) error {
	b.Meter.Add(len(b.Body))
	if before := c.w.before; before != nil {
		c.w.before = nil
		before()
	}
	if strings.Contains(string(b.Body), "panic") {
		panic("the token is " + c.token.Reveal())
	}
	return c.Check(ctx)
}

func (c *tokenConnector) Note(context.Context) deliver.Note { return c.w.note }

func (c *tokenConnector) Check(ctx context.Context) error {
	c.w.deadline, _ = ctx.Deadline()
	if c.token.Reveal() != c.w.valid {
		return &failure.Error{Kind: failure.Unauthorized, Step: failure.Auth, Status: 401, Hint: "set TEST_TOKEN"}
	}
	return nil
}

func newWorld() *world {
	return &world{
		env: map[string]string{"SIEM_SECRET_ID": "the-secret", "SIEM_QUEUE_URL": "https://q",
			"SIEM_DEAD_LETTER_QUEUE_URL": "https://d", "TEST_URL": "https://siem"},
		secret: `{"TEST_TOKEN":"token-1"}`, valid: "token-1", now: time.UnixMilli(1741824005000),
	}
}

func (w *world) deps() Deps {
	return Deps{Env: func(n string) string { return w.env[n] }, Out: w, Now: func() time.Time { return w.now },
		SQS: &fakeaws.SQS{}, Secrets: w}
}

func (w *world) function() *Connector { return NewConnector("test", w.open, w.deps()) }

const oneMessage = `{"Records":[{"messageId":"m-1","receiptHandle":"r","body":"{\"time\":1741824000123}"}]}`

func invoke(t *testing.T, f *Connector, payload string) (answer string, err error) {
	t.Helper()
	out, err := f.Invoke(t.Context(), []byte(payload))
	return string(out), err
}

// delivered invokes the function with one message, and reports whether it was delivered.
func delivered(t *testing.T, f *Connector) bool {
	t.Helper()
	answer, err := invoke(t, f, oneMessage)
	if err != nil {
		t.Fatal(err)
	}
	switch answer {
	case `{"batchItemFailures":[]}`:
		return true
	case `{"batchItemFailures":[{"itemIdentifier":"m-1"}]}`:
		return false
	}
	t.Fatalf("answer %s", answer)
	return false
}

// misconfigured returns a world in which all settings are wrong.
func misconfigured() *world {
	w := newWorld()
	w.env = map[string]string{"SIEM_SECRET_ID": "the-secret", "TEST_URL": "http://plain", "SIEM_MAX_ATTEMPTS": "many",
		"LOG_LEVEL": "loud"}
	w.secret = `{}`
	return w
}

// TestMisconfigured: every invocation names all that is wrong, also if the secret cannot be read.
func TestMisconfigured(t *testing.T) {
	names := []string{"SIEM_QUEUE_URL", "SIEM_DEAD_LETTER_QUEUE_URL", "TEST_TOKEN", "TEST_URL", "SIEM_MAX_ATTEMPTS",
		"LOG_LEVEL"}
	for _, c := range []struct {
		secretErr  error
		want, step string
	}{
		{nil, "is not set", `"step":"config"`},
		{errors.New("AccessDeniedException"), "AccessDeniedException", `"step":"secret"`},
		{errors.New("x"), "TEST_TOKEN: expected a token (a key of the secret SIEM_SECRET_ID), is not set in the " +
			"environment, and the secret could not be read", `"step":"secret"`},
	} {
		w := misconfigured()
		w.err = c.secretErr
		f := w.function()
		for range 2 {
			_, err := invoke(t, f, oneMessage)
			for _, text := range append(names, c.want) {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("%v, want %q in it", err, text)
				}
			}
		}
		answer, err := invoke(t, f, `{"check":true}`)
		if err != nil || !strings.Contains(answer, c.step) || !strings.Contains(answer, "SIEM_MAX_ATTEMPTS") {
			t.Errorf("check: %s, %v", answer, err)
		}
	}
}

// TestSecretHints: the hint is about the cause of the failure, and there is none if Secrets Manager itself fails.
func TestSecretHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
	}{
		{&smithy.GenericAPIError{Code: "AccessDeniedException"}, `"hint":"the function's role needs`},
		{&types.DecryptionFailure{}, `"hint":"the function's role needs`},
		{&types.ResourceNotFoundException{}, `"hint":"check SIEM_SECRET_ID`},
		{&smithyhttp.RequestSendError{Err: io.EOF}, `"hint":"check the function's route`},
		{context.DeadlineExceeded, `"hint":"check the function's route`},
		{&smithy.GenericAPIError{Code: "ThrottlingException"}, ""},
		{&types.InternalServiceError{}, ""},
	} {
		w := newWorld()
		w.err = fmt.Errorf("operation error: %w", c.err)
		answer, err := invoke(t, w.function(), `{"check":true}`)
		if err != nil || c.hint == "" && strings.Contains(answer, `"hint"`) || !strings.Contains(answer, c.hint) {
			t.Errorf("%v: %s, %v, want %s", c.err, answer, err, c.hint)
		}
	}
}

func TestConfigurationIsFoundMended(t *testing.T) {
	w := newWorld()
	w.secret = `{"TEST_TOKEN":""}`
	f := w.function()
	if _, err := invoke(t, f, oneMessage); err == nil || !strings.Contains(err.Error(), "TEST_TOKEN") {
		t.Fatalf("an empty secret: %v", err)
	}
	w.secret = `{"TEST_TOKEN":"token-1"}`
	if !delivered(t, f) {
		t.Error("not delivered after the secret was filled")
	}
}

func TestSecrets(t *testing.T) {
	for text, want := range map[string]string{
		``: "is empty", ` `: "is empty", `hunter2`: "is not JSON", `"hunter2"`: "not an object",
		`["hunter2"]`: "not an object", `null`: "not an object",
		`{"TEST_TOKEN":{"a":"hunter2"},"B":[1]}`: "not strings: B, TEST_TOKEN", `{"TEST_TOKEN":"hunter2"`: "is not JSON",
	} {
		w := newWorld()
		w.secret = text
		_, err := invoke(t, w.function(), oneMessage)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "SIEM_SECRET_ID") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("secret %q: %v, want an error with %q and nothing of the secret", text, err, want)
		}
	}
	for text, token := range map[string]string{
		`{"TEST_TOKEN":12.50,"X":true,"Y":null}`: "12.50", "\uFEFF" + `{"TEST_TOKEN":"after a mark"}`: "after a mark",
	} {
		for _, binary := range []bool{false, true} {
			w := newWorld()
			w.secret, w.valid, w.binary = text, token, binary
			if !delivered(t, w.function()) {
				t.Errorf("%q, as bytes %t: not delivered", text, binary)
			}
		}
	}
}

// TestCheckReadsTheSecret: a check uses a corrected secret at once.
func TestCheckReadsTheSecret(t *testing.T) {
	w := newWorld()
	f := w.function()
	delivered(t, f)
	w.valid, w.secret = "token-2", `{"TEST_TOKEN":"token-2"}`
	if answer, err := invoke(t, f, `{"check":true}`); err != nil || !strings.Contains(answer, `"ok":true`) {
		t.Errorf("a check after the secret has been corrected: %s %v", answer, err)
	}
}

// TestCheckEndsInTime: a check leaves time for its response.
func TestCheckEndsInTime(t *testing.T) {
	w := newWorld()
	ends := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), ends)
	defer cancel()
	if _, err := w.function().Invoke(ctx, []byte(`{"check":true}`)); err != nil {
		t.Fatal(err)
	}
	if left := ends.Sub(w.deadline); left != 2*time.Second {
		t.Errorf("the check ends %v before the invocation, want 2s", left)
	}
}

// TestRotation: a refused credential is read again at once, and the same attempt goes on with the new one.
func TestRotation(t *testing.T) {
	w := newWorld()
	f := w.function()
	if first, second := delivered(t, f), delivered(t, f); !first || !second || w.reads != 1 || w.opens != 1 {
		t.Fatalf("two batches: %d reads, %d connectors, want one of each", w.reads, w.opens)
	}
	w.valid, w.secret = "token-2", `{"TEST_TOKEN":"token-2"}`
	if !delivered(t, f) || w.reads != 2 || w.opens != 2 {
		t.Errorf("after a rotation: %d reads, %d connectors", w.reads, w.opens)
	}
	w.valid = "token-3" // revoked, and not yet replaced
	if delivered(t, f) || w.reads != 3 || w.opens != 2 {
		t.Errorf("revoked: %d reads, %d connectors, want a read and no new connector", w.reads, w.opens)
	}
}

// TestConcurrentRefusals: an invocation whose credential is refused uses what another one has read in the meantime.
func TestConcurrentRefusals(t *testing.T) {
	w := newWorld()
	f := w.function()
	delivered(t, f)
	w.valid = "token-2" // the secret is unchanged
	w.before = func() { delivered(t, f) }
	if delivered(t, f) || w.reads != 2 {
		t.Errorf("two refusals cause %d reads, want 1", w.reads-1)
	}
}

func TestSecretAges(t *testing.T) {
	w := newWorld()
	f := w.function()
	delivered(t, f)
	w.now = w.now.Add(secretAge - time.Second)
	delivered(t, f)
	if w.reads != 1 {
		t.Errorf("%d reads before the secret is old, want 1", w.reads)
	}
	w.now = w.now.Add(2 * time.Second)
	delivered(t, f)
	if w.reads != 2 {
		t.Errorf("%d reads when the secret is old, want 2", w.reads)
	}
	w.err = errors.New("no Secrets Manager")
	w.now = w.now.Add(secretAge + time.Second)
	if first, second := delivered(t, f), delivered(t, f); !first || !second || w.reads != 3 {
		t.Errorf("a failed re-read: %d reads, want the old value kept and a pause", w.reads)
	}
	w.err, w.secret = nil, `{"TEST_TOKEN":""}`
	w.now = w.now.Add(secretPause + time.Second)
	if !delivered(t, f) || w.reads != 4 {
		t.Errorf("after the pause: %d reads, want another", w.reads)
	}
	if !strings.Contains(w.out.String(), "keeping the configuration in use") {
		t.Error("a secret that has become invalid replaces a configuration that works")
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		ok     bool
		step   failure.Step
		hint   string
	}{
		"works": {func(*world) {}, true, "", ""},
		"note":  {func(w *world) { w.note = deliver.Note{Text: "busy", Backpressure: true} }, true, "", "busy"},
		"no note": {func(w *world) { w.note, w.valid = deliver.Note{Text: "busy", Backpressure: true}, "other" }, false,
			failure.Auth, "set TEST_TOKEN"},
		"auth": {func(w *world) { w.valid = "other" }, false, failure.Auth, "set TEST_TOKEN"},
		"secret": {func(w *world) { w.err = &smithy.GenericAPIError{Code: "AccessDeniedException"} }, false,
			failure.Secret, "GetSecretValue"},
		"secret form": {func(w *world) { w.secret = "x" }, false, failure.Secret, "JSON object"},
		"config":      {func(w *world) { w.env["SIEM_MAX_ATTEMPTS"] = "x" }, false, failure.Config, "set each"},
	} {
		w := newWorld()
		c.change(w)
		w.now = time.Unix(0, 0)
		answer, err := invoke(t, w.function(), `{"check":true}`)
		var r CheckResult
		if err != nil || json.Unmarshal([]byte(answer), &r) != nil {
			t.Fatalf("%s: %s %v", name, answer, err)
		}
		if r.Connector != "test" || r.OK != c.ok || r.Step != c.step || !strings.Contains(r.Hint, c.hint) ||
			(r.Detail == "") != c.ok || r.Backpressure != (c.hint == "busy") {
			t.Errorf("%s: %s", name, answer)
		}
	}
}

func TestPanic(t *testing.T) {
	w := newWorld()
	f := w.function()
	_, err := invoke(t, f, strings.Replace(oneMessage, `{\"time`, `{\"panic\":1,\"time`, 1))
	if err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a panic: %v, want an invocation error", err)
	}
	if strings.Contains(err.Error()+w.out.String(), "token-1") || !strings.Contains(w.out.String(), "tokenConnector") {
		t.Errorf("the panic's words, or no stack: %v %s", err, w.out.String())
	}
	if !delivered(t, f) {
		t.Error("the function is of no use after a panic")
	}
}

func TestWarnsAboutTLS(t *testing.T) {
	w := newWorld()
	w.env["TEST_TLS_VERIFY"] = "false"
	delivered(t, w.function())
	if !strings.Contains(w.out.String(), "TEST_TLS_VERIFY=false") {
		t.Errorf("no warning: %s", w.out.String())
	}
}

// TestFirstLogLineNamesTheVersion also covers a derived logger, which the guard uses.
func TestFirstLogLineNamesTheVersion(t *testing.T) {
	field := `"version":"` + version.Version + `"`
	for name, derive := range map[string]func(*slog.Logger) *slog.Logger{
		"logger":         func(l *slog.Logger) *slog.Logger { return l },
		"derived logger": func(l *slog.Logger) *slog.Logger { return l.With(slog.String("connector", "splunk")) },
	} {
		var out bytes.Buffer
		log := Deps{Out: &out}.Logger(settings.New(func(string) string { return "" }, nil))
		log.Debug("below the level")
		derive(log).Info("first")
		derive(log).Info("second")
		log.Info("third")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], field) || strings.Contains(lines[1]+lines[2], field) {
			t.Errorf("%s: want %s in the first of three lines, have\n%s", name, field, out.String())
		}
	}
}

// TestFailedInvocation: the error says what is expected, and is logged with the version.
func TestFailedInvocation(t *testing.T) {
	w := newWorld()
	_, err := (&logging{w.function(), w}).Invoke(t.Context(), []byte(`{"hello":1}`))
	if want := `"version":"` + version.Version + `"`; err == nil || !strings.Contains(err.Error(), "Records") ||
		!strings.Contains(w.out.String(), want) {
		t.Errorf("error %v; want %s in the log, have %s", err, want, w.out.String())
	}
}

// asFunction makes the test's binary a function.
const asFunction = "TEST_AS_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		Start(NewConnector("test", openPoster, System()))
	}
	os.Exit(m.Run())
}

// poster posts events.
type poster struct {
	encoder
	client *httpsend.Client
	r      httpsend.Request
}

func openPoster(s *settings.Settings) deliver.Connector {
	return &poster{client: httpsend.New(httpsend.Configure(s, "none", "TEST_URL")), r: httpsend.Request{
		URL:    s.URL("TEST_URL", "", "an endpoint"),
		Header: http.Header{"Authorization": {"Splunk " + s.Secret("TEST_TOKEN", true, "a token").Reveal()}},
	}}
}

func (p *poster) Send(ctx context.Context, b *deliver.Batch) error {
	r := p.r
	r.Body = b.Body
	_, err := p.client.Do(ctx, r)
	return err
}

// TestStandardErrorStaysEmpty: libraries write nothing to standard error, even if a SIEM sends more than its response
// and echoes the request in it. An invocation's error is also a line of the log.
func TestStandardErrorStaysEmpty(t *testing.T) {
	const token, text = "feather-and-tar-7f3c", "what somebody asked"
	siem := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}%s %s", r.Header.Get("Authorization"), body)
	}))
	defer siem.Close()
	batch := strings.Replace(oneMessage, `{\"time`, `{\"text\":\"`+text+`\",\"time`, 1)
	payloads := []string{batch, batch, batch, `{"hello":1}`}
	var next atomic.Int64
	done, end := make(chan struct{}), make(chan struct{})
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		n := int(next.Add(1)) - 1
		if n >= len(payloads) {
			if n == len(payloads) {
				close(done)
			}
			<-end
			return
		}
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint("request-", n))
		w.Header().Set("Lambda-Runtime-Deadline-Ms", "9999999999999")
		io.WriteString(w, payloads[n])
	}))
	defer runtime.Close()
	defer close(end)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	function := exec.Command(self)
	function.Stdout, function.Stderr = &stdout, &stderr
	function.Env = []string{asFunction + "=1", "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(runtime.URL, "http://"),
		"TEST_URL=" + siem.URL, "TEST_TOKEN=" + token,
		"SIEM_ALLOW_HTTP=true", "SIEM_QUEUE_URL=https://q", "SIEM_DEAD_LETTER_QUEUE_URL=https://d"}
	if err := function.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = function.Wait() // killed
	}()
	select {
	case <-done:
	case <-exited:
	}
	_ = function.Process.Kill() // it may have exited
	<-exited
	if stderr.Len() > 0 {
		t.Errorf("standard error:\n%s", stderr.String())
	}
	out := stdout.String()
	if strings.Contains(out, token) || strings.Contains(out, text) {
		t.Errorf("standard output holds the credential or the event:\n%s", out)
	}
	if strings.Count(out, `"delivered":1`) != 3 || strings.Count(out, `"msg":"invocation failed"`) != 1 ||
		!strings.Contains(out, "Records") {
		t.Errorf("standard output, want three batches and the invocation's error:\n%s", out)
	}
}

// TestExit: a process that cannot serve says why in the log, as Lambda reports only the exit status.
func TestExit(t *testing.T) {
	failing := httptest.NewServer(http.NotFoundHandler())
	defer failing.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for api, want := range map[string]string{
		"": "AWS_LAMBDA_RUNTIME_API] are not defined",
		strings.TrimPrefix(failing.URL, "http://"): "unexpected status code: 404",
	} {
		var stderr bytes.Buffer
		function := exec.Command(self)
		function.Env, function.Stderr = []string{asFunction + "=1", "AWS_LAMBDA_RUNTIME_API=" + api}, &stderr
		stdout, err := function.Output()
		if err == nil || stderr.Len() > 0 || bytes.Count(stdout, []byte("\n")) != 1 ||
			!bytes.Contains(stdout, []byte(`"level":"ERROR","msg":"exiting"`)) || !bytes.Contains(stdout, []byte(want)) {
			t.Errorf("Runtime API %q: %v, standard error %q, standard output %q; want one line with %q",
				api, err, stderr.String(), stdout, want)
		}
	}
}
