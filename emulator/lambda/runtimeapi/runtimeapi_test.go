package runtimeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// newFunction makes a function whose bootstrap is this test binary, in one of TestMain's roles.
func newFunction(t *testing.T, role string, change func(*Config)) *Function {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Name: "splunk", ARN: "arn:aws:lambda:eu-west-1:123456789012:function:splunk", Bootstrap: binary, Region: "eu-west-1",
		Environment: map[string]string{"HELPER": role}, Timeout: 30 * time.Second, MemoryMB: 256,
	}
	if change != nil {
		change(&cfg)
	}
	f := New(cfg)
	t.Cleanup(f.Close)
	return f
}

func invoke(t *testing.T, f *Function, payload string) Result {
	t.Helper()
	r, err := f.Invoke(t.Context(), []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tellOf(t *testing.T, r Result) told {
	t.Helper()
	var what told
	if err := json.Unmarshal(r.Payload, &what); err != nil {
		t.Fatalf("payload %s: %v", r.Payload, err)
	}
	return what
}

func TestInvocationTellsWhatLambdaTells(t *testing.T) {
	t.Setenv("OURS", "must not be seen")
	f := newFunction(t, "handler", nil)
	r := invoke(t, f, `{"do":"tell"}`)
	got := tellOf(t, r)
	if r.Error != nil || got.RequestID != r.RequestID ||
		got.ARN != "arn:aws:lambda:eu-west-1:123456789012:function:splunk" {
		t.Errorf("told %+v, result %+v", got, r)
	}
	if got.Left <= 0 || got.Left > 30*time.Second {
		t.Errorf("time left = %v, want up to 30 s", got.Left)
	}
	for _, want := range []string{
		"AWS_LAMBDA_FUNCTION_NAME=splunk", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=local", "HELPER=handler", "TZ=:UTC",
	} {
		if !slices.Contains(got.Environ, want) {
			t.Errorf("the environment has no %s: %q", want, got.Environ)
		}
	}
	if strings.Contains(strings.Join(got.Environ, "\n"), "OURS") {
		t.Error("our own environment reached the function")
	}
	if r.Init <= 0 {
		t.Errorf("init = %v, want the time to the first next", r.Init)
	}
}

func TestInstanceIsKept(t *testing.T) {
	f := newFunction(t, "handler", nil)
	first := tellOf(t, invoke(t, f, `{}`))
	second := invoke(t, f, `{}`)
	if tellOf(t, second).PID != first.PID {
		t.Error("the second invocation started a process of its own")
	}
	if second.Init != 0 {
		t.Errorf("init of a warm invocation = %v, want 0", second.Init)
	}
	if s := f.Stats(); s.Invocations != 2 || len(s.Inits) != 1 || s.Errors != 0 {
		t.Errorf("stats = %+v", s)
	}
}

func TestFunctionErrors(t *testing.T) {
	for _, c := range []struct{ do, kind, message string }{
		{"fail", "errorString", "told to fail"},
		{"panic", "string", "told to panic"},
		{"exit", "Runtime.ExitError", "runtime exited: exit status 7"},
		{"large", "Function.ResponseSizeTooLarge", "response payload size exceeded 6 MB"},
	} {
		t.Run(c.do, func(t *testing.T) {
			f := newFunction(t, "handler", nil)
			r := invoke(t, f, `{"do":"`+c.do+`"}`)
			if r.Error == nil || r.Error.Type != c.kind || r.Error.Message != c.message {
				t.Fatalf("error = %+v, want %s: %s", r.Error, c.kind, c.message)
			}
			var document map[string]any
			if err := json.Unmarshal(r.Payload, &document); err != nil || document["errorMessage"] != c.message {
				t.Errorf("payload = %s, want the error document", r.Payload)
			}
			if r = invoke(t, f, `{}`); r.Error != nil {
				t.Errorf("the invocation after it failed too: %v", r.Error)
			}
			if s := f.Stats(); s.Errors != 1 || s.Invocations != 2 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

func TestTimeLimitEndsTheProcess(t *testing.T) {
	f := newFunction(t, "handler", nil)
	before := tellOf(t, invoke(t, f, `{}`)) // warm, so that the short limit is the handler's alone
	f.cfg.Timeout = 50 * time.Millisecond
	r := invoke(t, f, `{"do":"hang"}`)
	if r.Error == nil || r.Error.Type != "Sandbox.Timedout" || r.Error.Message != "task timed out after 0.05 seconds" {
		t.Fatalf("error = %+v", r.Error)
	}
	f.cfg.Timeout = 30 * time.Second
	if after := tellOf(t, invoke(t, f, `{}`)); after.PID == before.PID {
		t.Error("the process outlived its time limit")
	}
	if s := f.Stats(); s.Errors != 1 || len(s.Inits) != 2 {
		t.Errorf("stats = %+v", s)
	}
}

func TestProcessThatCannotComeUp(t *testing.T) {
	for _, c := range []struct{ role, kind, message string }{
		{"exit at once", "Runtime.ExitError", "runtime exited: exit status 3"},
		{"init error", "Init.Bad", "cannot come up"},
		{"never ask", "Sandbox.Timedout", "initialising took more than 100ms"},
	} {
		t.Run(c.role, func(t *testing.T) {
			f := newFunction(t, c.role, func(cfg *Config) {
				if c.role == "never ask" {
					cfg.InitTimeout = 100 * time.Millisecond
				}
			})
			r := invoke(t, f, `{}`)
			if r.Error == nil || r.Error.Type != c.kind || r.Error.Message != c.message {
				t.Errorf("error = %+v, want %s: %s", r.Error, c.kind, c.message)
			}
		})
	}
}

func TestMissingBinaryIsNoFunctionError(t *testing.T) {
	f := newFunction(t, "handler", func(c *Config) { c.Bootstrap = "nowhere/bootstrap" })
	_, err := f.Invoke(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "nowhere/bootstrap") {
		t.Errorf("error = %v, want one that names the binary", err)
	}
}

func TestKillEndsWhatRuns(t *testing.T) {
	hanging := make(chan struct{})
	f := newFunction(t, "handler", func(c *Config) {
		c.Output = func(line string) {
			if line == "hanging" {
				close(hanging)
			}
		}
	})
	result := make(chan Result)
	go func() {
		r, _ := f.Invoke(context.Background(), []byte(`{"do":"hang"}`))
		result <- r
	}()
	<-hanging
	if n := f.Kill(); n != 1 {
		t.Errorf("killed %d, want 1", n)
	}
	r := <-result
	if r.Error == nil || r.Error.Message != "runtime exited: signal: killed" {
		t.Errorf("error = %+v", r.Error)
	}
	if r := invoke(t, f, `{}`); r.Error != nil {
		t.Errorf("no new process came up: %v", r.Error)
	}
	if n := f.Kill(); n != 1 {
		t.Errorf("killed %d that were idle, want 1", n)
	}
	if r := invoke(t, f, `{}`); r.Error != nil {
		t.Errorf("an instance that died in its sleep failed an invocation: %v", r.Error)
	}
	if s := f.Stats(); s.Errors != 1 {
		t.Errorf("stats = %+v", s)
	}
}

func TestInstancesRunAtOnceUpToTheMaximum(t *testing.T) {
	var mu sync.Mutex
	hanging := make(chan struct{}, 3)
	f := newFunction(t, "handler", func(c *Config) {
		c.MaxInstances = 2
		c.Output = func(string) { hanging <- struct{}{} }
	})
	ctx, cancel := context.WithCancel(t.Context())
	var failures []error
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			_, err := f.Invoke(ctx, []byte(`{"do":"hang"}`))
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, err)
		})
	}
	<-hanging
	<-hanging
	if n := len(f.instances()); n != 2 {
		t.Errorf("%d instances, want 2", n)
	}
	cancel()
	all.Wait()
	for _, err := range failures {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want the context's", err)
		}
	}
	if n := len(f.instances()); n != 0 {
		t.Errorf("%d instances outlived their callers", n)
	}
}

func TestOutputComesLineByLine(t *testing.T) {
	var lines []string
	f := newFunction(t, "handler", func(c *Config) { c.Output = func(line string) { lines = append(lines, line) } })
	invoke(t, f, `{"do":"print"}`)
	f.Kill() // returns after the last line
	if want := []string{"a line", "and another", "and half a one"}; !slices.Equal(lines, want) {
		t.Errorf("lines = %q, want %q", lines, want)
	}
}

func TestCPUTimeIsCountedAliveAndDead(t *testing.T) {
	f := newFunction(t, "handler", nil)
	const least = 20 * time.Millisecond // of 200 ms of spinning, on a machine that has more to do
	first, second := invoke(t, f, `{"do":"spin","for":200000000}`), invoke(t, f, `{}`)
	if cpu := f.Stats().CPU; runtime.GOOS == "linux" && cpu < least {
		t.Errorf("alive: CPU = %v, want %v or more", cpu, least)
	}
	if runtime.GOOS == "linux" && (first.CPU < least || second.CPU >= first.CPU) {
		t.Errorf("CPU of the invocation that spins: %v, of the other %v", first.CPU, second.CPU)
	}
	if sum := first.CPU + second.CPU; sum > f.Stats().CPU {
		t.Errorf("the invocations took %v, the process %v", sum, f.Stats().CPU)
	}
	f.Kill()
	if cpu := f.Stats().CPU; cpu < least {
		t.Errorf("dead: CPU = %v, want %v or more", cpu, least)
	}
}

func TestPayloadLimitAndNull(t *testing.T) {
	f := newFunction(t, "handler", nil)
	if _, err := f.Invoke(t.Context(), make([]byte, maxPayloadBytes+1)); err == nil {
		t.Error("a payload over 6 MB was taken")
	}
	if r := invoke(t, f, `{"do":"null"}`); r.Error != nil || !bytes.Equal(r.Payload, []byte("null")) {
		t.Errorf("result = %+v", r)
	}
}

func TestClosedFunctionTakesNothing(t *testing.T) {
	f := newFunction(t, "handler", nil)
	invoke(t, f, `{}`)
	f.Close()
	if _, err := f.Invoke(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("error = %v, want ErrClosed", err)
	}
}

// TestMain lets the test binary be the function's bootstrap: with HELPER set it is one.
func TestMain(m *testing.M) {
	switch os.Getenv("HELPER") {
	case "":
		os.Exit(m.Run())
	case "handler":
		lambda.Start(handle)
	case "exit at once":
		fmt.Println("giving up")
		os.Exit(3)
	case "init error":
		postInitError()
		os.Exit(1)
	case "never ask":
		select {}
	}
}

// order is what the tests tell the helper's handler to do.
type order struct {
	Do  string        `json:"do"`
	For time.Duration `json:"for"`
}

// told is what the handler says it was told.
type told struct {
	RequestID string            `json:"request_id"`
	ARN       string            `json:"arn"`
	Left      time.Duration     `json:"left"`
	PID       int               `json:"pid"`
	Env       map[string]string `json:"env"`
	Environ   []string          `json:"environ"`
}

func handle(ctx context.Context, o order) (any, error) {
	switch o.Do {
	case "fail":
		return nil, errors.New("told to fail")
	case "panic":
		panic("told to panic")
	case "exit":
		os.Exit(7)
	case "hang":
		fmt.Println("hanging")
		select {}
	case "spin":
		for end := time.Now().Add(o.For); time.Now().Before(end); {
			_ = o // nothing but the CPU's time
		}
	case "print":
		fmt.Println("a line")
		fmt.Fprint(os.Stderr, "and another\nand half a one")
	case "large":
		return make([]byte, maxPayloadBytes), nil // base64 makes it larger still
	case "null":
		return nil, nil
	}
	return tell(ctx), nil
}

func tell(ctx context.Context) told {
	deadline, _ := ctx.Deadline()
	lc, _ := lambdacontext.FromContext(ctx)
	return told{
		RequestID: lc.AwsRequestID, ARN: lc.InvokedFunctionArn, Left: time.Until(deadline), PID: os.Getpid(),
		Environ: os.Environ(),
	}
}

func postInitError() {
	url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
	pr, pw := io.Pipe()
	go func() {
		_ = json.NewEncoder(pw).Encode(map[string]string{"errorType": "Init.Bad", "errorMessage": "cannot come up"})
		_ = pw.Close()
	}()
	resp, err := http.Post(url, "application/json", pr)
	if err == nil {
		_ = resp.Body.Close()
	}
}
