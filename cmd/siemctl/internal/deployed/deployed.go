// Package deployed operates the resources of a deployed stack: functions, queues, secrets, metrics, alarms, logs and
// dead letters. It finds them by their logical ids in the template, so only the stack has to be named. Errors state the
// operation and contain no secret.
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
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/arbitex/siem-connectors/shared/deadletter"
)

// Options select a stack. The SDK's own configuration applies where an option is empty. Stack is required.
type Options struct {
	Stack    string
	Region   string
	Profile  string
	Endpoint string // URL of a local AWS
}

// Error is a failed request to AWS.
type Error struct {
	Doing string
	Hint  string // what an operator can do, may be empty
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

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// The hints about a request that did not reach AWS, or that AWS did not accept from the caller.
const (
	networkHint     = "check --region, --endpoint-url and the network"
	credentialsHint = "set AWS_PROFILE or --profile, or sign in with `aws sso login`"
)

// failed makes an Error of an error of the SDK, without its request id and its retry history.
func failed(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	e := &Error{Doing: doing, Err: err}
	response, isResponse := errors.AsType[*smithyhttp.ResponseError](err)
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if isResponse && api.ErrorCode() == "UnknownError" {
			e.Err, e.Hint = fmt.Errorf("status %d, without an error of AWS", response.HTTPStatusCode()), networkHint
			return e
		}
		e.Err = fmt.Errorf("%s: %w", api.ErrorCode(), short{api})
		switch code := api.ErrorCode(); {
		case strings.Contains(code, "AccessDenied"), strings.Contains(code, "NotAuthorized"):
			e.Hint = "the caller's role needs this permission"
		case strings.Contains(code, "ExpiredToken"), code == "InvalidClientTokenId",
			code == "UnrecognizedClientException":
			e.Hint = credentialsHint
		}
		return e
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		e.Err, e.Hint = network, networkHint
	} else if send, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		e.Err, e.Hint = send.Err, networkHint
	} else if _, ok := errors.AsType[*smithy.DeserializationError](err); ok && isResponse {
		e.Err, e.Hint = fmt.Errorf("status %d, not a response of AWS", response.HTTPStatusCode()), networkHint
	}
	return e
}

// short is an AWS error whose text is only the message.
type short struct{ smithy.APIError }

func (s short) Error() string { return s.ErrorMessage() }
func (s short) Unwrap() error { return s.APIError }

// Stack is a deployed stack.
type Stack struct {
	Name string

	config    aws.Config
	physical  map[string]string // by logical id
	lambda    *lambda.Client
	sqs       *sqs.Client
	s3        *s3.Client
	secrets   *secretsmanager.Client
	watch     *cloudwatch.Client
	logs      *cloudwatchlogs.Client
	functions map[string]map[string]string // environments read so far, by logical id
}

// Connect reads the list of the stack's resources.
func Connect(ctx context.Context, o Options) (*Stack, error) {
	cfg, err := Config(ctx, o)
	if err != nil {
		return nil, err
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, &Error{Doing: "reading the AWS credentials", Err: err,
			Hint: credentialsHint}
	}
	s := &Stack{
		Name: o.Stack, config: cfg, physical: map[string]string{}, functions: map[string]map[string]string{},
		lambda: lambda.NewFromConfig(cfg), sqs: sqs.NewFromConfig(cfg), secrets: secretsmanager.NewFromConfig(cfg),
		watch: cloudwatch.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg),
		// A local AWS has no host names for buckets.
		s3: s3.NewFromConfig(cfg, func(so *s3.Options) { so.UsePathStyle = cfg.BaseEndpoint != nil }),
	}
	pages := cloudformation.NewListStackResourcesPaginator(cloudformation.NewFromConfig(cfg),
		&cloudformation.ListStackResourcesInput{StackName: &o.Stack})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			err = failed(fmt.Sprintf("looking for the stack %q in %s", o.Stack, cfg.Region), err)
			if e, ok := errors.AsType[*Error](err); ok && strings.Contains(e.Error(), "does not exist") {
				e.Hint = "set --stack to its name and --region to its region"
				e.Err = noStackError{e.Err}
			}
			return nil, err
		}
		for _, r := range page.StackResourceSummaries {
			s.physical[aws.ToString(r.LogicalResourceId)] = aws.ToString(r.PhysicalResourceId)
		}
	}
	return s, nil
}

// ErrNoStack means that the stack does not exist in the region.
var ErrNoStack = errors.New("the stack does not exist")

// noStackError is the error of CloudFormation about a stack that does not exist.
type noStackError struct{ error }

func (n noStackError) Unwrap() error        { return n.error }
func (n noStackError) Is(target error) bool { return target == ErrNoStack }

