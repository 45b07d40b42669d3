package lambdahost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/shared/failure"
)

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
			secretSetting, id), Err: err,
			Hint: "the function's role needs secretsmanager:GetSecretValue on it, and kms:Decrypt where it has a key of its own"}
	}
	text = aws.ToString(out.SecretString)
	if out.SecretString == nil {
		text = string(out.SecretBinary)
	}
	values, err = parseSecret(text)
	if err != nil {
		return "", nil, &failure.Error{Step: failure.Secret, Detail: fmt.Sprintf("%s: the secret %q", secretSetting, id),
			Err:  err,
			Hint: `expected is a JSON object of settings, such as {"NAME":"value"}`}
	}
	return text, values, nil
}

// parseSecret reads the secret's JSON object. Numbers and booleans are used as they are written; null counts as absent.
func parseSecret(text string) (map[string]string, error) {
	trimmed := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "\uFEFF")) // without a byte order mark
	if trimmed == "" {
		return nil, errors.New("is empty")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(trimmed), &object); err != nil || object == nil { // its error may quote the secret
		if !json.Valid([]byte(trimmed)) {
			return nil, errors.New("is not JSON")
		}
		return nil, errors.New("is JSON, but not an object")
	}
	values := make(map[string]string, len(object))
	var wrong []string
	for key, raw := range object {
		switch raw = bytes.TrimSpace(raw); raw[0] {
		case '{', '[':
			wrong = append(wrong, key)
		case 'n':
		case '"':
			var value string
			if err := json.Unmarshal(raw, &value); err != nil {
				wrong = append(wrong, key)
			}
			values[key] = value
		default:
			values[key] = string(raw)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return nil, fmt.Errorf("has keys whose values are not strings: %s", strings.Join(wrong, ", "))
	}
	return values, nil
}
