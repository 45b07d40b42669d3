package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

// TestBootstraps invokes each bootstrap in AWS's runtime interface emulator: a connector with an event, the drain with
// a dead letter, the replay with a request that sends it again, the guard with an empty batch.
func TestBootstraps(t *testing.T) {
	if runtime.GOOS != "linux" {
		testenv.Missing(t, "the runtime interface emulator needs Linux")
	}
	endpoints := map[string]string{"SQS": products.ElasticMQ(t), "S3": products.VersityGW(t)}
	queues, store := sqs.NewFromConfig(config(endpoints["SQS"])), s3.NewFromConfig(config(endpoints["S3"]))
	env := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
		"AWS_ENDPOINT_URL_SQS": endpoints["SQS"], "AWS_ENDPOINT_URL_S3": endpoints["S3"],
		"SIEM_DEAD_LETTER_PATH": "s3://" + bucket + "/dead", "REPLAY_FUNCTION_NAME": "replay",
	}
	if _, err := store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(connectors.Names(), "dead") {
		out, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name})
		if err != nil {
			t.Fatal(err)
		}
		env[strings.ToUpper(name)+"_QUEUE_URL"] = *out.QueueUrl
	}
	with := func(queue string, more map[string]string) []string {
		all := maps.Clone(env)
		all["SIEM_QUEUE_URL"], all["SIEM_DEAD_LETTER_QUEUE_URL"] = env[queue+"_QUEUE_URL"], env["DEAD_QUEUE_URL"]
		maps.Copy(all, more)
		var list []string
		for name, value := range all {
			list = append(list, name+"="+value)
		}
		return list
	}
	const none = `{"batchItemFailures":[]}`
	for _, e := range simulators(t) {
		t.Run(e.Name, func(t *testing.T) {
			more := e.settings()
			maps.Copy(more, e.Simulator.Secret())
			got := invoke(t, e.Name, with(strings.ToUpper(e.Name), more), batch(e.Name, event("one"), nil))
			if n := len(e.Accepted()); got != none || n != 1 {
				t.Errorf("response %s, %d events in the SIEM", got, n)
			}
		})
	}
	t.Run("deadletter", func(t *testing.T) {
		letter := batch("dead", event("two"), map[string]string{
			"connector": "splunk", "error": "given up", "attempts": "5", "message_id": "m",
			"failed_at": "2026-03-13T00:00:00.000Z",
		})
		if got := invoke(t, "deadletter", with("DEAD", nil), letter); got != none {
			t.Errorf("response %s", got)
		}
	})
	t.Run("replay", func(t *testing.T) {
		call := `{"version":"2.0","rawPath":"/api/admin/siem/replay-dead-letter","body":"{}","headers":{"content-type":` +
			`"application/json"},"requestContext":{"http":{"method":"POST","path":"/api/admin/siem/replay-dead-letter"}}}`
		got := invoke(t, "replay", with("SPLUNK", nil), call)
		url := env["SPLUNK_QUEUE_URL"]
		out, err := queues.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 5})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, `"statusCode":200`) || !strings.Contains(got, `replayed\":1`) || len(out.Messages) != 1 ||
			*out.Messages[0].Body != event("two") {
			t.Errorf("response %s, %d messages", got, len(out.Messages))
		}
	})
	t.Run("guard", func(t *testing.T) {
		if got := invoke(t, "guard", with("DEAD", nil), `{"Records":[]}`); got != none {
			t.Errorf("response %s", got)
		}
	})
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		t.Fatal(err)
	}
	tested := append(connectors.Names(), "deadletter", "replay", "guard", "all") // "all" is no function
	for _, f := range entries {
		if !slices.Contains(tested, f.Name()) {
			t.Errorf("functions/%s is not invoked", f.Name())
		}
	}
}

// batch is an event of SQS with one message.
func batch(queue, body string, attributes map[string]string) string {
	list := map[string]any{}
	for name, value := range attributes {
		list[name] = map[string]string{"dataType": "String", "stringValue": value}
	}
	payload, _ := json.Marshal(map[string]any{"Records": []any{map[string]any{ // texts always marshal
		"messageId": "3b1ffc0e-0d6e-4a2c-8f0e-7d0f3f6f1b11", "receiptHandle": "r", "body": body,
		"messageAttributes": list, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
		"eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:" + queue,
		"attributes":     map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": "1741824000123"},
	}}})
	return string(payload)
}

// invoke runs a function and returns its response.
func invoke(t *testing.T, function string, env []string, payload string) string {
	t.Helper()
	bootstrap, err := filepath.Abs(filepath.Join(root, "build", function, "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bootstrap); err != nil {
		testenv.Missing(t, bootstrap+" is missing: `make build` makes it")
	}
	status, body := products.Call(t, http.MethodPost, products.LambdaRIE(t, bootstrap, env), payload)
	if status != http.StatusOK {
		return fmt.Sprintf("status %d: %s", status, body)
	}
	return string(body)
}
