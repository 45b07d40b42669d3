// Command floor is a minimal Go Lambda: it decodes an SQS event with aws-lambda-go's type, copies the bodies into one
// request and posts it. The benchmark compares the connectors with it. With FLOOR_NOTHING it ignores the event.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	if os.Getenv("FLOOR_NOTHING") != "" {
		lambda.Start(nothing{})
	}
	lambda.Start(handle)
}

// nothing ignores the payload, which leaves the cost of the Runtime API.
type nothing struct{}

// Invoke implements lambda.Handler.
func (nothing) Invoke(context.Context, []byte) ([]byte, error) {
	return []byte(`{"batchItemFailures":[]}`), nil
}

func handle(ctx context.Context, e events.SQSEvent) (events.SQSEventResponse, error) {
	var body bytes.Buffer
	var to io.Writer = &body
	var z *gzip.Writer
	if os.Getenv("FLOOR_GZIP") == "true" {
		z = gzip.NewWriter(&body)
		to = z
	}
	for _, r := range e.Records {
		_, _ = io.WriteString(to, r.Body) // a buffer takes everything
		_, _ = io.WriteString(to, "\n")
	}
	if z != nil {
		_ = z.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("FLOOR_URL"), &body)
	if err != nil {
		return events.SQSEventResponse{}, err
	}
	if z != nil {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return events.SQSEventResponse{}, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode/100 != 2 {
		return events.SQSEventResponse{}, fmt.Errorf("status %d", resp.StatusCode)
	}
	return events.SQSEventResponse{}, nil
}
