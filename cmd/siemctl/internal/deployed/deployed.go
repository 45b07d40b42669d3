// Package deployed finds what a CloudFormation stack of the connectors has made, and does with it what an operator needs:
// invoke, enqueue, count, pause, read and store secrets, replay. Everything is found by its logical id in the template, so
// nothing has to be named but the stack. Errors say what was being done, and hold no secret.
package deployed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// Options say which stack, and where. All but Stack may be empty: the SDK's own configuration decides then.
type Options struct {
	Stack    string
	Region   string
	Profile  string
	Endpoint string // the one address of a local AWS
}

// Error is a request to AWS that did not succeed.
type Error struct {
	Doing string
	Hint  string // what an operator can do about it, "" where nothing is known
	Err   error
}

// Error implements error.
func (e *Error) Error() string {
	text := e.Doing + ": " + e.Err.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// failed makes an Error of the SDK's, whose request id and retry history say nothing to an operator.
func failed(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	e := &Error{Doing: doing, Err: err}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.Err = fmt.Errorf("%s: %w", api.ErrorCode(), short{api})
		if code := api.ErrorCode(); strings.Contains(code, "AccessDenied") || strings.Contains(code, "NotAuthorized") {
			e.Hint = "the caller's role needs this right"
		}
		return e
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		e.Err = network
		e.Hint = "check --region, --endpoint-url and the network"
	}
	return e
}

// short is an AWS error with its message alone.
type short struct{ smithy.APIError }

func (s short) Error() string { return s.ErrorMessage() }

// Stack is a deployed stack. It is made of what CloudFormation says of it, and asks the services for the rest.
type Stack struct {
	Name string

	config    aws.Config
	physical  map[string]string // by logical id
	lambda    *lambda.Client
	sqs       *sqs.Client
	s3        *s3.Client
	secrets   *secretsmanager.Client
	watch     *cloudwatch.Client
	functions map[string]map[string]string // environments that were read, by logical id
}

// Connect reads which resources the stack has.
func Connect(ctx context.Context, o Options) (*Stack, error) {
	cfg, err := Config(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, &Error{Doing: "reading the AWS credentials", Err: err, Hint: "set AWS_PROFILE or --profile, or sign in with `aws sso login`"}
	}
	s := &Stack{
		Name: o.Stack, config: cfg, physical: map[string]string{}, functions: map[string]map[string]string{},
		lambda: lambda.NewFromConfig(cfg), sqs: sqs.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg),
		watch: cloudwatch.NewFromConfig(cfg),
		// A local AWS has no names for buckets.
		s3: s3.NewFromConfig(cfg, func(so *s3.Options) { so.UsePathStyle = cfg.BaseEndpoint != nil }),
	}
	pages := cloudformation.NewListStackResourcesPaginator(cloudformation.NewFromConfig(cfg), &cloudformation.ListStackResourcesInput{StackName: &o.Stack})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			err = failed(fmt.Sprintf("looking for the stack %q in %s", o.Stack, cfg.Region), err)
			if e, ok := errors.AsType[*Error](err); ok && strings.Contains(e.Error(), "does not exist") {
				e.Hint = "name it with --stack, and its region with --region"
			}
			return nil, err
		}
		for _, r := range page.StackResourceSummaries {
			s.physical[aws.ToString(r.LogicalResourceId)] = aws.ToString(r.PhysicalResourceId)
		}
	}
	return s, nil
}

// ErrRegion says that no region is configured.
var ErrRegion = errors.New("--region is not set, and neither AWS_REGION nor the profile names one: expected a region such as eu-central-1")

// Config is the SDK's configuration with the options in front of it.
func Config(ctx context.Context, o Options) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(awshttp.NewBuildableClient()), // calls the replay URL too, and follows no redirect
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Endpoint != "" {
		load = append(load, config.WithBaseEndpoint(o.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, &Error{Doing: "reading the AWS configuration", Err: err}
	}
	if cfg.Region == "" {
		return cfg, ErrRegion
	}
	return cfg, nil
}

// Logical ids in template.yaml that are not a connector's.
const (
	deadLetterQueue = "DeadLetterQueue"
	replayFunction  = "ReplayFunction"
)

// Has tells whether the stack has deployed the connector whose logical ids begin with id.
func (s *Stack) Has(id string) bool { return s.physical[id+"Function"] != "" }

// Queue is the URL of a connector's queue.
func (s *Stack) Queue(id string) string { return s.physical[id+"Queue"] }

// DeadLetterQueue is the URL of the queue that dead letters pass through.
func (s *Stack) DeadLetterQueue() string { return s.physical[deadLetterQueue] }
