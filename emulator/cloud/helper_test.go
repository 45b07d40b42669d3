package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

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
