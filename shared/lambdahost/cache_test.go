package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// gate is a connector whose requests get one result.
type gate struct {
	encoder
	before func() // called before each result, if not nil
	err    error
}

func (g *gate) Send(context.Context, *deliver.Batch) error {
	if g.before != nil {
		g.before()
	}
	return g.err
}

// secretsFunc is Secrets Manager.
type secretsFunc func(context.Context) (*secretsmanager.GetSecretValueOutput, error)

func (f secretsFunc) GetSecretValue(ctx context.Context, _ *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return f(ctx)
}

func secretText(text string) (*secretsmanager.GetSecretValueOutput, error) {
	return &secretsmanager.GetSecretValueOutput{SecretString: &text}, nil
}

// TestConcurrentRefusalsReadTheSecretOnce: sixteen invocations whose credential is refused at the same time cause one
// read.
func TestConcurrentRefusalsReadTheSecretOnce(t *testing.T) {
	const invocations = 16
	w := newWorld()
	var reads, sent atomic.Int64
	var together sync.WaitGroup
	together.Add(invocations)
	connector := &gate{err: &failure.Error{Kind: failure.Unauthorized, Step: failure.Auth, Status: 401}}
	refuse := func() { // the first request of each invocation waits for those of the others
		if sent.Add(1) <= invocations {
			together.Done()
			together.Wait()
		}
	}
	deps := w.deps()
	deps.Secrets = secretsFunc(func(context.Context) (*secretsmanager.GetSecretValueOutput, error) {
		reads.Add(1)
		return secretText(`{}`)
	})
	f := NewConnector("test", func(*settings.Settings) deliver.Connector { return connector }, deps)
	if delivered(t, f) {
		t.Fatal("delivered with a refused credential")
	}
	before := reads.Load()
	connector.before = refuse
	var calls sync.WaitGroup
	for range invocations {
		calls.Go(func() { delivered(t, f) })
	}
	calls.Wait()
	if n := reads.Load() - before; n != 1 {
		t.Errorf("%d reads of the secret, want 1", n)
	}
}

// TestHungSecretsManager: while one invocation waits for Secrets Manager, the others use the connector they have.
func TestHungSecretsManager(t *testing.T) {
	w := newWorld()
	var reads atomic.Int64
	hung := make(chan struct{})
	var now atomic.Int64
	now.Store(w.now.UnixMilli())
	deps := w.deps()
	deps.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	deps.Secrets = secretsFunc(func(ctx context.Context) (*secretsmanager.GetSecretValueOutput, error) {
		if reads.Add(1) > 1 {
			close(hung)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return secretText(`{}`)
	})
	f := NewConnector("test", func(*settings.Settings) deliver.Connector { return &gate{} }, deps)
	delivered(t, f)
	now.Add((secretAge + time.Second).Milliseconds())
	ctx, release := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := f.Invoke(ctx, []byte(oneMessage)); err != nil {
			t.Error(err)
		}
	})
	<-hung
	for range 16 {
		if !delivered(t, f) {
			t.Error("not delivered while Secrets Manager hangs")
		}
	}
	release()
	waiting.Wait()
	if n := reads.Load(); n != 2 {
		t.Errorf("%d reads, want 2", n)
	}
}

// TestUnreadableSecretHidesNoProblem: the error names the secret, and all that is wrong in the environment.
func TestUnreadableSecretHidesNoProblem(t *testing.T) {
	w := misconfigured()
	w.err = errors.New("AccessDeniedException")
	f := w.function()
	_, err := invoke(t, f, oneMessage)
	for _, text := range []string{"SIEM_SECRET_ID", "AccessDeniedException", "SIEM_MAX_ATTEMPTS", "TEST_URL", "LOG_LEVEL",
		"SIEM_QUEUE_URL",
		"TEST_TOKEN: expected a token (a key of the secret SIEM_SECRET_ID), is not set in the environment, and the secret " +
			"could not be read"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q in it", err, text)
		}
	}
	answer, err := invoke(t, f, `{"check":true}`)
	if err != nil || !strings.Contains(answer, `"step":"secret"`) || !strings.Contains(answer, "SIEM_MAX_ATTEMPTS") {
		t.Errorf("%s, %v", answer, err)
	}
}

