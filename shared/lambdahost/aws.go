package lambdahost

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/arbitex/siem-connectors/shared/settings"
	"github.com/arbitex/siem-connectors/shared/sqsbatch"
)

// SQS is the part of SQS that the functions use.
type SQS = sqsbatch.Queue

// clients makes the SDK's clients when they are first needed: a batch that is delivered needs none of them.
type clients struct {
	env     settings.Lookup
	mu      sync.Mutex
	sqs     *sqs.Client
	secrets *secretsmanager.Client
}

// client returns the client at, and builds it first if there is none. service is its name in AWS_ENDPOINT_URL_….
func client[T any](c *clients, at **T, service string, build func(aws.Config) *T) (*T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *at == nil {
		cfg, err := AWSConfig(c.env, service)
		if err != nil {
			return nil, err
		}
		*at = build(cfg)
	}
	return *at, nil
}

type lazySQS struct{ *clients }

func (l lazySQS) client() (*sqs.Client, error) {
	return client(l.clients, &l.sqs, "SQS", func(cfg aws.Config) *sqs.Client { return sqs.NewFromConfig(cfg) })
}

func (l lazySQS) ChangeMessageVisibilityBatch(
	ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, o ...func(*sqs.Options),
) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.ChangeMessageVisibilityBatch(ctx, in, o...)
}

func (l lazySQS) SendMessageBatch(
	ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options),
) (*sqs.SendMessageBatchOutput, error) {
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return c.SendMessageBatch(ctx, in, o...)
}

type lazySecrets struct{ *clients }

func (l lazySecrets) GetSecretValue(
	ctx context.Context, in *secretsmanager.GetSecretValueInput, o ...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error) {
	build := func(cfg aws.Config) *secretsmanager.Client { return secretsmanager.NewFromConfig(cfg) }
	c, err := client(l.clients, &l.secrets, "SECRETS_MANAGER", build)
	if err != nil {
		return nil, err
	}
	return c.GetSecretValue(ctx, in, o...)
}
