package runtimeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

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