func TestSecretWithByteOrderMark(t *testing.T) {
	w := newWorld()
	w.secret = "\uFEFF" + w.secret
	if !delivered(t, w.function()) {
		t.Error("a byte order mark makes the secret unreadable")
	}
}

// TestFailuresAreRedacted: whatever texts a connector puts into a failure, no secret of the settings leaves the host.
func TestFailuresAreRedacted(t *testing.T) {
	const token = "feather-and-tar-7f3c"
	leaky := func() error {
		return &failure.Error{Kind: failure.Rejected, Code: token, Detail: "sent " + token, Hint: "replace " + token,
			Err: errors.New(token)}
	}
	r := secret.NewRedactor(secret.New(token))
	for name, err := range map[string]error{
		"failure": leaky(), "partial": &deliver.PartialError{Results: []error{nil, leaky(), errors.New("plain " + token)}},
		"plain": errors.New("x " + token),
	} {
		got := redacting{&gate{err: err}, r}.Send(t.Context(), nil)
		results := []error{got}
		if partial, ok := errors.AsType[*deliver.PartialError](got); ok {
			results = partial.Results
		}
		for _, result := range results {
			if f := failure.Of(result); f != nil && (strings.Contains(f.Error()+f.Brief()+f.Hint, token) ||
				!strings.Contains(f.Error(), "[redacted]")) {
				t.Errorf("%s: %v", name, f)
			}
		}
	}
	if err := (redacting{&gate{}, r}).Send(t.Context(), nil); err != nil {
		t.Errorf("a success becomes %v", err)
	}
}

// FuzzParseSecret: whatever a secret holds, it is read as JSON reads it, or refused with an error that shows none of it
// but names of keys.
func FuzzParseSecret(f *testing.F) {
	for _, seed := range []string{
		"", " ", "{}", "null", "[]", "token-itself", `"token"`, `{"A":"b"}`, `{"A":1,"B":true,"C":null}`,
		`{"A":{"B":"deep-secret"}}`,
		`{"A":["deep-secret"],"B":"\ud800"}`, `{"A":"b","A":"c"}`, `{"A":"b"} {}`, `{"A":"b`, "\xff",
		strings.Repeat(`{"A":`, 10_000),
	} {
		f.Add(seed)
	}
	const words = "is empty; is not JSON; is JSON, but not an object; has keys whose values are not strings: "
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "\uFEFF")) // which JSON does not skip
		values, err := parseSecret(text)
		object := objectIn(text)
		if err != nil {
			shown := err.Error()
			for key := range object {
				shown = strings.ReplaceAll(shown, key, "")
			}
			for _, s := range append(leaves(object), text) {
				if len(s) >= 8 && !strings.Contains(words, s) && strings.Contains(shown, s) {
					t.Errorf("the error shows %q: %v", s, err)
				}
			}
			return
		}
		if object == nil {
			t.Fatalf("%q is not a JSON object, and was read as %v", text, values)
		}
		for key, value := range object {
			got, ok := values[key]
			if want, isText := value.(string); isText && got != want || value == nil == ok {
				t.Errorf("%q is %q (%t), want %v", key, got, ok, value)
			}
		}
	})
}

// objectIn is the JSON object that a text is, nil when it is none. Numbers may be as large as they like.
func objectIn(text string) (object map[string]any) {
	if !json.Valid([]byte(text)) {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if d.Decode(&object) != nil {
		return nil
	}
	return object
}

// leaves lists the texts in a value, names of keys left out.
func leaves(value any) (texts []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			texts = append(texts, leaves(e)...)
		}
	case map[string]any:
		for _, e := range v {
			texts = append(texts, leaves(e)...)
		}
	}
	return texts
}
