package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/emulator/cloud"
	"github.com/arbitex/siem-connectors/emulator/siem"
	"github.com/arbitex/siem-connectors/emulator/siem/catalog"
	"github.com/arbitex/siem-connectors/emulator/system"
	"github.com/arbitex/siem-connectors/internal/testkit/products"
	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
	"github.com/arbitex/siem-connectors/shared/connectors"
)

const (
	root     = "../../.."
	patience = 2 * time.Minute
)

// stack is the template with its queues in ElasticMQ and its bucket in versitygw. Its secrets are in moto.
type stack struct {
	*system.System

	t     *testing.T
	siems map[string]siem.Simulator
}

func deploy(t *testing.T, wanted ...string) *stack {
	t.Helper()
	endpoints := map[string]string{"SQS": products.ElasticMQ(t), "S3": products.VersityGW(t)}
	testenv.Python(t)
	s := &stack{t: t, siems: map[string]siem.Simulator{}}
	o := cloud.Options{
		Endpoints: endpoints, Parameters: map[string]string{"MaxAttempts": "2"},
		Environment: map[string]map[string]string{ // versitygw has no temporary credentials
			"DeadLetterFunction": {"AWS_SESSION_TOKEN": ""}, "ReplayFunction": {"AWS_SESSION_TOKEN": ""},
		},
		QueueAttributes: map[string]map[string]string{},
	}
	siems := simulators(t, wanted...)
	for _, one := range siems {
		s.siems[one.Name] = one.Simulator
		o.Environment[one.Function()] = system.Backoff(1, 1)
		o.QueueAttributes[one.Queue()] = map[string]string{"VisibilityTimeout": "60"}
	}
	var err error
	if s.System, err = system.Start(t.Context(), root, siems, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.SQS = sqs.NewFromConfig(config(endpoints["SQS"]))
	return s
}

// simulators starts the SIEMs of these names; without names, all.
func simulators(t *testing.T, wanted ...string) []*system.SIEM {
	t.Helper()
	list := slices.DeleteFunc(catalog.List(), func(e catalog.SIEM) bool {
		return len(wanted) > 0 && !slices.Contains(wanted, e.Name)
	})
	siems, _, err := system.Simulate(filepath.Join(t.TempDir(), "ca.pem"), list)
	if err != nil {
		t.Fatal(err)
	}
	return siems
}

func event(id string) string {
	return fmt.Sprintf(`{"class_uid":6003,"time":1741824000123,"severity_id":1,"metadata":{"uid":%q}}`, id)
}

// send enqueues events with the ids <prefix>0 to <prefix>n-1: the first half alone, the others as arrays of ten.
func (s *stack) send(connector, prefix string, n int) {
	s.t.Helper()
	var bodies, array []string
	for i := range n {
		if i < n/2 {
			bodies = append(bodies, event(fmt.Sprint(prefix, i)))
			continue
		}
		if array = append(array, event(fmt.Sprint(prefix, i))); len(array) == 10 || i == n-1 {
			bodies, array = append(bodies, "["+strings.Join(array, ",")+"]"), nil
		}
	}
	if _, err := s.Enqueue(s.t.Context(), s.Queue(connector+"Queue"), bodies...); err != nil {
		s.t.Fatal(err)
	}
}

// has waits until the SIEM has n events whose ids begin with prefix, each once.
func (s *stack) has(connector, prefix string, n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%s has %d events %s", connector, n, prefix), func() error {
		counts, all := map[string]int{}, 0
		for _, a := range s.siems[connector].Accepted() {
			if strings.HasPrefix(a.ID, prefix) {
				counts[a.ID]++
				all++
			}
		}
		if len(counts) != n || all != n {
			return fmt.Errorf("%d events, %d different", all, len(counts))
		}
		return nil
	})
}

// eventually waits until check returns nil.
func (s *stack) eventually(what string, check func() error) {
	s.t.Helper()
	testenv.Eventually(s.t, patience, what, check)
}

// replay calls the replay function, and returns the status.
func (s *stack) replay(method, body string, response any) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method,
		s.URL("ReplayFunction")+"/api/admin/siem/replay-dead-letter", bytes.NewReader([]byte(body)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err := errors.Join(err, json.Unmarshal(text, response)); err != nil {
		s.t.Fatalf("%s: status %d: %v: %.300s", method, r.StatusCode, err, text)
	}
	return r.StatusCode
}

// pending waits until so many dead letters are pending.
func (s *stack) pending(want map[string]int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("pending are %v", want), func() error {
		var got struct{ Pending map[string]int }
		if status := s.replay(http.MethodGet, "", &got); status != http.StatusOK || !maps.Equal(got.Pending, want) {
			return fmt.Errorf("status %d, pending %v", status, got.Pending)
		}
		return nil
	})
}

// TestLoop: rejected events of one SIEM, and all events of another that is down, become dead letters in S3. The replay
// sends them again, and every event is in its SIEM once.
func TestLoop(t *testing.T) {
	s := deploy(t, "splunk", "elastic")
	const n = 200
	s.siems["splunk"].Inject(siem.Fault{Kind: siem.Status, Status: http.StatusInternalServerError})
	s.siems["elastic"].Inject(siem.Fault{Kind: siem.Poison, Match: func(id string) bool {
		return strings.HasSuffix(id, "7")
	}})
	s.send("elastic", "e", n)
	s.send("splunk", "s", n)
	s.has("elastic", "e", n-n/10)
	s.pending(map[string]int{"elastic": n / 10, "splunk": n})
	for _, simulator := range s.siems {
		simulator.Inject(siem.Fault{Kind: siem.Heal})
	}
	replayed := 0
	s.eventually("every dead letter is replayed", func() error {
		var got struct{ Replayed, Remaining int }
		// Each call opens, splits and rewrites the objects.
		status := s.replay(http.MethodPost, `{"limit":77}`, &got)
		replayed += got.Replayed
		if status != http.StatusOK || got.Remaining > 0 {
			return fmt.Errorf("status %d, %d remain", status, got.Remaining)
		}
		return nil
	})
	if replayed != n+n/10 {
		t.Errorf("%d replayed, want %d", replayed, n+n/10)
	}
	s.has("elastic", "e", n)
	s.has("splunk", "s", n)
	s.pending(map[string]int{"elastic": 0, "splunk": 0})
	for name, simulator := range s.siems {
		if v := simulator.Stats().Violations; len(v) > 0 {
			t.Errorf("%s: %v", name, v)
		}
	}
	s.eventually("the queues are empty", s.empty)
}

func (s *stack) empty() error {
	for _, id := range s.Queues() {
		waiting, inFlight, err := s.Depth(s.t.Context(), s.Queue(id))
		switch {
		case err != nil:
			return err
		case waiting+inFlight > 0:
			return fmt.Errorf("%s has %d messages, and %d in flight", id, waiting, inFlight)
		}
	}
	return nil
}

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
			t.Cleanup(func() { _ = e.Simulator.Close() })
			more := system.Backoff(1, 1)
			maps.Copy(more, e.Simulator.Settings())
			maps.Copy(more, e.Simulator.Secret())
			got := invoke(t, e.Name, with(strings.ToUpper(e.Name), more), batch(e.Name, event("one"), nil))
			if n := len(e.Simulator.Accepted()); got != none || n != 1 {
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
