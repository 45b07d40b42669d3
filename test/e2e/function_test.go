package e2e

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/lambda/runtimeapi"
)

// variables returns the environment of a connector's function in the deployment, without SIEM_SECRET_ID.
func (w *world) variables(a *actor) map[string]string {
	env := map[string]string{
		"SIEM_QUEUE_URL": w.cloud.Queue(a.Queue()), "SIEM_DEAD_LETTER_QUEUE_URL": w.deadLetterQueue(),
		"SIEM_MAX_ATTEMPTS":        "4",
		"SIEM_BACKOFF_MAX_SECONDS": "4", "SIEM_REQUEST_TIMEOUT_SECONDS": "5", "AWS_ENDPOINT_URL": w.gate.function(a.Name),
	}
	maps.Copy(env, a.Settings())
	return env
}

// function runs a connector's binary outside of the deployment, with its own environment.
func (w *world) function(t *testing.T, a *actor, env map[string]string) *runtimeapi.Function {
	t.Helper()
	f := runtimeapi.New(runtimeapi.Config{
		Name: "beside-" + a.Name, ARN: "arn:aws:lambda:us-east-1:123456789012:function:beside-" + a.Name,
		Region:    cloud.Region,
		Bootstrap: filepath.Join(w.folder, "build", a.Name, "bootstrap"), Environment: env, Timeout: 30 * time.Second,
		MemoryMB: 256, MaxInstances: 2,
		Output: func(line string) { _, _ = w.output.Write([]byte("beside-" + a.Name + " | " + line + "\n")) },
	})
	t.Cleanup(f.Close)
	return f
}

// secret creates a secret that holds a text, and returns its ARN.
func (w *world) secret(t *testing.T, text string) string {
	t.Helper()
	name := strings.NewReplacer("/", "-", "#", "-", ":", "-", "'", "-", ",", "-", "(", "-", ")", "-").Replace(t.Name()) +
		"-" + time.Now().Format("150405.000000000")
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text}
	if text == "" { // neither AWS nor its SDK lets a secret be made empty, a binary one can be
		in.SecretString, in.SecretBinary = nil, []byte(" ")
	}
	return aws.ToString(must(w.secrets.CreateSecret(t.Context(), in))(t).ARN)
}

// full returns a working environment of a connector, with its credential in its own secret.
func (w *world) full(t *testing.T, a *actor) map[string]string {
	t.Helper()
	env := w.variables(a)
	env["SIEM_SECRET_ID"] = w.secret(t, encode(a.Secret()))
	return env
}

// invoker invokes a function.
type invoker func(payload []byte) (runtimeapi.Result, error)

func (w *world) deployed(t *testing.T, id string) invoker {
	return func(p []byte) (runtimeapi.Result, error) { return w.cloud.Invoke(t.Context(), id, p) }
}

func beside(t *testing.T, f *runtimeapi.Function) invoker {
	return func(p []byte) (runtimeapi.Result, error) { return f.Invoke(t.Context(), p) }
}

// failures invokes with an SQS event, and returns the ids in batchItemFailures.
func failures(t *testing.T, invoke invoker, payload []byte) []string {
	t.Helper()
	r := must(invoke(payload))(t)
	if r.Error != nil {
		t.Fatalf("the invocation failed: %v", r.Error)
	}
	var answer struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(r.Payload, &answer); err != nil || answer.BatchItemFailures == nil {
		t.Fatalf("answer %.300q: %v", r.Payload, err)
	}
	ids := make([]string, len(answer.BatchItemFailures))
	for i, f := range answer.BatchItemFailures {
		ids[i] = f.ItemIdentifier
	}
	return ids
}

// checked is the response of the connection check.
type checked struct {
	Connector, Step, Detail, Hint string
	OK                            bool
	Milliseconds                  int
}

func check(t *testing.T, invoke invoker) checked {
	t.Helper()
	r := must(invoke([]byte(`{"check":true}`)))(t)
	if r.Error != nil {
		t.Fatalf("the check failed as an invocation: %v", r.Error)
	}
	var c checked
	if err := json.Unmarshal(r.Payload, &c); err != nil {
		t.Fatalf("check %.300q: %v", r.Payload, err)
	}
	return c
}
