// Package guardhost runs the guard in Lambda: its settings and its AWS clients. It is not part of lambdahost because
// the connectors' binaries would otherwise contain the client of Lambda.
package guardhost

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/arbitex/siem-connectors/shared/connectors"
	"github.com/arbitex/siem-connectors/shared/guard"
	"github.com/arbitex/siem-connectors/shared/lambdahost"
	"github.com/arbitex/siem-connectors/shared/settings"
)

// Run serves the invocations of the guard's function. It does not return.
func Run() {
	d := lambdahost.System()
	lambdahost.Start(New(d, newClient(d.Env)))
}

// New returns the handler. It reads the settings at the first invocation.
func New(d lambdahost.Deps, l guard.Lambda) *lambdahost.Function {
	return lambdahost.NewFunction(d, func(s *settings.Settings) (lambdahost.Handler, error) { return open(s, d, l) })
}

func open(s *settings.Settings, d lambdahost.Deps, l guard.Lambda) (*guard.Guard, error) {
	g := &guard.Guard{
		Stack: s.String("SIEM_STACK", "local"), Lambda: l, Now: d.Now, Log: d.Logger(s), Metrics: d.Out,
		Queue:      &queue{sqs: d.SQS, url: s.Required("SIEM_QUEUE_URL", "the URL of the guard's own queue")},
		Replay:     s.Required("REPLAY_FUNCTION_NAME", "the name or the ARN of the replay function"),
		Retention:  time.Duration(s.Int("SIEM_QUEUE_RETENTION_DAYS", 14, 1, 14)) * 24 * time.Hour,
		Minute:     time.Duration(s.Int("GUARD_MINUTE_SECONDS", 60, 1, 60)) * time.Second,
		Connectors: map[string]guard.Target{},
	}
	for _, c := range connectors.All() {
		function, mapping := c.Variable("FUNCTION_NAME"), c.Variable("MAPPING_ID")
		if !s.Set(function) && !s.Set(mapping) {
			continue // not deployed
		}
		g.Connectors[c.Name] = guard.Target{
			Function: s.Required(function, "the name or the ARN of the connector's function, because "+mapping+" is set"),
			Mapping:  s.Required(mapping, "the UUID of the event source mapping, because "+function+" is set"),
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return g, nil
}

// client implements guard.Lambda with the SDK.
type client struct{ lambda *lambda.Client }

func newClient(env settings.Lookup) client {
	cfg, _ := lambdahost.AWSConfig(env, "LAMBDA") // an error is that of every request
	return client{lambda.NewFromConfig(cfg)}
}

func (c client) Mapping(ctx context.Context, id string) (guard.Mapping, error) {
	out, err := c.lambda.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: &id})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return guard.Mapping{}, nil
	}
	if err != nil {
		return guard.Mapping{}, fmt.Errorf("reading the event source mapping: %w", err)
	}
	m := guard.Mapping{
		State: aws.ToString(out.State), BatchSize: int(aws.ToInt32(out.BatchSize)),
		Function:    unqualified(aws.ToString(out.FunctionArn)),
		Provisioned: out.ProvisionedPollerConfig != nil,
	}
	if out.ScalingConfig != nil {
		m.Concurrency = int(aws.ToInt32(out.ScalingConfig.MaximumConcurrency))
	}
	return m, nil
}

// unqualified returns the ARN of a function without its version or alias.
func unqualified(arn string) string {
	parts := strings.Split(arn, ":") // arn:partition:lambda:region:account:function:name[:qualifier]
	return strings.Join(parts[:min(7, len(parts))], ":")
}

func (c client) SetMapping(ctx context.Context, id string, change guard.Change) error {
	in := &lambda.UpdateEventSourceMappingInput{
		UUID: &id, Enabled: change.Enabled, BatchSize: int32Of(change.BatchSize),
	}
	if change.Concurrency != nil {
		in.ScalingConfig = &types.ScalingConfig{} // an empty one removes the limit
		if *change.Concurrency > 0 {
			in.ScalingConfig.MaximumConcurrency = int32Of(change.Concurrency)
		}
	}
	_, err := c.lambda.UpdateEventSourceMapping(ctx, in)
	_, inUse := errors.AsType[*types.ResourceInUseException](err)
	_, conflict := errors.AsType[*types.ResourceConflictException](err)
	switch {
	case inUse, conflict:
		return fmt.Errorf("%w: %w", guard.ErrBusy, err)
	case err != nil:
		return fmt.Errorf("changing the event source mapping: %w", err)
	}
	return nil
}

func int32Of(n *int) *int32 {
	if n == nil {
		return nil
	}
	v := int32(*n) //nolint:gosec // BatchSize is at most 10,000, MaximumConcurrency 1,000
	return &v
}

func (c client) Tag(ctx context.Context, function string) (string, error) {
	out, err := c.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: &function})
	if err != nil {
		return "", fmt.Errorf("reading the function's tags: %w", err)
	}
	return out.Tags[guard.TagKey], nil
}

func (c client) SetTag(ctx context.Context, function, value string) error {
	tags := map[string]string{guard.TagKey: value}
	_, err := c.lambda.TagResource(ctx, &lambda.TagResourceInput{Resource: &function, Tags: tags})
	if err != nil {
		return fmt.Errorf("writing the function's tag: %w", err)
	}
	return nil
}

// Invoke implements guard.Lambda. It makes one attempt: the guard's own timer repeats it, and a second replay beside
// the first one would be refused.
func (c client) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	out, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: payload},
		func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return nil, fmt.Errorf("invoking %s: %w", function, err)
	}
	if out.FunctionError != nil {
		return nil, fmt.Errorf("%s responded with a function error", function)
	}
	return out.Payload, nil
}

// queue implements guard.Queue.
type queue struct {
	sqs lambdahost.SQS
	url string
}

func (q *queue) Hide(ctx context.Context, receipt string, d time.Duration) error {
	out, err := q.sqs.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{
		QueueUrl: &q.url,
		Entries: []sqstypes.ChangeMessageVisibilityBatchRequestEntry{{
			Id: aws.String("0"), ReceiptHandle: &receipt,
			VisibilityTimeout: int32((d + time.Second - 1) / time.Second), //nolint:gosec // at most an hour
		}},
	})
	if err != nil {
		return fmt.Errorf("changing the visibility timeout: %w", err)
	}
	for _, f := range out.Failed {
		return fmt.Errorf("changing the visibility timeout: %s", aws.ToString(f.Code))
	}
	return nil
}
