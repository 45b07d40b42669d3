package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// failing is a connector whose requests have one result.
type failing struct {
	encoder
	err error
}

func (f *failing) Send(context.Context, *deliver.Batch) error { return f.err }

// secretsFunc is Secrets Manager.
type secretsFunc func(context.Context) (*secretsmanager.GetSecretValueOutput, error)

func (f secretsFunc) GetSecretValue(ctx context.Context, _ *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	return f(ctx)
}

// TestHungSecretsManager: while Secrets Manager does not respond, one invocation at a time waits for it, for
// secretTimeout at most, and the others use the connector they have. If their credential is refused, they wait, too,
// and retain the messages.
func TestHungSecretsManager(t *testing.T) {
	const invocations = 16
	synctest.Test(t, func(t *testing.T) {
		var reading, together, waited atomic.Int64
		hangs := false
		connector := &failing{}
		deps := newWorld().deps()
		deps.Now = time.Now
		deps.Secrets = secretsFunc(func(ctx context.Context) (*secretsmanager.GetSecretValueOutput, error) {
			together.Store(max(together.Load(), reading.Add(1)))
			defer reading.Add(-1)
			if hangs {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(`{}`)}, nil
		})
		f := NewConnector("test", func(*settings.Settings) deliver.Connector { return connector }, deps)
		invokeAll := func(want bool, most time.Duration) {
			var calls sync.WaitGroup
			for range invocations {
				calls.Go(func() {
					begun := time.Now()
					if delivered(t, f) != want || time.Since(begun) > most {
						t.Errorf("delivered: %t, after %s; want within %s", !want, time.Since(begun), most)
					}
					if time.Since(begun) > 0 {
						waited.Add(1)
					}
				})
			}
			calls.Wait()
		}
		invokeAll(true, 0)
		hangs = true
		<-time.After(secretAge + time.Second) // the value is old, and usable
		invokeAll(true, secretTimeout)
		if n := waited.Load(); n != 1 {
			t.Errorf("%d invocations wait for a new value, want 1", n)
		}
		connector.err = &failure.Error{Kind: failure.Unauthorized, Step: failure.Auth, Status: 401}
		invokeAll(false, 2*secretTimeout)
		if n := together.Load(); n != 1 {
			t.Errorf("%d reads at a time, want 1", n)
		}
	})
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
		got := (&redacting{&failing{err: err}, r}).Send(t.Context(), nil)
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
	for _, err := range []error{nil, &deliver.PendingError{ID: 1}} {
		got := (&redacting{&failing{err: err}, r}).Send(t.Context(), nil)
		if got != err { //nolint:errorlint // the same value
			t.Errorf("%v becomes %v", err, got)
		}
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
		values, err := ParseSecret(text)
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
