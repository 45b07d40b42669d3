package lambdahost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/arbitex/siem-connectors/shared/deliver"
	"github.com/arbitex/siem-connectors/shared/failure"
	"github.com/arbitex/siem-connectors/shared/refresh"
	"github.com/arbitex/siem-connectors/shared/secret"
	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
	"github.com/arbitex/siem-connectors/shared/telemetry"
)

const (
	// secretAge is the age at which a secret is read again.
	secretAge = 5 * time.Minute

	// secretPause is the time after a failed read in which the secret is not read again because of its age.
	secretPause = 30 * time.Second
)

// instance is a connector with the settings from which it was opened. It does not change.
type instance struct {
	connector *redacting
	batches   sqsbatch.Handler
	secret    string // the text of the secret
}

// load reads the secret, and opens a connector if there is none or the secret has changed.
func (c *Connector) load(ctx context.Context) (*instance, refresh.Life, error) {
	life := refresh.Life{Renew: c.deps.Now().Add(secretAge)}
	if c.deps.Env(secretSetting) == "" {
		life.Renew = life.Renew.AddDate(100, 0, 0)
	}
	used, exists := c.cache.Current()
	text, values, err := readSecret(ctx, c.deps)
	next := used
	if !exists || err == nil && text != used.secret {
		next, err = c.openWith(ctx, text, values, err)
	}
	if err != nil && exists {
		used.batches.Log.LogAttrs(ctx, slog.LevelError, "keeping the configuration in use", slog.String("error", err.Error()))
	}
	return next, life, err
}

// openWith opens a connector. If the secret could not be read, it returns that error and all other problems.
func (c *Connector) openWith(
	ctx context.Context, text string, values map[string]string, secretErr error,
) (*instance, error) {
	s := settings.New(c.deps.Env, values)
	s.Incomplete = secretErr != nil
	s.Dial, s.Identity = c.deps.Dial, c.deps.Identity
	o := &instance{secret: text, batches: ReadOptional(s)}
	b := &o.batches
	b.Connector, b.Queue, b.Out, b.Now, b.Log = c.name, c.deps.SQS, c.deps.Out, c.deps.Now, c.deps.Logger(s)
	b.QueueURL = s.Required("SIEM_QUEUE_URL", "the URL of the connector's own queue")
	b.DeadLetterQueue = s.Required("SIEM_DEAD_LETTER_QUEUE_URL", "the URL of the dead-letter queue")
	connector := c.open(s)
	o.connector = &redacting{connector, s.Redactor()}
	err := s.Err()
	if f := failure.Of(secretErr); f != nil {
		if err != nil {
			f.Err = fmt.Errorf("%w; also: %w", f.Err, err)
		}
		err = f
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range s.Warnings() {
		o.batches.Log.LogAttrs(ctx, slog.LevelWarn, "setting",
			slog.String("connector", c.name), slog.String("warning", warning))
	}
	return o, nil
}

// ReadOptional reads the optional settings of every connector's function, which the connector itself does not read.
func ReadOptional(s *settings.Settings) sqsbatch.Handler {
	logLevel(s)
	return sqsbatch.Handler{
		Stack:    s.String("SIEM_STACK", "local"),
		Backoff:  sqsbatch.ReadBackoff(s),
		Filter:   sqsbatch.ReadFilter(s),
		Roles:    sqsbatch.ReadRoles(s),
		Receipts: s.Bool("SIEM_RECEIPTS", false),
	}
}

// source is the connector of one invocation.
type source struct {
	*Connector
	instance *instance
	known    uint64 // reads of the secret when the invocation began
}

func (s *source) Current() deliver.Connector { return s.instance.connector }

func (s *source) Renew(ctx context.Context) deliver.Connector {
	renewed, _ := s.cache.Renew(ctx, s.instance, s.known, s.load) // load logs the error
	if renewed != nil {
		s.instance = renewed
	}
	return s.Current()
}

// redacting removes the secrets of the settings from all failures, whatever the connector does.
type redacting struct {
	deliver.Connector
	redactor *secret.Redactor
}

func (r *redacting) Send(ctx context.Context, b *deliver.Batch) error {
	err := r.Connector.Send(ctx, b)
	if p, ok := err.(*deliver.PartialError); ok { //nolint:errorlint // a PartialError is never wrapped
		r.redactAll(p.Results)
		return err
	}
	return r.redact(err)
}

// Confirm implements deliver.Confirmer for a connector that does.
func (r *redacting) Confirm(ctx context.Context, ids []int64, m *telemetry.Meter) []error {
	results := r.Connector.(deliver.Confirmer).Confirm(ctx, ids, m) // the engine calls it for no other
	r.redactAll(results)
	return results
}

func (r *redacting) redactAll(results []error) {
	for i, err := range results {
		results[i] = r.redact(err)
	}
}

// redact returns err as a failure without secrets.
func (r *redacting) redact(err error) error {
	const maxBytes = 1024 // of a text
	switch err.(type) {   //nolint:errorlint // a PendingError is never wrapped
	case nil, *deliver.PendingError:
		return err
	}
	return failure.Of(err).Redact(func(text string) string { return r.redactor.Redact(text, maxBytes) })
}

// secretSetting names the secret, which holds what must not be in the environment.
const secretSetting = "SIEM_SECRET_ID"

// secretTimeout bounds a read of the secret, for which a delivery waits.
const secretTimeout = 5 * time.Second

// Secrets is the part of the Secrets Manager API that a function uses. *secretsmanager.Client implements it.
type Secrets interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput,
		...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// readSecret reads the secret that SIEM_SECRET_ID names: its text, and the settings in it; both are empty if there is
// no secret. Errors contain nothing of the secret except names of its keys.
func readSecret(ctx context.Context, d Deps) (text string, values map[string]string, err error) {
	id := strings.TrimSpace(d.Env(secretSetting))
	if id == "" {
		return "", nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	out, err := d.Secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", nil, &failure.Error{Step: failure.Secret, Detail: fmt.Sprintf("reading the secret that %s names, %q",
			secretSetting, id), Err: err, Hint: secretHint(err)}
	}
	text = aws.ToString(out.SecretString)
	if out.SecretString == nil {
		text = string(out.SecretBinary)
	}
	values, err = ParseSecret(text)
	if err != nil {
		return "", nil, &failure.Error{Step: failure.Secret, Detail: fmt.Sprintf("%s: the secret %q", secretSetting, id),
			Err:  err,
			Hint: `expected is a JSON object of settings, such as {"NAME":"value"}`}
	}
	return text, values, nil
}

