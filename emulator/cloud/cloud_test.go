package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/internal/testkit/testenv"
)

// patience bounds every wait of these tests; nothing is expected to take a tenth of it.
const patience = time.Minute

// logged takes the functions' lines and lets a test wait for them.
type logged struct {
	lines chan string
	seen  []string
}

func newLogged() *logged { return &logged{lines: make(chan string, 1000)} }

func (l *logged) Write(p []byte) (int, error) {
	l.lines <- strings.TrimSpace(string(p))
	return len(p), nil
}

// wait waits for a line, and takes those before it.
func (l *logged) wait(t *testing.T, want string) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line := <-l.lines:
			l.seen = append(l.seen, line)
			if line == want {
				return
			}
		case <-limit:
			t.Fatalf("%q did not appear; saw %q", want, l.seen)
		}
	}
}

// builds makes a folder in which each named function's bootstrap is this test binary.
func builds(t *testing.T, names ...string) string {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(dir, name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(binary, filepath.Join(dir, name, "bootstrap")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func deploy(t *testing.T, o Options) (*Cloud, *logged) {
	t.Helper()
	testenv.Python(t)
	logs := newLogged()
	o.Venv, o.Logs = "../../build/venv", logs
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c, logs
}

func small(t *testing.T) Options {
	t.Helper()
	return Options{Template: "testdata/template.yaml", Builds: builds(t, "splunk", "deadletter", "replay")}
}

func send(t *testing.T, c *Cloud, queueURL, body string) {
	t.Helper()
	_, err := sqs.NewFromConfig(c.AWSConfig()).SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: aws.String(queueURL), MessageBody: aws.String(body),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stored returns the texts of the objects in the bucket.
func stored(t *testing.T, c *Cloud) []string {
	t.Helper()
	client := s3.NewFromConfig(c.AWSConfig())
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(c.Bucket("Bucket"))})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range list.Contents {
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(c.Bucket("Bucket")), Key: o.Key})
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(data))
	}
	slices.Sort(out)
	return out
}

func TestMessageGoesFromQueueToDeadLetter(t *testing.T) {
	c, logs := deploy(t, small(t))
	if err := c.PutSecret(t.Context(), "Secret", map[string]string{"TOKEN": "rotated"}); err != nil {
		t.Fatal(err)
	}
	send(t, c, c.Queue("SplunkQueue"), "secret")
	logs.wait(t, `splunk | secret {"TOKEN":"rotated"}`)
	send(t, c, c.Queue("SplunkQueue"), "fail")
	logs.wait(t, "splunk | got fail attempt 2")
	logs.wait(t, "deadletter | drained fail")
	send(t, c, c.Queue("DeadLetterQueue"), "sent by a function")
	logs.wait(t, "deadletter | drained sent by a function")
	want := []string{" sent by a function", "arn:aws:sqs:us-east-1:123456789012:siem-splunk fail"}
	if got := stored(t, c); !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	s := c.Stats()
	if s["SplunkFunction"].Invocations < 3 || s["DeadLetterFunction"].Invocations != 2 || s["SplunkFunction"].Errors != 0 {
		t.Errorf("stats = %+v", s)
	}
}

func TestDisabledMappingLeavesTheQueueAlone(t *testing.T) {
	c, logs := deploy(t, small(t))
	if err := c.SetEnabled("SplunkFunctionQueue", false); err != nil {
		t.Fatal(err)
	}
	send(t, c, c.Queue("SplunkQueue"), "later")
	out, err := sqs.NewFromConfig(c.AWSConfig()).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(c.Queue("SplunkQueue")), VisibilityTimeout: 1, WaitTimeSeconds: 1,
	})
	if err != nil || len(out.Messages) != 1 {
		t.Errorf("received %v, %v: want the message, which nobody else takes", out, err)
	}
	if err := c.SetEnabled("SplunkFunctionQueue", true); err != nil {
		t.Fatal(err)
	}
	logs.wait(t, "splunk | got later attempt 2")
	if err := c.SetEnabled("Nothing", true); err == nil {
		t.Error("an unknown mapping was enabled")
	}
}

// call makes a request of the replay function's URL.
func call(t *testing.T, c *Cloud, method, path, contentType string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL("ReplayFunction")+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Add("X-Many", "1")
	req.Header.Add("X-Many", "2")
	req.AddCookie(&http.Cookie{Name: "c", Value: "v"})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, data
}