// ErrRegion means that no region is configured.
var ErrRegion = errors.New("--region is not set, and neither AWS_REGION nor the profile names one: expected a " +
	"region such as eu-central-1")

// Config is the SDK's configuration with the options applied.
func Config(ctx context.Context, o Options) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{
		config.WithLogger(logging.Nop{}),
		config.WithHTTPClient(awshttp.NewBuildableClient()), // also calls the replay URL; does not follow redirects
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

// resource returns the physical id of a resource of the stack by its logical id. what names it in the error.
func (s *Stack) resource(id, what string) (string, error) {
	if physical := s.physical[id]; physical != "" {
		return physical, nil
	}
	return "", &Error{Doing: "looking for " + what, Err: fmt.Errorf("the stack %q has none", s.Name)}
}

// Has reports whether the stack has deployed the connector whose logical ids begin with id.
func (s *Stack) Has(id string) bool { return s.physical[id+"Function"] != "" }

// Queue is the URL of a connector's queue.
func (s *Stack) Queue(id string) string { return s.physical[id+"Queue"] }

// DeadLetterQueue is the URL of the dead-letter queue.
func (s *Stack) DeadLetterQueue() string { return s.physical["DeadLetterQueue"] }

// Secret reads the text of a connector's secret.
func (s *Stack) Secret(ctx context.Context, id string) (string, error) {
	arn, err := s.secretARN(id)
	if err != nil {
		return "", err
	}
	return s.readSecret(ctx, arn, "reading the secret of "+id)
}

// SearchSecret is the name of the secret of the operators' search credentials. It is not a resource of the stack, and
// no role of the stack can read it.
func (s *Stack) SearchSecret() string { return s.Name + "/search" }

// ErrNoSecret means that a secret does not exist.
var ErrNoSecret = errors.New("no such secret")

// NamedSecret reads the text of a secret by its name or ARN, of the stack or not.
func (s *Stack) NamedSecret(ctx context.Context, name string) (string, error) {
	text, err := s.readSecret(ctx, name, "reading the secret "+name)
	if isMissing(err) {
		return "", &Error{Doing: "reading the secret " + name, Err: ErrNoSecret}
	}
	return text, err
}

func (s *Stack) readSecret(ctx context.Context, name, doing string) (string, error) {
	out, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return "", failed(doing, err)
	}
	return aws.ToString(out.SecretString), nil
}

func isMissing(err error) bool {
	_, missing := errors.AsType[*types.ResourceNotFoundException](err)
	return missing
}

// PutSearchSecret makes a text the current version of the secret of search credentials, which it creates if there is
// none.
func (s *Stack) PutSearchSecret(ctx context.Context, text string) error {
	name := s.SearchSecret()
	_, err := s.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &text})
	if isMissing(err) {
		_, err = s.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text,
			Description: aws.String("Search credentials of the operators of " + s.Name + ", for siemctl")})
	}
	if err != nil {
		return failed("storing the secret "+name, err)
	}
	return nil
}

// PutSecret makes a text the current version of a connector's secret.
func (s *Stack) PutSecret(ctx context.Context, id, text string) error {
	arn, err := s.secretARN(id)
	if err != nil {
		return err
	}
	if _, err := s.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &arn,
		SecretString: &text}); err != nil {
		return failed("storing the secret of "+id, err)
	}
	return nil
}

func (s *Stack) secretARN(id string) (string, error) {
	return s.resource(id+"Secret", "the secret of "+id)
}

// DeadLetters is where dead letters are kept: a client of S3 and the path s3://bucket/prefix.
func (s *Stack) DeadLetters(ctx context.Context) (client deadletter.Store, path string, err error) {
	env, err := s.Environment(ctx, "Replay")
	return bucketReader{s.s3}, env["SIEM_DEAD_LETTER_PATH"], err
}

// bucketReader is a client of S3 whose errors of reading are those of this package.
type bucketReader struct{ *s3.Client }

// GetObject implements deadletter.Store.
func (b bucketReader) GetObject(ctx context.Context, in *s3.GetObjectInput, o ...func(*s3.Options)) (
	*s3.GetObjectOutput, error) {
	out, err := b.Client.GetObject(ctx, in, o...)
	if err != nil {
		err = failed("bucket "+aws.ToString(in.Bucket), err)
	}
	return out, err
}

// ListObjectsV2 implements deadletter.Store.
func (b bucketReader) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, o ...func(*s3.Options)) (
	*s3.ListObjectsV2Output, error) {
	out, err := b.Client.ListObjectsV2(ctx, in, o...)
	if err != nil {
		err = failed("bucket "+aws.ToString(in.Bucket), err)
	}
	return out, err
}

// Secrets is a client of Secrets Manager for what a connector that runs here reads itself.
func Secrets(cfg aws.Config) *secretsmanager.Client { return secretsmanager.NewFromConfig(cfg) }