// secretHint returns what to correct after a failed read of the secret; "" if Secrets Manager itself failed.
func secretHint(err error) string {
	if _, unsent := errors.AsType[*smithyhttp.RequestSendError](err); unsent || errors.Is(err, context.DeadlineExceeded) {
		return "check the function's route to Secrets Manager: in a VPC, it needs a NAT gateway or an endpoint"
	}
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		switch refused.ErrorCode() {
		case "AccessDeniedException", "DecryptionFailure":
			return "the function's role needs secretsmanager:GetSecretValue on it, " +
				"and kms:Decrypt where it has a key of its own"
		case "ResourceNotFoundException":
			return "check " + secretSetting + ": the secret, in the function's region, needs a value"
		}
	}
	return ""
}

// KeysError names the keys of a secret that have an object or an array as their value.
type KeysError []string

// Error implements error.
func (e KeysError) Error() string {
	return "has keys whose values are not strings: " + strings.Join(e, ", ")
}

// ParseSecret reads the secret's JSON object. Numbers and booleans are used as they are written; null counts as absent.
// No error quotes a value. It is a [KeysError] for an object with other values.
func ParseSecret(text string) (map[string]string, error) {
	trimmed := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "\uFEFF")) // without a byte order mark
	if trimmed == "" {
		return nil, errors.New("is empty")
	}
	var object map[string]any
	numbers := json.NewDecoder(strings.NewReader(trimmed))
	numbers.UseNumber()
	switch { // the decoder's error may quote the secret
	case !json.Valid([]byte(trimmed)):
		return nil, errors.New("is not JSON")
	case numbers.Decode(&object) != nil || object == nil:
		return nil, errors.New("is JSON, but not an object")
	}
	values := make(map[string]string, len(object))
	var wrong KeysError
	for key, value := range object {
		switch value.(type) {
		case nil:
		case string, bool, json.Number:
			values[key] = fmt.Sprint(value)
		default:
			wrong = append(wrong, key)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return nil, wrong
	}
	return values, nil
}