func TestFunctionURL(t *testing.T) {
	c, _ := deploy(t, small(t))
	t.Run("request", func(t *testing.T) { checkURLEvent(t, c) })
	for _, b := range []struct {
		contentType, body string
		base64            bool
	}{
		{"application/json", "{}", false},
		{"text/plain; charset=utf-8", "é", false},
		{"application/problem+json", "{}", false},
		{"application/x-www-form-urlencoded", "a=b", true},
		{"application/json", "\xff", true},
		{"", "x", true},
		{"application/octet-stream", "", false},
	} {
		_, data := call(t, c, http.MethodPost, "/", b.contentType, []byte(b.body))
		var e events.LambdaFunctionURLRequest
		if err := json.Unmarshal(data, &e); err != nil || e.IsBase64Encoded != b.base64 {
			t.Errorf("%s %q: base64 %v, %v", b.contentType, b.body, e.IsBase64Encoded, err)
		}
	}
	for _, r := range []struct {
		path   string
		status int
		body   string
	}{
		{"/fail", 502, `{"Message":"Internal Server Error"}` + "\n"},
		{"/bad", 502, `{"Message":"Internal Server Error"}` + "\n"},
		{"/plain", 200, `{"no":"status"}`},
		{"/binary", 201, "\x00\x01\x02"},
	} {
		resp, data := call(t, c, http.MethodGet, r.path, "", nil)
		if resp.StatusCode != r.status || string(data) != r.body {
			t.Errorf("%s: %d %q", r.path, resp.StatusCode, data)
		}
		if r.path == "/binary" && !slices.Equal(resp.Header["Set-Cookie"], []string{"a=1", "b=2"}) {
			t.Errorf("cookies = %q", resp.Header["Set-Cookie"])
		}
	}
	if resp, _ := call(t, c, http.MethodPost, "/", "text/plain", make([]byte, maxBodyBytes+1)); resp.StatusCode != 413 {
		t.Errorf("a body over 6 MB: status %d", resp.StatusCode)
	}
}

func checkURLEvent(t *testing.T, c *Cloud) {
	t.Helper()
	_, data := call(t, c, http.MethodPut, "/a%2Fb?x=1&x=2&y=%20", "application/json", []byte(`{"k":1}`))
	var e events.LambdaFunctionURLRequest
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if e.Version != "2.0" || e.RawPath != "/a%2Fb" || e.RawQueryString != "x=1&x=2&y=%20" || e.Body != `{"k":1}` {
		t.Errorf("event = %+v", e)
	}
	if e.Headers["x-many"] != "1,2" || e.Headers["content-type"] != "application/json" || e.Headers["cookie"] != "" {
		t.Errorf("headers = %v", e.Headers)
	}
	if want := map[string]string{"x": "1,2", "y": " "}; !maps.Equal(e.QueryStringParameters, want) {
		t.Errorf("query = %v", e.QueryStringParameters)
	}
	if e.RequestContext.HTTP.Method != http.MethodPut || e.RequestContext.Authorizer != nil ||
		!slices.Equal(e.Cookies, []string{"c=v"}) {
		t.Errorf("context = %+v, cookies = %v", e.RequestContext, e.Cookies)
	}
}

func TestStopEndsEverythingAlsoWithItsContext(t *testing.T) {
	o := small(t)
	o.Venv = "../../build/venv"
	testenv.Python(t)
	logs := newLogged()
	o.Logs = logs
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, c.Queue("SplunkQueue"), "hang")
	logs.wait(t, "splunk | got hang attempt 1")
	cancel()
	<-c.stopped
	c.Stop()
	if _, err := c.Invoke(t.Context(), "SplunkFunction", []byte("{}")); err == nil {
		t.Error("a stopped function was invoked")
	}
	for _, address := range []string{c.Endpoint(), c.URL("ReplayFunction")} {
		if resp, err := http.Get(address); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s still answers", address)
		}
	}
}

func TestStartNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want []string
	}{
		{"template", Options{Template: "testdata/none.yaml"}, []string{"testdata/none.yaml"}},
		{"parameter", Options{Template: "testdata/template.yaml", Parameters: map[string]string{"Nope": "1"}},
			[]string{"parameter Nope"}},
		{"builds", Options{Template: "testdata/template.yaml", Builds: "none"}, []string{"none/splunk/bootstrap",
			"none/replay/bootstrap", "make build"}},
		{
			"ids", Options{
				Template: "testdata/template.yaml", Environment: map[string]map[string]string{"Splunk": nil},
				QueueAttributes: map[string]map[string]string{"Bucket": nil},
			},
			[]string{`Environment: "Splunk" is not a resource of type AWS::Serverless::Function`, `QueueAttributes: "Bucket"`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Start(t.Context(), c.o)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestProjectTemplateDeploys(t *testing.T) {
	c, _ := deploy(t, Options{
		Template: "../../template.yaml", Builds: builds(t, "splunk", "deadletter", "replay"),
		Parameters: map[string]string{"Connectors": "splunk", "EnableGuard": "false"},
		Environment: map[string]map[string]string{
			"splunkFunction": {"HELPER": "environment", "SIEM_MAX_ATTEMPTS": "3",
				"SPLUNK_HEC_URL": "https://127.0.0.1:8088"},
			"DeadLetterFunction": {"HELPER": "environment"},
		},
	})
	r, err := c.Invoke(t.Context(), "splunkFunction", []byte("{}"))
	if err != nil || r.Error != nil {
		t.Fatal(err, r.Error)
	}
	var env []string
	if err := json.Unmarshal(r.Payload, &env); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"SIEM_QUEUE_URL=" + c.Queue("splunkQueue"), "SIEM_DEAD_LETTER_QUEUE_URL=" + c.Queue("DeadLetterQueue"),
		"SIEM_SECRET_ID=" + c.made.secrets["splunkSecret"], "SPLUNK_HEC_URL=https://127.0.0.1:8088", "SIEM_MAX_ATTEMPTS=3",
		"AWS_ENDPOINT_URL=" + c.Endpoint(),
	} {
		if !slices.Contains(env, want) || strings.HasSuffix(want, "=") {
			t.Errorf("the environment has no %s: %q", want, env)
		}
	}
	if c.URL("ReplayFunction") == "" || c.URL("splunkFunction") != "" || c.Queue("elasticQueue") != "" {
		t.Error("the URL is the replay function's alone, and a connector that is not deployed has no queue")
	}
}

// TestMain makes the test binary the bootstrap of the function that HELPER names. It connects to AWS as any function
// does.
func TestMain(m *testing.M) {
	switch os.Getenv("HELPER") {
	case "":
		os.Exit(m.Run())
	case "connector":
		lambda.Start(connector)
	case "deadletter":
		lambda.Start(deadletter)
	case "replay":
		lambda.Start(replay)
	case "environment":
		lambda.Start(func() ([]string, error) { return os.Environ(), nil })
	}
}

// connector does what each message's body says.
func connector(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
	var r events.SQSEventResponse
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return r, err
	}
	r.BatchItemFailures = []events.SQSBatchItemFailure{}
	for _, m := range e.Records {
		fmt.Println("got", m.Body, "attempt", m.Attributes["ApproximateReceiveCount"])
		switch {
		case m.Body == "hang":
			select {}
		case strings.HasPrefix(m.Body, "secret"):
			out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
				SecretId: aws.String(os.Getenv("SECRET")),
			})
			if err != nil {
				return r, err
			}
			fmt.Println("secret", *out.SecretString)
		case m.Body == "fail":
			_, err := sqs.NewFromConfig(cfg).ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
				QueueUrl: aws.String(os.Getenv("QUEUE_URL")), ReceiptHandle: aws.String(m.ReceiptHandle),
			})
			if err != nil {
				return r, err
			}
			r.BatchItemFailures = append(r.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	return r, nil
}

// deadletter writes each message to the bucket, as its source and its body.
func deadletter(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return events.SQSEventResponse{}, err
	}
	client := s3.NewFromConfig(cfg)
	for _, m := range e.Records {
		put := &s3.PutObjectInput{
			Bucket: aws.String(os.Getenv("BUCKET")), Key: aws.String("dead/" + m.MessageId), IfNoneMatch: aws.String("*"),
			Body: strings.NewReader(m.Attributes["DeadLetterQueueSourceArn"] + " " + m.Body),
		}
		if _, err := client.PutObject(ctx, put); err != nil {
			return events.SQSEventResponse{}, err
		}
		fmt.Println("drained", m.Body)
	}
	return events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}, nil
}

// replay answers with the event it got, or as the path says.
func replay(e events.LambdaFunctionURLRequest) (any, error) {
	switch e.RawPath {
	case "/fail":
		return nil, errors.New("told to fail")
	case "/plain":
		return map[string]string{"no": "status"}, nil
	case "/bad":
		return map[string]any{"statusCode": 99}, nil
	case "/binary":
		return events.LambdaFunctionURLResponse{
			StatusCode: 201, Body: "AAEC", IsBase64Encoded: true, Cookies: []string{"a=1", "b=2"},
			Headers: map[string]string{"content-type": "application/octet-stream"},
		}, nil
	}
	data, err := json.Marshal(e)
	return events.LambdaFunctionURLResponse{StatusCode: 200, Body: string(data)}, err
}
